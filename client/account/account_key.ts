/**
 * A pair of keys that follows from a person's identity (docs/PROTOCOL.md §15.5): what a device leaves for its user's other ones is
 * sealed to the public half, which every home keeps. The private half takes the identity, so the password, a link's grant of it
 * or the recovery key; a home has it for a day after it was opened, to come into its user's conversations.
 */
import { hkdfExpand, hkdfExtract, x25519FromPrivate } from "../../shared/crypto/mod.ts";

/** How long a home has the private half. */
export const PRIVATE_MS = 24 * 3600 * 1000;

export interface AccountKey {
  /** X25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 32 bytes; not there where the identity was not open lately. */
  readonly privateKey: Uint8Array | undefined;
}

/** @param pkcs8 Of the identity. */
export function accountKeyOf(
  pkcs8: Uint8Array,
  clusterId: Uint8Array,
): AccountKey & { readonly privateKey: Uint8Array } {
  const privateKey = hkdfExpand(hkdfExtract(clusterId, pkcs8), LABEL, 32);
  return { publicKey: x25519FromPrivate(privateKey).publicKey, privateKey };
}

const LABEL = "fastchat/account-key/1";
