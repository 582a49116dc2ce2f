/**
 * Accounts and sessions (docs/PROTOCOL.md §7.1; SECURITY P1 to P7).
 *
 * What is cheap is checked first, what costs a bcrypt last, and only inside a limit. Messages say what a person can do about
 * it; whether a name exists is told at sign-up and by the directory, never by a log-in (P3).
 */
import {
  decodeCertificate,
  equalBytes,
  hmacSha256,
  sha256,
  validityFault,
  verifyCertificate,
  verifyDeviceProof,
  verifyEnrolProof,
} from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import {
  type DeviceId,
  NAME_RULE,
  parseUserName,
  type RequestOf,
  type ResponseOf,
  type UserName,
} from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { type LoginSecret, parseLoginSecret } from "../password_pool.ts";
import type { Account, NewDevice } from "../store/store.ts";
import type { LogInAttempt } from "../throttles.ts";

/** stretch = { name, purpose } → stretching | error badName, nameTaken, registrationClosed, busy */
export async function stretch(
  request: RequestOf<"stretch">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"stretching">> {
  services.throttles.question(caller.address, services.clock.nowUs());
  const name = parseUserName(request.name);
  const { clusterId } = services;
  if (request.purpose === PURPOSE_REGISTER) {
    refuseIfClosed(services);
    if (name === undefined) throw badName();
    // Said now rather than after the client has made its keys; `register` looks again.
    if (await services.store.account(name) !== undefined) throw nameTaken(name);
    const salt = services.primitives.random.bytes(SALT_BYTES);
    return { type: "stretching", stretching: { salt, log2N: services.settings.scryptLog2N }, clusterId };
  }
  const nobody = { salt: saltOfNobody(request.name, services), log2N: services.settings.scryptLog2N };
  const account = name === undefined ? undefined : await services.store.account(name);
  return { type: "stretching", stretching: account?.stretching ?? nobody, clusterId };
}

/** register = everything about a new user and its first device → session | error */
export async function register(
  request: RequestOf<"register">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session">> {
  const secret = checkSecret(request.loginSecret);
  refuseIfClosed(services);
  const name = parseUserName(request.name);
  if (name === undefined) throw badName();
  checkStretching(request.stretching.log2N, services);
  services.throttles.signUp(caller.address, services.clock.nowUs());
  const device = await checkDevice({ ...request, name }, caller, services);
  const before = await services.store.account(name);
  if (before !== undefined) return await registerAgain(before, device, secret, caller, services);
  const hash = await services.passwords.hash(secret, { address: caller.address, proven: false });
  const made = await services.store.createUser({
    name,
    stretching: request.stretching,
    passwordHash: services.pepper.seal("password", name, TEXT_ENCODER.encode(hash)),
    identityKey: request.identityKey,
    backup: request.backup.length === 0 ? request.backup : services.pepper.seal("backup", name, request.backup),
    device,
    nowMs: services.nowMs(),
  });
  if (made === "name-taken") throw nameTaken(name);
  services.counters.signUps++;
  return await grant(name, device.id, caller, services);
}

/** login = name, login secret, perhaps a device that proves itself → session | enrolNeeded | error badCredentials, busy */
export async function login(
  request: RequestOf<"login">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session" | "enrolNeeded">> {
  const secret = checkSecret(request.loginSecret);
  services.throttles.question(caller.address, services.clock.nowUs());
  const name = parseUserName(request.name);
  const account = name === undefined ? undefined : await services.store.account(name);
  const device = account && request.device && provenDevice(account, request.device, caller, services);
  const attempt: LogInAttempt = { address: caller.address, name: name ?? request.name, provenDevice: device };
  services.throttles.logIn(attempt, services.clock.nowUs());
  if (!await isPassword(secret, account, attempt, services) || account === undefined) {
    services.counters.logInsRefused++;
    services.logger.log("info", "login-refused", { address: caller.address, name: attempt.name });
    throw new RequestError(ErrorCode.badCredentials, "Wrong name or password");
  }
  services.throttles.clear(attempt);
  services.counters.logIns++;
  if (device !== undefined) return await grant(account.name, device, caller, services);
  if (request.device !== undefined) await refuseEnded(account.name, request.device, caller, services);
  caller.beginEnrolling(account.name);
  return { type: "enrolNeeded", name: account.name };
}

/** backup = {} → backup, empty where there is none */
export async function backup(
  _request: RequestOf<"backup">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"backup">> {
  const account = await enrollingAccount(caller, services);
  const sealed = account.backup;
  return {
    type: "backup",
    backup: sealed.length === 0 ? sealed : services.pepper.open("backup", account.name, sealed),
  };
}

/** enrol = certificate and two proofs → session | error badCertificate, badCredentials, limit */
export async function enrol(
  request: RequestOf<"enrol">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session">> {
  const account = await enrollingAccount(caller, services);
  const { name, identityKey } = account;
  const device = await checkDevice({ ...request, name, identityKey }, caller, services);
  services.counters.rsaVerifications++;
  if (!await verifyEnrolProof(identityKey, caller.bind, request.certificate, request.identityProof)) {
    throw new RequestError(ErrorCode.badCredentials, "The identity key did not sign this connection");
  }
  await refuseEnded(name, { id: device.id, proof: request.deviceProof }, caller, services);
  const added = await services.store.addDevice(name, device, identityKey);
  if (added === "limit") {
    throw new RequestError(ErrorCode.limit, "You have as many devices as one may have: revoke an old one first");
  }
  if (added === "id-taken") throw badCertificate("the device's id is taken");
  services.counters.enrolled++;
  if (added === "unapproved") throw approvalNeeded(device.id);
  return await grant(name, device.id, caller, services);
}

/** resume = session token and the device it belongs to, which proves itself → session | error badCredentials */
export async function resume(
  request: RequestOf<"resume">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session">> {
  services.throttles.question(caller.address, services.clock.nowUs());
  const tokenHash = sha256(request.token);
  const session = await services.store.session(tokenHash, services.nowMs());
  const name = parseUserName(request.name);
  const proof = { id: request.device, proof: request.proof };
  if (session === undefined || session.user !== name || session.device !== request.device) {
    if (name !== undefined) await refuseEnded(name, proof, caller, services);
    throw sessionOver();
  }
  const account = await services.store.account(name);
  if (account === undefined || provenDevice(account, proof, caller, services) === undefined) throw sessionOver();
  caller.beginSession({ user: name, device: session.device, tokenHash, generation: session.generation });
  services.counters.resumed++;
  return { type: "session", token: request.token, expiresMs: session.expiresMs, name };
}

/** logout = {} → ok; the token is worth nothing afterwards, on whatever connection it was used */
export async function logout(
  _request: RequestOf<"logout">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  if (caller.standing.rights === "session") {
    await services.store.deleteSession(Uint8Array.fromHex(caller.standing.session.tokenHash));
    caller.endSession();
  }
  return { type: "ok" };
}

/** Keeps a fresh token's hash and begins the session. */
export async function grant(
  user: UserName,
  device: DeviceId,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session">> {
  const token = services.primitives.random.bytes(TOKEN_BYTES);
  const tokenHash = sha256(token);
  const expiresMs = services.nowMs() + services.settings.sessionDays * DAY_MS;
  const generation = await services.store.createSession({ tokenHash, user, device, expiresMs });
  caller.beginSession({ user, device, tokenHash, generation });
  return { type: "session", token, expiresMs, name: user };
}

/** The same work whether the name exists or not (P3). */
export async function isPassword(
  secret: LoginSecret,
  account: Account | undefined,
  attempt: LogInAttempt,
  services: Services,
): Promise<boolean> {
  const hash = account === undefined
    ? services.settings.dummyHash
    : TEXT_DECODER.decode(services.pepper.open("password", account.name, account.passwordHash));
  const asker = { address: attempt.address, proven: attempt.provenDevice !== undefined };
  try {
    return await services.passwords.matches(secret, hash, asker);
  } catch (error) {
    services.throttles.forgive(attempt, services.clock.nowUs());
    throw error;
  }
}

/** The device's id, if it is enrolled, its certificate is in time, and it signed this connection (P6). */
export function provenDevice(
  account: Account,
  claim: { readonly id: DeviceId; readonly proof: Uint8Array },
  caller: Caller,
  services: Services,
): DeviceId | undefined {
  const enrolled = account.devices.find((device) => device.id === claim.id);
  if (enrolled === undefined) return undefined;
  const certificate = decodeCertificate(enrolled.certificate);
  if (validityFault(certificate, services.nowMs()) !== undefined) return undefined;
  return verifyDeviceProof(certificate.leafKey, caller.bind, claim.proof) ? claim.id : undefined;
}

/**
 * Adds a device that another one of its user has had certified.
 *
 * @throws RequestError badCertificate, deviceRevoked, limit
 */
export async function addCertified(user: UserName, encoded: Uint8Array, services: Services): Promise<void> {
  const { store, clusterId, counters } = services, account = await store.account(user);
  counters.rsaVerifications++;
  const verdict = await verifyCertificate(encoded, { clusterId, nowMs: services.nowMs() });
  if (!verdict.ok) throw badCertificate(verdict.reason);
  const { certificate } = verdict;
  if (account === undefined || certificate.user !== user) throw badCertificate("it is for another user");
  if (!equalBytes(certificate.identityKey, account.identityKey)) throw badCertificate("it is by another identity");
  const added = await store.addDevice(user, { id: certificate.device, certificate: encoded }, account.identityKey);
  if (added === "limit") throw tooManyDevices();
  if (added === "id-taken") throw badCertificate("the device's id is taken");
}

/**
 * Says to a device that is nobody's any more, or not yet, that it is so: to itself alone, which its signature shows.
 *
 * @throws RequestError deviceRevoked, approvalNeeded
 */
export async function refuseEnded(
  name: UserName,
  claim: { readonly id: DeviceId; readonly proof: Uint8Array },
  caller: Caller,
  { store }: Services,
): Promise<void> {
  const known = await store.device(name, claim.id);
  if (known === undefined || known.standing === "live" || known.standing === "superseded") return;
  const { leafKey } = decodeCertificate(known.certificate);
  if (!verifyDeviceProof(leafKey, caller.bind, claim.proof)) return;
  if (known.standing === "unapproved") throw approvalNeeded(claim.id);
  throw new RequestError(
    ErrorCode.deviceRevoked,
    "This device was revoked and is yours no longer: to use it again, log in from an empty home",
  );
}

/** Whether a certificate is one for a device of this user in this cluster, by this identity, held by who is asking (P5, P6). */
export async function checkDevice(
  claim: { name: UserName; identityKey: Uint8Array; certificate: Uint8Array; deviceProof: Uint8Array },
  caller: Caller,
  services: Services,
): Promise<NewDevice> {
  services.counters.rsaVerifications++;
  const { clusterId } = services;
  const verdict = await verifyCertificate(claim.certificate, { clusterId, nowMs: services.nowMs() });
  if (!verdict.ok) throw badCertificate(verdict.reason);
  const { certificate } = verdict;
  if (certificate.user !== claim.name) throw badCertificate("it is for another user");
  if (!equalBytes(certificate.identityKey, claim.identityKey)) throw badCertificate("it is by another identity");
  if (!verifyDeviceProof(certificate.leafKey, caller.bind, claim.deviceProof)) {
    throw new RequestError(ErrorCode.badCredentials, "The device key did not sign this connection");
  }
  return { id: certificate.device, certificate: claim.certificate };
}

/**
 * A sign-up that is sent again because its answer was lost: the same device with the same password is let in. Anybody else
 * is told that the name is taken.
 */
async function registerAgain(
  account: Account,
  device: NewDevice,
  secret: LoginSecret,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"session">> {
  const known = account.devices.find(({ id }) => id === device.id);
  if (known === undefined || !equalBytes(known.certificate, device.certificate)) throw nameTaken(account.name);
  const attempt: LogInAttempt = { address: caller.address, name: account.name, provenDevice: device.id };
  services.throttles.logIn(attempt, services.clock.nowUs());
  if (!await isPassword(secret, account, attempt, services)) throw nameTaken(account.name);
  services.throttles.clear(attempt);
  return await grant(account.name, device.id, caller, services);
}

async function enrollingAccount(caller: Caller, services: Services): Promise<Account> {
  const account = caller.standing.rights === "enrolling"
    ? await services.store.account(caller.standing.user)
    : undefined;
  if (account === undefined) throw new RequestError(ErrorCode.notAuthenticated, "Log in first");
  return account;
}

/** For a name that nobody has: always the same, and like any other (P3). */
function saltOfNobody(name: string, services: Services): Uint8Array {
  return hmacSha256(services.saltKey, TEXT_ENCODER.encode(name.toLowerCase())).slice(0, SALT_BYTES);
}

export function checkSecret(text: string): LoginSecret {
  const secret = parseLoginSecret(text);
  if (secret === undefined) throw new RequestError(ErrorCode.malformed, "A login secret is 43 base64url characters");
  return secret;
}

export function checkStretching(log2N: number, { settings }: Services): void {
  if (log2N >= settings.scryptLog2N && log2N <= SCRYPT_LOG2_N_MAX) return;
  throw new RequestError(
    ErrorCode.malformed,
    `Passwords are stretched with scrypt's N from 2^${settings.scryptLog2N} to 2^${SCRYPT_LOG2_N_MAX}, not 2^${log2N}`,
  );
}

function refuseIfClosed({ settings }: Services): void {
  if (settings.registration === "open") return;
  throw new RequestError(ErrorCode.registrationClosed, "This server does not take new users: ask its operator");
}

function badName(): RequestError {
  return new RequestError(ErrorCode.badName, `A name is ${NAME_RULE}`);
}

function nameTaken(name: UserName): RequestError {
  return new RequestError(ErrorCode.nameTaken, `The name ${name} is taken`);
}

export function badCertificate(reason: string): RequestError {
  return new RequestError(ErrorCode.badCertificate, `The device certificate is not accepted: ${reason}`);
}

function tooManyDevices(): RequestError {
  return new RequestError(ErrorCode.limit, "You have as many devices as one may have: revoke an old one first");
}

function approvalNeeded(device: DeviceId): RequestError {
  return new RequestError(
    ErrorCode.approvalNeeded,
    `This device waits to be approved: on another device of yours run "fastchat device approve ${device.slice(0, 8)}"`,
  );
}

function sessionOver(): RequestError {
  return new RequestError(ErrorCode.badCredentials, "The session is over: log in again");
}

const PURPOSE_REGISTER = 1;
const SALT_BYTES = 16;
const TOKEN_BYTES = 32;
const DAY_MS = 24 * 3600 * 1000;
/** 4 GiB for one stretch: nobody's client would do it. */
const SCRYPT_LOG2_N_MAX = 22;
const TEXT_ENCODER = new TextEncoder();
const TEXT_DECODER = new TextDecoder();
