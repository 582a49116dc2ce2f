/** The identity key, opened by the password for a moment: from this home's key file, or from the server's backup. */
import { equalBytes, openBackup, type StretchedPassword, stretchPassword } from "../shared/crypto/mod.ts";
import { ErrorCode } from "../shared/errors.ts";
import type { ResponseOf } from "../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { adopt } from "./credentials_watch.ts";
import { Identity } from "./e2ee/mod.ts";
import { FastChatError, RefusedError, WrongPasswordError } from "./errors.ts";
import type { Link } from "./link.ts";
import { testOnlyFloor } from "./stretching.ts";

/** How one's password is stretched by the server's word, taken over here where the identity says so. */
export async function askCredentials(credentials: Credentials, link: Link): Promise<ResponseOf<"credentials">> {
  const told = await link.ask<"credentials">({ type: "credentials", device: undefined });
  await credentials.pendingPassword.settle(told.stretching, Date.now());
  await adopt(credentials, credentials.account()!, told);
  return told;
}

/** @param told From {@linkcode askCredentials}. @throws StretchingRefused for what this home does not know and nobody signed. */
export async function stretchOwn(
  password: string,
  { name, clusterId, log2N, salt }: Account,
  told: ResponseOf<"credentials">,
): Promise<StretchedPassword> {
  const testOnlyLog2NMin = testOnlyFloor();
  return await stretchPassword({
    password,
    name,
    clusterId,
    offeredClusterId: told.clusterId,
    stretching: told.stretching,
    lastUsed: { log2N, ...(salt && { salt }) },
    ...(testOnlyLog2NMin !== undefined && { testOnlyLog2NMin }),
  });
}

/**
 * The own identity; {@linkcode Identity.wipe} it.
 *
 * @param stretch Called where the key file is encrypted by an earlier password, or gone: the server's backup is asked for then.
 * @throws WrongPasswordError
 */
export async function openOwnIdentity(
  credentials: Credentials,
  link: Link,
  password: string,
  stretch: () => Promise<StretchedPassword>,
): Promise<Identity> {
  const { name, clusterId, identity: fingerprint, identityStale } = credentials.account()!;
  const kept = await credentials.identity(password);
  if (kept !== undefined && identityStale !== true && equalBytes(kept.fingerprint, fingerprint)) return kept;
  kept?.wipe();
  const { loginSecret, backupKey } = await stretch();
  let backup: Uint8Array;
  try {
    ({ backup } = await link.ask<"ownBackup">({ type: "ownBackup", loginSecret }));
  } catch (error) {
    if (!(error instanceof RefusedError) || error.code !== ErrorCode.badCredentials) throw error;
    throw new WrongPasswordError(error.message);
  }
  const opened = openBackup({ backupKey, clusterId, name, backup });
  if (!opened.ok) {
    throw new FastChatError(backup.length === 0 ? NOT_HERE : `Cannot open the identity's backup: ${opened.reason}`);
  }
  const identity = await Identity.fromPkcs8(opened.pkcs8);
  if (equalBytes(identity.fingerprint, fingerprint)) return identity;
  throw new FastChatError("The server's backup is of another identity than yours");
}

const NOT_HERE =
  "This home's identity.pem is not encrypted by this password, and the server keeps no backup: use the device where the password was changed last";
