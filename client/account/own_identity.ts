/** The identity key, opened by the password for a moment: from this home's key file, or from the server's backup. */
import {
  equalBytes,
  fingerprint,
  openBackup,
  type StretchedPassword,
  stretchPassword,
} from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import type { ResponseOf, UserName } from "../../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { adopt } from "./credentials_watch.ts";
import { Identity } from "../e2ee/mod.ts";
import { FastChatError, NotAuthenticatedError, RefusedError, WrongPasswordError } from "../errors.ts";
import type { Link } from "../network/link.ts";
import type { Remote } from "../network/remote.ts";
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
  const { name, clusterId, identity: known, identityStale } = credentials.account()!;
  const kept = await credentials.identity(password);
  if (kept !== undefined && identityStale !== true && equalBytes(kept.fingerprint, known)) return kept;
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
  if (equalBytes(identity.fingerprint, known)) return identity;
  throw new FastChatError("The server's backup is of another identity than yours");
}

/** Opens one's own identity, uses it, and wipes it again. @throws WrongPasswordError */
export async function withOwnIdentity(
  credentials: Credentials,
  link: Link,
  password: string,
  use: (identity: Identity) => Promise<void>,
): Promise<void> {
  const told = await askCredentials(credentials, link);
  const identity = await openOwnIdentity(
    credentials,
    link,
    password,
    () => stretchOwn(password, credentials.account()!, told),
  );
  try {
    await use(identity);
  } finally {
    identity.wipe();
  }
}

/**
 * The identity of somebody who is new to this home.
 *
 * @param backup The server's; empty where it keeps none: then the key file may have been copied here.
 * @throws NotAuthenticatedError where neither yields it.
 */
export async function restoreIdentity(
  credentials: Credentials,
  backup: Uint8Array,
  owner: { readonly backupKey: Uint8Array; readonly clusterId: Uint8Array; readonly name: UserName },
  password: string,
): Promise<Identity> {
  if (backup.length === 0) {
    const local = await credentials.identity(password);
    if (local !== undefined) return local;
    throw new NotAuthenticatedError(
      `${owner.name} keeps no backup of the identity key on the server: copy identity.pem from another device of yours into this home`,
    );
  }
  const opened = openBackup({ ...owner, backup });
  if (!opened.ok) throw new NotAuthenticatedError(`Cannot open the identity's backup: ${opened.reason}`);
  return await Identity.fromPkcs8(opened.pkcs8);
}

/** A backup must be of the very identity that the server shows to everybody else (SECURITY P8). @throws FastChatError */
export async function requireShown(name: UserName, identity: Identity, remote: Remote): Promise<void> {
  const { entries } = await remote.ask<"directory">({ type: "directory", names: [name] });
  const shown = entries[0];
  if (shown?.name === name && equalBytes(fingerprint(shown.identityKey), identity.fingerprint)) return;
  throw new FastChatError(`The server shows others another identity of ${name} than the one in the backup`);
}

/** The identity's key file, where another device changed the password that it is encrypted by. */
export async function refreshKeyFile(
  credentials: Credentials,
  password: string,
  { loginSecret, backupKey }: StretchedPassword,
  remote: Remote,
): Promise<void> {
  const account = credentials.account();
  if (account?.identityStale !== true) return;
  const { name, clusterId } = account;
  const { backup } = await remote.ask<"ownBackup">({ type: "ownBackup", loginSecret });
  const opened = openBackup({ backupKey, clusterId, name, backup });
  if (!opened.ok) return;
  const identity = await Identity.fromPkcs8(opened.pkcs8);
  if (equalBytes(identity.fingerprint, account.identity)) {
    await credentials.saveIdentity(identity, password);
    credentials.saveAccountKey(identity, clusterId, Date.now());
    credentials.updateAccount({ identityStale: false });
  }
  identity.wipe();
}

const NOT_HERE =
  "This home's identity.pem is not encrypted by this password, and the server keeps no backup: use the device where the password was changed last";
