/** SHA-256, HMAC (RFC 2104), HKDF (RFC 5869) and comparison without a timing leak, over the platform's native code. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { assert } from "../assert.ts";

/** SHA-256 of the parts one after the other: 32 bytes. */
export function sha256(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

/** HMAC-SHA-256 of the parts one after the other: 32 bytes. */
export function hmacSha256(key: Uint8Array, ...parts: Uint8Array[]): Uint8Array {
  const hmac = createHmac("sha256", key);
  for (const part of parts) hmac.update(part);
  return new Uint8Array(hmac.digest());
}

/** HKDF-Extract (RFC 5869 §2.2): 32 bytes. */
export function hkdfExtract(salt: Uint8Array, inputKey: Uint8Array): Uint8Array {
  return hmacSha256(salt, inputKey);
}

/**
 * HKDF-Expand (RFC 5869 §2.3).
 *
 * @param info A label, taken as UTF-8, or raw bytes.
 * @param length At most 255 × 32 bytes.
 */
export function hkdfExpand(pseudoRandomKey: Uint8Array, info: string | Uint8Array, length: number): Uint8Array {
  assert(length > 0 && length <= 255 * HASH_BYTES, `HKDF cannot expand to ${length} bytes`);
  const infoBytes = typeof info === "string" ? TEXT_ENCODER.encode(info) : info;
  const output = new Uint8Array(length);
  // The block before, the label and a counter, in one piece: each part handed over costs as much as the hashing.
  const message = new Uint8Array(HASH_BYTES + infoBytes.length + 1);
  message.set(infoBytes, HASH_BYTES);
  for (let offset = 0, from = HASH_BYTES; offset < length; offset += HASH_BYTES, from = 0) {
    message[message.length - 1]!++;
    const block = hmacSha256(pseudoRandomKey, message.subarray(from));
    message.set(block);
    output.set(length - offset < HASH_BYTES ? block.subarray(0, length - offset) : block, offset);
  }
  return output;
}

/** Compares in time that depends on the lengths only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

const HASH_BYTES = 32;
const TEXT_ENCODER = new TextEncoder();
