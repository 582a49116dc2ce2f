/** X25519 key agreement (RFC 7748) over the platform's native code. */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto";
import { assert } from "../assert.ts";
import type { KeyAgreement, RandomSource } from "../primitives.ts";
import { derKey } from "./der.ts";

/** A fresh pair whose private half is 32 bytes drawn from `random`, so a seeded source gives the same pair again. */
export function x25519(random: RandomSource): KeyAgreement {
  return x25519FromPrivate(random.bytes(KEY_BYTES));
}

/** The pair with this private key: 32 bytes, copied. Any 32 bytes are one, they are clamped in use (RFC 7748 §5). */
export function x25519FromPrivate(privateBytes: Uint8Array): KeyAgreement {
  assert(privateBytes.length === KEY_BYTES, `X25519 private key is ${privateBytes.length} bytes, not ${KEY_BYTES}`);
  const privateKey = createPrivateKey({ key: derKey(PKCS8_PREFIX, privateBytes), format: "der", type: "pkcs8" });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  const publicKey = new Uint8Array(spki.subarray(spki.length - KEY_BYTES));
  return { publicKey, agree: (peerPublicKey) => agree(privateKey, peerPublicKey) };
}

function agree(privateKey: KeyObject, peerPublicKey: Uint8Array): Uint8Array | undefined {
  if (peerPublicKey.length !== KEY_BYTES) return undefined;
  let shared: Uint8Array;
  try {
    const publicKey = createPublicKey({ key: derKey(SPKI_PREFIX, peerPublicKey), format: "der", type: "spki" });
    shared = new Uint8Array(diffieHellman({ privateKey, publicKey }));
  } catch {
    // The platform refuses points of low order by throwing; the peer chose the point, so this is no error of ours.
    return undefined;
  }
  // Checked here too: RFC 7748 §6.1 leaves it to the caller, and not every platform does it.
  let bits = 0;
  for (const byte of shared) bits |= byte;
  return bits === 0 ? undefined : shared;
}

const KEY_BYTES = 32;
/** PKCS#8 and SPKI wrappings of a raw key (RFC 8410 §7, §4). */
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b656e04220420");
const SPKI_PREFIX = Uint8Array.fromHex("302a300506032b656e032100");
