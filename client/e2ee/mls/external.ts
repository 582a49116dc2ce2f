/**
 * Joining without anybody's help (RFC 9420 §12.4.3.2): a new device of a member, or one whose state was lost or rolled back
 * (SECURITY M5, M11). It needs a GroupInfo of the current epoch that some member left, sealed, for its user's devices.
 */
import type { ClientState, GroupInfo as MlsGroupInfo, Proposal, RatchetTree } from "ts-mls";
import { exportSecret, nextEpochContext } from "ts-mls/clientState.js";
import { createGroupInfoWithExternalPub } from "ts-mls/createCommit.js";
import { createConfirmationTag, createContentCommitSignature } from "ts-mls/framedContent.js";
import { initializeEpoch } from "ts-mls/keySchedule.js";
import { protectPublicMessage } from "ts-mls/messageProtectionPublic.js";
import { getCommitSecret, pathToPathSecrets } from "ts-mls/pathSecrets.js";
import { toPrivateKeyPath, updateLeafKey } from "ts-mls/privateKeyPath.js";
import { addLeafNode, removeLeafNode } from "ts-mls/ratchetTree.js";
import { createSecretTree } from "ts-mls/secretTree.js";
import { treeHashRoot } from "ts-mls/treeHash.js";
import { leafWidth, nodeToLeafIndex, toLeafIndex, toNodeIndex } from "ts-mls/treemath.js";
import { createUpdatePath } from "ts-mls/updatePath.js";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { type CommitNotes, encodeNotes, NO_NOTES } from "./commit_notes.ts";
import { readCredential } from "./credential.ts";
import { ChangeRefused, type Group, rosterOf, trimmed, wipe } from "./group.ts";
import { JoinRefused, treeOf } from "./join.ts";
import { makeKeyPackage, privateKeysOf, publicPackageOf } from "./key_packages.ts";
import { allowed, type IdentityOf, type Member } from "./policy.ts";
import { clientConfig, type Mls, type OwnDevice } from "./profile.ts";
import { sealTree, treeKey } from "./sealed_tree.ts";
import { decodeMessage, encodeMessage } from "./wire.ts";

/**
 * What a device needs to join by itself, for this epoch alone. Whoever reads it learns name, members and invites, so it is
 * to be sealed for the devices that may; the tree is sealed under a key inside it.
 */
export interface Invitation {
  readonly groupInfo: Uint8Array;
  readonly sealedTree: Uint8Array;
}

export async function makeInvitation({ suite }: Mls, { state }: Group): Promise<Invitation> {
  const key = treeKey();
  const groupInfo = await createGroupInfoWithExternalPub(state, [key], suite);
  return {
    groupInfo: encodeMessage({ version: "mls10", wireformat: "mls_group_info", groupInfo }),
    sealedTree: sealTree(state.ratchetTree, key),
  };
}

export interface SelfJoin {
  /** Whose device signed the invitation: a member of the group. */
  readonly invitedBy: Member;
  /** Good once the commit is appended; if another one was first, join again from a newer invitation. */
  readonly group: Group;
  readonly body: Uint8Array;
}

/**
 * Joins, in place of this device's old leaf where it has one, with new keys.
 *
 * @throws JoinRefused where the invitation is not good, ChangeRefused where no device of this user is in the group.
 */
export async function joinByItself(
  mls: Mls,
  device: OwnDevice,
  invitation: Invitation,
  { conversation, nowMs, notes = NO_NOTES, identityOf }: {
    readonly conversation: ConversationId;
    readonly nowMs: number;
    readonly notes?: CommitNotes;
    /** As of the notes' key log. */
    readonly identityOf?: IdentityOf;
  },
): Promise<SelfJoin> {
  const message = decodeMessage(invitation.groupInfo);
  if (message?.wireformat !== "mls_group_info") throw new JoinRefused("Invitation is malformed");
  const { groupInfo } = message, { groupContext } = groupInfo;
  if (groupContext.groupId.toHex() !== conversation) throw new JoinRefused("Invitation is to another conversation");
  if (groupContext.cipherSuite !== mls.suite.name) throw new JoinRefused("Invitation is of another suite");
  try {
    const tree = await treeOf(mls, groupInfo, invitation.sealedTree);
    const former = formerLeaf(groupInfo, tree, device, identityOf);
    const { members } = rosterOf({ state: { ratchetTree: tree, groupContext } });
    const invitedBy = members.find(({ leaf }) => leaf === groupInfo.signer)!;
    return { ...await commitSelf(mls, device, { groupInfo, tree, former, nowMs, notes }), invitedBy };
  } catch (error) {
    if (error instanceof JoinRefused || error instanceof ChangeRefused) throw error;
    throw new JoinRefused("Invitation cannot be used", { cause: error });
  }
}

