/**
 * The part of the store's contract (store.ts) that conversations encrypted by MLS need (docs/PROTOCOL.md §15): commits and what
 * comes with them, key packages, and devices that wait to be let in.
 *
 * The store serialises and delivers, it never judges what is inside: roles, validity and who may do what to whom are the clients'
 * to say (SECURITY M7, M9). It knows who is delivered to: each member since some record, and those who were dismissed up to the
 * one at which they were. Of a stay that ended and a new one that began only the new one counts.
 */
import type { Ask, ConversationHead, ConversationId, DeviceId } from "../../shared/protocol/mod.ts";
import type { MessageId, UserName, Welcome } from "../../shared/protocol/mod.ts";

export interface GroupStore {
  /**
   * Makes a group of which `user` is the only member. Again by a member it changes nothing; `undefined` where the id is that of
   * a conversation which the user is not in.
   */
  createGroup(id: ConversationId, user: UserName, device: DeviceId): Promise<ConversationHead | undefined>;

  /**
   * Appends a commit, all or nothing: the record, who comes and goes, the Welcomes and their tree. Whoever comes may read from
   * this record on, and each device's cursor begins at it; whoever goes, up to it. A Welcome is kept only for a device of somebody who is a
   * member then, in place of an older one, and ends what that device had asked for. A repeat gets the first one's numbers and
   * changes nothing. The last member's going ends the group, with all that was in it.
   */
  commit(commit: StoreCommit): Promise<CommitResult>;

  /** Appends a notice and dismisses its author at it. As {@linkcode commit} otherwise. */
  leave(leave: StoreLeave): Promise<CommitResult>;

  /** Names of the members in order, a page behind `after`. `undefined` where `user` is none of them. */
  members(user: UserName, conversation: ConversationId, after: string, limit: number): Promise<UserName[] | undefined>;

  /**
   * What this device can join by; `undefined` where there is nothing, or an invitation that a newer commit has spoilt. It stays
   * until the device has come further than the commit it belongs to, for 30 days at most. Then, and where it has none of its own,
   * it is what a device of the same user has left for the others (see {@linkcode invite}).
   */
  welcome(user: UserName, device: DeviceId, conversation: ConversationId): Promise<StoredWelcome | undefined>;

  /** Conversations with something to join by that this device has not fetched. At most `limit`. */
  welcomesWaiting(user: UserName, device: DeviceId, limit: number): Promise<ConversationId[]>;

  /**
   * A member's answer to a device of a member: kept as a Welcome is, until the next commit. Under the member's own device it is
   * for whichever device of that user has nothing else to join by, one per user, the newest: nobody is told, it answers no wish.
   */
  invite(invitation: StoreInvitation): Promise<InviteResult>;

  /**
   * Adds one-time packages of a device, of which at most KEY_PACKAGES_MAX are kept, the newest; takes the last-resort one in place of
   * the former. One that is there, or was given out lately, is not added again.
   */
  putKeyPackages(packages: StoreKeyPackages): Promise<KeyPackageStock>;

  /**
   * A package of each device of these users but the asking one, in the order of the names. A one-time package is given out once;
   * the same user asking again for the same conversation within an hour gets the same, unless a Welcome came of it. The last-resort one
   * is given where no other is left, and where so many were given within an hour that somebody may be draining them: one
   * user those of more than PACKAGE_CONVERSATIONS_MAX conversations, all together more than PACKAGES_PER_HOUR_MAX of one device.
   */
  takeKeyPackages(wanted: WantedKeyPackages): Promise<TakenKeyPackage[]>;

  /** Keeps a device's wish to be let in, in place of its former one, and tells the members. */
  ask(ask: Ask): Promise<"waits" | "refused" | "limit">;

  /** What waits in conversations that `user` is a member of, by conversation and device, a page behind `after`. */
  asks(
    user: UserName,
    conversation: ConversationId | undefined,
    after: { readonly conversation: ConversationId; readonly device: DeviceId } | undefined,
    limit: number,
  ): Promise<Ask[]>;

