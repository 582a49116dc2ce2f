/**
 * Key files (RFC 7468): PKCS#8 as it is for device keys, and under a passphrase for identity keys. The second kind is PBES2
 * with PBKDF2-HMAC-SHA-256 and AES-256-CBC (RFC 8018), which `openssl pkey` reads; node's own export would stretch with
 * 2,048 iterations only (SECURITY P5).
 */
import { createCipheriv, createDecipheriv, pbkdf2 } from "node:crypto";
import { DecodeError } from "../codec/mod.ts";
import type { RandomSource } from "../primitives.ts";
import { derElement, derInteger, DerReader, DerTag } from "./asn1.ts";
import { equalBytes } from "./hkdf.ts";
import { systemRandom } from "./random.ts";

/** A PKCS#8 key in clear: for files that only their owner can read. */
export function pkcs8ToPem(pkcs8: Uint8Array): string {
  return toPem("PRIVATE KEY", pkcs8);
}

/** Every PKCS#8 key in clear that a text holds, in order; text around them is ignored. @throws DecodeError */
export function pkcs8FromPem(pem: string): Uint8Array[] {
  return fromPem("PRIVATE KEY", pem);
}

export interface EncryptPemOptions {
  readonly pkcs8: Uint8Array;
  readonly passphrase: string;
  readonly random?: RandomSource;
  /** For tests only: fewer than {@linkcode PEM_ITERATIONS}. */
  readonly testOnlyIterations?: number;
}

/** A PKCS#8 key under a passphrase. Takes some 200 ms, off the main thread. */
export async function encryptPem(options: EncryptPemOptions): Promise<string> {
  const { pkcs8, passphrase, random = systemRandom, testOnlyIterations: iterations = PEM_ITERATIONS } = options;
  const salt = random.bytes(16), iv = random.bytes(16);
  const cipher = createCipheriv(CIPHER, await stretch(passphrase, salt, iterations), iv);
  const encrypted = [new Uint8Array(cipher.update(pkcs8)), new Uint8Array(cipher.final())];
  const { sequence, octets, oid } = DerTag;
  const keyDerivation = derElement(
    sequence,
    derElement(oid, OID_PBKDF2),
    derElement(
      sequence,
      derElement(octets, salt),
      derInteger(iterations),
      derElement(sequence, derElement(oid, OID_HMAC_SHA256), derElement(DerTag.null)),
    ),
  );
  const encryption = derElement(sequence, derElement(oid, OID_AES256_CBC), derElement(octets, iv));
  const algorithm = derElement(
    sequence,
    derElement(oid, OID_PBES2),
    derElement(sequence, keyDerivation, encryption),
  );
  return toPem("ENCRYPTED PRIVATE KEY", derElement(sequence, algorithm, derElement(octets, ...encrypted)));
}

/**
 * Opens what {@linkcode encryptPem} or `openssl pkcs8 -topk8 -v2 aes256` wrote.
 *
 * @returns PKCS#8 DER, or `undefined` where the passphrase is wrong. CBC authenticates nothing: one wrong passphrase in
 * some 65,000 yields bytes that begin like a key, which importing then refuses.
 * @throws DecodeError where it is no such file.
 */
export async function decryptPem(pem: string, passphrase: string): Promise<Uint8Array | undefined> {
  const [der] = fromPem("ENCRYPTED PRIVATE KEY", pem);
  if (der === undefined) throw new DecodeError("File holds no encrypted private key");
  const { salt, iterations, iv, encrypted } = readPbes2(der);
  const decipher = createDecipheriv(CIPHER, await stretch(passphrase, salt, iterations), iv);
  try {
    const first = decipher.update(encrypted), last = decipher.final();
    const pkcs8 = new Uint8Array(first.length + last.length);
    pkcs8.set(first);
    pkcs8.set(last, first.length);
    return looksLikeKey(pkcs8) ? pkcs8 : undefined;
  } catch {
    return undefined;
  }
}

/** PBKDF2 rounds for a new key file (SECURITY P5). */
export const PEM_ITERATIONS = 600_000;

interface Pbes2 {
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly iv: Uint8Array;
  readonly encrypted: Uint8Array;
}

/** RFC 5958 §3 EncryptedPrivateKeyInfo, RFC 8018 appendix A. */
function readPbes2(der: Uint8Array): Pbes2 {
  const file = new DerReader(der);
  const info = file.sequence();
  file.finish();
  const algorithm = info.sequence();
  expectOid(algorithm, OID_PBES2, "PBES2");
  const parameters = algorithm.sequence();
  const derivation = parameters.sequence();
  expectOid(derivation, OID_PBKDF2, "PBKDF2");
  const pbkdf2Parameters = derivation.sequence();
  const salt = pbkdf2Parameters.element(DerTag.octets);
  const iterations = pbkdf2Parameters.integer();
  if (pbkdf2Parameters.nextTag === DerTag.integer && pbkdf2Parameters.integer() !== 32) {
    throw new DecodeError("Key length is not 32 bytes");
  }
  expectOid(pbkdf2Parameters.sequence(), OID_HMAC_SHA256, "HMAC-SHA-256");
  pbkdf2Parameters.finish();
  const encryption = parameters.sequence();
  expectOid(encryption, OID_AES256_CBC, "AES-256-CBC");
  const iv = encryption.element(DerTag.octets);
  if (iv.length !== 16) throw new DecodeError(`IV is ${iv.length} bytes, not 16`);
  if (iterations < 1 || iterations > ITERATIONS_MAX) throw new DecodeError(`Iterations are ${iterations}`);
  return { salt, iterations, iv, encrypted: info.element(DerTag.octets) };
}

function expectOid(reader: DerReader, oid: Uint8Array, name: string): void {
  if (!equalBytes(reader.element(DerTag.oid), oid)) throw new DecodeError(`Key file does not use ${name}`);
}

function looksLikeKey(bytes: Uint8Array): boolean {
  try {
    const reader = new DerReader(bytes);
    reader.sequence();
    return reader.done;
  } catch {
    return false;
  }
}

/** In NFKC like every password here, so that another keyboard's spelling of an umlaut opens the file too. */
function stretch(passphrase: string, salt: Uint8Array, iterations: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    pbkdf2(TEXT_ENCODER.encode(passphrase.normalize("NFKC")), salt, iterations, 32, "sha256", (error, key) => {
      if (error) reject(error);
      else resolve(new Uint8Array(key));
    });
  });
}

function toPem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}

function fromPem(label: string, pem: string): Uint8Array[] {
  const blocks = pem.matchAll(new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`, "g"));
  return [...blocks].map(([, base64]) => {
    try {
      return Uint8Array.fromBase64(base64!);
    } catch {
      throw new DecodeError("Key file is not base64");
    }
  });
}

const TEXT_ENCODER = new TextEncoder();
const CIPHER = "aes-256-cbc";
/** A file that asks for more only wants to stop us. */
const ITERATIONS_MAX = 10_000_000;
/** 1.2.840.113549.1.5.13 */
const OID_PBES2 = Uint8Array.fromHex("2a864886f70d01050d");
/** 1.2.840.113549.1.5.12 */
const OID_PBKDF2 = Uint8Array.fromHex("2a864886f70d01050c");
/** 1.2.840.113549.2.9 */
const OID_HMAC_SHA256 = Uint8Array.fromHex("2a864886f70d0209");
/** 2.16.840.1.101.3.4.1.42 */
const OID_AES256_CBC = Uint8Array.fromHex("60864801650304012a");
