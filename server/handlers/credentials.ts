/**
 * What a user changes of their credentials: the recovery key, and the password, by the old one or by the recovery key
 * (docs/PROTOCOL.md §17; SECURITY P4, P7, P8).
 *
 * Each change is signed by the identity, so that neither a stolen session nor a guessed password is enough for it, and is one
 * transaction: what was checked before an await is expected there again.
 */
import {
  isRecoveryProof,
  recoveryProofHash,
  verifyEnrolProof,
  verifyPasswordStatement,
  verifyRecoveryProof,
} from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { parseUserName, type RequestOf, type ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import type { LoginSecret } from "../password_pool.ts";
import { sessionOf } from "../rights.ts";
import type { Session } from "../sessions.ts";
import { sameBytes } from "../store/bytes.ts";
import type { Account, PasswordChange, StoredCredentials } from "../store/store.ts";
import type { LogInAttempt } from "../throttles.ts";
import { badCertificate, checkDevice, checkSecret, checkStretching, grant, isPassword, provenDevice } from "./auth.ts";

/** setRecovery = proof, sealed identity, the identity's signature over both → ok | error badCredentials, malformed */
export async function setRecovery(
  request: RequestOf<"setRecovery">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user: name, device } = sessionOf(caller);
  if (request.backup.length === 0) throw malformed("A recovery key seals something");
  const { identityKey } = await accountOf(name, services);
  services.counters.rsaVerifications++;
  if (!await verifyRecoveryProof(identityKey, caller.bind, request, request.identityProof)) {
    throw new RequestError(ErrorCode.badCredentials, "The identity key did not sign this recovery key");
  }
  await services.store.setRecovery(name, {
    proofHash: services.pepper.seal("recovery", name, recoveryProofHash(request.proof)),
    backup: services.pepper.seal("recovery-backup", name, request.backup),
    device,
    nowMs: services.nowMs(),
  });
  services.logger.log("info", "recovery-key-set", { name });
  return { type: "ok" };
}

