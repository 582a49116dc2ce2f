/**
 * `passwd` (docs/PROTOCOL.md §17): everything that the password seals is sealed anew, here and at the server, or nothing is.
 */
import { passwordProblem, sealBackup, StretchingRefused } from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import type { RequestOf } from "../../shared/protocol/mod.ts";
import type { Credentials } from "./credentials.ts";
import {
  CannotReachError,
  FastChatError,
  RefusedError,
  TimedOutError,
  UsageError,
  WrongPasswordError,
} from "../errors.ts";
import type { Link } from "../network/link.ts";
import { lockLogin } from "./login_lock.ts";
import { askCredentials, openOwnIdentity, stretchOwn } from "./own_identity.ts";
import { newStretching, stretchNew } from "./stretching.ts";

export interface PasswordChangeOptions {
  readonly credentials: Credentials;
  readonly home: string;
  readonly link: Link;
  onProgress(text: string): void;
}

/** What a person gives. */
export interface NewPassword {
  readonly old: string;
  readonly new: string;
  readonly signOutOthers: boolean;
}

/**
 * @throws UsageError for a weak one, WrongPasswordError, CannotReachError or TimedOutError where it is not known what became of
 * it: then both passwords open this home, and the next connection tells which one counts.
 */
export async function changePassword(options: PasswordChangeOptions, asked: NewPassword): Promise<void> {
  const { credentials, home } = options, { name } = credentials.account()!;
  const problem = passwordProblem(asked.new, name);
  if (problem !== undefined) throw new UsageError(`That password will not do: ${problem}`);
  if (asked.old.normalize("NFKC") === asked.new.normalize("NFKC")) {
    throw new UsageError("That is the password you have: the new one must be another");
  }
  // Two at once in one home would each think that theirs counts.
  const lock = await lockLogin(home, { timeoutMs: LOCK_MS, doing: "changing this home's password" });
  try {
    const prepared = await prepare(options, asked).catch((error) => {
      if (!(error instanceof StretchingRefused)) throw error;
      throw new RefusedError(error.message, ErrorCode.internal, { cause: error });
    });
    await send(options, prepared);
    await credentials.pendingPassword.settle(prepared.stretching, Date.now());
  } finally {
    lock.release();
  }
}

/** Everything that needs a password or the identity, before anything is said. */
async function prepare(options: PasswordChangeOptions, asked: NewPassword): Promise<RequestOf<"changePassword">> {
  const { credentials, link, onProgress } = options;
  const told = await askCredentials(credentials, link);
  const account = credentials.account()!, { name, clusterId } = account;
  const keepsBackup = told.keepsBackup;
  if (keepsBackup && account.serverBackup === false) {
    throw new FastChatError("The server says that it keeps a backup of your identity, which it was never given");
  }
  onProgress("Checking the old password");
  const old = await stretchOwn(asked.old, account, told);
  const identity = await openOwnIdentity(credentials, link, asked.old, () => Promise.resolve(old));
  onProgress("Sealing your keys by the new password");
  const stretching = newStretching(account.log2N, told.stretching.log2N, told.log2NMin);
  const stretched = await stretchNew({ password: asked.new, clusterId, name, stretching });
  const serial = Math.max(account.serial ?? 0, told.password?.serial ?? 0) + 1;
  const request: RequestOf<"changePassword"> = {
    type: "changePassword",
    loginSecret: old.loginSecret,
    stretching,
    serial,
    statement: await identity.signPassword({ clusterId, name, stretching, serial }),
    newLoginSecret: stretched.loginSecret,
    backup: keepsBackup
      ? sealBackup({ backupKey: stretched.backupKey, clusterId, name, pkcs8: identity.pkcs8 })
      : new Uint8Array(),
    endOthers: asked.signOutOthers,
  };
  const change = { identity, password: asked.new, stretched, stretching, serial };
  await credentials.pendingPassword.prepare(change, Date.now());
  identity.wipe();
  return request;
}

/** Where the answer is lost it is asked again, which changes nothing more. */
async function send({ credentials, link }: PasswordChangeOptions, request: RequestOf<"changePassword">): Promise<void> {
  try {
    await link.ask<"changePassword">(request);
  } catch (error) {
    if (error instanceof RefusedError) {
      await credentials.pendingPassword.drop();
      throw error.code === ErrorCode.badCredentials ? new WrongPasswordError(error.message) : error;
    }
    if (error instanceof CannotReachError) throw new CannotReachError(unknown(error), { cause: error });
    if (error instanceof TimedOutError) throw new TimedOutError(unknown(error), { cause: error });
    throw error;
  }
}

function unknown({ message }: Error): string {
  return `${message}. Whether your password was changed is told at the next connection; until then both open this home`;
}

const LOCK_MS = 10_000;
