/**
 * The recovery key in the client (docs/PROTOCOL.md §17, SECURITY P8): made where the identity is open, and shown by whoever
 * has lost password and devices.
 */
import {
  equalBytes,
  fingerprint,
  generateRecoveryKey,
  openBackup,
  parseRecoveryKey,
  type RecoverySecrets,
  recoverySecrets,
  sealBackup,
  systemRandom,
} from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import type { ResponseOf, UserName } from "../../shared/protocol/mod.ts";
import { Identity } from "../e2ee/mod.ts";
import { OWN_RECOVERY_KEY } from "./account.ts";
import { sealArchiveAnew } from "../archive/sealed_key.ts";
import type { Credentials } from "./credentials.ts";
import { FastChatError, TimedOutError, UsageError, WrongRecoveryKeyError } from "../errors.ts";
import { asFastChatError, type Link } from "../network/link.ts";
import { askCredentials, openOwnIdentity, stretchOwn } from "./own_identity.ts";
import { ConnectionLostError } from "../network/failures.ts";
import type { Remote } from "../network/remote.ts";

/** Whose recovery key it is. */
export interface RecoveryOwner {
  readonly name: UserName;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
}

/** What a recovery key is read from: 20 bytes. @throws UsageError that says what is wrong with it; nothing was sent. */
export function readRecoveryKey(text: string): Uint8Array {
  const parsed = parseRecoveryKey(text);
  if ("key" in parsed) return parsed.key;
  throw new UsageError(`That is no recovery key: ${parsed.problem}`);
}

/**
 * Makes a recovery key and the one before void.
 *
 * @param archiveKey Of this person's archive, where this home has it: the new recovery key opens the archive, too.
 * @returns It, as people write it: nobody else has it from now on.
 */
export async function makeRecoveryKey(
  identity: Identity,
  owner: RecoveryOwner,
  remote: Remote,
  archiveKey?: Uint8Array,
): Promise<string> {
  const text = generateRecoveryKey(systemRandom);
  const secrets = recoverySecrets({ ...owner, key: readRecoveryKey(text) }), { proof, sealKey } = secrets;
  const backup = sealBackup({ ...owner, backupKey: sealKey, by: "recovery", pkcs8: identity.pkcs8 });
  const identityProof = await identity.proveRecovery({ bind: remote.channel.transcriptHash, proof, backup });
  await remote.ask<"setRecovery">({ type: "setRecovery", proof, backup, identityProof });
  if (archiveKey !== undefined) await sealArchiveAnew(archiveKey, secrets, owner, remote);
  return text;
}

/**
 * Makes another recovery key, on whatever connection there is.
 *
 * @throws WrongPasswordError where the password does not open this home's identity; CannotReachError, TimedOutError.
 */
export async function replaceRecoveryKey(
  credentials: Credentials,
  password: string,
  link: Link,
  timeoutMs: number,
): Promise<string> {
  const stretch = async () => stretchOwn(password, credentials.account()!, await askCredentials(credentials, link));
  const identity = await openOwnIdentity(credentials, link, password, stretch);
  const deadline = AbortSignal.timeout(timeoutMs);
  try {
    for (;;) {
      try {
        const remote = await link.ready(deadline);
        const key = await makeRecoveryKey(identity, credentials.account()!, remote, credentials.archiveKey());
        credentials.updateAccount({ recoveryMs: OWN_RECOVERY_KEY });
        return key;
      } catch (error) {
        if (deadline.aborted) throw new TimedOutError(`The server did not answer within ${timeoutMs / 1000} s`);
        // The signature is of that connection: the next one needs another.
        if (!(error instanceof ConnectionLostError)) throw asFastChatError(error);
      }
    }
  } finally {
    identity.wipe();
  }
}

/** An identity that was brought back, and the account as the server has it. */
export interface Recovered {
  readonly identity: Identity;
  readonly shown: ResponseOf<"recovery">;
}

/**
 * Shows the key, and opens what it seals. From then on this connection may finish the recovery.
 *
 * @param key 20 bytes.
 * @throws WrongRecoveryKeyError; FastChatError where the server shows others another identity: nothing was changed.
 */
export async function showRecoveryKey(key: Uint8Array, owner: RecoveryOwner, remote: Remote): Promise<Recovered> {
  const secrets = recoverySecrets({ ...owner, key });
  let shown: ResponseOf<"recovery">;
  try {
    shown = await remote.ask<"recover">({ type: "recover", name: owner.name, proof: secrets.proof });
  } catch (error) {
    if (!(error instanceof RequestError) || error.code !== ErrorCode.badCredentials) throw error;
    throw new WrongRecoveryKeyError(
      `${error.message}: ${owner.name} is no name there, or this is not the recovery key that was made last`,
    );
  }
  const identity = await openIdentity(shown, secrets, owner);
  if (shown.entry.name === owner.name && equalBytes(fingerprint(shown.entry.identityKey), identity.fingerprint)) {
    return { identity, shown };
  }
  identity.wipe();
  throw new FastChatError(
    `The server shows others another identity of ${owner.name} than the one that this recovery key seals: nothing was changed`,
  );
}

async function openIdentity(
  { backup }: ResponseOf<"recovery">,
  { sealKey }: RecoverySecrets,
  owner: RecoveryOwner,
): Promise<Identity> {
  const opened = openBackup({ ...owner, backupKey: sealKey, by: "recovery", backup });
  if (opened.ok) return await Identity.fromPkcs8(opened.pkcs8);
  throw new FastChatError(`Cannot open the identity that the server kept under the recovery key: ${opened.reason}`);
}
