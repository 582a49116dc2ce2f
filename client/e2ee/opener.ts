/**
 * Opens a row of the log, and says who wrote it (SECURITY M1, M2): the name shown is the one the cryptography authenticated. A
 * row that claims anything else is refused, with the reason.
 */
import {
  type Certificate,
  directConversationId,
  type EnvelopeFault,
  envelopeHash,
  type EnvelopeHeader,
  equalBytes,
  openEnvelope,
  readEnvelope,
  validityFault,
} from "../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, MessageId, Record, UserName } from "../../shared/protocol/mod.ts";
import type { CertificateCache } from "./certificate_cache.ts";
import type { PinLookup } from "./trust.ts";

/** The last envelope accepted of one device in one conversation. */
export interface ReceivedChain {
  readonly counter: number;
  /** SHA-256 of its body. */
  readonly hash: Uint8Array;
}

export interface OpenRecordOptions {
  readonly record: Record;
  readonly clusterId: Uint8Array;
  readonly self: {
    readonly name: UserName;
    /** Fingerprint, 32 bytes. */
    readonly identity: Uint8Array;
    readonly device: DeviceId;
    readonly envelopePrivate: CryptoKey;
  };
  /** The other member of the conversation, as this home knows it. */
  readonly peer: UserName;
  readonly pinned: PinLookup;
  /** Certificates known for a name, from the directory: signatures and pins decide which of them count. */
  readonly certificatesOf: (name: UserName) => readonly Uint8Array[];
  readonly certificates: CertificateCache;
  /** Where the last accepted envelope of a device in this conversation stands. */
  readonly chainOf: (device: DeviceId) => ReceivedChain | undefined;
}

/** A message whose author, addressee and place are proven. */
export interface OpenedMessage {
  readonly conversation: ConversationId;
  readonly id: MessageId;
  readonly from: UserName;
  readonly to: UserName;
  readonly device: DeviceId;
  /** As written: control and bidi characters are still in it. */
  readonly text: string;
  /** What the sender's clock said. */
  readonly sentMs: number;
}

/** Why a row is not shown as a message. Some may be tried again when something has changed. */
export type RefusalCode =
  | EnvelopeFault
  /** No certificate for that device is known: ask the directory, then try again. */
  | "unknown device"
  /** Its identity is not the pinned one: try again once the user trusts that. */
  | "identity changed"
  /** A message of this device itself: nothing is wrapped for it. */
  | "own device"
  | "certificate not valid then"
  | "row names another sender"
  | "row names another device"
  | "row names another message";

export type OpenedRecord =
  | {
    readonly kind: "message";
    readonly message: OpenedMessage;
    /** To be kept for this device and conversation, in the same transaction as the message. */
    readonly chain: ReceivedChain;
    /** Messages of this device that lie between the last one and this one, and never came. */
    readonly missed: number;
    /** It follows the last one by its counter but names another one before it: the device has told two stories. */
    readonly forked: boolean;
  }
  /** Seen before: to be dropped without a word. */
  | { readonly kind: "repeat" }
  | { readonly kind: "refused"; readonly code: RefusalCode; readonly reason: string };

/** Opens one row. Never throws for what a peer or the server can choose. */
export async function openRecord(options: OpenRecordOptions): Promise<OpenedRecord> {
  const { record, self, peer, clusterId } = options;
  const read = readEnvelope(record.body);
  if (!read.ok) return refused(read.reason);
  const { envelope, envelope: { header } } = read;
  if (record.conversation !== directConversationId(clusterId, self.name, peer)) return refused("other conversation");
  const direction = directionOf(header, options);
  if (direction === undefined) return refused("identity changed", record.sender);
  if (direction.from === self.name && header.senderDevice === self.device) return refused("own device");
  const certificate = await findCertificate(header, direction, options);
  if (certificate === undefined) return refused("unknown device", direction.from);
  const opened = await openEnvelope({
    envelope,
    clusterId,
    conversation: record.conversation,
    own: self,
    sender: { identity: direction.identity, device: header.senderDevice, leafKey: certificate.leafKey },
  });
  if (!opened.ok) return refused(opened.reason);
  const { content } = opened;
  // From here on the header is proven; the row is still a claim.
  if (record.sender !== direction.from) return refused("row names another sender", record.sender);
  if (record.device !== content.device) return refused("row names another device");
  if (record.messageId !== content.messageId) return refused("row names another message");
  for (const timeMs of [content.timeMs, record.timeMs]) {
    if (validityFault(certificate, timeMs) !== undefined) return refused("certificate not valid then", direction.from);
  }
  return place(options, header, {
    conversation: record.conversation,
    id: content.messageId,
    from: direction.from,
    to: direction.to,
    device: content.device,
    text: content.text,
    sentMs: content.timeMs,
  });
}

