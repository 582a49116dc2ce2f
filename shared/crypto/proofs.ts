/**
 * Proofs that tie a login to one connection (docs/PROTOCOL.md §7.1, SECURITY P6): a stolen login secret alone is not a
 * login, and a proof made for one server is worth nothing at another, because `bind` differs.
 */
import { concatBytes } from "./bytes.ts";
import { type Ed25519KeyPair, ed25519Verify } from "./ed25519.ts";
import { sha256 } from "./hkdf.ts";
import { importPssPublic, pssSign, pssVerify } from "./rsa.ts";

/**
 * What an enrolled device sends with every login: 64 bytes.
 *
 * @param bind The connection's 32 bytes (docs/PROTOCOL.md §4).
 */
export function makeDeviceProof(leaf: Ed25519KeyPair, bind: Uint8Array): Uint8Array {
  return leaf.sign(concatBytes(BIND_LABEL, bind));
}

/** @param leafKey From the device's verified certificate. */
export function verifyDeviceProof(leafKey: Uint8Array, bind: Uint8Array, proof: Uint8Array): boolean {
  return ed25519Verify(leafKey, proof, concatBytes(BIND_LABEL, bind));
}

/** What a new device sends to be enrolled: RSA-PSS by the identity key over this connection and its certificate. */
export function makeEnrolProof(
  identityPrivate: CryptoKey,
  bind: Uint8Array,
  certificate: Uint8Array,
): Promise<Uint8Array> {
  return pssSign(identityPrivate, enrolBytes(bind, certificate));
}

/** @param identityKey SPKI DER of the identity that the account already has. */
export async function verifyEnrolProof(
  identityKey: Uint8Array,
  bind: Uint8Array,
  certificate: Uint8Array,
  proof: Uint8Array,
): Promise<boolean> {
  return await pssVerify(await importPssPublic(identityKey), proof, enrolBytes(bind, certificate));
}

/**
 * Proves that whoever sets a recovery key on this connection holds the identity (docs/PROTOCOL.md §17): whoever has no more
 * than a session or the password cannot make another's void.
 */
export function makeRecoveryProof(
  identityPrivate: CryptoKey,
  bind: Uint8Array,
  recovery: { readonly proof: Uint8Array; readonly backup: Uint8Array },
): Promise<Uint8Array> {
  return pssSign(identityPrivate, recoveryBytes(bind, recovery));
}

export async function verifyRecoveryProof(
  identityKey: Uint8Array,
  bind: Uint8Array,
  recovery: { readonly proof: Uint8Array; readonly backup: Uint8Array },
  signature: Uint8Array,
): Promise<boolean> {
  return await pssVerify(await importPssPublic(identityKey), signature, recoveryBytes(bind, recovery));
}

/** Proves that whoever ends an archive of history on this connection holds the identity (docs/PROTOCOL.md §21): a stolen session cannot. */
export function makeDropArchive(identityPrivate: CryptoKey, bind: Uint8Array, keyId: Uint8Array): Promise<Uint8Array> {
  return pssSign(identityPrivate, concatBytes(DROP_ARCHIVE_LABEL, bind, keyId));
}

export async function verifyDropArchive(
  identityKey: Uint8Array,
  bind: Uint8Array,
  keyId: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return await pssVerify(await importPssPublic(identityKey), signature, concatBytes(DROP_ARCHIVE_LABEL, bind, keyId));
}

function recoveryBytes(
  bind: Uint8Array,
  { proof, backup }: { readonly proof: Uint8Array; readonly backup: Uint8Array },
): Uint8Array {
  return concatBytes(RECOVERY_LABEL, bind, sha256(proof), sha256(backup));
}

function enrolBytes(bind: Uint8Array, certificate: Uint8Array): Uint8Array {
  return concatBytes(ENROL_LABEL, bind, sha256(certificate));
}

const TEXT_ENCODER = new TextEncoder();
const BIND_LABEL = TEXT_ENCODER.encode("fastchat/bind/1");
const ENROL_LABEL = TEXT_ENCODER.encode("fastchat/enrol/1");
const DROP_ARCHIVE_LABEL = TEXT_ENCODER.encode("fastchat/drop-archive/1");
const RECOVERY_LABEL = TEXT_ENCODER.encode("fastchat/set-recovery/1");
