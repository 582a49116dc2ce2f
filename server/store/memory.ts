/**
 * The store in memory: the plain twin that the others are tested against, and what handlers' tests run on.
 *
 * Every change happens inside the call, as if each were a transaction of its own; answers still come a microtask later,
 * so that nobody learns to rely on less than the contract says.
 */
import { DEVICES_PER_USER_MAX, READ_BYTES_MAX, SESSIONS_PER_DEVICE_MAX } from "../../shared/limits.ts";
import type {
  ConversationHead,
  ConversationId,
  DeviceId,
  DirectoryEntry,
  OwnReceipt,
  Receipt,
  Record,
  UserName,
} from "../../shared/protocol/mod.ts";
import type { CommitListener, Committed, ReceiptMoved } from "../bus/bus.ts";
import { sameBytes } from "./bytes.ts";
import { type Aged, countToTrim, RECORD_BYTES } from "./retention.ts";
import { StaleSenders } from "./stale_senders.ts";
import {
  type Account,
  type AppendResult,
  type LiveSession,
  type LogPage,
  type NewDevice,
  type NewUser,
  type Session,
  type Store,
  type StoreAppend,
  StoreUnavailableError,
  type TrimLimits,
} from "./store.ts";

export class MemoryStore implements Store {
  readonly #listener: CommitListener | undefined;
  readonly #users = new Map<UserName, User>();
  readonly #devices = new Map<DeviceId, Device>();
  readonly #sessions = new Map<string, Session>();
  readonly #conversations = new Map<ConversationId, Conversation>();
  /** All of them, in the order in which they came. */
  readonly #records: Record[] = [];
  #closed = false;

  constructor(listener?: CommitListener) {
    this.#listener = listener;
  }

  // deno-lint-ignore require-await
  async createUser(user: NewUser): Promise<"created" | "name-taken"> {
    this.#open();
    const device = this.#devices.get(user.device.id);
    const known = this.#users.get(user.name);
    if (known !== undefined) {
      const retried = device?.user === known && sameBytes(device.certificate, user.device.certificate) &&
        sameBytes(known.identityKey, user.identityKey);
      return retried ? "created" : "name-taken";
    }
    if (device !== undefined) return "name-taken";
    const { name, stretching, passwordHash, identityKey, backup } = user;
    const made: User = {
      name,
      stretching,
      passwordHash,
      identityKey,
      backup,
      devices: [],
      revision: 1,
      generation: 0,
      conversations: [],
    };
    this.#users.set(name, made);
    this.#addDevice(made, user.device);
    return "created";
  }

  // deno-lint-ignore require-await
  async account(name: UserName): Promise<Account | undefined> {
    this.#open();
    const user = this.#users.get(name);
    if (user === undefined) return undefined;
    const { stretching, passwordHash, identityKey, backup } = user;
    const devices = user.devices.map(({ id, certificate }) => ({ id, certificate }));
    return { name, stretching: { ...stretching }, passwordHash, identityKey, backup, devices };
  }

  // deno-lint-ignore require-await
  async addDevice(name: UserName, device: NewDevice): Promise<"added" | "limit" | "id-taken"> {
    this.#open();
    const user = this.#users.get(name);
    if (user === undefined) throw new RangeError(`Cannot add a device: there is no user ${name}`);
    const known = this.#devices.get(device.id);
    if (known !== undefined) {
      return known.user === user && sameBytes(known.certificate, device.certificate) ? "added" : "id-taken";
    }
    if (user.devices.length >= DEVICES_PER_USER_MAX) return "limit";
    const added = this.#addDevice(user, device);
    user.revision++;
    for (const conversation of user.conversations) added.cursors.set(conversation.id, headOf(conversation));
    const conversations = user.conversations.toSorted(byId).map((conversation) => ({
      id: conversation.id,
      epoch: epochOf(conversation),
      members: namesOf(conversation),
    }));
    this.#listener?.devicesChanged({ user: name, conversations });
    return "added";
  }

