/**
 * What is handed to one device apart from the log: a Welcome, an invitation or some history in a sealed envelope, so that joining by
 * it takes breaking RSA and the group's cipher suite both. The sender's certificate lies beside it: whoever is welcomed may not know
 * them yet (docs/PROTOCOL.md §15).
 */
import { bytes, decode, DecodeError, encode, struct, u8 } from "../../../shared/codec/mod.ts";
import {
  type Certificate,
  equalBytes,
  InnerType,
  NO_PREVIOUS,
  openEnvelope,
  readEnvelope,
  sealEnvelope,
} from "../../../shared/crypto/mod.ts";
import { BODY_BYTES_MAX, CERTIFICATE_BYTES_MAX } from "../../../shared/limits.ts";
import type { ConversationId, DeviceId, MessageId } from "../../../shared/protocol/mod.ts";
import type { CertificateCache } from "../certificate_cache.ts";
import type { EngineOptions } from "./options.ts";

type Self = EngineOptions["self"];

export interface LetterOptions {
  readonly self: Self;
  readonly certificates: CertificateCache;
  /** Of the device it is for. Its identity was compared with the pin. */
  readonly to: Uint8Array;
  readonly conversation: ConversationId;
  readonly messageId: MessageId;
  readonly timeMs: number;
  readonly type: typeof InnerType.welcome | typeof InnerType.invitation | typeof InnerType.history;
  readonly content: Uint8Array;
}

/** @throws TypeError where the certificate is not good. */
export async function sealLetter(options: LetterOptions): Promise<{ device: DeviceId; body: Uint8Array }> {
  const { self, certificates, conversation, messageId, timeMs, type, content } = options;
  const verdict = await certificates.verify(options.to);
  if (!verdict.ok) throw new TypeError(`Cannot write to a device whose certificate is bad: ${verdict.reason}`);
  const device = verdict.certificate.device;
  const envelope = await sealEnvelope({
    clusterId: self.clusterId,
    sender: { identity: self.identity, device: self.keys.id, leaf: self.keys.leaf },
    recipientIdentity: verdict.identity,
    devices: [{ id: device, envelopeKey: verdict.envelopeKey }],
    conversation,
    messageId,
    counter: 1,
    previous: NO_PREVIOUS,
    timeMs,
    text: { type, bytes: content },
  });
  return { device, body: encode(LETTER, { version: VERSION, certificate: self.certificate, envelope }) };
}

export interface OpenedLetter {
  /** Whose letter it is: the signature is theirs. Whether the identity is the pinned one is the caller's to see. */
  readonly from: Certificate;
  /** Fingerprint of the identity that certified them, as hex. */
  readonly identity: string;
  readonly content: Uint8Array;
}

/** `undefined` where it is not a letter of that type to this device about that conversation. */
export async function openLetter(
  { self, certificates, conversation, type }: Pick<LetterOptions, "self" | "certificates" | "conversation" | "type">,
  body: Uint8Array,
): Promise<OpenedLetter | undefined> {
  const letter = readLetter(body);
  if (letter === undefined) return undefined;
  const verdict = await certificates.verify(letter.certificate);
  const read = readEnvelope(letter.envelope);
  if (!verdict.ok || !read.ok) return undefined;
  const { certificate, identity } = verdict;
  // A letter is to this very identity: a copy for another device of ours would be a letter of its own.
  if (!equalBytes(read.envelope.header.recipientIdentity, self.identity)) return undefined;
  const opened = await openEnvelope({
    envelope: read.envelope,
    clusterId: self.clusterId,
    conversation,
    own: { identity: self.identity, device: self.keys.id, envelopePrivate: self.keys.envelopePrivate },
    sender: { identity, device: certificate.device, leafKey: certificate.leafKey },
    types: [type],
  });
  if (!opened.ok) return undefined;
  return { from: certificate, identity: identity.toHex(), content: opened.content.bytes };
}

function readLetter(body: Uint8Array): { certificate: Uint8Array; envelope: Uint8Array } | undefined {
  try {
    const { version, ...letter } = decode(LETTER, body);
    return version === VERSION ? letter : undefined;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

const VERSION = 1;
const LETTER = struct({ version: u8, certificate: bytes(CERTIFICATE_BYTES_MAX), envelope: bytes(BODY_BYTES_MAX) });
