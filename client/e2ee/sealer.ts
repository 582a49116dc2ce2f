/** Seals a text for everybody who must be able to read it, and for nobody whose keys do not follow from a pin (SECURITY M1). */
import {
  type Certificate,
  type CertificateFault,
  directConversationId,
  type Ed25519KeyPair,
  envelopeHash,
  equalBytes,
  fingerprint,
  sealEnvelope,
  validityFault,
} from "../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, DirectoryEntry, MessageId, UserName } from "../../shared/protocol/mod.ts";
import type { CertificateCache } from "./certificate_cache.ts";
import { type PinLookup, requirePinned } from "./trust.ts";

export interface SealForOptions {
  readonly clusterId: Uint8Array;
  readonly self: {
    readonly name: UserName;
    /** Fingerprint, 32 bytes. */
    readonly identity: Uint8Array;
    readonly device: DeviceId;
    readonly leaf: Ed25519KeyPair;
  };
  /** What the server says of the recipient and of oneself: believed as far as the pins go. */
  readonly recipient: DirectoryEntry;
  readonly own: DirectoryEntry;
  /** The recipient's must be there: pin at first use before sealing. */
  readonly pinned: PinLookup;
  readonly certificates: CertificateCache;
  readonly messageId: MessageId;
  readonly counter: number;
  readonly previous: Uint8Array;
  /** When it was written: goes into the envelope. It may have waited long for a connection. */
  readonly timeMs: number;
  readonly text: string;
  /** Certificates must hold at this time; the wall clock's where it is left out. */
  readonly nowMs?: number;
}

/** A device left out, and why: worth telling, since it will not read the message. */
export interface SkippedDevice {
  readonly user: UserName;
  /** Absent where not even that could be read. */
  readonly device?: DeviceId;
  readonly reason: CertificateFault | "other user" | "other identity" | "repeated device id";
}

export interface SealedForDevices {
  readonly body: Uint8Array;
  /** What this device's next envelope in the conversation names as `previous`. */
  readonly hash: Uint8Array;
  readonly conversation: ConversationId;
  /** The epoch it was sealed for (docs/PROTOCOL.md §7.3). */
  readonly epoch: number;
  readonly devices: readonly DeviceId[];
  readonly skipped: readonly SkippedDevice[];
}

/** The recipient has no device that could be sealed for. */
export class NoUsableDevice extends Error {
  override readonly name = "NoUsableDevice";
  constructor(readonly user: UserName, readonly skipped: readonly SkippedDevice[]) {
    const reasons = [...new Set(skipped.map((device) => device.reason))].join(", ");
    super(`Cannot seal for ${user}: no usable device${reasons === "" ? "" : ` (${reasons})`}`);
  }
}

/**
 * Seals a text for every device of the recipient and every other device of oneself.
 *
 * @throws KeyChanged where an entry's identity is not the pinned one, NoUsableDevice where nobody could read it, RangeError
 * where the text is too long.
 */
export async function sealFor(options: SealForOptions): Promise<SealedForDevices> {
  const { self, recipient, own, clusterId } = options;
  requirePinned(self.name, self.identity, fingerprint(own.identityKey));
  const toSelf = recipient.name === self.name;
  const recipientIdentity = fingerprint(recipient.identityKey);
  requirePinned(recipient.name, toSelf ? self.identity : options.pinned(recipient.name), recipientIdentity);
  const skipped: SkippedDevice[] = [];
  // One's own come first: a recipient who takes the id of one of them loses, not oneself.
  const taken = new Set([self.device]);
  const choice: Choice = {
    self,
    certificates: options.certificates,
    nowMs: options.nowMs ?? Date.now(),
    skipped,
    taken,
  };
  const ownDevices = await usableDevices(own, self.identity, choice);
  const theirDevices = toSelf ? ownDevices : await usableDevices(recipient, recipientIdentity, choice);
  if (theirDevices.length === 0) throw new NoUsableDevice(recipient.name, skipped);
  const devices = toSelf ? ownDevices : [...theirDevices, ...ownDevices];
  const conversation = directConversationId(clusterId, self.name, recipient.name);
  const body = await sealEnvelope({
    clusterId,
    sender: self,
    recipientIdentity,
    devices,
    conversation,
    messageId: options.messageId,
    counter: options.counter,
    previous: options.previous,
    timeMs: options.timeMs,
    text: options.text,
  });
  return {
    body,
    hash: envelopeHash(body),
    conversation,
    epoch: own.deviceRevision + recipient.deviceRevision,
    devices: devices.map((device) => device.id),
    skipped,
  };
}

interface UsableDevice {
  readonly id: DeviceId;
  readonly envelopeKey: CryptoKey;
}

interface Choice {
  readonly certificates: CertificateCache;
  readonly self: { readonly name: UserName; readonly device: DeviceId };
  readonly nowMs: number;
  readonly taken: Set<DeviceId>;
  readonly skipped: SkippedDevice[];
}

async function usableDevices(entry: DirectoryEntry, identity: Uint8Array, choice: Choice): Promise<UsableDevice[]> {
  const usable: UsableDevice[] = [];
  for (const bytes of entry.certificates) {
    const verdict = await choice.certificates.verify(bytes);
    if (!verdict.ok) {
      choice.skipped.push({ user: entry.name, reason: verdict.reason });
      continue;
    }
    const { certificate: { device: id }, envelopeKey } = verdict;
    const fault = faultOf(verdict, entry.name, identity, choice);
    // The sending device is among its own user's: nothing to seal for, nothing to tell.
    if (fault === "repeated device id" && entry.name === choice.self.name && id === choice.self.device) continue;
    if (fault !== undefined) {
      choice.skipped.push({ user: entry.name, device: id, reason: fault });
      continue;
    }
    choice.taken.add(id);
    usable.push({ id, envelopeKey });
  }
  return usable;
}

function faultOf(
  { certificate, identity }: { readonly certificate: Certificate; readonly identity: Uint8Array },
  user: UserName,
  pinned: Uint8Array,
  choice: Choice,
): SkippedDevice["reason"] | undefined {
  if (certificate.user !== user) return "other user";
  if (!equalBytes(identity, pinned)) return "other identity";
  const expired = validityFault(certificate, choice.nowMs);
  if (expired !== undefined) return expired;
  return choice.taken.has(certificate.device) ? "repeated device id" : undefined;
}
