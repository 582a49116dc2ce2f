/**
 * The recovery key (docs/PROTOCOL.md §17, SECURITY P8): 160 random bits that a person writes down at sign-up, and the two
 * independent keys that follow from them. One proves the right to recover, the other seals the identity.
 */
import { assert } from "../assert.ts";
import type { RandomSource } from "../primitives.ts";
import type { UserName } from "../protocol/mod.ts";
import { equalBytes, hkdfExpand, hkdfExtract, sha256 } from "./hkdf.ts";

/** What a recovery key yields for one account. Neither tells anything about the other. */
export interface RecoverySecrets {
  /** 32 bytes: what the server gets, of which it keeps a hash. */
  readonly proof: Uint8Array;
  /** 64 bytes: see {@linkcode sealBackup} with `by: "recovery"`. It never leaves the client. */
  readonly sealKey: Uint8Array;
}

/**
 * A new recovery key as people write it: nine groups of four, `XXXX-XXXX-…`, in Crockford's alphabet, which has no I, L, O or
 * U. Eight groups are the 160 bits; the ninth is a checksum, so that a slip of the pen is noticed before anything is sent.
 */
export function generateRecoveryKey(random: RandomSource): string {
  return formatRecoveryKey(random.bytes(KEY_BYTES));
}

/** @param key 20 bytes. */
export function formatRecoveryKey(key: Uint8Array): string {
  assert(key.length === KEY_BYTES, `A recovery key is ${KEY_BYTES} bytes, not ${key.length}`);
  return (toBase32(key) + checksum(key)).match(/.{4}/g)!.join("-");
}

/**
 * Reads what a person typed: in any case, with or without dashes and blanks, O for 0, I or L for 1.
 *
 * @returns 20 bytes, or what is wrong with it, as a sentence for whoever typed it.
 */
export function parseRecoveryKey(text: string): { readonly key: Uint8Array } | { readonly problem: string } {
  const plain = text.toUpperCase().replace(/[\s-]/g, "").replace(/O/g, "0").replace(/[IL]/g, "1");
  const stranger = /[^0-9A-HJKMNP-TV-Z]/.exec(plain);
  if (stranger !== null) return { problem: `no recovery key has ${JSON.stringify(stranger[0])} in it` };
  if (plain.length !== KEY_CHARS + CHECKSUM_CHARS) {
    return { problem: `it has ${plain.length} characters, a recovery key has ${KEY_CHARS + CHECKSUM_CHARS}` };
  }
  const key = fromBase32(plain.slice(0, KEY_CHARS));
  if (checksum(key) === plain.slice(KEY_CHARS)) return { key };
  return { problem: "its checksum is wrong: a character differs from what was written down" };
}

/**
 * Bound to cluster and name, so that a key used twice gives different secrets.
 *
 * @param options.key 20 bytes.
 * @param options.clusterId 16 bytes.
 */
export function recoverySecrets(
  options: { readonly key: Uint8Array; readonly clusterId: Uint8Array; readonly name: UserName },
): RecoverySecrets {
  const { key, clusterId, name } = options;
  assert(key.length === KEY_BYTES && clusterId.length === 16, "A recovery key is 20 bytes, a cluster id 16");
  // The key is random already: extracting once is enough (RFC 5869 §3.3), and needs no stretching.
  const root = hkdfExtract(sha256(SALT_LABEL, clusterId, TEXT_ENCODER.encode(name)), key);
  return {
    proof: hkdfExpand(root, "fastchat/recovery/1 proof", 32),
    sealKey: hkdfExpand(root, "fastchat/recovery/1 seal", 64),
  };
}

/** What a server keeps of a proof: 32 bytes. The proof is a key of 160 bits, so nothing slow is needed. */
export function recoveryProofHash(proof: Uint8Array): Uint8Array {
  return sha256(PROOF_LABEL, proof);
}

/** Whether that is the proof, in constant time. */
export function isRecoveryProof(proof: Uint8Array, hash: Uint8Array): boolean {
  return equalBytes(recoveryProofHash(proof), hash);
}

/** The first 20 bits of a hash. */
function checksum(key: Uint8Array): string {
  return toBase32(sha256(CHECKSUM_LABEL, key).subarray(0, 5)).slice(0, CHECKSUM_CHARS);
}

/** Whole groups of five bytes only. */
function toBase32(bytes: Uint8Array): string {
  let text = "", bits = 0, held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(held >>> (bits - 5)) & 31];
  }
  return text;
}

function fromBase32(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 5 / 8);
  let at = 0, bits = 0, held = 0;
  for (const character of text) {
    held = (held << 5) | ALPHABET.indexOf(character);
    if ((bits += 5) >= 8) bytes[at++] = held >>> (bits -= 8);
  }
  return bytes;
}

const KEY_BYTES = 20;
const KEY_CHARS = 32;
const CHECKSUM_CHARS = 4;
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_ENCODER = new TextEncoder();
const SALT_LABEL = TEXT_ENCODER.encode("fastchat/recovery/1");
const PROOF_LABEL = TEXT_ENCODER.encode("fastchat/recovery/1 proof hash");
const CHECKSUM_LABEL = TEXT_ENCODER.encode("fastchat/recovery/1 checksum");
