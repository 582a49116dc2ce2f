/** What every group and leaf of ours has in common: capabilities, retention, and what the library is told of them. */
import type { Capabilities, ClientConfig, Extension } from "ts-mls";
import { encodeRequiredCapabilities } from "ts-mls/requiredCapabilities.js";
import type { Credentials } from "./credential.ts";
import { GROUP_INFO_EXTENSION } from "./group_info.ts";
import type { Suite } from "./suite.ts";

/** What the layer works with: handed to every function that touches cryptography. */
export interface Mls {
  readonly suite: Suite;
  readonly credentials: Credentials;
}

/** A device as this layer needs it: its keys come from the keyring, never from a group's stored state. */
export interface OwnDevice {
  readonly certificate: Uint8Array;
  /** PKCS#8 DER of the Ed25519 key that the certificate names. */
  readonly leafPkcs8: Uint8Array;
}

/** Marks a key package that may be used more than once (SECURITY M10). */
export const LAST_RESORT_EXTENSION = 10;
/** Past epochs whose messages still open, and for how long (SECURITY M12). */
export const EPOCHS_KEPT = 4;
export const EPOCH_MS_KEPT = 7 * 24 * 3600 * 1000;
/** Keys kept for messages that were overtaken, and how far one sender may run ahead of what I have seen. */
export const GENERATIONS_KEPT = 10;
export const GENERATIONS_AHEAD = 200;
/** How long a key package is good for (SECURITY M3, M10), and the slack for wrong clocks. */
export const LIFETIME_S = 30 * 24 * 3600;
export const LIFETIME_SLACK_S = 24 * 3600;

/** What each of our leaves can do. */
export function capabilities(suite: Suite): Capabilities {
  return {
    versions: ["mls10"],
    ciphersuites: [suite.name],
    extensions: [GROUP_INFO_EXTENSION, LAST_RESORT_EXTENSION],
    proposals: [],
    credentials: ["basic"],
  };
}

/** What every member must be able to do. */
export function requiredCapabilities(): Extension {
  return {
    extensionType: "required_capabilities",
    extensionData: encodeRequiredCapabilities({
      extensionTypes: [GROUP_INFO_EXTENSION],
      proposalTypes: [],
      credentialTypes: ["basic"],
    }),
  };
}

export function clientConfig(credentials: Credentials): ClientConfig {
  return {
    keyRetentionConfig: {
      retainKeysForEpochs: EPOCHS_KEPT,
      retainKeysForGenerations: GENERATIONS_KEPT,
      maximumForwardRatchetSteps: GENERATIONS_AHEAD,
    },
    // Time is no part of what every member must judge alike (SECURITY M8): `readKeyPackage` looks at it before an Add.
    lifetimeConfig: {
      maximumTotalLifetime: BigInt(LIFETIME_S + 2 * LIFETIME_SLACK_S),
      validateLifetimeOnReceive: false,
    },
    keyPackageEqualityConfig: {
      compareKeyPackages: (a, b) => sameKey(a.leafNode.signaturePublicKey, b.leafNode.signaturePublicKey),
      compareKeyPackageToLeafNode: (a, b) => sameKey(a.leafNode.signaturePublicKey, b.signaturePublicKey),
    },
    // Ours is inside the plaintext (SECURITY M16).
    paddingConfig: { kind: "alwaysPad", paddingLength: 0 },
    authService: credentials,
  };
}

function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
