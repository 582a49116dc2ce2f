/**
 * A ratchet tree beside the Welcomes and GroupInfos that belong to it, sealed under a key that they hold: with 1,000 members
 * it takes 4 MB, which each newcomer would otherwise get in a Welcome of their own. The tree hash in the GroupContext says
 * whether it is the right one.
 */
import type { Extension, RatchetTree } from "ts-mls";
import { decodeRatchetTree, encodeRatchetTree } from "ts-mls/ratchetTree.js";
import { aeadOpen, aeadSeal, systemRandom } from "../../../shared/crypto/mod.ts";
import { decodeWhole } from "./wire.ts";

/** In a GroupInfo: the key of the tree beside it, 32 bytes. */
export const SEALED_TREE_EXTENSION = 0xf0c2;

/** A fresh key for one tree, as the extension that hands it to whoever may read the GroupInfo. */
export function treeKey(): Extension {
  return { extensionType: SEALED_TREE_EXTENSION, extensionData: systemRandom.bytes(32) };
}

/** @param key What {@linkcode treeKey} gave, for this tree alone. */
export function sealTree(tree: RatchetTree, key: Extension): Uint8Array {
  const plaintext = encodeRatchetTree(tree);
  return aeadSeal({ key: key.extensionData, nonce: ZERO_NONCE, aad: LABEL, plaintext });
}

/** The tree, not yet checked; `undefined` where no key is named, it does not open, or it is malformed. */
export function openSealedTree(extensions: readonly Extension[], sealed: Uint8Array): RatchetTree | undefined {
  const key = extensions.find(({ extensionType }) => extensionType === SEALED_TREE_EXTENSION)?.extensionData;
  if (key?.length !== 32) return undefined;
  const encoded = aeadOpen({ key, nonce: ZERO_NONCE, aad: LABEL, sealed });
  return encoded === undefined ? undefined : decodeWhole(decodeRatchetTree, encoded);
}

/** One key, one plaintext: the nonce may be zero. */
const ZERO_NONCE = new Uint8Array(12);
const LABEL = new TextEncoder().encode("fastchat/tree/1");
