/**
 * The sealed envelope (docs/PROTOCOL.md §10, SECURITY M1): a fresh secret wrapped for every device by RSA-OAEP, an AEAD
 * under keys that depend on header and wraps, and inside it a signature by the sending device over all that names the
 * message. Nothing that the server can change, swap or repeat yields a message.
 *
 * It gives no deniability, no forward secrecy and no post-quantum secrecy.
 */
import {
  array,
  bytes,
  decode,
  DecodeError,
  encode,
  fixedBytes,
  Reader,
  struct,
  text,
  u16,
  u48,
  u8,
  varint,
  varintBytes,
  Writer,
} from "../codec/mod.ts";
import { assert } from "../assert.ts";
import { BODY_BYTES_MAX, DEVICES_PER_USER_MAX, TEXT_BYTES_MAX } from "../limits.ts";
import type { RandomSource } from "../primitives.ts";
import {
  type ConversationId,
  conversationId,
  type DeviceId,
  deviceId,
  type MessageId,
  messageId,
} from "../protocol/mod.ts";
import { concatBytes } from "./bytes.ts";
import { type Ed25519KeyPair, ed25519Verify } from "./ed25519.ts";
import { equalBytes, hkdfExpand, hkdfExtract, sha256 } from "./hkdf.ts";
import { oaepDecrypt, oaepEncrypt, RSA_BYTES } from "./rsa.ts";
import { aeadOpen, aeadSeal } from "./sealed_bytes.ts";
import { systemRandom } from "./random.ts";

/** What an envelope says in clear, to the server too. Believed only once {@linkcode openEnvelope} has authenticated it. */
export interface EnvelopeHeader {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** Fingerprints of the identities: 32 bytes each. */
  readonly senderIdentity: Uint8Array;
  readonly recipientIdentity: Uint8Array;
  readonly senderDevice: DeviceId;
  /** Whom it is wrapped for: the recipient's devices and the sender's other ones. */
  readonly devices: readonly DeviceId[];
  readonly conversation: ConversationId;
  readonly messageId: MessageId;
  /** From 1, rising by one for each message of this device in this conversation. */
  readonly counter: number;
  /** {@linkcode envelopeHash} of the body before it by the same device in the same conversation; zeros at first. */
  readonly previous: Uint8Array;
  readonly timeMs: number;
  readonly innerType: number;
}

/** An envelope taken apart and not yet believed. */
export interface Envelope {
  readonly header: EnvelopeHeader;
  readonly headerBytes: Uint8Array;
  /** One for each of `header.devices`, in that order. */
  readonly wraps: readonly Uint8Array[];
  readonly sealed: Uint8Array;
}

/** What the sending device wrote and signed. */
export interface EnvelopeContent {
  readonly messageId: MessageId;
  readonly device: DeviceId;
  readonly counter: number;
  readonly timeMs: number;
  /** One of {@linkcode InnerType}. */
  readonly type: number;
  /** Empty where it is not a text. */
  readonly text: string;
  /** What it carries, as bytes. */
  readonly bytes: Uint8Array;
}

/** Why an envelope was not opened. */
export type EnvelopeFault =
  | "unknown version"
  | "unknown kind"
  | "malformed"
  | "unknown suite"
  | "other cluster"
  | "other conversation"
  | "other sender"
  | "other sender device"
  | "not for this identity"
  | "not for this device"
  | "key does not unwrap"
  | "content does not open"
  | "content differs from header"
  | "unknown content"
  | "bad signature";

export interface SealEnvelopeOptions {
  readonly clusterId: Uint8Array;
  readonly sender: {
    /** Fingerprint, 32 bytes. */
    readonly identity: Uint8Array;
    readonly device: DeviceId;
    readonly leaf: Ed25519KeyPair;
  };
  /** The recipient identity's fingerprint, 32 bytes. */
  readonly recipientIdentity: Uint8Array;
  /** The recipient's devices and the sender's other ones, each once; their certificates were verified. */
  readonly devices: readonly { readonly id: DeviceId; readonly envelopeKey: CryptoKey }[];
  readonly conversation: ConversationId;
  readonly messageId: MessageId;
  readonly counter: number;
  readonly previous: Uint8Array;
  readonly timeMs: number;
  /** What it carries: a text, or something of another {@linkcode InnerType}. */
  readonly text: string | { readonly type: number; readonly bytes: Uint8Array };
  readonly random?: RandomSource;
}

