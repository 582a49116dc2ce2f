/**
 * ChaCha20-Poly1305 (RFC 8439) over any number of bytes: envelopes, backups, rows. Packets have `aead.ts`, which is ten
 * times faster for 200 bytes but works in a heap of a fixed size.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { assert } from "../assert.ts";

export interface SealOptions {
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** 12 bytes; never twice under one key. */
  readonly nonce: Uint8Array;
  /** Authenticated with the content, not part of it. */
  readonly aad: Uint8Array;
}

/** The ciphertext and its 16-byte tag. */
export function aeadSeal(options: SealOptions & { readonly plaintext: Uint8Array }): Uint8Array {
  const { key, nonce, aad, plaintext } = checked(options);
  const cipher = createCipheriv(ALGORITHM, key, nonce, TAG);
  cipher.setAAD(aad, { plaintextLength: plaintext.length });
  const sealed = new Uint8Array(plaintext.length + TAG_BYTES);
  sealed.set(cipher.update(plaintext));
  cipher.final();
  sealed.set(cipher.getAuthTag(), plaintext.length);
  return sealed;
}

/** The plaintext, or `undefined` where ciphertext, tag, associated data, nonce or key is not what was sealed. */
export function aeadOpen(options: SealOptions & { readonly sealed: Uint8Array }): Uint8Array | undefined {
  const { key, nonce, aad, sealed } = checked(options);
  const plaintextBytes = sealed.length - TAG_BYTES;
  if (plaintextBytes < 0) return undefined;
  const decipher = createDecipheriv(ALGORITHM, key, nonce, TAG);
  decipher.setAAD(aad, { plaintextLength: plaintextBytes });
  decipher.setAuthTag(sealed.subarray(plaintextBytes));
  const plaintext = new Uint8Array(decipher.update(sealed.subarray(0, plaintextBytes)));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return plaintext;
}

function checked<T extends SealOptions>(options: T): T {
  assert(options.key.length === 32, `AEAD key is ${options.key.length} bytes, not 32`);
  assert(options.nonce.length === 12, `AEAD nonce is ${options.nonce.length} bytes, not 12`);
  return options;
}

const ALGORITHM = "chacha20-poly1305";
const TAG_BYTES = 16;
const TAG = { authTagLength: TAG_BYTES };