/** recover = name, the recovery key's proof → recovery | error badCredentials, busy; the same for a name that nobody has (P3) */
export async function recover(
  request: RequestOf<"recover">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"recovery">> {
  services.throttles.question(caller.address, services.clock.nowUs());
  const name = parseUserName(request.name);
  const attempt: LogInAttempt = {
    address: caller.address,
    // Counted apart from log-ins: who tries keys does not lock out who has the password. No name has a blank in it.
    name: `recovery of ${name ?? request.name}`,
    provenDevice: undefined,
  };
  services.throttles.logIn(attempt, services.clock.nowUs());
  const stored = name === undefined ? undefined : await services.store.credentials(name);
  const sealed = stored?.recovery?.proofHash;
  const hash = sealed === undefined ? NO_HASH : services.pepper.open("recovery", name!, sealed);
  if (!isRecoveryProof(request.proof, hash) || stored?.recovery === undefined) {
    services.counters.logInsRefused++;
    services.logger.log("info", "recovery-refused", { address: caller.address, name: name ?? request.name });
    throw new RequestError(ErrorCode.badCredentials, "Wrong name or recovery key");
  }
  services.throttles.clear(attempt);
  const [account, [entry]] = await Promise.all([accountOf(name!, services), services.store.directory([name!])]);
  caller.beginRecovering(name!, stored.recovery.proofHash);
  return {
    type: "recovery",
    backup: services.pepper.open("recovery-backup", name!, stored.recovery.backup),
    entry: entry!,
    stretching: account.stretching,
    log2NMin: services.settings.scryptLog2N,
    serial: stored.password?.serial ?? 0,
    keepsBackup: account.backup.length > 0,
  };
}

/** finishRecovery = another password and a device → session | error badCredentials, badCertificate, malformed, limit */
export async function finishRecovery(
  request: RequestOf<"finishRecovery">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session">> {
  const { standing } = caller;
  if (standing.rights !== "recovering") {
    throw new RequestError(ErrorCode.notAuthenticated, "Show the recovery key first");
  }
  const secret = checkSecret(request.loginSecret), { user: name } = standing;
  const account = await accountOf(name, services), { identityKey } = account;
  await checkPassword(request, account, services);
  const device = await checkDevice({ ...request, name, identityKey }, caller, services);
  services.counters.rsaVerifications++;
  if (!await verifyEnrolProof(identityKey, caller.bind, request.certificate, request.identityProof)) {
    throw new RequestError(ErrorCode.badCredentials, "The identity key did not sign this connection");
  }
  const changed = await services.store.changePassword({
    ...await sealed({ request, secret, account, address: caller.address, proven: false }, services),
    expected: { recoveryProofHash: standing.proofHash },
    device: device.id,
    newDevice: device,
    keep: undefined,
  });
  if (changed === "limit") {
    throw new RequestError(
      ErrorCode.limit,
      "You have as many devices as one may have: recover in the home of one of them",
    );
  }
  if (changed === "id-taken") throw badCertificate("the device's id is taken");
  if (changed === "stale") throw changedMeanwhile();
  services.counters.enrolled++;
  services.logger.log("info", "account-recovered", { name, endOthers: request.endOthers });
  return await grant(name, device.id, caller, services);
}

/** credentials = nothing, or a device that proves itself → credentials | error badCredentials */
export async function credentials(
  request: RequestOf<"credentials">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"credentials">> {
  const own = request.device === undefined ? sessionOf(caller).user : undefined;
  const [account, { recovery, password }] = own === undefined
    ? await provenCredentials(request.device!, caller, services)
    : await Promise.all([accountOf(own, services), credentialsOf({ name: own }, services)]);
  return {
    type: "credentials",
    stretching: account.stretching,
    log2NMin: services.settings.scryptLog2N,
    clusterId: services.clusterId,
    identityKey: account.identityKey,
    keepsBackup: account.backup.length > 0,
    recoveryMs: recovery?.madeMs ?? 0,
    password,
  };
}

/** changePassword = old login secret, everything about the new password → ok | error badCredentials, malformed, busy */
export async function changePassword(
  request: RequestOf<"changePassword">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const old = checkSecret(request.loginSecret), secret = checkSecret(request.newLoginSecret);
  const session = sessionOf(caller), account = await accountOf(session.user, services);
  const { password } = await credentialsOf(account, services);
  if (password?.serial === request.serial && sameBytes(account.stretching.salt, request.stretching.salt)) {
    // It was done, and the answer got lost.
    await checkOwnPassword(secret, account, session, caller, services);
    return { type: "ok" };
  }
  await checkOwnPassword(old, account, session, caller, services);
  await checkPassword(request, account, services);
  const changed = await services.store.changePassword({
    ...await sealed({ request, secret, account, address: caller.address, proven: true }, services),
    expected: { passwordHash: account.passwordHash },
    device: session.device,
    newDevice: undefined,
    keep: Uint8Array.fromHex(session.tokenHash),
  });
  if (changed !== "changed") throw changedMeanwhile();
  services.logger.log("info", "password-changed", { name: account.name, endOthers: request.endOthers });
  return { type: "ok" };
}

/** ownBackup = login secret → backup, empty where there is none | error badCredentials, busy */
export async function ownBackup(
  request: RequestOf<"ownBackup">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"backup">> {
  const secret = checkSecret(request.loginSecret), session = sessionOf(caller);
  const account = await accountOf(session.user, services);
  await checkOwnPassword(secret, account, session, caller, services);
  const { name, backup } = account;
  return { type: "backup", backup: backup.length === 0 ? backup : services.pepper.open("backup", name, backup) };
}

/** What the two ways to another password have in common. */
type NewPassword = RequestOf<"finishRecovery"> | RequestOf<"changePassword">;

/** Whether a new password is stretched as it may be, and the identity says so. */
async function checkPassword(
  { stretching, serial, statement }: NewPassword,
  { name, identityKey, stretching: before }: Account,
  services: Services,
): Promise<void> {
  checkStretching(stretching.log2N, services);
  if (stretching.log2N < before.log2N) throw malformed("A password is never stretched less than the one before");
  if (sameBytes(stretching.salt, before.salt)) throw malformed("A new password needs a salt of its own");
  if (serial < 1) throw malformed("A password's serial is from 1");
  services.counters.rsaVerifications++;
  const claim = { clusterId: services.clusterId, name, stretching, serial };
  if (await verifyPasswordStatement(identityKey, claim, statement)) return;
  throw new RequestError(ErrorCode.badCredentials, "The identity key did not sign this change of password");
}

/** What the store keeps of a new password, under the pepper. Where there was no backup there will be none. */
async function sealed(
  { request, secret, account, address, proven }: {
    request: NewPassword;
    secret: LoginSecret;
    account: Account;
    address: string;
    proven: boolean;
  },
  services: Services,
): Promise<Omit<PasswordChange, "expected" | "device" | "newDevice" | "keep">> {
  const { name } = account, { stretching, serial, statement, endOthers } = request;
  const keepsBackup = account.backup.length > 0;
  if (keepsBackup && request.backup.length === 0) throw malformed("A new password seals the backup anew");
  const hash = await services.passwords.hash(secret, { address, proven });
  return {
    name,
    stretching,
    serial,
    statement,
    passwordHash: services.pepper.seal("password", name, TEXT_ENCODER.encode(hash)),
    backup: keepsBackup ? services.pepper.seal("backup", name, request.backup) : account.backup,
    endOthers,
    nowMs: services.nowMs(),
  };
}

/** In a session a wrong password is counted against its device: nobody else's failures lock it out, nor its own anybody else. */
async function checkOwnPassword(
  secret: LoginSecret,
  account: Account,
  { device }: Session,
  { address }: Caller,
  services: Services,
): Promise<void> {
  const attempt: LogInAttempt = { address, name: account.name, provenDevice: device };
  services.throttles.logIn(attempt, services.clock.nowUs());
  if (!await isPassword(secret, account, attempt, services)) {
    services.counters.logInsRefused++;
    throw new RequestError(ErrorCode.badCredentials, "Wrong password");
  }
  services.throttles.clear(attempt);
}

/** Of an enrolled device that has no session: one answer for all who are not (P3). */
async function provenAccount(
  claim: NonNullable<RequestOf<"credentials">["device"]>,
  caller: Caller,
  services: Services,
): Promise<Account> {
  services.throttles.question(caller.address, services.clock.nowUs());
  const name = parseUserName(claim.name);
  const account = name === undefined ? undefined : await services.store.account(name);
  if (account !== undefined && provenDevice(account, claim, caller, services) !== undefined) return account;
  throw new RequestError(ErrorCode.badCredentials, "This device is not enrolled");
}

async function provenCredentials(
  claim: NonNullable<RequestOf<"credentials">["device"]>,
  caller: Caller,
  services: Services,
): Promise<[Account, StoredCredentials]> {
  const account = await provenAccount(claim, caller, services);
  return [account, await credentialsOf(account, services)];
}

async function accountOf(name: Account["name"], services: Services): Promise<Account> {
  const account = await services.store.account(name);
  if (account === undefined) throw new RequestError(ErrorCode.notAuthenticated, "Log in first");
  return account;
}

async function credentialsOf({ name }: Pick<Account, "name">, services: Services): Promise<StoredCredentials> {
  return await services.store.credentials(name) ?? { recovery: undefined, password: undefined };
}

function changedMeanwhile(): RequestError {
  return new RequestError(ErrorCode.badCredentials, "Password or recovery key were changed meanwhile: begin again");
}

function malformed(message: string): RequestError {
  return new RequestError(ErrorCode.malformed, message);
}

/** No proof has this hash. */
const NO_HASH = new Uint8Array(32);
const TEXT_ENCODER = new TextEncoder();