/** The leaf that this device had, by its certificate's device id; the policy every member will apply is applied here too. */
function formerLeaf(
  groupInfo: MlsGroupInfo,
  tree: RatchetTree,
  device: OwnDevice,
  identityOf: IdentityOf | undefined,
): number | undefined {
  const holder = readCredential({ credentialType: "basic", identity: device.certificate });
  if (holder === undefined) throw new TypeError("Device has no certificate of its own");
  const { leafKey: _, ...self } = holder;
  const roster = rosterOf({ state: { ratchetTree: tree, groupContext: groupInfo.groupContext } });
  const former = roster.members.find((member) => member.device === self.device)?.leaf;
  const removed = former === undefined ? [] : [former];
  const fault = allowed(roster, self, { by: "itself", added: [self], removed }, undefined, identityOf);
  if (fault !== undefined) throw new ChangeRefused(fault);
  return former;
}

interface Parts {
  readonly groupInfo: MlsGroupInfo;
  readonly tree: RatchetTree;
  readonly former: number | undefined;
  readonly nowMs: number;
  readonly notes: CommitNotes;
}

async function commitSelf(mls: Mls, device: OwnDevice, parts: Parts): Promise<Omit<SelfJoin, "invitedBy">> {
  const { suite } = mls, { groupInfo, former } = parts, { groupContext } = groupInfo;
  const externalPub = groupInfo.extensions.find(({ extensionType }) => extensionType === "external_pub");
  if (externalPub === undefined) throw new JoinRefused("Invitation has no external key");
  const own = await makeKeyPackage(mls, device, { nowMs: parts.nowMs });
  const keys = privateKeysOf(own, device);
  // Init secret, known to members by the external key (§8.3).
  const { enc, secret: initSecret } = await exportSecret(externalPub.extensionData, suite);
  // Tree with our leaf in, and a path from it.
  const cleared = former === undefined ? parts.tree : removeLeafNode(parts.tree, toLeafIndex(former));
  const [withLeaf, leafNode] = addLeafNode(cleared, publicPackageOf(own).leafNode), leaf = nodeToLeafIndex(leafNode);
  const [tree, path, pathSecrets, leafKey] = await createUpdatePath(
    withLeaf,
    leaf,
    groupContext,
    keys.signaturePrivateKey,
    suite,
  );
  const privateKeys = await toPrivateKeyPath(pathToPathSecrets(pathSecrets), leaf, suite);
  const top = pathSecrets.at(-1);
  if (top === undefined) throw new JoinRefused("Group has nobody else");
  const commitSecret = await getCommitSecret(tree, toNodeIndex(top.nodeIndex), top.secret, suite.kdf);
  // The commit, signed as a new member.
  const proposals: Proposal[] = [
    ...(former === undefined ? [] : [{ proposalType: "remove" as const, remove: { removed: former } }]),
    { proposalType: "external_init", externalInit: { kemOutput: enc } },
  ];
  const { signature, framedContent } = await createContentCommitSignature(
    groupContext,
    "mls_public_message",
    { proposals: proposals.map((proposal) => ({ proposalOrRefType: "proposal" as const, proposal })), path },
    { senderType: "new_member_commit" },
    encodeNotes(parts.notes),
    keys.signaturePrivateKey,
    suite.signature,
  );
  // The next epoch.
  const next = await nextEpochContext(
    groupContext,
    "mls_public_message",
    framedContent,
    signature,
    await treeHashRoot(tree, suite.hash),
    groupInfo.confirmationTag,
    suite.hash,
  );
  const secrets = await initializeEpoch(initSecret, commitSecret, next, new Uint8Array(suite.kdf.size), suite.kdf);
  const { confirmationKey, membershipKey } = secrets.keySchedule;
  const confirmationTag = await createConfirmationTag(confirmationKey, next.confirmedTranscriptHash, suite.hash);
  const state: ClientState = {
    ratchetTree: tree,
    groupContext: next,
    secretTree: await createSecretTree(leafWidth(tree.length), secrets.encryptionSecret, suite.kdf),
    privatePath: updateLeafKey(privateKeys, await suite.hpke.exportPrivateKey(leafKey!)),
    confirmationTag,
    historicalReceiverData: new Map(),
    signaturePrivateKey: keys.signaturePrivateKey,
    keySchedule: secrets.keySchedule,
    unappliedProposals: {},
    groupActiveState: { kind: "active" },
    clientConfig: clientConfig(mls.credentials),
  };
  const publicMessage = await protectPublicMessage(
    membershipKey,
    next,
    {
      content: framedContent,
      auth: { signature, confirmationTag, contentType: "commit" },
      wireformat: "mls_public_message",
    },
    suite,
  );
  wipe([initSecret, commitSecret, secrets.encryptionSecret, secrets.joinerSecret, keys.initPrivateKey]);
  return {
    group: { state: trimmed(state), endedMs: new Map() },
    body: encodeMessage({ version: "mls10", wireformat: "mls_public_message", publicMessage }),
  };
}
