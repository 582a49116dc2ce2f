/**
 * Whether a ratchet tree that somebody hands us is a valid one (RFC 9420 §7.9, §12.4.3.1).
 *
 * The library's own check (`validateRatchetTree`, 1.6.4) refuses valid trees: it wants the same list of unmerged leaves at
 * every node up to the root. So this is written from the RFC. Every tree hash is taken once, not once for each parent.
 */
import type { GroupContext, LeafNode, Node, ParentNode, RatchetTree } from "ts-mls";
import { encode } from "ts-mls/codec/tlsEncoder.js";
import { extensionsSupportedByCapabilities } from "ts-mls/extension.js";
import { verifyLeafNodeSignature, verifyLeafNodeSignatureKeyPackage } from "ts-mls/leafNode.js";
import { parentHashInputEncoder } from "ts-mls/parentHash.js";
import { resolution } from "ts-mls/ratchetTree.js";
import { decodeRequiredCapabilities } from "ts-mls/requiredCapabilities.js";
import { leafNodeHashInputEncoder, parentNodeHashInputEncoder } from "ts-mls/treeHash.js";
import {
  directPath,
  isLeaf,
  leafToNodeIndex,
  leafWidth,
  left,
  type NodeIndex,
  right,
  root,
  toLeafIndex,
  toNodeIndex,
} from "ts-mls/treemath.js";
import { equalBytes } from "../../../shared/crypto/mod.ts";
import type { Credentials } from "./credential.ts";
import { DEVICES_MAX } from "./policy.ts";
import type { Suite } from "./suite.ts";

/** What is wrong with the tree of a group, in words for a log; `undefined` where it is valid. */
export async function treeFault(
  tree: RatchetTree,
  context: Pick<GroupContext, "groupId" | "treeHash" | "extensions">,
  { suite, credentials }: { readonly suite: Suite; readonly credentials: Credentials },
): Promise<string | undefined> {
  const hashes = new TreeHashes(tree, suite);
  return shapeFault(tree) ??
    (equalBytes(hashes.of(root(leafWidth(tree.length))), context.treeHash) ? undefined : "tree hash differs") ??
    unmergedFault(tree) ??
    keyFault(tree) ??
    parentHashFault(tree, hashes, suite) ??
    await leavesFault(tree, context, suite, credentials);
}

/** The leaves of a tree with their index, from left to right. */
export function* leavesOf(tree: RatchetTree): Generator<readonly [number, LeafNode]> {
  for (let index = 0; index < tree.length; index += 2) {
    const node = tree[index];
    if (node?.nodeType === "leaf") yield [index / 2, node.leaf];
  }
}

/** Two keys that are the same, and so would let one leaf pose as another (§7.3, §7.9); `undefined` where all differ. */
export function keyFault(tree: RatchetTree): string | undefined {
  const encryption = new Set<string>(), signature = new Set<string>();
  let nodes = 0, leaves = 0;
  for (const node of tree) {
    if (node === undefined) continue;
    nodes++;
    encryption.add(keyOf(node).toBase64());
    if (node.nodeType !== "leaf") continue;
    leaves++;
    signature.add(node.leaf.signaturePublicKey.toBase64());
  }
  if (encryption.size < nodes) return "an encryption key stands twice";
  return signature.size < leaves ? "a signature key stands twice" : undefined;
}

/** Leaves at even indices, parents at odd ones, a full tree, and something in its right half (§4.1.1). */
function shapeFault(tree: RatchetTree): string | undefined {
  if (tree.length === 0 || ((tree.length + 1) & tree.length) !== 0) return "it is not a full tree";
  if (tree.length >= 2 * DEVICES_MAX) return "it has too many leaves";
  for (const [index, node] of tree.entries()) {
    if (node !== undefined && (node.nodeType === "leaf") !== isLeaf(toNodeIndex(index))) {
      return "a node is out of place";
    }
  }
  for (let index = (tree.length + 1) / 2; index < tree.length; index++) if (tree[index] !== undefined) return undefined;
  return tree.length === 1 && tree[0] !== undefined ? undefined : "its right half is blank";
}

/** §12.4.3.1: each unmerged leaf lies below its parent and is unmerged at every filled node in between. */
function unmergedFault(tree: RatchetTree): string | undefined {
  for (const [index, node] of tree.entries()) {
    if (node?.nodeType !== "parent") continue;
    const { unmergedLeaves } = node.parent;
    if (new Set(unmergedLeaves).size < unmergedLeaves.length) return "an unmerged leaf stands twice";
    for (const leaf of unmergedLeaves) {
      const leafNode = leafToNodeIndex(toLeafIndex(leaf));
      if (leafNode >= tree.length || tree[leafNode] === undefined) return "an unmerged leaf is blank";
      const above = directPath(leafNode, leafWidth(tree.length));
      const place = above.indexOf(toNodeIndex(index));
      if (place < 0) return "an unmerged leaf lies elsewhere";
      const skipped = above.slice(0, place).some((between) => {
        const intermediate = tree[between];
        return intermediate?.nodeType === "parent" && !intermediate.parent.unmergedLeaves.includes(leaf);
      });
      if (skipped) return "an unmerged leaf is merged further down";
    }
  }
  return undefined;
}