/**
 * Seals a text, or what else an envelope may carry, for some devices.
 *
 * @returns A body for the log. Its counter is spent only once it is stored: sealing anew for another epoch uses the same one,
 * behind whatever is then stored before it.
 * @throws RangeError where the text is above {@linkcode TEXT_BYTES_MAX}.
 */
export async function sealEnvelope(options: SealEnvelopeOptions): Promise<Uint8Array> {
  const ids = options.devices.map((device) => device.id);
  assert(ids.length > 0 && ids.length <= DEVICES_MAX, "An envelope is for 1 to 64 devices");
  assert(new Set(ids).size === ids.length && !ids.includes(options.sender.device), "Devices differ from one another");
  const { text } = options;
  const inner = typeof text === "string" ? { type: InnerType.text, bytes: TEXT_ENCODER.encode(text) } : text;
  const bytesMax = innerBytesMax(inner.type);
  if (inner.bytes.length > bytesMax) {
    throw new RangeError(`Cannot seal text: it is ${inner.bytes.length} bytes, at most ${bytesMax}`);
  }
  const headerBytes = encode(HEADER, {
    label: LABEL,
    suite: SUITE,
    clusterId: options.clusterId,
    senderIdentity: options.sender.identity,
    recipientIdentity: options.recipientIdentity,
    senderDevice: options.sender.device,
    devices: ids,
    conversation: options.conversation,
    messageId: options.messageId,
    counter: options.counter,
    previous: options.previous,
    timeMs: options.timeMs,
    innerType: inner.type,
  });
  const secret = (options.random ?? systemRandom).bytes(SECRET_BYTES);
  const wraps = await Promise.all(options.devices.map((device) => oaepEncrypt(device.envelopeKey, LABEL, secret)));
  const binding = sha256(headerBytes, ...wraps);
  const content = encodeContent(options, inner);
  const signature = options.sender.leaf.sign(signedBytes(binding, content));
  const sealed = aeadSeal({
    ...contentKey(binding, secret),
    aad: headerBytes,
    plaintext: concatBytes(signature, content),
  });
  return encode(BODY, { version: VERSION, kind: KIND, headerBytes, wraps, sealed });
}

/**
 * Takes an envelope apart, so that its sender's certificate can be looked up. Proves nothing.
 *
 * A body has one encoding only: what its sender's next message calls `previous` is a hash of these very bytes.
 */
export function readEnvelope(
  body: Uint8Array,
): { readonly ok: true; readonly envelope: Envelope } | { readonly ok: false; readonly reason: EnvelopeFault } {
  if (body.length > 0 && body[0] !== VERSION) return refused("unknown version");
  if (body.length > 1 && body[1] !== KIND) return refused("unknown kind");
  try {
    const { headerBytes, wraps, sealed } = decode(BODY, body);
    const { label, suite, ...header } = decode(HEADER, headerBytes);
    if (label !== LABEL) return refused("malformed");
    if (suite !== SUITE) return refused("unknown suite");
    const { devices } = header;
    const lengths = [headerBytes.length, sealed.length];
    const bodyBytes = lengths.reduce((sum, length) => sum + varintBytes(length) + length, 2) +
      varintBytes(wraps.length) + wraps.length * RSA_BYTES;
    const wellFormed = bodyBytes === body.length &&
      equalBytes(encode(HEADER, { label, suite, ...header }), headerBytes) &&
      wraps.length === devices.length && new Set(devices).size === devices.length &&
      !devices.includes(header.senderDevice) && header.counter > 0;
    if (!wellFormed) return refused("malformed");
    return { ok: true, envelope: { header, headerBytes, wraps, sealed } };
  } catch (error) {
    if (error instanceof DecodeError) return refused("malformed");
    throw error;
  }
}

