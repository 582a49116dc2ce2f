/**
 * Getting an account back (docs/PROTOCOL.md §17.1): the recovery key shows who this is and yields the identity, which signs
 * another password and enrols this device, in one step at the server. In the home of a device that is enrolled still only the
 * password changes.
 */
import { DecodeError } from "../../shared/codec/mod.ts";
import {
  decodeCertificate,
  encodeKeyStatement,
  equalBytes,
  sealBackup,
  type StretchedPassword,
  validityFault,
} from "../../shared/crypto/mod.ts";
import { RequestError } from "../../shared/errors.ts";
import type { ResponseOf, UserName } from "../../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import type { DeviceKeys, Identity } from "../e2ee/mod.ts";
import { FastChatError, UsageError } from "../errors.ts";
import { type RecoveryOwner, showRecoveryKey } from "./recovery.ts";
import type { Remote } from "../network/remote.ts";
import { newStretching, stretchNew } from "./stretching.ts";

export interface RecoverOptions {
  readonly credentials: Credentials;
  readonly name: UserName;
  /** HOST:PORT, to be remembered with the account. */
  readonly server: string;
  /** The recovery key, 20 bytes. */
  readonly key: Uint8Array;
  /** The new one. */
  readonly password: string;
  readonly endOthers: boolean;
  /** This device's keys, from the home or made for it. */
  readonly device: Promise<DeviceKeys>;
  /** In an empty home: from now on this password seals it. */
  seal(account: Account, stretched: StretchedPassword): void;
  onProgress(text: string): void;
}

/** What the server has granted; the home is not said to be enrolled yet. */
export interface RecoveredAccount {
  readonly account: Account;
  readonly session: ResponseOf<"session">;
  readonly stretched: StretchedPassword;
  /** {@linkcode Identity.wipe} it. */
  readonly identity: Identity;
  readonly keys: DeviceKeys;
}

/** @throws WrongRecoveryKeyError, UsageError, FastChatError: nothing was changed then. */
export async function recoverAccount(options: RecoverOptions, remote: Remote): Promise<RecoveredAccount> {
  const { credentials, name, server, password, endOthers, onProgress } = options;
  const known = credentials.account(), before = known?.enrolled ? known : undefined;
  onProgress("Showing the recovery key");
  const { clusterId } = await remote.ask<"stretch">({ type: "stretch", name, purpose: PURPOSE_LOG_IN });
  const { identity, shown } = await show(options.key, { name, clusterId }, before, remote);
  const keys = await options.device, bind = remote.channel.transcriptHash;
  const stretching = newStretching(shown.stretching.log2N, shown.log2NMin, before?.log2N ?? 0);
  const stretched = await stretchNew({ password, clusterId, name, stretching });
  const serial = Math.max(shown.serial, before?.serial ?? 0) + 1;
  const account: Account = {
    name,
    server,
    clusterId,
    identity: identity.fingerprint,
    ...stretching,
    serial,
    serverBackup: shown.keepsBackup,
    enrolled: false,
  };
  if (before !== undefined) {
    await credentials.pendingPassword.prepare({ identity, password, stretched, stretching, serial }, Date.now());
  } else {
    await credentials.saveIdentity(identity, password);
    options.seal(account, stretched);
    credentials.saveDeviceKeys(keys);
    credentials.saveAccount(account);
  }
  const certificate = ownCertificate(shown.entry.certificates, keys) ??
    await identity.certify({ clusterId, user: name, device: keys, nowMs: Date.now() });
  onProgress("Setting the new password");
  const session = await remote.ask<"finishRecovery">({
    type: "finishRecovery",
    stretching,
    serial,
    statement: await identity.signPassword({ clusterId, name, stretching, serial }),
    loginSecret: stretched.loginSecret,
    backup: shown.keepsBackup
      ? sealBackup({ backupKey: stretched.backupKey, clusterId, name, pkcs8: identity.pkcs8 })
      : new Uint8Array(),
    certificate,
    identityProof: await identity.proveEnrolment({ bind, certificate }),
    deviceProof: keys.prove(bind),
    endOthers,
  });
  await credentials.pendingPassword.settle(stretching, Date.now());
  const kept = before === undefined ? account : { ...credentials.account()!, server };
  return { account: kept, session, stretched, identity, keys };
}

/** Whoever recovers may have no device left that could approve this one: it needs no approval any more (§16.1). */
export async function liftApproval(
  identity: Identity,
  { name: user, clusterId }: RecoveryOwner,
  remote: Remote,
): Promise<void> {
  const timeMs = Date.now(), owner = { clusterId, user };
  const said = await identity.setPolicy(owner, { approval: false, number: timeMs, timeMs });
  try {
    await remote.ask<"stateKeys">({ type: "stateKeys", statement: encodeKeyStatement(said) });
  } catch (error) {
    // The account is back all the same: "fastchat device policy open" does it later.
    if (!(error instanceof RequestError)) throw error;
  }
}

/** The identity that the key seals must be the one that this home knows, where it knows one. */
async function show(key: Uint8Array, owner: RecoveryOwner, before: Account | undefined, remote: Remote) {
  const { name, clusterId } = owner;
  if (before !== undefined && !equalBytes(before.clusterId, clusterId)) {
    throw new UsageError(`This home belongs to ${name} on another cluster; this one needs another home (--home DIR)`);
  }
  const recovered = await showRecoveryKey(key, owner, remote);
  if (before === undefined || equalBytes(before.identity, recovered.identity.fingerprint)) return recovered;
  recovered.identity.wipe();
  throw new FastChatError(`This home knows another identity of ${name} than the one that the recovery key seals`);
}

/** The certificate that this device has already: it stays the same device. */
function ownCertificate(certificates: readonly Uint8Array[], { id, leafKey }: DeviceKeys): Uint8Array | undefined {
  return certificates.find((bytes) => {
    try {
      const certificate = decodeCertificate(bytes);
      return certificate.device === id && equalBytes(certificate.leafKey, leafKey) &&
        validityFault(certificate, Date.now()) === undefined;
    } catch (error) {
      if (error instanceof DecodeError) return false;
      throw error;
    }
  });
}

const PURPOSE_LOG_IN = 2;
