/**
 * A second implementation of docs/PROTOCOL.md §10, written from the text over `node:crypto`, that also makes what ours never
 * would: an insider who knows all keys of one device, or a server that rearranges pieces.
 */
import { Buffer } from "node:buffer";
import {
  constants,
  createCipheriv,
  createHash,
  createPublicKey,
  hkdfSync,
  publicEncrypt,
  randomBytes,
} from "node:crypto";
import type { Ed25519KeyPair } from "../../../shared/crypto/mod.ts";
import { writeVarint } from "../../../shared/codec/mod.ts";

export interface ForgedHeader {
  label: string;
  suite: number;
  clusterId: Uint8Array;
  senderIdentity: Uint8Array;
  recipientIdentity: Uint8Array;
  senderDevice: string;
  devices: string[];
  conversation: string;
  messageId: string;
  counter: number;
  previous: Uint8Array;
  timeMs: number;
  innerType: number;
}

export interface ForgedContent {
  version: number;
  type: number;
  messageId: string;
  device: string;
  counter: number;
  timeMs: number;
  text: Uint8Array;
}

export interface Forgery {
  header: ForgedHeader;
  content: ForgedContent;
  /** SPKI DER, one for each wrap. */
  envelopeKeys: Uint8Array[];
  leaf: Ed25519KeyPair;
  secretBytes?: number;
  version?: number;
  kind?: number;
}

export function forgeEnvelope(forgery: Forgery): Uint8Array {
  const secret = randomBytes(forgery.secretBytes ?? 32);
  const header = forgedHeaderBytes(forgery.header);
  const wraps = forgery.envelopeKeys.map((spki) => wrap(spki, secret));
  const binding = createHash("sha256").update(header).update(Buffer.concat(wraps)).digest();
  const { content } = forgery;
  const contentBytes = Buffer.concat([
    Buffer.from([content.version, content.type]),
    Buffer.from(content.messageId, "hex"),
    Buffer.from(content.device, "hex"),
    varint(content.counter),
    u48(content.timeMs),
    content.text,
  ]);
  const digest = createHash("sha256").update(contentBytes).digest();
  const signed = Buffer.concat([Buffer.from("fastchat/envelope-signature/1"), binding, digest]);
  const sealed = seal(secret, binding, header, Buffer.concat([forgery.leaf.sign(signed), contentBytes]));
  return forgedBody({ ...forgery, header, wraps, sealed });
}

export function forgedBody(
  { version = 1, kind = 1, header, wraps, sealed }: {
    version?: number;
    kind?: number;
    header: Uint8Array;
    wraps: readonly Uint8Array[];
    sealed: Uint8Array;
  },
): Uint8Array {
  return new Uint8Array(Buffer.concat([
    Buffer.from([version, kind]),
    varint(header.length),
    header,
    varint(wraps.length),
    ...wraps,
    varint(sealed.length),
    sealed,
  ]));
}

export function forgedHeaderBytes(header: ForgedHeader): Uint8Array {
  return Buffer.concat([
    varint(header.label.length),
    Buffer.from(header.label),
    Buffer.from([header.suite >> 8, header.suite & 0xff]),
    header.clusterId,
    header.senderIdentity,
    header.recipientIdentity,
    Buffer.from(header.senderDevice, "hex"),
    varint(header.devices.length),
    Buffer.from(header.devices.join(""), "hex"),
    Buffer.from(header.conversation, "hex"),
    Buffer.from(header.messageId, "hex"),
    varint(header.counter),
    header.previous,
    u48(header.timeMs),
    Buffer.from([header.innerType]),
  ]);
}

function wrap(spki: Uint8Array, secret: Uint8Array): Buffer {
  return publicEncrypt({
    key: createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }),
    padding: constants.RSA_PKCS1_OAEP_PADDING,
    oaepHash: "sha256",
    oaepLabel: Buffer.from("fastchat/envelope/1"),
  }, secret);
}

function seal(secret: Uint8Array, binding: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Buffer {
  const key = new Uint8Array(hkdfSync("sha256", secret, binding, "fastchat/envelope/1 key", 32));
  const nonce = new Uint8Array(hkdfSync("sha256", secret, binding, "fastchat/envelope/1 nonce", 12));
  const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
  cipher.setAAD(aad, { plaintextLength: plaintext.length });
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([ciphertext, cipher.getAuthTag()]);
}

function varint(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  return bytes.subarray(0, writeVarint(bytes, 0, value));
}

function u48(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
}