  // deno-lint-ignore require-await
  async createSession(session: Session): Promise<number> {
    this.#open();
    if (this.#devices.get(session.device)?.user.name !== session.user) {
      throw new RangeError(`Cannot keep a session: ${session.user} has no device ${session.device}`);
    }
    const hash = session.tokenHash.toHex();
    this.#sessions.set(hash, { ...session });
    const others = [...this.#sessions].filter(([other, { device }]) => device === session.device && other !== hash)
      .sort(([one, { expiresMs: a }], [two, { expiresMs: b }]) => b - a || (one < two ? -1 : 1));
    for (const [other] of others.slice(SESSIONS_PER_DEVICE_MAX - 1)) this.#sessions.delete(other);
    return this.#users.get(session.user)!.generation;
  }

  // deno-lint-ignore require-await
  async session(tokenHash: Uint8Array, nowMs: number): Promise<LiveSession | undefined> {
    this.#open();
    const session = this.#sessions.get(tokenHash.toHex());
    if (session === undefined || session.expiresMs <= nowMs) return undefined;
    return { ...session, generation: this.#users.get(session.user)!.generation };
  }

  // deno-lint-ignore require-await
  async raiseGeneration(name: UserName, keep?: Uint8Array): Promise<number> {
    this.#open();
    const user = this.#users.get(name);
    if (user === undefined) throw new RangeError(`Cannot end sessions: there is no user ${name}`);
    const generation = ++user.generation;
    for (const [hash, session] of this.#sessions) {
      if (session.user === name && hash !== keep?.toHex()) this.#sessions.delete(hash);
    }
    this.#listener?.sessionsEnded({ user: name, generation, keep });
    return generation;
  }

  // deno-lint-ignore require-await
  async deleteSession(tokenHash: Uint8Array): Promise<void> {
    this.#open();
    this.#sessions.delete(tokenHash.toHex());
  }

  // deno-lint-ignore require-await
  async users(after: string, limit: number): Promise<UserName[]> {
    this.#open();
    return [...this.#users.keys()].filter((name) => name > after).sort().slice(0, limit);
  }

  // deno-lint-ignore require-await
  async directory(names: readonly UserName[]): Promise<DirectoryEntry[]> {
    this.#open();
    return names.flatMap((name) => {
      const user = this.#users.get(name);
      if (user === undefined) return [];
      const certificates = user.devices.map((device) => device.certificate);
      return [{ name, identityKey: user.identityKey, deviceRevision: user.revision, certificates }];
    });
  }

  // deno-lint-ignore require-await
  async openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device?: DeviceId,
  ): Promise<ConversationHead | undefined> {
    this.#open();
    const members = [...new Set([user, peer].sort())].map((name) => this.#users.get(name));
    if (!members.every((member) => member !== undefined)) return undefined;
    let conversation = this.#conversations.get(id);
    if (conversation === undefined) {
      conversation = { id, members, receipts: new Map(), log: [], begins: 0, numbers: new Map() };
      this.#conversations.set(id, conversation);
      for (const member of members) member.conversations.push(conversation);
    }
    const own = this.#users.get(user)!;
    return conversation.members.includes(own) ? listed(conversation, this.#deviceOf(own, device)) : undefined;
  }

  // deno-lint-ignore require-await
  async conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): Promise<ConversationHead[]> {
    this.#open();
    const own = this.#users.get(user);
    if (own === undefined) return [];
    return own.conversations.toSorted(byId)
      .filter(({ id }) => after === undefined || id > after)
      .slice(0, limit)
      .map((conversation) => listed(conversation, this.#deviceOf(own, device)));
  }

  // deno-lint-ignore require-await
  async append(records: readonly StoreAppend[]): Promise<AppendResult[]> {
    this.#open();
    const stale = new StaleSenders(), committed: Committed[] = [];
    const results = records.map((record) => this.#append(record, stale, committed));
    if (committed.length > 0) this.#listener?.committed(committed);
    return results;
  }

  // deno-lint-ignore require-await
  async read(
    user: UserName,
    conversation: ConversationId,
    after: number,
    limit: number,
  ): Promise<LogPage | undefined> {
    this.#open();
    const found = this.#conversations.get(conversation);
    if (found === undefined || !found.members.some((member) => member.name === user)) return undefined;
    const records: Record[] = [];
    let bytes = 0;
    const from = Math.max(0, after - found.begins);
    for (const record of found.log.slice(from, from + limit)) {
      bytes += record.body.length;
      if (bytes > READ_BYTES_MAX && records.length > 0) break;
      records.push(record);
    }
    return { records, begins: found.begins };
  }

  // deno-lint-ignore require-await
  async setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): Promise<void> {
    this.#open();
    const own = this.#users.get(user);
    const found = own && this.#deviceOf(own, device);
    if (found === undefined) return;
    for (const { conversation: id, seq } of cursors) {
      const conversation = this.#conversations.get(id);
      if (!conversation?.members.includes(found.user)) continue;
      const at = found.cursors.get(id) ?? 0;
      found.cursors.set(id, Math.max(at, Math.min(seq, headOf(conversation))));
    }
  }

  // deno-lint-ignore require-await
  async setReceipts(user: UserName, device: DeviceId, receipts: readonly OwnReceipt[]): Promise<void> {
    this.#open();
    const own = this.#users.get(user), moved: ReceiptMoved[] = [];
    const found = own && this.#deviceOf(own, device);
    if (found === undefined) return;
    for (const said of receipts) {
      const { conversation: id, delivered, read } = said, conversation = this.#conversations.get(id);
      if (!conversation?.members.includes(found.user) || delivered > headOf(conversation)) continue;
      const { delivered: last, read: lastRead } = conversation.receipts.get(device) ?? NO_RECEIPT;
      if (delivered < last || (delivered === last && read <= lastRead)) continue;
      const receipt = { ...said, user, device };
      conversation.receipts.set(device, receipt);
      found.cursors.set(id, Math.max(found.cursors.get(id) ?? 0, delivered));
      moved.push({ receipt, members: namesOf(conversation) });
    }
    if (moved.length > 0) this.#listener?.receipts(moved);
  }

  // deno-lint-ignore require-await
  async receipts(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Promise<Receipt[]> {
    this.#open();
    return conversations.flatMap((id, at) => {
      const conversation = this.#conversations.get(id);
      if (!conversation?.members.some((member) => member.name === user)) return [];
      return [...conversation.receipts.values()]
        .filter(({ device }) => at > 0 || after === undefined || device > after)
        .sort((a, b) => a.device < b.device ? -1 : 1);
    }).slice(0, limit);
  }

  // deno-lint-ignore require-await
  async trim(limits: TrimLimits): Promise<number> {
    this.#open();
    const aged = function* (records: readonly Record[]): Generator<Aged> {
      for (const { timeMs, body } of records) yield { timeMs, bytes: body.length };
    };
    const bytes = this.#records.reduce((sum, { body }) => sum + body.length + RECORD_BYTES, 0);
    const removed = this.#records.splice(0, countToTrim(aged(this.#records), limits, bytes));
    for (const { conversation: id, device, messageId, seq } of removed) {
      const conversation = this.#conversations.get(id)!;
      conversation.log.shift();
      conversation.numbers.delete(`${device}/${messageId}`);
      conversation.begins = seq;
    }
    return removed.length;
  }

  // deno-lint-ignore require-await
  async close(): Promise<void> {
    this.#closed = true;
  }

  #append(record: StoreAppend, stale: StaleSenders, committed: Committed[]): AppendResult {
    const conversation = this.#conversations.get(record.conversation);
    const sender = this.#devices.get(record.device);
    if (conversation === undefined || sender === undefined) return NOT_MEMBER;
    if (sender.user.name !== record.user || !conversation.members.includes(sender.user)) return NOT_MEMBER;
    const number = `${record.device}/${record.messageId}`;
    const first = conversation.numbers.get(number);
    if (first !== undefined) return { status: "stored", seq: first.seq, timeMs: first.timeMs, duplicate: true };
    const epoch = epochOf(conversation);
    if (record.expectedEpoch !== epoch || stale.has(record)) {
      stale.add(record, epoch);
      return { status: "stale-epoch", epoch };
    }
    const stored: Record = {
      conversation: record.conversation,
      seq: headOf(conversation) + 1,
      timeMs: record.nowMs,
      sender: record.user,
      device: record.device,
      messageId: record.messageId,
      body: record.body,
    };
    conversation.log.push(stored);
    this.#records.push(stored);
    conversation.numbers.set(number, stored);
    committed.push({ record: stored, members: namesOf(conversation) });
    return { status: "stored", seq: stored.seq, timeMs: stored.timeMs, duplicate: false };
  }

  #addDevice(user: User, { id, certificate }: NewDevice): Device {
    const device: Device = { id, certificate, user, cursors: new Map() };
    user.devices.push(device);
    this.#devices.set(id, device);
    return device;
  }

  #deviceOf(user: User, id: DeviceId | undefined): Device | undefined {
    const device = id === undefined ? undefined : this.#devices.get(id);
    return device?.user === user ? device : undefined;
  }

  #open(): void {
    if (this.#closed) throw new StoreUnavailableError("Cannot use the store: it is closed");
  }
}

interface User {
  readonly name: UserName;
  readonly stretching: Account["stretching"];
  readonly passwordHash: Uint8Array;
  readonly identityKey: Uint8Array;
  readonly backup: Uint8Array;
  readonly devices: Device[];
  readonly conversations: Conversation[];
  revision: number;
  generation: number;
}

interface Device extends NewDevice {
  readonly user: User;
  readonly cursors: Map<ConversationId, number>;
}

interface Conversation {
  readonly id: ConversationId;
  /** By device. */
  readonly receipts: Map<DeviceId, Receipt>;
  readonly members: readonly User[];
  /** The record with seq n is at n - 1 - begins. */
  readonly log: Record[];
  /** Records up to this one are gone. */
  begins: number;
  /** By device and message id: what makes `append` idempotent. */
  readonly numbers: Map<string, Record>;
}

function epochOf(conversation: Conversation): number {
  return conversation.members.reduce((sum, member) => sum + member.revision, 0);
}

function namesOf(conversation: Conversation): UserName[] {
  return conversation.members.map((member) => member.name);
}

function headOf(conversation: Conversation): number {
  return conversation.begins + conversation.log.length;
}

function listed(conversation: Conversation, device: Device | undefined): ConversationHead {
  return {
    conversation: conversation.id,
    kind: KIND_DIRECT,
    members: namesOf(conversation),
    head: headOf(conversation),
    begins: conversation.begins,
    cursor: device?.cursors.get(conversation.id) ?? 0,
    epoch: epochOf(conversation),
  };
}

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : 1;
}

const KIND_DIRECT = 1;
const NO_RECEIPT = { delivered: -1, read: 0 };
const NOT_MEMBER: AppendResult = { status: "not-member" };
