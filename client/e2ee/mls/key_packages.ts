/**
 * Key packages (RFC 9420 §10, SECURITY M10): what a device leaves at the server, so that it can be added while offline.
 *
 * A one-time package is for one group: its init key goes when that group is joined, and a second Welcome to it is refused.
 * The last-resort one is marked, used only when the others are gone, and to be replaced soon.
 */
import type { KeyPackage, PrivateKeyPackage } from "ts-mls";
import { generateKeyPackageWithKey, makeKeyPackageRef, verifyKeyPackage } from "ts-mls/keyPackage.js";
import { verifyLeafNodeSignatureKeyPackage } from "ts-mls/leafNode.js";
import { bytes, decode, encode, struct } from "../../../shared/codec/mod.ts";
import { equalBytes } from "../../../shared/crypto/mod.ts";
import { type Holder, makeCredential, readCredential } from "./credential.ts";
import { GROUP_INFO_EXTENSION } from "./group_info.ts";
import { capabilities, LAST_RESORT_EXTENSION, LIFETIME_S, LIFETIME_SLACK_S, type Mls } from "./profile.ts";
import type { OwnDevice } from "./profile.ts";
import { decodeMessage, encodeMessage } from "./wire.ts";

/** One that this device made: the public half goes to the server, the private one is stored sealed until it is used. */
export interface OwnKeyPackage {
  /** Hash that a Welcome names it by, as hex. */
  readonly ref: string;
  readonly publicBytes: Uint8Array;
  /** Secret: init and encryption key. */
  readonly privateBytes: Uint8Array;
  readonly lastResort: boolean;
  readonly notAfterMs: number;
}

/** Somebody else's, checked. */
export interface CheckedKeyPackage {
  readonly keyPackage: KeyPackage;
  readonly holder: Holder;
  readonly lastResort: boolean;
}

/** Why a key package is not used. */
export type KeyPackageFault =
  | "malformed"
  | "other suite"
  | "bad credential"
  | "bad signature"
  | "too few capabilities"
  | "same keys"
  | "not yet valid"
  | "expired"
  | "lives too long";

export type KeyPackageVerdict =
  | { readonly ok: true } & CheckedKeyPackage
  | { readonly ok: false; readonly reason: KeyPackageFault };

/** Makes a package that lives 30 days from now. */
export async function makeKeyPackage(
  { suite }: Mls,
  device: OwnDevice,
  { nowMs, lastResort = false }: { readonly nowMs: number; readonly lastResort?: boolean },
): Promise<OwnKeyPackage> {
  const credential = makeCredential(device.certificate), holder = readCredential(credential);
  if (holder === undefined) throw new TypeError("Device has no certificate of its own");
  const nowS = Math.floor(nowMs / 1000);
  const { publicPackage, privatePackage } = await generateKeyPackageWithKey(
    credential,
    capabilities(suite),
    { notBefore: BigInt(nowS - LIFETIME_SLACK_S), notAfter: BigInt(nowS + LIFETIME_S) },
    lastResort ? [{ extensionType: LAST_RESORT_EXTENSION, extensionData: new Uint8Array() }] : [],
    { signKey: device.leafPkcs8, publicKey: holder.leafKey },
    suite,
  );
  return {
    ref: (await makeKeyPackageRef(publicPackage, suite.hash)).toHex(),
    publicBytes: encodeMessage({ version: "mls10", wireformat: "mls_key_package", keyPackage: publicPackage }),
    privateBytes: encode(PRIVATE, { init: privatePackage.initPrivateKey, leaf: privatePackage.hpkePrivateKey }),
    lastResort,
    notAfterMs: (nowS + LIFETIME_S) * 1000,
  };
}

/**
 * Checks a package that a server handed out (RFC 9420 §10.1), before it is added to a group.
 *
 * Never throws, whatever the bytes. Whether the identity is the pinned one and the device not revoked is the caller's.
 */
export async function readKeyPackage(
  { suite, credentials }: Mls,
  input: Uint8Array,
  { nowMs }: { readonly nowMs: number },
): Promise<KeyPackageVerdict> {
  const message = decodeMessage(input);
  if (message?.wireformat !== "mls_key_package") return refused("malformed");
  const { keyPackage } = message, { leafNode } = keyPackage;
  if (keyPackage.cipherSuite !== suite.name || keyPackage.version !== "mls10") return refused("other suite");
  if (leafNode.leafNodeSource !== "key_package") return refused("malformed");
  const holder = await credentials.verify(leafNode.credential, leafNode.signaturePublicKey);
  if (holder === undefined) return refused("bad credential");
  const signed = await verifyKeyPackage(keyPackage, suite.signature) &&
    await verifyLeafNodeSignatureKeyPackage(leafNode, suite.signature);
  if (!signed) return refused("bad signature");
  const { versions, ciphersuites, extensions, credentials: types } = leafNode.capabilities;
  const capable = versions.includes("mls10") && ciphersuites.includes(suite.name) && types.includes("basic") &&
    extensions.includes(GROUP_INFO_EXTENSION);
  if (!capable) return refused("too few capabilities");
  if (equalBytes(keyPackage.initKey, leafNode.hpkePublicKey)) return refused("same keys");
  const nowS = BigInt(Math.floor(nowMs / 1000)), slackS = BigInt(LIFETIME_SLACK_S);
  const { notBefore, notAfter } = leafNode.lifetime;
  if (notBefore > nowS + slackS) return refused("not yet valid");
  if (notAfter < nowS) return refused("expired");
  if (notAfter - notBefore > BigInt(LIFETIME_S) + 2n * slackS) return refused("lives too long");
  const lastResort = keyPackage.extensions.some(({ extensionType }) => extensionType === LAST_RESORT_EXTENSION);
  return { ok: true, keyPackage, holder, lastResort };
}

/** The keys of an own package, for a join. @throws DecodeError where the stored bytes are not one. */
export function privateKeysOf(own: OwnKeyPackage, device: OwnDevice): PrivateKeyPackage {
  const { init, leaf } = decode(PRIVATE, own.privateBytes);
  return { initPrivateKey: init, hpkePrivateKey: leaf, signaturePrivateKey: device.leafPkcs8 };
}

/** The public half of an own package. @throws TypeError where the stored bytes are not one. */
export function publicPackageOf(own: OwnKeyPackage): KeyPackage {
  const message = decodeMessage(own.publicBytes);
  if (message?.wireformat !== "mls_key_package") throw new TypeError("Stored key package is damaged");
  return message.keyPackage;
}

function refused(reason: KeyPackageFault): KeyPackageVerdict {
  return { ok: false, reason };
}

const PRIVATE = struct({ init: bytes(128), leaf: bytes(128) });
