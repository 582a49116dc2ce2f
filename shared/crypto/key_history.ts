/**
 * What the key log says of one user: its entries, judged and applied one after the other (docs/PROTOCOL.md §16). Servers judge
 * by it what they take into the log, clients what they are shown; it looks at no clock and no pin, so all come to the same.
 */
import type { DeviceId } from "../protocol/mod.ts";
import { type Certificate, decodeCertificate, verifyCertificate } from "./certificate.ts";
import { equalBytes, sha256 } from "./hkdf.ts";
import { type KeyStatement, type KeyStatementOwner, verifyApproval, verifyByIdentity } from "./key_log.ts";

/** A device as the log knows it. Numbers are those of entries, from 1. */
export interface LoggedDevice {
  readonly certificate: Certificate;
  /** SHA-256 of the encoded certificate. */
  readonly certificateHash: Uint8Array;
  /** Of the entry with this certificate. */
  readonly since: number;
  /** From which entry on it is more than certified by password; `undefined` while it is not. */
  readonly approvedAt: number | undefined;
  /** The entry that revoked it, or that replaced the identity that had certified it. */
  readonly endedAt: number | undefined;
  readonly ending: "revoked" | "superseded" | undefined;
}

/** One user's entries, folded. A value: {@linkcode applyStatement} gives the next. */
export interface KeyHistory {
  /** Number of the newest entry. */
  readonly newest: number;
  /** SPKI DER of the identity in force. */
  readonly identityKey: Uint8Array;
  /** SHA-256 of it. */
  readonly identity: Uint8Array;
  /** Number of the entry that put it in force: the first one, or a rotation. */
  readonly identitySince: number;
  /** Fingerprints of those before, the oldest first: each has signed the next. */
  readonly earlier: readonly Uint8Array[];
  /** Whether a device counts for nothing until another one approves it. */
  readonly approval: boolean;
  readonly policyNumber: number;
  readonly devices: ReadonlyMap<DeviceId, LoggedDevice>;
}

/** Whether a device is its user's now and may be sealed for: neither ended nor, where the user wants that, unapproved. */
export function isUsable(history: KeyHistory, device: LoggedDevice): boolean {
  return device.endedAt === undefined && (device.approvedAt !== undefined || !history.approval);
}

/**
 * Why a statement does not count behind a user's earlier ones; `undefined` where it does. All that bytes can prove is looked at.
 *
 * @param history `undefined` before the user's first entry.
 */
export async function judgeStatement(
  history: KeyHistory | undefined,
  said: KeyStatement,
  owner: KeyStatementOwner,
): Promise<string | undefined> {
  if (said.type === "device") return await judgeDevice(history, said.certificate, owner);
  if (history === undefined) return "there is no identity that could say so";
  const known = "device" in said ? history.devices.get(said.device) : undefined;
  switch (said.type) {
    case "approve": {
      const by = history.devices.get(said.by);
      if (known === undefined || known.endedAt !== undefined) return "it approves a device that is not there";
      if (!equalBytes(known.certificateHash, said.certificate)) return "it approves another certificate of that device";
      if (by === undefined || by.endedAt !== undefined) return "it is by a device that is not there";
      if (by.approvedAt === undefined) return "it is by a device that nobody has approved";
      return verifyApproval(by.certificate.leafKey, owner, said) ? undefined : BAD_SIGNATURE;
    }
    case "revoke":
      if (known === undefined) return "it revokes a device that is not there";
      break;
    case "policy":
      if (said.number <= history.policyNumber) return "it repeats an older policy";
      if (said.approval && [...history.devices.values()].some((device) => isUnapproved(device))) {
        return "there are devices that nobody has approved";
      }
      break;
    case "rotate": {
      const fault = await judgeRotation(history, said.certificate, owner);
      if (fault !== undefined) return fault;
    }
  }
  return await verifyByIdentity(history.identityKey, owner, said) ? undefined : BAD_SIGNATURE;
}

/**
 * The history with one more entry, which {@linkcode judgeStatement} has found to count.
 *
 * @param number Of the entry in the log of the cluster, higher than all before.
 */
