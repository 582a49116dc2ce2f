/**
 * Device certificates (docs/PROTOCOL.md §9, SECURITY P5): the identity key says which leaf and envelope keys belong to a
 * device of a user in a cluster. Everything that seals for a device, or believes a signature by one, comes through here.
 *
 * This folder imports `protocol` for its branded names alone: a certificate names a user and a device.
 */
import { bytes, decode, DecodeError, encode, fixedBytes, struct, text, u16, u48, varint } from "../codec/mod.ts";
import { CERTIFICATE_BYTES_MAX, IDENTITY_KEY_BYTES_MAX } from "../limits.ts";
import { type DeviceId, deviceId, parseUserName, type UserName, userName } from "../protocol/mod.ts";
import { equalBytes } from "./hkdf.ts";
import { fingerprint, importOaepPublic, importPssPublic, pssSign, pssVerify } from "./rsa.ts";

/** What a certificate says. */
export interface Certificate {
  /** 16 bytes: a certificate is good in one cluster only. */
  readonly clusterId: Uint8Array;
  readonly user: UserName;
  readonly device: DeviceId;
  /** Ed25519 public key, 32 bytes. */
  readonly leafKey: Uint8Array;
  /** RSA-3072 SPKI DER: keys are wrapped for it with OAEP. */
  readonly envelopeKey: Uint8Array;
  /** RSA-3072 SPKI DER of the identity that signed this. Whose it really is, only a pin can say. */
  readonly identityKey: Uint8Array;
  readonly suite: number;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: number;
}

/** Everything that varies; label and suite are fixed in this version. */
export type CertificateFields = Omit<Certificate, "suite">;

/** Why a certificate is not accepted. */
export type CertificateFault =
  | "malformed"
  | "unknown suite"
  | "other cluster"
  | "bad leaf key"
  | "bad envelope key"
  | "bad identity key"
  | "bad signature"
  | "not yet valid"
  | "expired";

/** What {@linkcode verifyCertificate} found. */
export type CertificateVerdict =
  | {
    readonly ok: true;
    readonly certificate: Certificate;
    /** Imported and ready to wrap for. */
    readonly envelopeKey: CryptoKey;
    /** Fingerprint of the identity that signed: 32 bytes, to be compared with the pin. */
    readonly identity: Uint8Array;
  }
  | { readonly ok: false; readonly reason: CertificateFault };

/**
 * Makes and signs a certificate.
 *
 * @param identityPrivate The PSS key whose public half is `fields.identityKey`.
 */
export async function makeCertificate(fields: CertificateFields, identityPrivate: CryptoKey): Promise<Uint8Array> {
  const body = encode(BODY, { label: LABEL, ...fields, suite: SUITE });
  return encode(SIGNED, { body, signature: await pssSign(identityPrivate, body) });
}

/**
 * Reads a certificate without believing it.
 *
 * @throws DecodeError unless it is well-formed, of this label, and names a user in the one accepted spelling.
 */
export function decodeCertificate(input: Uint8Array): Certificate {
  return split(input).certificate;
}

/**
 * Checks all that bytes can prove: form, label, suite, cluster, key shapes, and the signature by the identity key inside.
 *
 * That this identity is the user's is not among it: compare the returned fingerprint with the pin, and `user` and
 * `device` with whom you asked for.
 *
 * @param options.nowMs Where given, validity is checked too, with a day of slack for wrong clocks.
 */
