/**
 * A group as one device holds it: a value that is replaced, never changed. Functions here make groups, seal and commit.
 * `receive.ts` takes what others wrote; `state.ts` stores it.
 *
 * Whoever gets a new group back stores it before anything leaves the device, and calls `wipe` afterwards.
 */
import type { ClientState, GroupContext, Proposal, RatchetTree } from "ts-mls";
import { createGroup as createMlsGroup } from "ts-mls/clientState.js";
import { createCommit } from "ts-mls/createCommit.js";
import { createApplicationMessage } from "ts-mls/createMessage.js";
import { makeKeyPackageRef } from "ts-mls/keyPackage.js";
import { consumeRatchet } from "ts-mls/secretTree.js";
import { leafToNodeIndex, toLeafIndex } from "ts-mls/treemath.js";
import { zeroOutUint8Array } from "ts-mls/util/byteArray.js";
import { assert } from "../../../shared/assert.ts";
import { sha256 } from "../../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { type CommitNotes, encodeNotes, NO_NOTES } from "./commit_notes.ts";
import { holderOf } from "./credential.ts";
import { describedSuite } from "./described_suite.ts";
import { type GroupInfo, groupInfoExtension, readGroupInfo } from "./group_info.ts";
import { type CheckedKeyPackage, makeKeyPackage, privateKeysOf, publicPackageOf } from "./key_packages.ts";
import { encodePlaintext, type Plaintext } from "./plaintext.ts";
import {
  allowed,
  type Change,
  type Grounds,
  type IdentityOf,
  type Member,
  type PolicyFault,
  type Roster,
} from "./policy.ts";
import { clientConfig, EPOCH_MS_KEPT, type Mls, type OwnDevice, requiredCapabilities } from "./profile.ts";
import { sealTree, treeKey } from "./sealed_tree.ts";
import { memberAt } from "./sender.ts";
import { leavesOf } from "./tree.ts";
import { encodeMessage } from "./wire.ts";

export interface Group {
  readonly state: ClientState;
  /** Our own commit, until it is read back from the log or another one wins (SECURITY M7). */
  readonly pending?: Pending;
  /** When past epochs ended, by the clock of this device: they are forgotten after seven days. */
  readonly endedMs: ReadonlyMap<number, number>;
}

export interface Pending {
  /** SHA-256 of the commit's bytes, by which it is known again. */
  readonly digest: Uint8Array;
  /** The epoch after it. */
  readonly state: ClientState;
  readonly plan: Plan;
}

/** Who would do what by a commit. */
export interface Plan {
  readonly by: Omit<Member, "leaf">;
  readonly change: Change;
  readonly notes: CommitNotes;
}

/** What somebody wants changed. Empty: new keys for this device. */
export interface Intent {
  readonly add?: readonly CheckedKeyPackage[];
  /** Leaf indices. */
  readonly remove?: readonly number[];
  readonly info?: GroupInfo;
}

export interface Committed {
  /** With the commit pending: store it, then append the commit. */
  readonly group: Group;
  readonly body: Uint8Array;
  /** For each added device one; handed out only if the commit wins. */
  readonly welcomes: readonly WelcomeFor[];
  /** The tree that these Welcomes need, sealed; absent where nobody was added. */
  readonly sealedTree?: Uint8Array;
}

export interface WelcomeFor {
  readonly user: UserName;
  readonly device: DeviceId;
  /** Which key package it is for, as hex. */
  readonly ref: string;
  readonly bytes: Uint8Array;
}

/** The policy does not let this device make the change: nothing was made. */
export class ChangeRefused extends Error {
  override readonly name = "ChangeRefused";
  constructor(readonly fault: PolicyFault | "no group of this conversation") {
    super(`Cannot change the group: ${fault}`);
  }
}

/** A group of one: this device. */
export async function createGroup(
  mls: Mls,
  device: OwnDevice,
  { conversation, info, nowMs }: {
    readonly conversation: ConversationId;
    readonly info: GroupInfo;
    readonly nowMs: number;
  },
): Promise<Group> {
  const own = await makeKeyPackage(mls, device, { nowMs });
  const state = await createMlsGroup(
    Uint8Array.fromHex(conversation),
    publicPackageOf(own),
    privateKeysOf(own, device),
    [requiredCapabilities(), groupInfoExtension(info)],
    mls.suite,
    clientConfig(mls.credentials),
  );
  return { state: trimmed(state), endedMs: new Map() };
}

/** Who is in the group, and what it says of itself. Trees and contexts are replaced, never changed: each is read once. */
export function rosterOf(
  { state: { ratchetTree, groupContext } }: { readonly state: Pick<ClientState, "ratchetTree" | "groupContext"> },
): Roster {
  let members = membersOf.get(ratchetTree), info = infoOf.get(groupContext);
  if (members === undefined) {
    members = [...leavesOf(ratchetTree)].map(([index, leaf]) => {
      const { leafKey: _, ...holder } = holderOf(leaf);
      return { ...holder, leaf: index };
    });
    membersOf.set(ratchetTree, members);
  }
  if (info === undefined) infoOf.set(groupContext, info = readGroupInfo(groupContext.extensions));
  return { members, info };
}

