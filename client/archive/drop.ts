/** Deleting an archive at the server: the identity says so, so that neither a stolen session nor a passer-by can. */
import type { Credentials } from "../account/credentials.ts";
import { TimedOutError } from "../errors.ts";
import { asFastChatError, type Link } from "../network/link.ts";
import { askCredentials, openOwnIdentity, stretchOwn } from "../account/own_identity.ts";
import { ConnectionLostError } from "../network/failures.ts";

export interface DropOptions {
  readonly credentials: Credentials;
  readonly link: Link;
  readonly password: string;
  /** Of the archive's key, 16 bytes. */
  readonly keyId: Uint8Array;
}

/** @throws WrongPasswordError, CannotReachError, TimedOutError. */
export async function dropArchive({ credentials, link, password, keyId }: DropOptions): Promise<void> {
  const stretch = async () => stretchOwn(password, credentials.account()!, await askCredentials(credentials, link));
  const identity = await openOwnIdentity(credentials, link, password, stretch);
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  try {
    for (;;) {
      try {
        const remote = await link.ready(deadline), bind = remote.channel.transcriptHash;
        const identityProof = await identity.proveDropArchive({ bind, keyId });
        await remote.ask<"dropArchive">({ type: "dropArchive", keyId, identityProof });
        return;
      } catch (error) {
        if (deadline.aborted) throw new TimedOutError(`The server did not answer within ${TIMEOUT_MS / 1000} s`);
        // The signature is of that connection: the next one needs another.
        if (!(error instanceof ConnectionLostError)) throw asFastChatError(error);
      }
    }
  } finally {
    identity.wipe();
  }
}

const TIMEOUT_MS = 20_000;