export interface OpenEnvelopeOptions {
  readonly envelope: Envelope;
  readonly clusterId: Uint8Array;
  /** The conversation whose log it came from. */
  readonly conversation: ConversationId;
  readonly own: {
    /** Fingerprint, 32 bytes. */
    readonly identity: Uint8Array;
    readonly device: DeviceId;
    readonly envelopePrivate: CryptoKey;
  };
  /** Who must have written it, from a certificate that was verified against the pinned identity. */
  readonly sender: {
    readonly identity: Uint8Array;
    readonly device: DeviceId;
    readonly leafKey: Uint8Array;
  };
  /** Which {@linkcode InnerType}s are taken; a text alone by default. */
  readonly types?: readonly number[];
}

/**
 * Opens an envelope and authenticates everything in its header.
 *
 * It is accepted as a message to this identity, or as a copy of one that this identity sent from another device. Whether
 * it was seen before is the caller's to know.
 */
export async function openEnvelope(
  options: OpenEnvelopeOptions,
): Promise<
  { readonly ok: true; readonly content: EnvelopeContent } | { readonly ok: false; readonly reason: EnvelopeFault }
> {
  const { envelope: { header, headerBytes, wraps, sealed }, own, sender } = options;
  if (!equalBytes(header.clusterId, options.clusterId)) return refused("other cluster");
  if (header.conversation !== options.conversation) return refused("other conversation");
  if (!equalBytes(header.senderIdentity, sender.identity)) return refused("other sender");
  if (header.senderDevice !== sender.device) return refused("other sender device");
  if (!equalBytes(header.recipientIdentity, own.identity) && !equalBytes(header.senderIdentity, own.identity)) {
    return refused("not for this identity");
  }
  const wrap = wraps[header.devices.indexOf(own.device)];
  if (wrap === undefined) return refused("not for this device");
  const secret = await oaepDecrypt(own.envelopePrivate, LABEL, wrap);
  if (secret === undefined || secret.length !== SECRET_BYTES) return refused("key does not unwrap");
  const binding = sha256(headerBytes, ...wraps);
  const plaintext = aeadOpen({ ...contentKey(binding, secret), aad: headerBytes, sealed });
  if (plaintext === undefined || plaintext.length < SIGNATURE_BYTES) return refused("content does not open");
  const signature = plaintext.subarray(0, SIGNATURE_BYTES), contentBytes = plaintext.subarray(SIGNATURE_BYTES);
  // Every device it was wrapped for knows the secret and could have written the rest; only this says who did.
  if (!ed25519Verify(sender.leafKey, signature, signedBytes(binding, contentBytes))) return refused("bad signature");
  return readContent(contentBytes, header, options.types ?? TEXT_ONLY);
}

/** What the next envelope of the same device in the same conversation names as `previous`: 32 bytes. */
export function envelopeHash(body: Uint8Array): Uint8Array {
  return sha256(body);
}

/** What `previous` is in a device's first envelope of a conversation. */
export const NO_PREVIOUS: Uint8Array = new Uint8Array(32);

/** What an envelope carries. */
export const InnerType = {
  text: 1,
  /** An MLSMessage: the first one to somebody. */
  mls: 2,
  /** An MLS Welcome, for one device. */
  welcome: 3,
  /** A GroupInfo with which one device may join by itself. */
  invitation: 4,
  /** A part of shared history, for one device. */
  history: 5,
} as const;

function encodeContent(
  options: SealEnvelopeOptions,
  inner: { readonly type: number; readonly bytes: Uint8Array },
): Uint8Array {
  const writer = new Writer(64 + inner.bytes.length);
  writer.u8(CONTENT_VERSION);
  writer.u8(inner.type);
  writer.bytes(Uint8Array.fromHex(options.messageId));
  writer.bytes(Uint8Array.fromHex(options.sender.device));
  writer.varint(options.counter);
  writer.u48(options.timeMs);
  writer.bytes(inner.bytes);
  return writer.finish();
}

