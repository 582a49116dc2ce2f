/**
 * What a row of the conversation's log does to a group (SECURITY M2, M5 to M7).
 *
 * The deterministic rule: of the commits for an epoch the first valid one in log order counts. A row that is not valid leaves
 * the group exactly as it was, so every member who reads the same rows comes to the same group. All processing is on a copy.
 */
import type { ClientState, PrivateMessage, PublicMessage } from "ts-mls";
import { processPrivateMessage, processPublicMessage } from "ts-mls/processMessages.js";
import { emptyPskIndex } from "ts-mls/pskIndex.js";
import { leafToNodeIndex, toLeafIndex } from "ts-mls/treemath.js";
import { DecodeError } from "../../../shared/codec/mod.ts";
import { equalBytes, sha256 } from "../../../shared/crypto/mod.ts";
import { type CommitNotes, decodeNotes } from "./commit_notes.ts";
import { type CommitMessage, planOf, type SkipReason } from "./commit_plan.ts";
import { epochOf, type Group, type Pending, rosterOf, selfIn, trimmed, wipe, withoutPending } from "./group.ts";
import { decodePlaintext, type Plaintext } from "./plaintext.ts";
import { allowed, type Change, type Grounds, type IdentityOf, type MayComeIn, type Member } from "./policy.ts";
import { EPOCHS_KEPT, type Mls } from "./profile.ts";
import { type Sender, senderOf } from "./sender.ts";
import { keyFault } from "./tree.ts";
import { decodeMessage } from "./wire.ts";

/** What became of a row. Only outcomes with a `group` change anything. */
export type Outcome =
  | {
    readonly kind: "message";
    readonly group: Group;
    readonly sender: Member;
    readonly epoch: number;
    readonly plaintext: Plaintext;
    /** To be called when the group is stored. */
    readonly wipe: () => void;
  }
  | {
    readonly kind: "commit";
    readonly group: Group;
    /** Who made it, and whether it was this device. */
    readonly by: Omit<Member, "leaf">;
    readonly own: boolean;
    readonly change: Change;
    /** Whom it removed, as they were. */
    readonly removed: readonly Member[];
    readonly notes: CommitNotes;
    /** Our own pending commit that lost to this one: make the change again, if it is still wanted. */
    readonly lost?: Pending;
    readonly wipe: () => void;
  }
  /** A commit that removes this device. What came before can still be opened; nothing can be sent. */
  | { readonly kind: "removed"; readonly by: Omit<Member, "leaf">; readonly notes: CommitNotes }
  /** Written by this device. */
  | { readonly kind: "own"; readonly epoch: number; readonly generation: number }
  /** Written by this device after the state that it has: the home was restored from an older copy (SECURITY M11). */
  | { readonly kind: "rolledBack" }
  /** A commit for an epoch that is over: it lost. */
  | { readonly kind: "late" }
  /** For an epoch that this device has not reached: a commit was withheld, or could not be followed. */
  | { readonly kind: "ahead"; readonly epoch: number }
  /** An invalid commit. Not `certain`: only its secrets do not open here; if others follow it, this device must rejoin. */
  | { readonly kind: "skipped"; readonly reason: SkipReason; readonly certain: boolean }
  /** A message that is not shown. */
  | { readonly kind: "refused"; readonly reason: RefusalReason };

export type RefusalReason = "malformed" | "other conversation" | "epoch is gone" | "does not open" | "other sender";

export interface ReceiveOptions {
  /** For the age of past epochs only; nothing is judged by it. */
  readonly nowMs: number;
  /** See {@linkcode Grounds}; by default nobody may be removed but by right. */
  readonly grounds?: Grounds;
  /** See {@linkcode IdentityOf}; by default nobody has replaced theirs. */
  readonly identityOf?: IdentityOf;
  /** See {@linkcode MayComeIn}; by default any device of a member's. */
  readonly mayComeIn?: MayComeIn;
}

/** The notes of a commit, before it is judged: what must be read first to judge it. `undefined` where it is no commit. */
export function peekNotes(body: Uint8Array): CommitNotes | undefined {
  const message = decodeMessage(body);
  if (message?.wireformat === "mls_private_message" && message.privateMessage.contentType === "commit") {
    return decodeNotes(message.privateMessage.authenticatedData);
  }
  return message?.wireformat === "mls_public_message"
    ? decodeNotes(message.publicMessage.content.authenticatedData)
    : undefined;
}

