/**
 * The cipher suites (RFC 9420 §5.1): X-Wing in use, X25519 for published vectors, quick tests and comparison.
 *
 * HPKE is the library's. Hash, KDF, AEAD and Ed25519 come from the platform's native code: an epoch of 1,000 members takes
 * some 8,000 derivations, which WebCrypto, one promise each, does in most of a second.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac } from "node:crypto";
import type { CiphersuiteImpl, CiphersuiteName, Hash, Kdf, Signature } from "ts-mls";
import { getCiphersuiteFromName } from "ts-mls/crypto/ciphersuite.js";
import { makeHpke } from "ts-mls/crypto/implementation/default/makeHpke.js";
import { CryptoError } from "ts-mls/mlsError.js";
import { Ed25519KeyPair, ed25519Verify, equalBytes, systemRandom } from "../../../shared/crypto/mod.ts";
import type { RandomSource } from "../../../shared/primitives.ts";

export type SuiteName = "x-wing" | "x25519";

/** The library's view of a suite, and its hash without a promise. */
export interface Suite extends CiphersuiteImpl {
  hashSync(bytes: Uint8Array): Uint8Array;
}

/** Loads a suite; the same one for every caller. */
export function loadSuite(name: SuiteName = "x-wing"): Promise<Suite> {
  let suite = loaded.get(name);
  if (suite === undefined) loaded.set(name, suite = makeSuite(SUITES[name], systemRandom));
  return suite;
}

/** @param random What path secrets and reuse guards are drawn from; HPKE's ephemeral keys are always the platform's. */
export async function makeSuite(name: CiphersuiteName, random: RandomSource): Promise<Suite> {
  const { hash, hpke, signature } = getCiphersuiteFromName(name);
  if (signature !== "Ed25519") throw new TypeError(`Suite ${name} signs with ${signature}, not Ed25519`);
  const digest = hash.replace("-", "").toLowerCase();
  const cipher = AEADS[hpke.aead];
  if (cipher === undefined) throw new TypeError(`Suite ${name} has no AEAD of ours`);
  const hashSync = (bytes: Uint8Array) => new Uint8Array(createHash(digest).update(bytes).digest());
  return {
    name,
    hash: makeHash(digest, hashSync),
    hashSync,
    kdf: makeKdf(hpke.kdf.replace("HKDF-SHA", "sha")),
    signature: ED25519,
    hpke: { ...await makeHpke(hpke), ...makeAead(cipher) },
    rng: { randomBytes: (length) => random.bytes(length) },
  };
}

function makeHash(digest: string, hashSync: (bytes: Uint8Array) => Uint8Array): Hash {
  const mac = (key: Uint8Array, data: Uint8Array) => new Uint8Array(createHmac(digest, key).update(data).digest());
  return {
    digest: (data) => Promise.resolve(hashSync(data)),
    mac: (key, data) => Promise.resolve(mac(key, data)),
    verifyMac: (key, tag, data) => Promise.resolve(equalBytes(mac(key, data), tag)),
  };
}

/** HKDF (RFC 5869) by the suite's hash. */
function makeKdf(digest: string): Kdf {
  const size = createHash(digest).digest().length;
  const expand = (key: Uint8Array, info: Uint8Array, length: number): Uint8Array => {
    const output = new Uint8Array(length);
    let block = new Uint8Array();
    for (let offset = 0, counter = 1; offset < length; offset += size, counter++) {
      block = new Uint8Array(
        createHmac(digest, key).update(block).update(info).update(Uint8Array.of(counter)).digest(),
      );
      output.set(block.subarray(0, Math.min(size, length - offset)), offset);
    }
    return output;
  };
  return {
    size,
    extract: (salt, key) => Promise.resolve(new Uint8Array(createHmac(digest, salt).update(key).digest())),
    expand: (key, info, length) => Promise.resolve(expand(key, info, length)),
  };
}

function makeAead(cipher: "aes-128-gcm" | "aes-256-gcm"): Pick<CiphersuiteImpl["hpke"], "encryptAead" | "decryptAead"> {
  return {
    encryptAead(key, nonce, aad, plaintext) {
      const sealing = createCipheriv(cipher, key, nonce);
      if (aad !== undefined) sealing.setAAD(aad);
      const sealed = new Uint8Array(plaintext.length + TAG_BYTES);
      sealed.set(sealing.update(plaintext));
      sealing.final();
      sealed.set(sealing.getAuthTag(), plaintext.length);
      return Promise.resolve(sealed);
    },
    decryptAead(key, nonce, aad, sealed) {
      const plaintextBytes = sealed.length - TAG_BYTES;
      if (plaintextBytes < 0) return Promise.reject(new CryptoError("Ciphertext is shorter than its tag"));
      const opening = createDecipheriv(cipher, key, nonce);
      if (aad !== undefined) opening.setAAD(aad);
      opening.setAuthTag(sealed.subarray(plaintextBytes));
      const plaintext = new Uint8Array(opening.update(sealed.subarray(0, plaintextBytes)));
      try {
        opening.final();
      } catch {
        return Promise.reject(new CryptoError("Ciphertext does not open"));
      }
      return Promise.resolve(plaintext);
    },
  };
}

/** Private keys are a device's PKCS#8 DER, or RFC 8032's 32 bytes as published vectors have them. */
const ED25519: Signature = {
  sign: (key, message) =>
    Promise.resolve((key.length === 32 ? Ed25519KeyPair.fromSeed(key) : Ed25519KeyPair.fromPkcs8(key)).sign(message)),
  verify: (publicKey, message, signature) => Promise.resolve(ed25519Verify(publicKey, signature, message)),
  keygen: () => {
    const pair = Ed25519KeyPair.generate();
    return Promise.resolve({ publicKey: pair.publicKey, signKey: pair.pkcs8 });
  },
};

const SUITES: Readonly<Record<SuiteName, CiphersuiteName>> = {
  "x-wing": "MLS_256_XWING_AES256GCM_SHA512_Ed25519",
  "x25519": "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
};
const AEADS: Readonly<Record<string, "aes-128-gcm" | "aes-256-gcm">> = {
  AES128GCM: "aes-128-gcm",
  AES256GCM: "aes-256-gcm",
};
const TAG_BYTES = 16;
const loaded = new Map<SuiteName, Promise<Suite>>();