  /** Takes a device's wish away, for a member or that device's user. */
  dropAsk(user: UserName, conversation: ConversationId, device: DeviceId): Promise<void>;

  /** Removes some of what has had its time (Welcomes, packages, wishes, groups that ended). @returns Whether there may be more. */
  sweep(nowMs: number): Promise<boolean>;
}

interface StoreEntry {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly conversation: ConversationId;
  readonly messageId: MessageId;
  /** Sequence number of the newest commit; 0 where there is none. */
  readonly lastCommit: number;
  readonly body: Uint8Array;
  readonly nowMs: number;
}

export type StoreLeave = StoreEntry;

export interface StoreCommit extends StoreEntry {
  /** Members among them, and of `remove` those who are none, change nothing; no name is in both. */
  readonly add: readonly UserName[];
  readonly remove: readonly UserName[];
  readonly welcomes: readonly Welcome[];
  readonly tree: Uint8Array;
}

export type CommitResult =
  | { readonly status: "stored"; readonly seq: number; readonly timeMs: number; readonly duplicate: boolean }
  | { readonly status: "stale-epoch"; readonly epoch: number }
  | { readonly status: "not-member" }
  | { readonly status: "unknown-name"; readonly name: UserName }
  /** More than GROUP_USERS_MAX would be in it. */
  | { readonly status: "limit" }
  /** Who is in a direct conversation never changes. */
  | { readonly status: "not-a-group" };

export interface StoredWelcome {
  readonly isInvitation: boolean;
  /** The row that it belongs to. */
  readonly commit: number;
  readonly body: Uint8Array;
  readonly tree: Uint8Array;
}

export interface StoreInvitation {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly conversation: ConversationId;
  readonly lastCommit: number;
  readonly welcome: Welcome;
  readonly tree: Uint8Array;
  readonly nowMs: number;
}

export type InviteResult =
  | { readonly status: "invited" }
  | { readonly status: "stale-epoch"; readonly epoch: number }
  | { readonly status: "not-member" }
  /** The device is none of a member's. */
  | { readonly status: "unknown-device" };

export interface StoreKeyPackages {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly oneTime: readonly Uint8Array[];
  readonly lastResort: Uint8Array | undefined;
  readonly nowMs: number;
}

export interface KeyPackageStock {
  readonly oneTime: number;
  readonly lastResort: boolean;
}

export interface WantedKeyPackages {
  readonly user: UserName;
  readonly device: DeviceId;
  /** Need not exist yet. */
  readonly conversation: ConversationId;
  readonly names: readonly UserName[];
  readonly nowMs: number;
}

export interface TakenKeyPackage {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly keyPackage: Uint8Array;
  readonly lastResort: boolean;
}

/** As in {@linkcode ConversationHead}. */
export enum ConversationKind {
  Direct = 1,
  Group = 2,
}

/** What an ask is for: a member's device that has no state, or somebody with an invite link (SECURITY M14). */
export enum AskKind {
  Member = 1,
  Link = 2,
}

/** Conversations of which one user gets one-time packages of one other in an hour (SECURITY M10). */
export const PACKAGE_CONVERSATIONS_MAX = 10;
/** One-time packages of one device that are given out in an hour, whoever asks. */
export const PACKAGES_PER_HOUR_MAX = 32;
/** Of as many records a receipt is looked at for whom to tell in a group. */
export const RECEIPT_RECORDS_MAX = 256;
/** For how long the same asker gets the same package. */
export const TAKEN_MS = 3_600_000;
/** Strangers who wait to be let into one group; a further one is refused. */
export const ASKS_PER_GROUP_MAX = 256;
/** How long Welcomes, key packages and asks are kept. */
export const KEPT_MS = 30 * 24 * 3_600_000;