/** Whether it is a commit, of whatever group and worth: what a server counts as one. */
export function isCommit(body: Uint8Array): boolean {
  const message = decodeMessage(body);
  if (message?.wireformat === "mls_private_message") return message.privateMessage.contentType === "commit";
  return message?.wireformat === "mls_public_message" && message.publicMessage.content.contentType === "commit";
}

/** Takes one row. Never throws for what others wrote. @param body The row's body. */
export async function receive(mls: Mls, group: Group, body: Uint8Array, options: ReceiveOptions): Promise<Outcome> {
  const message = decodeMessage(body);
  if (message === undefined) return refused("malformed");
  if (message.wireformat === "mls_private_message") {
    const { groupId, contentType } = message.privateMessage;
    if (!equalBytes(groupId, group.state.groupContext.groupId)) return refused("other conversation");
    if (contentType === "application") return await receiveMessage(mls, group, message.privateMessage);
    if (contentType === "proposal") return skipped("standalone proposal");
    return await receiveCommit(mls, group, body, message, options);
  }
  if (message.wireformat !== "mls_public_message") return refused("malformed");
  const { content } = message.publicMessage;
  if (!equalBytes(content.groupId, group.state.groupContext.groupId)) return refused("other conversation");
  // A member's commit is sealed; only a device that joins by itself has no key to seal with.
  if (content.contentType !== "commit") return skipped("standalone proposal");
  if (content.sender.senderType !== "new_member_commit") return skipped("not by a member");
  return await receiveCommit(mls, group, body, message, options);
}

async function receiveMessage({ suite }: Mls, group: Group, message: PrivateMessage): Promise<Outcome> {
  const { state } = group;
  if (message.epoch > state.groupContext.epoch) return { kind: "ahead", epoch: Number(message.epoch) };
  const held = message.epoch === state.groupContext.epoch || state.historicalReceiverData.has(message.epoch);
  if (!held) return refused("epoch is gone");
  const sender = await senderOf(state, message, suite);
  if (sender === undefined) return refused("does not open");
  const own = sender.member.device === selfIn(group).device;
  if (own && !isAfterOurs(group, sender)) return { kind: "own", epoch: sender.epoch, generation: sender.generation };
  try {
    const result = await processPrivateMessage(state, message, emptyPskIndex, suite, () => "reject");
    if (result.kind !== "applicationMessage") return refused("does not open");
    const plaintext = decodePlaintext(result.message);
    // Opened and signed, so by nobody else: a forged claim alone must not make us rejoin.
    if (own) return { kind: "rolledBack" };
    if (plaintext.device !== sender.member.device || plaintext.view.epoch !== sender.epoch) {
      return refused("other sender");
    }
    return {
      kind: "message",
      group: { ...group, state: result.newState },
      sender: sender.member,
      epoch: sender.epoch,
      plaintext,
      wipe: () => wipe(result.consumed),
    };
  } catch (error) {
    return refused(error instanceof DecodeError ? "malformed" : "does not open");
  }
}

/** Whether our own leaf wrote it later than our state knows of. In past epochs nothing new can be sent, so it does not matter. */
function isAfterOurs({ state }: Group, { epoch, generation }: Sender): boolean {
  const ratchet = state.secretTree[leafToNodeIndex(toLeafIndex(state.privatePath.leafIndex))];
  return BigInt(epoch) === state.groupContext.epoch && ratchet !== undefined &&
    generation >= ratchet.application.generation;
}

async function receiveCommit(
  mls: Mls,
  group: Group,
  body: Uint8Array,
  message: CommitMessage,
  { nowMs, grounds, identityOf, mayComeIn }: ReceiveOptions,
): Promise<Outcome> {
  const { state } = group;
  const epoch = message.wireformat === "mls_private_message"
    ? message.privateMessage.epoch
    : message.publicMessage.content.epoch;
  if (epoch < state.groupContext.epoch) return { kind: "late" };
  if (epoch > state.groupContext.epoch) return { kind: "ahead", epoch: Number(epoch) };
  if (group.pending !== undefined && equalBytes(sha256(body), group.pending.digest)) {
    return activate(group, group.pending, nowMs);
  }
  const plan = await planOf(mls, state, message);
  if ("skip" in plan) return { kind: "skipped", reason: plan.skip, certain: !await claimsOurs(mls, group, message) };
  if (plan.by.device === selfIn(group).device && plan.change.by === "member") return { kind: "rolledBack" };
  const roster = rosterOf(group);
  const fault = allowed(roster, plan.by, plan.change, grounds, identityOf, mayComeIn);
  if (fault !== undefined) return skipped(fault);
  const { by, change, notes } = plan;
  if (change.removed.includes(state.privatePath.leafIndex)) return { kind: "removed", by, notes };
  let result: Awaited<ReturnType<typeof process>>;
  try {
    result = await process(mls, state, message);
  } catch {
    return { kind: "skipped", reason: "does not open here", certain: false };
  }
  const after = { state: result.newState };
  const difference = differenceFault(roster.members, change, after);
  if (difference !== undefined) return skipped(difference);
  const lost = group.pending;
  return {
    kind: "commit",
    group: { state: trimmed(result.newState), endedMs: ended(group, nowMs) },
    by,
    own: false,
    change,
    removed: roster.members.filter(({ leaf }) => change.removed.includes(leaf)),
    notes,
    ...(lost === undefined ? {} : { lost }),
    wipe: () => wipe(result.consumed),
  };
}

