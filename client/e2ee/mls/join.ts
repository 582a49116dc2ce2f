/**
 * Joining from a Welcome, step by step after RFC 9420 §12.4.3.1, on the library's exported parts.
 *
 * The library's own join cannot be used: its tree check refuses valid trees (see `tree.ts`), and it does not compare the
 * path's derived keys with the tree. PSKs and resumption are refused: we have none.
 */
import type {
  ClientState,
  GroupInfo as MlsGroupInfo,
  KeyPackage,
  PrivateKeyPackage,
  RatchetTree,
  Welcome,
} from "ts-mls";
import { deriveSecret } from "ts-mls/crypto/kdf.js";
import {
  ratchetTreeFromExtension,
  verifyGroupInfoConfirmationTag,
  verifyGroupInfoSignature,
} from "ts-mls/groupInfo.js";
import { makeKeyPackageRef } from "ts-mls/keyPackage.js";
import { deriveKeySchedule } from "ts-mls/keySchedule.js";
import { pathToRoot } from "ts-mls/pathSecrets.js";
import { findLeafIndex } from "ts-mls/ratchetTree.js";
import { createSecretTree } from "ts-mls/secretTree.js";
import { leafToNodeIndex, leafWidth, toLeafIndex } from "ts-mls/treemath.js";
import { firstCommonAncestor } from "ts-mls/updatePath.js";
import { zeroOutUint8Array } from "ts-mls/util/byteArray.js";
import { decryptGroupInfo, decryptGroupSecrets } from "ts-mls/welcome.js";
import { equalBytes } from "../../../shared/crypto/mod.ts";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { type Group, rosterOf, trimmed } from "./group.ts";
import { type OwnKeyPackage, privateKeysOf, publicPackageOf } from "./key_packages.ts";
import { clientConfig, type Mls, type OwnDevice } from "./profile.ts";
import { openSealedTree } from "./sealed_tree.ts";
import { treeFault } from "./tree.ts";
import { decodeMessage } from "./wire.ts";

/** Somebody's Welcome or GroupInfo does not let us in. Nothing changed. */
export class JoinRefused extends Error {
  override readonly name = "JoinRefused";
}

export interface JoinOptions {
  /** Which conversation the Welcome came for. */
  readonly conversation: ConversationId;
  readonly welcome: Uint8Array;
  readonly device: OwnDevice;
  /** Own packages by the reference in a Welcome, unused ones and the last-resort one. */
  readonly keyPackages: (ref: string) => OwnKeyPackage | undefined;
  /** Whether a one-time package was used before: a second Welcome to it is somebody's mistake or attack. */
  readonly used: (ref: string) => boolean;
  /** The tree that came beside the Welcome, sealed, where it is too large to lie inside. */
  readonly sealedTree?: Uint8Array;
}

export interface Joined {
  readonly group: Group;
  /** Delete its private half in the transaction that stores the group, unless it is the last-resort one. */
  readonly keyPackage: OwnKeyPackage;
}

/** Which key packages a Welcome is for, as hex; `undefined` where it is no Welcome. */
export function welcomeRefs(welcome: Uint8Array): string[] | undefined {
  const message = decodeMessage(welcome);
  return message?.wireformat === "mls_welcome"
    ? message.welcome.secrets.map(({ newMember }) => newMember.toHex())
    : undefined;
}

/** @throws JoinRefused whatever is wrong with it. */
export async function joinFromWelcome(mls: Mls, options: JoinOptions): Promise<Joined> {
  const message = decodeMessage(options.welcome);
  if (message?.wireformat !== "mls_welcome") throw new JoinRefused("Welcome is malformed");
  const refs = message.welcome.secrets.map(({ newMember }) => newMember.toHex());
  const own = refs.map(options.keyPackages).find((found) => found !== undefined);
  if (own === undefined) {
    const again = refs.some(options.used);
    throw new JoinRefused(
      again ? "Welcome names a key package that was used before" : "Welcome is not for this device",
    );
  }
  const privateKeys = privateKeysOf(own, options.device);
  try {
    const tree = options.sealedTree;
    const state = await openWelcome(mls, message.welcome, publicPackageOf(own), privateKeys, tree);
    require(state.groupContext.groupId.toHex() === options.conversation, "it is to another conversation");
    const group: Group = { state: trimmed(state), endedMs: new Map() };
    const { members } = rosterOf(group);
    require(new Set(members.map(({ device }) => device)).size === members.length, "a device is in its tree twice");
    return { group, keyPackage: own };
  } catch (error) {
    throw error instanceof JoinRefused ? error : new JoinRefused("Welcome does not open", { cause: error });
  } finally {
    zeroOutUint8Array(privateKeys.initPrivateKey);
  }
}

/**
 * §12.4.3.1 for a Welcome that is decoded and ours.
 *
 * @param outside A sealed tree that came beside it, or a plain one as published vectors have it.
 */
