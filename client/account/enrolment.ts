/**
 * How a device becomes its person's (docs/PROTOCOL.md §7.1): the password yields the identity, the identity certifies the device.
 */
import { equalBytes } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { NotAuthenticatedError } from "../errors.ts";
import type { Self } from "../trust/keyring.ts";
import { type LoginPassword, stretchToLogIn } from "./login_password.ts";
import type { MovingIn } from "./moving_in.ts";
import type { NewKeys } from "./new_keys.ts";
import { requireShown, restoreIdentity } from "./own_identity.ts";
import type { Remote } from "../network/remote.ts";

export interface EnrolmentOptions {
  readonly credentials: Credentials;
  readonly name: UserName;
  readonly password: string;
  /** HOST:PORT, to be remembered with the account. */
  readonly server: string;
  /** Left by a sign-up or an enrolment of this name that was cut off. */
  readonly pending: Account | undefined;
  readonly newKeys: NewKeys;
  readonly movingIn: MovingIn;
  onProgress(text: string): void;
}

/** The same person on a new device. */
export async function enrol(options: EnrolmentOptions, remote: Remote): Promise<Self> {
  const { credentials, name, password, server, pending, newKeys, movingIn, onProgress } = options;
  onProgress("Logging in with the password");
  const device = newKeys.device();
  device.catch(() => {});
  const stretching = { credentials, name, password, known: pending, onProgress };
  const login = await stretchToLogIn(stretching, remote), { stretched, clusterId } = login;
  const bind = remote.channel.transcriptHash;
  // Only a device that the server may know already proves itself: a sign-up or an enrolment was cut off.
  const known = pending && await device;
  const answer = await remote.ask<"login">({
    type: "login",
    name,
    loginSecret: stretched.loginSecret,
    device: known && { id: known.id, proof: known.prove(bind) },
  });
  const keys = await device;
  if (answer.type === "session") {
    movingIn.finish({ ...pending!, server, ...login.stretching }, answer, stretched);
    return { name, identity: pending!.identity, keys, clusterId };
  }
  onProgress("Adding this device to your account");
  const { backup } = await remote.ask<"backup">({ type: "backup" });
  const owner = { backupKey: stretched.backupKey, clusterId, name };
  const identity = await restoreIdentity(credentials, backup, owner, password);
  const certificate = await identity.certify({ clusterId, user: name, device: keys, nowMs: Date.now() });
  const account: Account = {
    name,
    server,
    clusterId,
    identity: identity.fingerprint,
    ...login.stretching,
    enrolled: false,
  };
  await credentials.saveIdentity(identity, password);
  movingIn.seal(account, stretched);
  credentials.saveDeviceKeys(keys);
  credentials.saveAccount(account);
  credentials.saveAccountKey(identity, clusterId, Date.now());
  const session = await remote.ask<"enrol">({
    type: "enrol",
    certificate,
    identityProof: await identity.proveEnrolment({ bind, certificate }),
    deviceProof: keys.prove(bind),
  });
  await requireShown(name, identity, remote);
  movingIn.finish(account, session, stretched);
  identity.wipe();
  return { name, identity: identity.fingerprint, keys, clusterId };
}

/** The identity was replaced on another device since: this one has to be certified by the new one. */
export async function recertify(
  options: Omit<EnrolmentOptions, "name" | "pending" | "newKeys">,
  self: Self,
  { stretched, stretching }: LoginPassword,
  remote: Remote,
): Promise<Self> {
  const { credentials, password, server, movingIn, onProgress } = options, { name, clusterId, keys } = self;
  onProgress("Your identity was replaced: adding this device to the new one");
  const { backup } = await remote.ask<"backup">({ type: "backup" });
  const owner = { backupKey: stretched.backupKey, clusterId, name };
  const identity = await restoreIdentity(credentials, backup, owner, password);
  if (equalBytes(identity.fingerprint, self.identity)) {
    identity.wipe();
    throw new NotAuthenticatedError("The server no longer knows this device: log in from an empty home");
  }
  const bind = remote.channel.transcriptHash, nowMs = Date.now();
  // Higher than that of any certificate before: those count from 1, or are times too.
  const certificate = await identity.certify({ clusterId, user: name, device: keys, nowMs, serial: nowMs });
  await credentials.pendingRotation.prepare(identity, password);
  credentials.saveAccountKey(identity, clusterId, nowMs);
  const session = await remote.ask<"enrol">({
    type: "enrol",
    certificate,
    identityProof: await identity.proveEnrolment({ bind, certificate }),
    deviceProof: keys.prove(bind),
  });
  await requireShown(name, identity, remote);
  await credentials.pendingRotation.settle(identity.fingerprint);
  movingIn.finish({ ...credentials.account()!, server, ...stretching }, session, stretched);
  identity.wipe();
  return { ...self, identity: identity.fingerprint };
}