/** §7.9.2: every filled parent was made in one update path together with a filled node below it. */
function parentHashFault(tree: RatchetTree, hashes: TreeHashes, suite: Suite): string | undefined {
  for (const [index, node] of tree.entries()) {
    if (node?.nodeType !== "parent") continue;
    const at = toNodeIndex(index), children = [left(at), right(at)] as const;
    const linked = children.some((child, side) => {
      const expected = parentHash(node.parent, children[1 - side]!, hashes, suite);
      const below = resolution(tree, child);
      return below.some((descendant) =>
        equalOptional(parentHashOf(tree[descendant]), expected) &&
        sameNodes(below.filter((other) => other !== descendant), unmergedBelow(node.parent, child))
      );
    });
    if (!linked) return "a parent hash does not follow";
  }
  return undefined;
}

/** §7.9: the hash that a node below `parent`, on the other side than `sibling`, must hold. */
function parentHash(parent: ParentNode, sibling: NodeIndex, hashes: TreeHashes, suite: Suite): Uint8Array {
  return suite.hashSync(
    encode(parentHashInputEncoder)({
      encryptionKey: parent.hpkePublicKey,
      parentHash: parent.parentHash,
      originalSiblingTreeHash: hashes.without(sibling, parent.unmergedLeaves),
    }),
  );
}

async function leavesFault(
  tree: RatchetTree,
  context: Pick<GroupContext, "groupId" | "extensions">,
  suite: Suite,
  credentials: Credentials,
): Promise<string | undefined> {
  const required = context.extensions.find(({ extensionType }) => extensionType === "required_capabilities");
  const wanted = required === undefined ? undefined : decodeRequiredCapabilities(required.extensionData, 0)?.[0];
  if (required !== undefined && wanted === undefined) return "required capabilities are malformed";
  for (const [index, leaf] of leavesOf(tree)) {
    const { capabilities } = leaf;
    if (await credentials.verify(leaf.credential, leaf.signaturePublicKey) === undefined) return "a credential is bad";
    const signed = leaf.leafNodeSource === "key_package"
      ? await verifyLeafNodeSignatureKeyPackage(leaf, suite.signature)
      : await verifyLeafNodeSignature(leaf, context.groupId, index, suite.signature);
    if (!signed) return "a leaf's signature is bad";
    if (!extensionsSupportedByCapabilities(leaf.extensions, capabilities)) return "a leaf has an extension of no type";
    if (!extensionsSupportedByCapabilities(context.extensions, capabilities)) return "a leaf knows too few extensions";
    const capable = wanted === undefined ||
      wanted.credentialTypes.every((type) => capabilities.credentials.includes(type)) &&
        wanted.extensionTypes.every((type) => capabilities.extensions.includes(type)) &&
        wanted.proposalTypes.every((type) => capabilities.proposals.includes(type));
    if (!capable || !capabilities.credentials.includes("basic")) return "a leaf lacks a required capability";
  }
  return undefined;
}

/** Tree hashes (§7.8), each taken once. */
class TreeHashes {
  readonly #tree: RatchetTree;
  readonly #suite: Suite;
  readonly #known: (Uint8Array | undefined)[] = [];

  constructor(tree: RatchetTree, suite: Suite) {
    this.#tree = tree;
    this.#suite = suite;
  }

  of(index: NodeIndex): Uint8Array {
    return this.#known[index] ??= this.#hash(index, NOBODY, (child) => this.of(child));
  }

  /** As if these leaves were not there, nor in anybody's list of unmerged ones (§7.9). */
  without(index: NodeIndex, leaves: readonly number[]): Uint8Array {
    const below = leaves.filter((leaf) => isBelow(leaf, index));
    if (below.length === 0) return this.of(index);
    return this.#hash(index, new Set(below), (child) => this.without(child, below));
  }

  #hash(index: NodeIndex, gone: ReadonlySet<number>, childHash: (child: NodeIndex) => Uint8Array): Uint8Array {
    const node = this.#tree[index];
    if (isLeaf(index)) {
      const leafNode = node?.nodeType === "leaf" && !gone.has(index / 2) ? node.leaf : undefined;
      return this.#suite.hashSync(
        encode(leafNodeHashInputEncoder)({ nodeType: "leaf", leafIndex: toLeafIndex(index / 2), leafNode }),
      );
    }
    const parent = node?.nodeType === "parent" ? node.parent : undefined;
    const parentNode = parent === undefined || gone.size === 0
      ? parent
      : { ...parent, unmergedLeaves: parent.unmergedLeaves.filter((leaf) => !gone.has(leaf)) };
    return this.#suite.hashSync(
      encode(parentNodeHashInputEncoder)({
        nodeType: "parent",
        parentNode,
        leftHash: childHash(left(index)),
        rightHash: childHash(right(index)),
      }),
    );
  }
}

function unmergedBelow({ unmergedLeaves }: ParentNode, index: NodeIndex): NodeIndex[] {
  return unmergedLeaves.filter((leaf) => isBelow(leaf, index)).map((leaf) => leafToNodeIndex(toLeafIndex(leaf)));
}

/** Whether a leaf lies in the subtree of a node: its level is the number of ones at the end of its index (§C). */
function isBelow(leaf: number, index: NodeIndex): boolean {
  let half = 1;
  while ((index & half) !== 0) half *= 2;
  return leaf * 2 >= index - (half - 1) && leaf * 2 <= index + (half - 1);
}

function parentHashOf(node: Node | undefined): Uint8Array | undefined {
  if (node?.nodeType === "parent") return node.parent.parentHash;
  return node?.leaf.leafNodeSource === "commit" ? node.leaf.parentHash : undefined;
}

function keyOf(node: Node): Uint8Array {
  return node.nodeType === "leaf" ? node.leaf.hpkePublicKey : node.parent.hpkePublicKey;
}

function sameNodes(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && new Set([...a, ...b]).size === a.length;
}

function equalOptional(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && equalBytes(a, b);
}

const NOBODY: ReadonlySet<number> = new Set();
