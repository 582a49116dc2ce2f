/**
 * Linking a device by a code (docs/PROTOCOL.md §18, SECURITY P10). The code is a hash of the new device's keys, and is all that
 * passes between the two devices but for the server: under it the new device leaves its keys, and with it the answer is sealed,
 * so that a server, which sees neither, can put nothing in place of either.
 */
import { bytes, decode, DecodeError, encode, fixedBytes, struct, u8, varint } from "../codec/mod.ts";
import { IDENTITY_KEY_BYTES_MAX } from "../limits.ts";
import type { KeyAgreement, RandomSource } from "../primitives.ts";
import { type DeviceId, deviceId, type UserName, userName } from "../protocol/mod.ts";
import { concatBytes } from "./bytes.ts";
import { equalBytes, hkdfExpand, hkdfExtract, sha256 } from "./hkdf.ts";
import { systemRandom } from "./random.ts";
import { aeadOpen, aeadSeal } from "./sealed_bytes.ts";
import { x25519 } from "./x25519.ts";

/** What a new device says of itself. */
export interface LinkOffer {
  /** X25519, 32 bytes: for this one linking. */
  readonly ephemeral: Uint8Array;
  readonly device: DeviceId;
  /** Ed25519, 32 bytes. */
  readonly leafKey: Uint8Array;
  /** RSA-3072 SPKI DER. */
  readonly envelopeKey: Uint8Array;
}

/** What a new device is given: everything that its home needs to be its user's. */
export interface LinkGrant {
  readonly user: UserName;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** Fingerprint, 32 bytes. */
  readonly identity: Uint8Array;
  /** The identity's key file, encrypted by the password as it is. */
  readonly identityPem: Uint8Array;
  /** How the password is stretched, and since which change. */
  readonly salt: Uint8Array;
  readonly log2N: number;
  readonly serial: number;
  /** The private half of the account's key, 32 bytes: with it the device comes into its user's conversations alone. */
  readonly accountKey: Uint8Array;
}

/** 26 characters of Crockford's alphabet: 130 bits of the hash of an offer. */
export function linkCode(offer: LinkOffer): string {
  return toBase32(sha256(CODE_LABEL, encodeLinkOffer(offer)));
}

/** Reads a code that a person typed: in any case, with dashes or blanks, O for 0, I or L for 1. `undefined` where it is none. */
export function parseLinkCode(text: string): string | undefined {
  const plain = text.toUpperCase().replace(/[\s-]/g, "").replace(/O/g, "0").replace(/[IL]/g, "1");
  return /^[0-9A-HJKMNP-TV-Z]{26}$/.test(plain) ? plain : undefined;
}

/** As people read it: `XXXXX-XXXXX-XXXXX-XXXXX-XXXXXX`. */
export function formatLinkCode(code: string): string {
  return [code.slice(0, 5), code.slice(5, 10), code.slice(10, 15), code.slice(15, 20), code.slice(20)].join("-");
}

/** Where at the server the two meet: 32 bytes. It tells nothing of the code. */
export function linkPlace(code: string): Uint8Array {
  return derive(code, "place", 32);
}

export function sealLinkOffer(offer: LinkOffer): Uint8Array {
  const code = linkCode(offer);
  return aeadSeal({ ...offerKey(code), aad: OFFER_LABEL, plaintext: encodeLinkOffer(offer) });
}

/** `undefined` unless it is the very offer whose code this is. */
export function openLinkOffer(sealed: Uint8Array, code: string): LinkOffer | undefined {
  const plain = aeadOpen({ ...offerKey(code), aad: OFFER_LABEL, sealed });
  const offer = plain && decodeLinkOffer(plain);
  return offer !== undefined && linkCode(offer) === code ? offer : undefined;
}

export function sealLinkGrant(
  grant: LinkGrant,
  offer: LinkOffer,
  random: RandomSource = systemRandom,
): Uint8Array | undefined {
  const own = x25519(random), shared = own.agree(offer.ephemeral);
  if (shared === undefined) return undefined;
  const keys = grantKey(linkCode(offer), shared, own.publicKey);
  return concatBytes(own.publicKey, aeadSeal({ ...keys, aad: GRANT_LABEL, plaintext: encodeLinkGrant(grant) }));
}

/** @param ephemeral The pair whose public half is in the offer. */
export function openLinkGrant(sealed: Uint8Array, offer: LinkOffer, ephemeral: KeyAgreement): LinkGrant | undefined {
  if (sealed.length < 32 || !equalBytes(ephemeral.publicKey, offer.ephemeral)) return undefined;
  const theirs = sealed.subarray(0, 32), shared = ephemeral.agree(theirs);
  if (shared === undefined) return undefined;
  const keys = grantKey(linkCode(offer), shared, theirs);
  const plain = aeadOpen({ ...keys, aad: GRANT_LABEL, sealed: sealed.subarray(32) });
  return plain && decodeLinkGrant(plain);
}

function offerKey(code: string) {
  return { key: derive(code, "offer key", 32), nonce: derive(code, "offer nonce", 12) };
}

/** Fresh for every answer: its own ephemeral key is part of it. */
function grantKey(code: string, shared: Uint8Array, theirs: Uint8Array) {
  const secret = hkdfExtract(concatBytes(derive(code, "grant", 32), theirs), shared);
  return { key: hkdfExpand(secret, "fastchat/link/1 key", 32), nonce: hkdfExpand(secret, "fastchat/link/1 nonce", 12) };
}

function derive(code: string, what: string, length: number): Uint8Array {
  const secret = hkdfExtract(CODE_LABEL, TEXT_ENCODER.encode(code));
  return hkdfExpand(secret, `fastchat/link/1 ${what}`, length);
}

/** For {@linkcode file://./link_comparison.ts}, which hands over the same things in another way. */
export function encodeLinkOffer(offer: LinkOffer): Uint8Array {
  return encode(OFFER, offer);
}

export function decodeLinkOffer(plain: Uint8Array): LinkOffer | undefined {
  return read(OFFER, plain);
}

export function encodeLinkGrant(grant: LinkGrant): Uint8Array {
  return encode(GRANT, grant);
}

export function decodeLinkGrant(plain: Uint8Array): LinkGrant | undefined {
  return read(GRANT, plain);
}

export function read<T>(schema: Parameters<typeof decode<T>>[0], plain: Uint8Array): T | undefined {
  try {
    return decode(schema, plain);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function toBase32(hash: Uint8Array): string {
  let bits = 0n;
  for (const byte of hash) bits = bits << 8n | BigInt(byte);
  bits >>= BigInt(hash.length * 8 - CODE_BITS);
  let code = "";
  for (let at = CODE_BITS - 5; at >= 0; at -= 5) code += ALPHABET[Number(bits >> BigInt(at) & 31n)]!;
  return code;
}

const TEXT_ENCODER = new TextEncoder();
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_BITS = 130;
const CODE_LABEL = TEXT_ENCODER.encode("fastchat/link/1");
const OFFER_LABEL = TEXT_ENCODER.encode("fastchat/link/1 offer");
const GRANT_LABEL = TEXT_ENCODER.encode("fastchat/link/1 grant");
const OFFER = struct({
  ephemeral: fixedBytes(32),
  device: deviceId,
  leafKey: fixedBytes(32),
  envelopeKey: bytes(IDENTITY_KEY_BYTES_MAX),
});
const GRANT = struct({
  user: userName,
  clusterId: fixedBytes(16),
  identity: fixedBytes(32),
  identityPem: bytes(8 << 10),
  salt: fixedBytes(16),
  log2N: u8,
  serial: varint,
  accountKey: fixedBytes(32),
});