/** Signed content by a peer's device: still its to choose, so every field must repeat the header's. */
function readContent(
  bytes: Uint8Array,
  header: EnvelopeHeader,
  types: readonly number[],
): { readonly ok: true; readonly content: EnvelopeContent } | { readonly ok: false; readonly reason: EnvelopeFault } {
  try {
    const reader = new Reader(bytes);
    const version = reader.u8(), type = reader.u8();
    if (version !== CONTENT_VERSION || !types.includes(type)) return refused("unknown content");
    const content = {
      messageId: reader.view(16).toHex() as MessageId,
      device: reader.view(16).toHex() as DeviceId,
      counter: reader.varint(),
      timeMs: reader.u48(),
      type,
    };
    const same = type === header.innerType && content.messageId === header.messageId &&
      content.device === header.senderDevice && content.counter === header.counter && content.timeMs === header.timeMs;
    if (!same) return refused("content differs from header");
    if (reader.remaining > innerBytesMax(type)) return refused("malformed");
    const inner = reader.view(reader.remaining).slice();
    return {
      ok: true,
      content: { ...content, bytes: inner, text: type === InnerType.text ? TEXT_DECODER.decode(inner) : "" },
    };
  } catch (error) {
    if (error instanceof DecodeError || error instanceof TypeError) return refused("malformed");
    throw error;
  }
}

function contentKey(binding: Uint8Array, secret: Uint8Array): { key: Uint8Array; nonce: Uint8Array } {
  const root = hkdfExtract(binding, secret);
  return { key: hkdfExpand(root, `${LABEL} key`, 32), nonce: hkdfExpand(root, `${LABEL} nonce`, 12) };
}

function signedBytes(binding: Uint8Array, content: Uint8Array): Uint8Array {
  return concatBytes(SIGNATURE_LABEL, binding, sha256(content));
}

function refused(reason: EnvelopeFault): { readonly ok: false; readonly reason: EnvelopeFault } {
  return { ok: false, reason };
}

const LABEL = "fastchat/envelope/1";
const SUITE = 1;
const VERSION = 1;
const KIND = 1;
const CONTENT_VERSION = 1;
const SECRET_BYTES = 32;
const SIGNATURE_BYTES = 64;
const DEVICES_MAX = 2 * DEVICES_PER_USER_MAX;
const HEADER_BYTES_MAX = 512 + 16 * DEVICES_MAX;
/** An MLSMessage around the longest text, padded (SECURITY M16). */
const MLS_BYTES_MAX = TEXT_BYTES_MAX + (34 << 10);
const SEALED_BYTES_MAX = MLS_BYTES_MAX + 256;
const TEXT_ONLY: readonly number[] = [InnerType.text];

function innerBytesMax(type: number): number {
  return type === InnerType.text ? TEXT_BYTES_MAX : MLS_BYTES_MAX;
}

const TEXT_ENCODER = new TextEncoder();
/** `ignoreBOM` keeps a leading U+FEFF, so that text survives the round trip as it was. */
const TEXT_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const SIGNATURE_LABEL = TEXT_ENCODER.encode("fastchat/envelope-signature/1");

const HEADER = struct({
  label: text(32),
  suite: u16,
  clusterId: fixedBytes(16),
  senderIdentity: fixedBytes(32),
  recipientIdentity: fixedBytes(32),
  senderDevice: deviceId,
  devices: array(deviceId, DEVICES_MAX),
  conversation: conversationId,
  messageId,
  counter: varint,
  previous: fixedBytes(32),
  timeMs: u48,
  innerType: u8,
});

const BODY = struct({
  version: u8,
  kind: u8,
  headerBytes: bytes(HEADER_BYTES_MAX),
  wraps: array(fixedBytes(RSA_BYTES), DEVICES_MAX),
  sealed: bytes(SEALED_BYTES_MAX),
});

assert(
  16 + HEADER_BYTES_MAX + DEVICES_MAX * RSA_BYTES + SEALED_BYTES_MAX <= BODY_BYTES_MAX,
  "The longest text for the most devices fits a body",
);
