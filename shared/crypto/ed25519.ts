/** Ed25519 signatures (RFC 8032), synchronous: the key of a device. */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import type { RandomSource } from "../primitives.ts";
import { derKey } from "./der.ts";
import { systemRandom } from "./random.ts";

export class Ed25519KeyPair {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** PKCS#8 DER (RFC 8410 §7): 48 bytes. Secret. */
  readonly pkcs8: Uint8Array;
  readonly #privateKey: KeyObject;

  private constructor(pkcs8: Uint8Array) {
    // Not `slice`, which shares memory where the caller holds a `Buffer`.
    this.pkcs8 = new Uint8Array(pkcs8);
    this.#privateKey = createPrivateKey({ key: Buffer.from(this.pkcs8), format: "der", type: "pkcs8" });
    if (this.#privateKey.asymmetricKeyType !== "ed25519") throw new TypeError("Key is not an Ed25519 key");
    const spki = createPublicKey(this.#privateKey).export({ format: "der", type: "spki" });
    this.publicKey = new Uint8Array(spki.subarray(spki.length - PUBLIC_KEY_BYTES));
  }

  static generate(random: RandomSource = systemRandom): Ed25519KeyPair {
    return Ed25519KeyPair.fromSeed(random.bytes(SEED_BYTES));
  }

  /** @param seed RFC 8032's private key: 32 bytes. */
  static fromSeed(seed: Uint8Array): Ed25519KeyPair {
    if (seed.length !== SEED_BYTES) throw new RangeError(`Ed25519 seed is ${seed.length} bytes, not ${SEED_BYTES}`);
    return new Ed25519KeyPair(derKey(PKCS8_PREFIX, seed));
  }

  /** @throws Where the bytes are not the PKCS#8 DER of an Ed25519 key. */
  static fromPkcs8(pkcs8: Uint8Array): Ed25519KeyPair {
    return new Ed25519KeyPair(pkcs8);
  }

  /** A signature of 64 bytes; the same bytes always get the same one. */
  sign(bytes: Uint8Array): Uint8Array {
    return new Uint8Array(sign(null, bytes, this.#privateKey));
  }
}

/**
 * Whether `signature` is one by `publicKey` over `bytes`. Wrong lengths and invalid points are a plain `false`: a peer
 * chooses them.
 */
export function ed25519Verify(publicKey: Uint8Array, signature: Uint8Array, bytes: Uint8Array): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  try {
    const key = createPublicKey({ key: derKey(SPKI_PREFIX, publicKey), format: "der", type: "spki" });
    return verify(null, bytes, key, signature);
  } catch {
    return false;
  }
}

const SEED_BYTES = 32;
const PUBLIC_KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b657004220420");
const SPKI_PREFIX = Uint8Array.fromHex("302a300506032b6570032100");