export async function verifyCertificate(
  input: Uint8Array,
  options: { readonly clusterId: Uint8Array; readonly nowMs?: number },
): Promise<CertificateVerdict> {
  let parts: ReturnType<typeof split>;
  try {
    parts = split(input);
  } catch (error) {
    if (error instanceof DecodeError) return { ok: false, reason: "malformed" };
    throw error;
  }
  const { certificate, body, signature } = parts;
  if (certificate.suite !== SUITE) return { ok: false, reason: "unknown suite" };
  if (!equalBytes(certificate.clusterId, options.clusterId)) return { ok: false, reason: "other cluster" };
  // A key of zeros or of the neutral element would accept signatures over anything.
  if (certificate.leafKey.every((byte, index) => index === 0 ? byte <= 1 : byte === 0)) {
    return { ok: false, reason: "bad leaf key" };
  }
  const envelopeKey = await importOrUndefined(importOaepPublic, certificate.envelopeKey);
  if (envelopeKey === undefined) return { ok: false, reason: "bad envelope key" };
  const identityKey = await importOrUndefined(importPssPublic, certificate.identityKey);
  if (identityKey === undefined) return { ok: false, reason: "bad identity key" };
  if (!await pssVerify(identityKey, signature, body)) return { ok: false, reason: "bad signature" };
  const fault = options.nowMs === undefined ? undefined : validityFault(certificate, options.nowMs);
  if (fault !== undefined) return { ok: false, reason: fault };
  return { ok: true, certificate, envelopeKey, identity: fingerprint(certificate.identityKey) };
}

/** Whether a certificate holds at a time, with a day of slack for wrong clocks; `undefined` where it does. */
export function validityFault(certificate: Certificate, nowMs: number): "not yet valid" | "expired" | undefined {
  if (nowMs < certificate.notBeforeMs - CLOCK_SLACK_MS) return "not yet valid";
  if (nowMs > certificate.notAfterMs + CLOCK_SLACK_MS) return "expired";
  return undefined;
}

/**
 * Whether bytes are the one DER encoding of an RSA-3072 public key with exponent 65537.
 *
 * A fingerprint is a hash of these bytes, so a second encoding of the same key would be a second fingerprint.
 */
export function isRsa3072Spki(spki: Uint8Array): boolean {
  const modulusAt = SPKI_PREFIX.length, exponentAt = modulusAt + 384;
  return spki.length === exponentAt + SPKI_SUFFIX.length &&
    equalBytes(spki.subarray(0, modulusAt), SPKI_PREFIX) &&
    equalBytes(spki.subarray(exponentAt), SPKI_SUFFIX) &&
    (spki[modulusAt]! & 0x80) !== 0 && (spki[exponentAt - 1]! & 1) === 1;
}

function split(input: Uint8Array): { certificate: Certificate; body: Uint8Array; signature: Uint8Array } {
  if (input.length > CERTIFICATE_BYTES_MAX) {
    throw new DecodeError(`Certificate is ${input.length} bytes, at most ${CERTIFICATE_BYTES_MAX}`);
  }
  const { body, signature } = decode(SIGNED, input);
  const { label, ...certificate } = decode(BODY, body);
  if (label !== LABEL) throw new DecodeError("Certificate has another label");
  if (parseUserName(certificate.user) !== certificate.user) throw new DecodeError("Certificate's user is not a name");
  return { certificate, body, signature };
}

async function importOrUndefined(
  importKey: (spki: Uint8Array) => Promise<CryptoKey>,
  spki: Uint8Array,
): Promise<CryptoKey | undefined> {
  if (!isRsa3072Spki(spki)) return undefined;
  try {
    return await importKey(spki);
  } catch {
    return undefined;
  }
}

const LABEL = "fastchat/device/1";
const SUITE = 1;
const CLOCK_SLACK_MS = 24 * 3600 * 1000;

const SIGNED = struct({ body: bytes(CERTIFICATE_BYTES_MAX), signature: bytes(512) });
const BODY = struct({
  label: text(32),
  clusterId: fixedBytes(16),
  user: userName,
  device: deviceId,
  leafKey: fixedBytes(32),
  envelopeKey: bytes(IDENTITY_KEY_BYTES_MAX),
  identityKey: bytes(IDENTITY_KEY_BYTES_MAX),
  suite: u16,
  notBeforeMs: u48,
  notAfterMs: u48,
  serial: varint,
});

/** SEQUENCE { SEQUENCE { rsaEncryption, NULL }, BIT STRING { SEQUENCE { INTEGER modulus of 3,072 bits, … (RFC 3279 §2.3.1). */
const SPKI_PREFIX = Uint8Array.fromHex(
  "308201a2300d06092a864886f70d01010105000382018f003082018a0282018100",
);
/** … INTEGER 65537 } }. */
const SPKI_SUFFIX = Uint8Array.fromHex("0203010001");