interface Direction {
  readonly from: UserName;
  readonly to: UserName;
  /** The sender's pinned identity. */
  readonly identity: Uint8Array;
}

/** From the peer to us, or from another device of ours to the peer: told by pinned identities, never by the row. */
function directionOf(header: EnvelopeHeader, { self, peer, pinned }: OpenRecordOptions): Direction | undefined {
  const peerIdentity = peer === self.name ? self.identity : pinned(peer);
  if (peerIdentity === undefined) return undefined;
  const { senderIdentity, recipientIdentity } = header;
  if (equalBytes(senderIdentity, peerIdentity) && equalBytes(recipientIdentity, self.identity)) {
    return { from: peer, to: self.name, identity: peerIdentity };
  }
  if (equalBytes(senderIdentity, self.identity) && equalBytes(recipientIdentity, peerIdentity)) {
    return { from: self.name, to: peer, identity: self.identity };
  }
  return undefined;
}

async function findCertificate(
  header: EnvelopeHeader,
  { from, identity }: Direction,
  { certificatesOf, certificates }: OpenRecordOptions,
): Promise<Certificate | undefined> {
  let found: Certificate | undefined;
  for (const bytes of certificatesOf(from)) {
    const verdict = await certificates.verify(bytes);
    if (!verdict.ok || !equalBytes(verdict.identity, identity)) continue;
    const { certificate } = verdict;
    if (certificate.user !== from || certificate.device !== header.senderDevice) continue;
    if (found === undefined || certificate.serial > found.serial) found = certificate;
  }
  return found;
}

/** Repeats and gaps by the device's own counter, which the server cannot forge. */
function place({ record, chainOf }: OpenRecordOptions, header: EnvelopeHeader, message: OpenedMessage): OpenedRecord {
  const { counter, previous } = header, last = chainOf(message.device);
  if (last !== undefined && counter <= last.counter) return { kind: "repeat" };
  return {
    kind: "message",
    message,
    chain: { counter, hash: envelopeHash(record.body) },
    // A device that was added later begins in the middle, and misses nothing by that.
    missed: last === undefined || last.hash.length === 0 ? 0 : counter - last.counter - 1,
    forked: last !== undefined && last.hash.length > 0 && counter === last.counter + 1 &&
      !equalBytes(previous, last.hash),
  };
}

function refused(code: RefusalCode, name?: UserName): OpenedRecord {
  return { kind: "refused", code, reason: REASONS[code].replace("NAME", name ?? "somebody") };
}

/** For people; NAME is who it is about. */
const REASONS: Readonly<{ [code in RefusalCode]: string }> = {
  "unknown version": "It needs a newer fastchat",
  "unknown kind": "It needs a newer fastchat",
  "unknown suite": "It needs a newer fastchat",
  "unknown content": "It needs a newer fastchat",
  "malformed": "It is damaged",
  "other cluster": "It belongs to another cluster",
  "other conversation": "It belongs to another conversation",
  "other sender": "It was sent by somebody else",
  "other sender device": "It was sent by another device",
  "not for this identity": "It is addressed to somebody else",
  "not for this device": "It was not sealed for this device",
  "key does not unwrap": "Its key does not open on this device",
  "content does not open": "It was changed on its way",
  "content differs from header": "It was changed on its way",
  "bad signature": "Its signature is not by the device it names",
  "unknown device": "It is from a device of NAME that has no valid certificate",
  "identity changed": "It is by or for a key of NAME that is not the trusted one",
  "own device": "It names this very device as its sender",
  "certificate not valid then": "It is from a device of NAME whose certificate was not valid then",
  "row names another sender": "The server says that NAME sent it, which is not so",
  "row names another device": "The server names another device than the one that sent it",
  "row names another message": "The server names another message than this one",
};