const membersOf = new WeakMap<RatchetTree, readonly Member[]>();
const infoOf = new WeakMap<GroupContext, GroupInfo>();

/** The certificate of the device at a leaf; `undefined` where there is none. */
export function certificateOf(
  { state }: { readonly state: Pick<ClientState, "ratchetTree"> },
  leaf: number,
): Uint8Array | undefined {
  const node = state.ratchetTree[leafToNodeIndex(toLeafIndex(leaf))];
  if (node?.nodeType !== "leaf" || !("identity" in node.leaf.credential)) return undefined;
  return node.leaf.credential.identity;
}

/** This device in the group. */
export function selfIn({ state }: { readonly state: ClientState }): Member {
  const self = memberAt(state.ratchetTree, state.privatePath.leafIndex);
  if (self === undefined) throw new TypeError("Own leaf is blank");
  return self;
}

export function epochOf({ state }: { readonly state: ClientState }): number {
  return Number(state.groupContext.epoch);
}

/** First 16 bytes of the epoch authenticator: what a view carries (SECURITY M4). */
export function authenticatorOf({ state }: { readonly state: ClientState }): Uint8Array {
  return state.keySchedule.epochAuthenticator.slice(0, 16);
}

/** What the caller knows of a message; device, epoch and authenticator follow from the group. */
export interface MessageToSeal extends Omit<Plaintext, "device" | "view"> {
  readonly view: Omit<Plaintext["view"], "epoch" | "authenticator">;
}

/** Seals a message for everybody in the group. Store the group before the body leaves: its key is used up. */
export async function sealMessage(
  { suite }: Mls,
  group: Group,
  message: MessageToSeal,
): Promise<{ readonly group: Group; readonly body: Uint8Array; readonly wipe: () => void }> {
  const ratchet = group.state.secretTree[leafToNodeIndex(toLeafIndex(group.state.privatePath.leafIndex))];
  // A group that was replaced and wiped has zeros for a key, which anybody knows.
  assert(ratchet?.application.secret.some((byte) => byte !== 0), "Cannot seal: this group's key is used up");
  const plaintext = encodePlaintext({
    ...message,
    device: selfIn(group).device,
    view: { ...message.view, epoch: epochOf(group), authenticator: authenticatorOf(group) },
  });
  const { newState, privateMessage, consumed } = await createApplicationMessage(group.state, plaintext, suite);
  return {
    group: { ...group, state: newState },
    body: encodeMessage({ version: "mls10", wireformat: "mls_private_message", privateMessage }),
    wipe: () => wipe([...consumed, plaintext]),
  };
}

/**
 * Makes a commit. It counts once it is read back from the log as the first valid one of its epoch; until then the group goes
 * on in the old epoch with it pending.
 *
 * @throws ChangeRefused where the policy forbids it, TypeError while another commit is pending: nobody knows yet whether it
 * wins. Only where the store refused to append it, {@linkcode withoutPending} may give it up.
 */
export async function commitChange(
  mls: Mls,
  group: Group,
  intent: Intent,
  { notes = NO_NOTES, grounds, identityOf }: {
    readonly notes?: CommitNotes;
    readonly grounds?: Grounds;
    readonly identityOf?: IdentityOf;
  } = {},
): Promise<Committed> {
  const { suite } = mls, { state } = group;
  if (group.pending !== undefined) throw new TypeError("Cannot commit: another commit is pending");
  const change: Change = {
    by: "member",
    added: (intent.add ?? []).map(({ holder: { leafKey: _, ...holder } }) => holder),
    removed: intent.remove ?? [],
    ...(intent.info === undefined ? {} : { info: intent.info }),
  };
  const by = selfIn(group), fault = allowed(rosterOf(group), by, change, grounds, identityOf);
  if (fault !== undefined) throw new ChangeRefused(fault);
  const key = treeKey(), adds = intent.add ?? [];
  const extensions = intent.info && extensionsWith(state, intent.info);
  const cipherSuite = extensions === undefined ? suite : describedSuite(suite, extensions);
  const { newState, commit, welcome } = await createCommit({ state, cipherSuite }, {
    extraProposals: proposalsOf(intent, extensions),
    authenticatedData: encodeNotes(notes),
    groupInfoExtensions: adds.length > 0 ? [key] : [],
  });
  const body = encodeMessage(commit);
  const pending: Pending = { digest: sha256(body), state: trimmed(newState), plan: { by, change, notes } };
  return {
    group: { ...group, state: await withHandshakeKeyUsed(mls, state), pending },
    body,
    welcomes: welcome === undefined ? [] : await Promise.all(adds.map(async ({ keyPackage, holder }) => {
      const ref = (await makeKeyPackageRef(keyPackage, suite.hash)).toHex();
      const secrets = welcome.secrets.filter(({ newMember }) => newMember.toHex() === ref);
      const bytes = encodeMessage({
        version: "mls10",
        wireformat: "mls_welcome",
        welcome: { ...welcome, secrets },
      });
      return { user: holder.user, device: holder.device, ref, bytes };
    })),
    ...(welcome === undefined ? {} : { sealedTree: sealTree(newState.ratchetTree, key) }),
  };
}