export function applyStatement(history: KeyHistory | undefined, number: number, said: KeyStatement): KeyHistory {
  if (said.type === "device") return withDevice(history, number, said.certificate);
  if (history === undefined) throw new RangeError("A user's first entry is a device");
  const devices = new Map(history.devices), next = { ...history, newest: number, devices };
  switch (said.type) {
    case "approve": {
      const device = devices.get(said.device)!;
      devices.set(said.device, { ...device, approvedAt: device.approvedAt ?? number });
      return next;
    }
    case "revoke": {
      const device = devices.get(said.device)!;
      devices.set(said.device, { ...device, endedAt: device.endedAt ?? number, ending: "revoked" });
      // Somebody must be able to approve the next: of those that are left, whoever came first.
      const heir = [...devices].find(([, { endedAt }]) => endedAt === undefined);
      if (heir !== undefined && !hasApproved(devices)) devices.set(heir[0], { ...heir[1], approvedAt: number });
      return next;
    }
    case "policy":
      return { ...next, approval: said.approval, policyNumber: said.number };
    case "rotate": {
      for (const [id, device] of devices) {
        if (device.endedAt === undefined) devices.set(id, { ...device, endedAt: number, ending: "superseded" });
      }
      const certificate = decodeCertificate(said.certificate);
      devices.set(certificate.device, added(certificate, said.certificate, number, number));
      const earlier = [...history.earlier, history.identity];
      return { ...next, ...identityOf(certificate, number), earlier };
    }
  }
}

async function judgeDevice(
  history: KeyHistory | undefined,
  encoded: Uint8Array,
  owner: KeyStatementOwner,
): Promise<string | undefined> {
  const certificate = await verified(encoded, owner);
  if (typeof certificate === "string") return certificate;
  if (history === undefined) return undefined;
  if (!equalBytes(certificate.identityKey, history.identityKey)) return "the device is certified by another identity";
  const known = history.devices.get(certificate.device);
  if (known === undefined) return undefined;
  if (known.ending !== "superseded") return `the device is ${known.ending ?? "there"} already`;
  return certificate.serial > known.certificate.serial
    ? undefined
    : "the certificate is not newer than the device's last";
}

async function judgeRotation(
  history: KeyHistory,
  encoded: Uint8Array,
  owner: KeyStatementOwner,
): Promise<string | undefined> {
  const certificate = await verified(encoded, owner);
  if (typeof certificate === "string") return certificate;
  const identity = sha256(certificate.identityKey), known = history.devices.get(certificate.device);
  if ([...history.earlier, history.identity].some((before) => equalBytes(before, identity))) {
    return "the new identity is not new";
  }
  if (known === undefined || known.endedAt !== undefined) return "it was made by a device that is not there";
  if (!equalBytes(known.certificate.leafKey, certificate.leafKey)) return "the device's leaf key is another";
  return certificate.serial > known.certificate.serial
    ? undefined
    : "the certificate is not newer than the device's last";
}

async function verified(encoded: Uint8Array, { clusterId, user }: KeyStatementOwner): Promise<Certificate | string> {
  const verdict = await verifyCertificate(encoded, { clusterId });
  if (!verdict.ok) return `the certificate is not accepted: ${verdict.reason}`;
  return verdict.certificate.user === user ? verdict.certificate : "the certificate is for another user";
}

function withDevice(history: KeyHistory | undefined, number: number, encoded: Uint8Array): KeyHistory {
  const certificate = decodeCertificate(encoded), { device } = certificate;
  if (history === undefined) {
    const devices = new Map([[device, added(certificate, encoded, number, number)]]);
    return {
      newest: number,
      ...identityOf(certificate, number),
      earlier: [],
      approval: false,
      policyNumber: 0,
      devices,
    };
  }
  const approvedAt = hasApproved(history.devices) ? undefined : number;
  const devices = new Map(history.devices).set(device, added(certificate, encoded, number, approvedAt));
  return { ...history, newest: number, devices };
}

function added(
  certificate: Certificate,
  encoded: Uint8Array,
  since: number,
  approvedAt: number | undefined,
): LoggedDevice {
  return { certificate, certificateHash: sha256(encoded), since, approvedAt, endedAt: undefined, ending: undefined };
}

function identityOf({ identityKey }: Certificate, identitySince: number) {
  return { identityKey, identity: sha256(identityKey), identitySince };
}

/** Whether one of them is there and approved. */
function hasApproved(devices: ReadonlyMap<DeviceId, LoggedDevice>): boolean {
  return [...devices.values()].some(({ endedAt, approvedAt }) => endedAt === undefined && approvedAt !== undefined);
}

function isUnapproved({ endedAt, approvedAt }: LoggedDevice): boolean {
  return endedAt === undefined && approvedAt === undefined;
}

const BAD_SIGNATURE = "the signature is not by the key that it needs";
