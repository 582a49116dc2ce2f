/**
 * RSA-3072 (RFC 8017) through WebCrypto only: OAEP for secrets, PSS for signatures, fingerprints of public keys.
 *
 * Always asynchronous: an RSA operation takes milliseconds and must not hold up packets (SECURITY H7). One key pair is made
 * for one use; the PKCS#8 bytes do not say which, so whoever stores them does.
 */
import { sha256 } from "./hkdf.ts";

/** Bytes of an RSA-3072 modulus: of every OAEP ciphertext and PSS signature. */
export const RSA_BYTES = 384;

/** A fresh RSA-3072 private key as PKCS#8 DER, usable for either OAEP or PSS. Takes up to a few seconds. */
export async function generateRsaPkcs8(): Promise<Uint8Array> {
  const parameters = { ...OAEP, modulusLength: RSA_BYTES * 8, publicExponent: new Uint8Array([1, 0, 1]) };
  const pair = await crypto.subtle.generateKey(parameters, true, ["encrypt", "decrypt"]);
  return new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
}

/** The public half of a private key: SPKI DER, 422 bytes. */
export async function spkiFromPkcs8(pkcs8: Uint8Array): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey("pkcs8", source(pkcs8), PSS, true, ["sign"]);
  const { kty, n, e } = await crypto.subtle.exportKey("jwk", key);
  const publicKey = await crypto.subtle.importKey("jwk", { kty: kty!, n: n!, e: e! }, PSS, true, ["verify"]);
  return new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
}

/** @throws Where the bytes are not an RSA-3072 private key; the same for the three that follow. */
export async function importOaepPrivate(pkcs8: Uint8Array): Promise<CryptoKey> {
  return checked(await crypto.subtle.importKey("pkcs8", source(pkcs8), OAEP, false, ["decrypt"]));
}

export async function importOaepPublic(spki: Uint8Array): Promise<CryptoKey> {
  return checked(await crypto.subtle.importKey("spki", source(spki), OAEP, true, ["encrypt"]));
}

export async function importPssPrivate(pkcs8: Uint8Array): Promise<CryptoKey> {
  return checked(await crypto.subtle.importKey("pkcs8", source(pkcs8), PSS, false, ["sign"]));
}

export async function importPssPublic(spki: Uint8Array): Promise<CryptoKey> {
  return checked(await crypto.subtle.importKey("spki", source(spki), PSS, true, ["verify"]));
}

/** RSA-OAEP-SHA256 with a label that says what the secret is for: 384 bytes. */
export async function oaepEncrypt(key: CryptoKey, label: string, bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.encrypt(oaep(label), key, source(bytes)));
}

/** What was encrypted, or `undefined`: for another key, under another label, changed, or of a wrong length. */
export async function oaepDecrypt(key: CryptoKey, label: string, bytes: Uint8Array): Promise<Uint8Array | undefined> {
  if (bytes.length !== RSA_BYTES) return undefined;
  try {
    return new Uint8Array(await crypto.subtle.decrypt(oaep(label), key, source(bytes)));
  } catch {
    return undefined;
  }
}

/** RSA-PSS-SHA256 with a salt of 32 bytes: 384 bytes. */
export async function pssSign(key: CryptoKey, bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.sign(PSS_SIGNATURE, key, source(bytes)));
}

export async function pssVerify(key: CryptoKey, signature: Uint8Array, bytes: Uint8Array): Promise<boolean> {
  if (signature.length !== RSA_BYTES) return false;
  return await crypto.subtle.verify(PSS_SIGNATURE, key, source(signature), source(bytes));
}

/** SHA-256 of a public key's SPKI DER: what people compare and pin. */
export function fingerprint(spki: Uint8Array): Uint8Array {
  return sha256(spki);
}

/** `SHA256:` and 43 base64url characters. */
export function formatFingerprint(bytes: Uint8Array): string {
  return FINGERPRINT_PREFIX + bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Reads what {@linkcode formatFingerprint} wrote, with or without its prefix, or 64 hex digits. */
export function parseFingerprint(text: string): Uint8Array | undefined {
  const body = text.startsWith(FINGERPRINT_PREFIX) ? text.slice(FINGERPRINT_PREFIX.length) : text;
  if (/^[0-9a-fA-F]{64}$/.test(body)) return Uint8Array.fromHex(body);
  if (!/^[A-Za-z0-9_-]{43}$/.test(body)) return undefined;
  const bytes = Uint8Array.fromBase64(body, { alphabet: "base64url" });
  // The last character has two bits to spare; they must be zero, so that a fingerprint has one text only.
  return formatFingerprint(bytes) === FINGERPRINT_PREFIX + body ? bytes : undefined;
}

function checked(key: CryptoKey): CryptoKey {
  const { modulusLength } = key.algorithm as RsaHashedKeyAlgorithm;
  if (modulusLength !== RSA_BYTES * 8) {
    throw new RangeError(`RSA key has ${modulusLength} bits, needs ${RSA_BYTES * 8}`);
  }
  return key;
}

function oaep(label: string): RsaOaepParams {
  return { name: "RSA-OAEP", label: source(TEXT_ENCODER.encode(label)) };
}

/** WebCrypto's types want a plain `ArrayBuffer` behind the bytes; ours always have one. */
function source(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

const OAEP = { name: "RSA-OAEP", hash: "SHA-256" };
const PSS = { name: "RSA-PSS", hash: "SHA-256" };
const PSS_SIGNATURE = { name: "RSA-PSS", saltLength: 32 };
const FINGERPRINT_PREFIX = "SHA256:";
const TEXT_ENCODER = new TextEncoder();