/** Gives a pending commit up that was certainly not appended. */
export function withoutPending({ pending: _, ...group }: Group): Group {
  return group;
}

/** Forgets past epochs that ended more than seven days ago (SECURITY M12). */
export function forgetOldEpochs(group: Group, nowMs: number): Group {
  const old = (epoch: bigint) => (group.endedMs.get(Number(epoch)) ?? -Infinity) < nowMs - EPOCH_MS_KEPT;
  const { historicalReceiverData: past } = group.state;
  if (![...past.keys()].some(old)) return group;
  const without = (state: ClientState): ClientState => ({
    ...state,
    historicalReceiverData: new Map(
      [...state.historicalReceiverData].filter(([epoch]) => kept.has(epoch) || !past.has(epoch)),
    ),
  });
  const kept = new Set([...past.keys()].filter((epoch) => !old(epoch)));
  const endedMs = new Map([...group.endedMs].filter(([epoch]) => kept.has(BigInt(epoch))));
  const { pending } = group;
  return {
    ...group,
    state: without(group.state),
    endedMs,
    // Else they would be back when it counts.
    ...(pending === undefined ? {} : { pending: { ...pending, state: without(pending.state) } }),
  };
}

/** When the oldest of the past epochs ended whose messages still open; `undefined` where there are none. */
export function oldestEndMs({ state, endedMs }: Group): number | undefined {
  const past = [...state.historicalReceiverData.keys()].map((epoch) => endedMs.get(Number(epoch)) ?? 0);
  return past.length === 0 ? undefined : Math.min(...past);
}

/**
 * Without what the library derives and nobody needs: ratchets of parent nodes, and PSKs for resuming. What is not there
 * cannot be stolen.
 */
export function trimmed(state: ClientState): ClientState {
  const past = [...state.historicalReceiverData].map(([epoch, data]) =>
    [epoch, data.resumptionPsk.length === 0 ? data : { ...data, resumptionPsk: EMPTY }] as const
  );
  return {
    ...state,
    secretTree: state.secretTree.map((node, index) => isUsed(state, index) ? node : NO_RATCHET),
    keySchedule: { ...state.keySchedule, resumptionPsk: EMPTY },
    historicalReceiverData: new Map(past),
  };
}

/** A place in the secret tree that nobody sends from. The library wants something there. */
export const NO_RATCHET: ClientState["secretTree"][number] = {
  handshake: { secret: new Uint8Array(), generation: 0, unusedGenerations: {} },
  application: { secret: new Uint8Array(), generation: 0, unusedGenerations: {} },
};

/** Overwrites secrets that are no longer needed, as far as a garbage-collected language lets us. */
export function wipe(secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) {
    // The library overwrites with random bytes first, of which there are no more at a time.
    for (let at = 0; at < secret.length; at += WIPED_AT_ONCE) {
      zeroOutUint8Array(secret.subarray(at, at + WIPED_AT_ONCE));
    }
  }
}

/**
 * The old epoch with the commit's key used up. The library forgets that where a commit is made: a second commit in the same
 * epoch, after the first one lost or was refused, would take the same key, and receivers would not open it.
 */
async function withHandshakeKeyUsed({ suite }: Mls, state: ClientState): Promise<ClientState> {
  const own = leafToNodeIndex(toLeafIndex(state.privatePath.leafIndex));
  const { newTree } = await consumeRatchet(state.secretTree, own, "commit", suite);
  return { ...state, secretTree: newTree };
}

function proposalsOf(
  { add = [], remove = [] }: Intent,
  extensions: ClientState["groupContext"]["extensions"] | undefined,
): Proposal[] {
  const proposals: Proposal[] = [
    ...remove.map((removed) => ({ proposalType: "remove" as const, remove: { removed } })),
    ...add.map(({ keyPackage }) => ({ proposalType: "add" as const, add: { keyPackage } })),
  ];
  if (extensions === undefined) return proposals;
  return [...proposals, { proposalType: "group_context_extensions", groupContextExtensions: { extensions } }];
}

/** All others byte for byte as they are (SECURITY M9). */
function extensionsWith({ groupContext }: ClientState, info: GroupInfo): ClientState["groupContext"]["extensions"] {
  const own = groupInfoExtension(info);
  return groupContext.extensions.map((extension) => extension.extensionType === own.extensionType ? own : extension);
}

function isUsed(state: ClientState, index: number): boolean {
  return state.ratchetTree[index]?.nodeType === "leaf";
}

const EMPTY = new Uint8Array();
const WIPED_AT_ONCE = 1 << 16;
