/** What only groups have of the store in memory: the plain twin of `sqlite/groups.ts` and `sqlite/welcomes.ts`. */
import { GROUP_USERS_MAX } from "../../../shared/limits.ts";
import type { Ask, ConversationHead, ConversationId, DeviceId } from "../../../shared/protocol/mod.ts";
import type { Record, UserName, Welcome } from "../../../shared/protocol/mod.ts";
import {
  AskKind,
  ASKS_PER_GROUP_MAX,
  type CommitResult,
  ConversationKind,
  type GroupStore,
  type InviteResult,
  KEPT_MS,
  type StoreCommit,
  type StoredWelcome,
  type StoreInvitation,
  type StoreLeave,
} from "../groups.ts";
import { MemoryConversation, type MemoryDevice, type MemoryTables, type MemoryUser } from "./rows.ts";

type Part =
  | "createGroup"
  | "commit"
  | "leave"
  | "members"
  | "welcome"
  | "welcomesWaiting"
  | "invite"
  | "ask"
  | "asks"
  | "dropAsk";

/** As the contract says, at once. */
type AtOnce = {
  [K in Part]: (...args: Parameters<GroupStore[K]>) => Awaited<ReturnType<GroupStore[K]>>;
};

export class MemoryGroups implements AtOnce {
  readonly #tables: MemoryTables;
  /** A Welcome came of what was taken. */
  readonly #welcomed: (conversation: ConversationId, device: DeviceId) => void;

  constructor(tables: MemoryTables, welcomed: (conversation: ConversationId, device: DeviceId) => void) {
    this.#tables = tables;
    this.#welcomed = welcomed;
  }

