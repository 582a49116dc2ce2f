/**
 * Rows that lie on a disk (docs/PROTOCOL.md §12.1, SECURITY P11): many of them under one key that lives as long as the home.
 *
 * Each has a key of its own, HMAC-SHA-256(key, label ‖ 24 random bytes), so there is no counter to keep, and none that a copy of
 * the file put back, or two processes at once, could use twice. Two rows share a key only if 192 random bits agree: after
 * 2^64 rows with a chance of 2^-65. Twelve random bytes as ChaCha20-Poly1305's nonce would end at some 2^32 rows.
 */
import type { RandomSource } from "../primitives.ts";
import { concatBytes } from "./bytes.ts";
import { hmacSha256 } from "./hkdf.ts";
import { systemRandom } from "./random.ts";
import { aeadOpen, aeadSeal } from "./sealed_bytes.ts";

export interface RowSealOptions {
  /** 32 bytes, for rows and nothing else. */
  readonly key: Uint8Array;
  /** What the row is and where it stands: the same is asked for when it is opened. Not part of the sealed bytes. */
  readonly context: string;
}

/** {@linkcode ROW_SEAL_BYTES} longer than what is sealed. */
export function sealRow(
  { key, context, plaintext, random = systemRandom }: RowSealOptions & {
    readonly plaintext: Uint8Array;
    readonly random?: RandomSource;
  },
): Uint8Array {
  const salt = random.bytes(SALT_BYTES);
  const ciphertext = aeadSeal({ key: rowKey(key, salt), nonce: NONCE, aad: associatedData(context), plaintext });
  return concatBytes(HEADER, salt, ciphertext);
}

/** The plaintext, or `undefined` where key, context or bytes are not what they were. */
export function openRow({ key, context, sealed }: RowSealOptions & { readonly sealed: Uint8Array }):
  | Uint8Array
  | undefined {
  if (sealed.length < ROW_SEAL_BYTES || sealed[0] !== VERSION) return undefined;
  const salt = sealed.subarray(1, 1 + SALT_BYTES);
  return aeadOpen({
    key: rowKey(key, salt),
    nonce: NONCE,
    aad: associatedData(context),
    sealed: sealed.subarray(1 + SALT_BYTES),
  });
}

function rowKey(key: Uint8Array, salt: Uint8Array): Uint8Array {
  return hmacSha256(key, KEY_LABEL, salt);
}

function associatedData(context: string): Uint8Array {
  return TEXT_ENCODER.encode(`fastchat/row/1 ${context}`);
}

const VERSION = 1;
const SALT_BYTES = 24;
/** Version, salt and tag. */
export const ROW_SEAL_BYTES = 1 + SALT_BYTES + 16;
const TEXT_ENCODER = new TextEncoder();
const KEY_LABEL = TEXT_ENCODER.encode("fastchat/row/1 key");
const HEADER = new Uint8Array([VERSION]);
/** Every key is used once. */
const NONCE = new Uint8Array(12);
