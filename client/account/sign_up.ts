/** Signing up (docs/PROTOCOL.md §7.1): keys are made and lie on disk before the server hears of them. */
import { passwordProblem, sealBackup } from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import type { Account } from "./account.ts";
import type { Identity } from "../e2ee/mod.ts";
import type { EnrolmentOptions } from "./enrolment.ts";
import { UsageError } from "../errors.ts";
import type { Self } from "../trust/keyring.ts";
import { isRefusedWith } from "./login_errors.ts";
import { stretchAsAnswered } from "./login_password.ts";
import type { Remote } from "../network/remote.ts";

export interface SignUpOptions extends EnrolmentOptions {
  /** Whether the sealed identity key is left on the server. */
  readonly serverBackup: boolean;
}

/**
 * @returns Who this home belongs to, and the identity, which is open still: {@linkcode Identity.wipe} it.
 * @throws UsageError for a weak password; a refusal with `nameTaken`, after which the home is nobody's.
 */
export async function signUp(
  options: SignUpOptions,
  remote: Remote,
): Promise<{ readonly self: Self; readonly identity: Identity }> {
  const { credentials, name, password, pending, server, serverBackup, newKeys, movingIn, onProgress } = options;
  // Asked before keys are made: where the name is taken they would be for nothing.
  const answer = await remote.ask<"stretch">({ type: "stretch", name, purpose: PURPOSE_REGISTER });
  const problem = passwordProblem(password, name);
  if (problem !== undefined) throw new UsageError(problem);
  onProgress("Making your keys");
  const [identity, keys, stretched] = await Promise.all([
    newKeys.identity(pending, password),
    newKeys.device(),
    stretchAsAnswered(name, password, answer, undefined),
  ]);
  const { clusterId, stretching } = answer;
  const certificate = await identity.certify({ clusterId, user: name, device: keys, nowMs: Date.now() });
  const account: Account = {
    name,
    server,
    clusterId,
    identity: identity.fingerprint,
    ...stretching,
    serverBackup,
    enrolled: false,
  };
  await credentials.saveIdentity(identity, password);
  movingIn.seal(account, stretched);
  credentials.saveDeviceKeys(keys);
  credentials.saveAccount(account);
  credentials.saveAccountKey(identity, clusterId, Date.now());
  onProgress(`Signing up as ${name}`);
  try {
    const session = await remote.ask<"register">({
      type: "register",
      name,
      stretching,
      loginSecret: stretched.loginSecret,
      identityKey: identity.spki,
      backup: serverBackup
        ? sealBackup({ backupKey: stretched.backupKey, clusterId, name, pkcs8: identity.pkcs8 })
        : new Uint8Array(),
      certificate,
      deviceProof: keys.prove(remote.channel.transcriptHash),
    });
    movingIn.finish(account, session, stretched);
  } catch (error) {
    if (isRefusedWith(error, ErrorCode.nameTaken)) await credentials.forgetAccount();
    throw error;
  }
  return { self: { name, identity: identity.fingerprint, keys, clusterId }, identity };
}

const PURPOSE_REGISTER = 1;