/** Perhaps a commit of ours that was given up although it was appended: its key is gone, so only others can tell. */
async function claimsOurs({ suite }: Mls, group: Group, message: CommitMessage): Promise<boolean> {
  if (message.wireformat !== "mls_private_message") return false;
  const sender = await senderOf(group.state, message.privateMessage, suite);
  return sender?.member.leaf === group.state.privatePath.leafIndex;
}

/** Our own commit came back first: the pending state is the group now. The policy judged it when it was made. */
function activate(group: Group, pending: Pending, nowMs: number): Outcome {
  const { plan } = pending;
  const { members } = rosterOf(group), old = group.state.keySchedule.initSecret;
  // Messages that came in meanwhile moved the old epoch's ratchets: its past is as they left it.
  const past = new Map(pending.state.historicalReceiverData), epoch = group.state.groupContext.epoch;
  for (const [number, data] of group.state.historicalReceiverData) if (past.has(number)) past.set(number, data);
  const ending = past.get(epoch);
  if (ending !== undefined) past.set(epoch, { ...ending, secretTree: group.state.secretTree });
  return {
    kind: "commit",
    group: withoutPending({
      state: { ...pending.state, historicalReceiverData: past },
      endedMs: ended(group, nowMs),
    }),
    by: plan.by,
    own: true,
    change: plan.change,
    removed: members.filter(({ leaf }) => plan.change.removed.includes(leaf)),
    notes: plan.notes,
    wipe: () => wipe([old]),
  };
}

async function process(
  { suite }: Mls,
  state: ClientState,
  message: CommitMessage,
): Promise<{ newState: ClientState; consumed: Uint8Array[] }> {
  const accept = ({ kind }: { kind: string }) => kind === "commit" ? "accept" as const : "reject" as const;
  const result = message.wireformat === "mls_private_message"
    ? await processPrivateMessage(state, message.privateMessage, emptyPskIndex, suite, accept)
    : await processPublicMessage(state, message.publicMessage as PublicMessage, emptyPskIndex, suite, accept);
  if ("message" in result) throw new TypeError("Commit turned out to be a message");
  if (result.newState.groupContext.epoch !== state.groupContext.epoch + 1n) throw new TypeError("Commit did nothing");
  return result;
}

/** Old and new tree compared: exactly the announced devices came and went, and no key stands twice (M5). */
function differenceFault(
  before: readonly Member[],
  { added, removed }: Change,
  after: { readonly state: ClientState },
): SkipReason | undefined {
  if (keyFault(after.state.ratchetTree) !== undefined) return "repeats a key";
  const name = ({ user, device, identity }: Omit<Member, "leaf">) => `${identity} ${user} ${device}`;
  const expected = [...before.filter(({ leaf }) => !removed.includes(leaf)), ...added].map(name).sort();
  const found = rosterOf(after).members.map(name).sort();
  const same = expected.length === found.length && expected.every((device, index) => device === found[index]);
  return same ? undefined : "does not do what it says";
}

function ended(group: Group, nowMs: number): ReadonlyMap<number, number> {
  const oldest = epochOf(group) - EPOCHS_KEPT;
  return new Map([...group.endedMs, [epochOf(group), nowMs] as const].filter(([epoch]) => epoch > oldest));
}

function skipped(reason: SkipReason): Outcome {
  return { kind: "skipped", reason, certain: true };
}

function refused(reason: RefusalReason): Outcome {
  return { kind: "refused", reason };
}