  createGroup(id: ConversationId, user: UserName, device: DeviceId): ConversationHead | undefined {
    const own = this.#tables.users.get(user), known = this.#tables.conversations.get(id);
    if (own === undefined) return undefined;
    if (known !== undefined && (known.kind !== ConversationKind.Group || !known.isMember(own))) return undefined;
    const group = known ?? new MemoryConversation(id, ConversationKind.Group, [own]);
    this.#tables.conversations.set(id, group);
    return group.listed(own, this.#tables.deviceOf(own, device));
  }

  commit(commit: StoreCommit): CommitResult {
    const { users } = this.#tables, found = this.#entry(commit);
    if ("status" in found) return found;
    const { conversation } = found, isGroup = conversation.kind === ConversationKind.Group;
    if (!isGroup && commit.add.length + commit.remove.length > 0) return { status: "not-a-group" };
    const unknown = commit.add.find((name) => !users.has(name));
    if (unknown !== undefined) return { status: "unknown-name", name: unknown };
    const coming = new Set(commit.add.map((name) => users.get(name)!).filter((user) => !conversation.isMember(user)));
    const going = new Set(commit.remove.map((name) => users.get(name)).filter((user) => conversation.isMember(user)));
    if (conversation.members.length + coming.size - going.size > GROUP_USERS_MAX) return { status: "limit" };
    return this.#append(commit, found, { coming, going, commit });
  }

  leave(leave: StoreLeave): CommitResult {
    const found = this.#entry(leave);
    if ("status" in found) return found;
    if (found.conversation.kind !== ConversationKind.Group) return { status: "not-a-group" };
    return this.#append(leave, found, { coming: new Set(), going: new Set([found.sender.user]), commit: undefined });
  }

  members(user: UserName, id: ConversationId, after: string, limit: number): UserName[] | undefined {
    const conversation = this.#ofMember(user, id);
    return conversation?.members.filter((name) => name > after).slice(0, limit);
  }

  welcome(user: UserName, device: DeviceId, id: ConversationId): StoredWelcome | undefined {
    const conversation = this.#ofMember(user, id), own = this.#tables.users.get(user);
    if (conversation === undefined || own === undefined || !this.#tables.deviceOf(own, device)) return undefined;
    const kept = conversation.welcomes.get(device), cursor = this.#tables.devices.get(device)?.cursors.get(id) ?? 0;
    const found = kept?.isInvitation && kept.commit !== conversation.commit ? undefined : kept;
    if (found === undefined || (found.isFetched && cursor > found.commit)) {
      const left = conversation.left.get(own);
      if (left?.commit === conversation.commit && this.#tables.isLive(device)) {
        return { isInvitation: true, commit: left.commit, body: left.body, tree: left.tree };
      }
      if (found === undefined) return undefined;
    }
    found.isFetched = true;
    const { isInvitation, commit, body, tree } = found;
    return { isInvitation, commit, body, tree };
  }

  welcomesWaiting(user: UserName, device: DeviceId, limit: number): ConversationId[] {
    const own = this.#tables.users.get(user);
    if (own === undefined || !this.#tables.deviceOf(own, device)) return [];
    const waiting = [...own.conversations].filter(({ welcomes, commit }) => {
      const found = welcomes.get(device);
      return found !== undefined && !found.isFetched && !(found.isInvitation && found.commit !== commit);
    });
    return waiting.map(({ id }) => id).sort().slice(0, limit);
  }

  invite(invitation: StoreInvitation): InviteResult {
    const { user, conversation: id, lastCommit, welcome, tree, nowMs } = invitation;
    const conversation = this.#ofMember(user, id), device = this.#tables.devices.get(welcome.device);
    if (conversation === undefined) return { status: "not-member" };
    if (lastCommit !== conversation.commit) return { status: "stale-epoch", epoch: conversation.epoch };
    if (!conversation.isMember(device?.user) || !this.#tables.isLive(welcome.device)) {
      return { status: "unknown-device" };
    }
    if (welcome.device === invitation.device && device!.user.name === user) {
      conversation.welcomes.delete(welcome.device);
      const { device: own, body } = welcome;
      conversation.left.set(device!.user, { device: own, isInvitation: true, commit: lastCommit, body, tree });
    } else this.#welcome(conversation, [welcome], { isInvitation: true, tree, nowMs });
    return { status: "invited" };
  }

  ask(ask: Ask): "waits" | "refused" | "limit" {
    const conversation = this.#tables.conversations.get(ask.conversation), user = this.#tables.users.get(ask.user);
    if (conversation === undefined || user === undefined || !this.#tables.deviceOf(user, ask.device)) return "refused";
    if (conversation.isMember(user) !== (ask.kind === AskKind.Member)) return "refused";
    if (ask.kind === AskKind.Link) {
      if (conversation.kind !== ConversationKind.Group) return "refused";
      const strangers = [...conversation.asks.values()].filter(({ kind }) => kind === AskKind.Link);
      if (strangers.length >= ASKS_PER_GROUP_MAX && !conversation.asks.has(ask.device)) return "limit";
    }
    conversation.asks.set(ask.device, ask);
    this.#tables.listener?.groupNews({ type: "asked", ask, members: conversation.members });
    return "waits";
  }

  asks(
    user: UserName,
    id: ConversationId | undefined,
    after: { readonly conversation: ConversationId; readonly device: DeviceId } | undefined,
    limit: number,
  ): Ask[] {
    const own = this.#tables.users.get(user), behind = after === undefined ? "" : after.conversation + after.device;
    return [...own?.conversations ?? []]
      .filter((conversation) => conversation.isMember(own) && (id === undefined || conversation.id === id))
      .flatMap(({ asks }) => [...asks.values()])
      .filter(({ conversation, device }) => conversation + device > behind)
      .sort((a, b) => a.conversation + a.device < b.conversation + b.device ? -1 : 1)
      .slice(0, limit);
  }

  dropAsk(user: UserName, id: ConversationId, device: DeviceId): void {
    const conversation = this.#tables.conversations.get(id), own = this.#tables.users.get(user);
    if (conversation?.isMember(own) || (own && this.#tables.deviceOf(own, device))) conversation?.asks.delete(device);
  }

  /** Of a group that a direct conversation's id was used for, or that nobody is in any more. */
  end(conversation: MemoryConversation): void {
    this.#tables.conversations.delete(conversation.id);
    for (const user of conversation.stays.keys()) {
      user.conversations.delete(conversation);
      for (const device of user.devices) device.cursors.delete(conversation.id);
    }
    const kept = this.#tables.records.filter((record) => record.conversation !== conversation.id);
    this.#tables.records.splice(0, this.#tables.records.length, ...kept);
  }

  /** A device has ended. */
  forget(id: DeviceId): void {
    for (const { welcomes, left, asks } of this.#tables.conversations.values()) {
      for (const [user, { device }] of left) if (device === id) left.delete(user);
      welcomes.delete(id);
      asks.delete(id);
    }
  }

  sweep(nowMs: number): void {
    for (const conversation of this.#tables.conversations.values()) {
      const { welcomes, asks, id, commit } = conversation;
      for (const [device, welcome] of welcomes) {
        const cursor = this.#tables.devices.get(device)?.cursors.get(id) ?? 0;
        const isSpoilt = welcome.isInvitation && welcome.commit !== commit;
        const isUsed = welcome.isFetched && cursor > welcome.commit;
        if (isSpoilt || isUsed || welcome.timeMs <= nowMs - KEPT_MS) welcomes.delete(device);
      }
      for (const [user, { commit: former }] of conversation.left) if (former !== commit) conversation.left.delete(user);
      for (const [device, { timeMs }] of asks) if (timeMs <= nowMs - KEPT_MS) asks.delete(device);
    }
  }

  /** What a member may append to, or why not. A repeat is answered whoever is a member now. */
  #entry(entry: StoreLeave): Found | CommitResult {
    const conversation = this.#tables.conversations.get(entry.conversation);
    const sender = this.#tables.devices.get(entry.device);
    if (conversation === undefined || sender?.user.name !== entry.user) return NOT_MEMBER;
    if (!conversation.stays.has(sender.user)) return NOT_MEMBER;
    const first = conversation.numbers.get(`${entry.device}/${entry.messageId}`);
    if (first !== undefined) return { status: "stored", seq: first.seq, timeMs: first.timeMs, duplicate: true };
    if (!conversation.isMember(sender.user)) return NOT_MEMBER;
    if (entry.lastCommit !== conversation.commit) return { status: "stale-epoch", epoch: conversation.commit };
    return { conversation, sender };
  }

  #append(entry: StoreLeave, { conversation, sender }: Found, { coming, going, commit }: Change): CommitResult {
    const { listener, records } = this.#tables, { id } = conversation;
    const { device, messageId, body, nowMs: timeMs } = entry, seq = conversation.head + 1;
    const record: Record = { conversation: id, seq, timeMs, sender: sender.user.name, device, messageId, body };
    const before = conversation.members;
    conversation.append(record);
    records.push(record);
    if (commit !== undefined) conversation.commit = seq;
    for (const user of going) conversation.dismiss(user, seq);
    for (const user of coming) {
      conversation.admit(user, seq);
      for (const { id: device, cursors, ended } of user.devices) {
        if (ended !== "revoked") cursors.set(id, seq);
        conversation.asks.delete(device);
      }
    }
    const hearers = coming.size === 0 ? before : [...new Set([...before, ...conversation.members])].sort();
    listener?.committed([{ record, members: hearers }]);
    if (commit !== undefined) {
      const { tree, nowMs } = commit;
      this.#welcome(conversation, commit.welcomes, { isInvitation: false, tree, nowMs });
    }
    if (going.size > 0) {
      const users = [...going].map(({ name }) => name).sort();
      listener?.groupNews({ type: "dismissed", conversation: id, seq, users });
    }
    if (conversation.members.length === 0) this.end(conversation);
    return { status: "stored", seq, timeMs, duplicate: false };
  }

  #welcome(
    conversation: MemoryConversation,
    welcomes: readonly Welcome[],
    { isInvitation, tree, nowMs: timeMs }: { isInvitation: boolean; tree: Uint8Array; nowMs: number },
  ): void {
    const told = new Map<DeviceId, UserName>();
    for (const { device, body } of welcomes) {
      const user = this.#tables.devices.get(device)?.user;
      if (!conversation.isMember(user) || !this.#tables.isLive(device)) continue;
      const { commit } = conversation;
      if (conversation.left.get(user)?.device === device) conversation.left.delete(user);
      conversation.welcomes.set(device, { isInvitation, commit, body, tree, timeMs, isFetched: false });
      conversation.asks.delete(device);
      if (!isInvitation) this.#welcomed(conversation.id, device);
      told.set(device, user.name);
    }
    if (told.size === 0) return;
    const devices = [...told].map(([device, user]) => ({ user, device }));
    this.#tables.listener?.groupNews({ type: "welcomed", conversation: conversation.id, devices });
  }

  #ofMember(user: UserName, id: ConversationId): MemoryConversation | undefined {
    const conversation = this.#tables.conversations.get(id);
    return conversation?.isMember(this.#tables.users.get(user)) ? conversation : undefined;
  }
}

interface Found {
  readonly conversation: MemoryConversation;
  readonly sender: MemoryDevice;
}

interface Change {
  readonly coming: ReadonlySet<MemoryUser>;
  readonly going: ReadonlySet<MemoryUser>;
  /** Of a leave there is none. */
  readonly commit: StoreCommit | undefined;
}

const NOT_MEMBER = { status: "not-member" } as const;