export async function openWelcome(
  mls: Mls,
  welcome: Welcome,
  keyPackage: KeyPackage,
  privateKeys: PrivateKeyPackage,
  outside: Uint8Array | RatchetTree | undefined,
): Promise<ClientState> {
  const { suite, credentials } = mls;
  require(welcome.cipherSuite === suite.name && keyPackage.cipherSuite === suite.name, "it is of another suite");
  // Group secrets for our key package, under its init key.
  const ref = await makeKeyPackageRef(keyPackage, suite.hash);
  const initKey = await suite.hpke.importPrivateKey(privateKeys.initPrivateKey);
  const secrets = await decryptGroupSecrets(initKey, ref, welcome, suite.hpke);
  require(secrets !== undefined, "its secrets are malformed");
  require(secrets.psks.length === 0, "it wants a pre-shared key");
  // GroupInfo, under a key from the joiner secret; its signature, by the leaf of the member who wrote it.
  const noPsk = new Uint8Array(suite.kdf.size);
  const info = await decryptGroupInfo(welcome, secrets.joinerSecret, noPsk, suite);
  require(info !== undefined, "its group is malformed");
  const { groupContext } = info;
  require(groupContext.cipherSuite === suite.name && groupContext.version === "mls10", "its group is of another suite");
  const tree = await treeOf(mls, info, outside);
  const leaf = findLeafIndex(tree, keyPackage.leafNode);
  require(leaf !== undefined, "its tree has no leaf of ours");
  require(leaf !== info.signer, "it is signed by ourselves");
  // Own private keys: the leaf's, and those above the lowest common ancestor with the committer.
  const keys: Record<number, Uint8Array> = { [leafToNodeIndex(leaf)]: privateKeys.hpkePrivateKey };
  if (secrets.pathSecret !== undefined) {
    const ancestor = firstCommonAncestor(tree, leaf, toLeafIndex(info.signer));
    Object.assign(keys, await pathKeys(mls, tree, await pathToRoot(tree, ancestor, secrets.pathSecret, suite.kdf)));
  }
  // Key schedule, confirmation tag, secret tree.
  const [keySchedule, encryptionSecret] = await deriveKeySchedule(
    secrets.joinerSecret,
    noPsk,
    groupContext,
    suite.kdf,
  );
  const confirmed = await verifyGroupInfoConfirmationTag(info, secrets.joinerSecret, noPsk, suite);
  require(confirmed, "its confirmation tag is bad");
  const secretTree = await createSecretTree(leafWidth(tree.length), encryptionSecret, suite.kdf);
  zeroOutUint8Array(encryptionSecret);
  zeroOutUint8Array(secrets.joinerSecret);
  return {
    groupContext,
    ratchetTree: tree,
    privatePath: { leafIndex: leaf, privateKeys: keys },
    signaturePrivateKey: privateKeys.signaturePrivateKey,
    confirmationTag: info.confirmationTag,
    unappliedProposals: {},
    keySchedule,
    secretTree,
    historicalReceiverData: new Map(),
    groupActiveState: { kind: "active" },
    clientConfig: clientConfig(credentials),
  };
}

/** The checked tree of a GroupInfo whose signature holds (§12.4.3.1; the same for an external join, §12.4.3.2). */
export async function treeOf(
  mls: Mls,
  info: MlsGroupInfo,
  outside: Uint8Array | RatchetTree | undefined,
): Promise<RatchetTree> {
  const tree = ratchetTreeFromExtension(info) ??
    (outside instanceof Uint8Array ? openSealedTree(info.extensions, outside) : outside);
  require(tree !== undefined, "its tree is missing");
  const signer = tree[leafToNodeIndex(toLeafIndex(info.signer))];
  require(signer?.nodeType === "leaf", "it is signed by nobody");
  require(
    await verifyGroupInfoSignature(info, signer.leaf.signaturePublicKey, mls.suite.signature),
    "its signature is bad",
  );
  const fault = await treeFault(tree, info.groupContext, mls);
  require(fault === undefined, `its tree is invalid: ${fault}`);
  return tree;
}

/** Private keys of the nodes on a path; each must be the one whose public half the tree shows. */
async function pathKeys(
  { suite }: Mls,
  tree: RatchetTree,
  secrets: Record<number, Uint8Array>,
): Promise<Record<number, Uint8Array>> {
  const keys: Record<number, Uint8Array> = {};
  for (const [node, secret] of Object.entries(secrets)) {
    const pair = await suite.hpke.deriveKeyPair(await deriveSecret(secret, "node", suite.kdf));
    const shown = tree[Number(node)];
    const derived = await suite.hpke.exportPublicKey(pair.publicKey);
    require(
      shown?.nodeType === "parent" && equalBytes(shown.parent.hpkePublicKey, derived),
      "its path does not lead to the tree's keys",
    );
    keys[Number(node)] = await suite.hpke.exportPrivateKey(pair.privateKey);
  }
  return keys;
}

function require(condition: unknown, fault: string): asserts condition {
  if (!condition) throw new JoinRefused(`Cannot join: ${fault}`);
}
