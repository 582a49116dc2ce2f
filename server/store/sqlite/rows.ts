/**
 * The rows that nearly every call needs, by the ids the world knows: 16 random bytes outside, small integers inside. Cached,
 * heads and epochs too; whatever is undone, or changes them past this, empties the caches.
 *
 * A head that rises with every record is written late: for a transaction of many records once for each conversation, at its end;
 * for records that come one by one only when there are {@linkcode HEADS_BEHIND_MAX} of them, or when another change is made, since
 * each of those pages would cost as much as the record. Until then the log itself says what is missing ({@linkcode completeHeads}).
 */
import type { DatabaseSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import type { ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { ConversationKind } from "../groups.ts";

/** A conversation's row, its head and its members' names in order. */
export interface Conversation {
  readonly id: number;
  readonly kind: ConversationKind;
  /** The same array until somebody comes or goes; changed by {@linkcode Rows.setMembers}. */
  members: readonly UserName[];
  /** Of a group: from when on each of them is one. */
  since: ReadonlyMap<UserName, number> | undefined;
  /** What an append has to name; changed by {@linkcode Rows.setCommit}. */
  epoch: number;
  /** The newest commit's number. */
  commit: number;
  /** Changed by {@linkcode Rows.setHead}. */
  head: number;
  /** Records up to this one are gone; changed by {@linkcode Rows.setBegins}. */
  begins: number;
}

export interface Device {
  readonly id: number;
  readonly user: UserName;
}

/** From when on a user is delivered to, and up to where it was. */
export interface Stay {
  readonly since: number;
  readonly until: number | undefined;
}

export function isMember({ members, since }: Conversation, user: UserName): boolean {
  return since === undefined ? members.includes(user) : since.has(user);
}

export class Rows {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #conversations = new Cache<ConversationId, Conversation>();
  readonly #devices = new Cache<DeviceId, Device>();
  /** By row: heads that have risen in this transaction and are not in the table yet. */
  readonly #raised = new Map<number, number>();
  /** The same of transactions that are on the disk; they stay here until what writes them is there too. */
  readonly #behind = new Map<number, number>();
  #isBehindWritten = false;
  /** Records on the disk whose heads are in `#behind`, and those of this transaction. */
  #recordsBehind = 0;
  #records = 0;

  constructor(database: DatabaseSync) {
    this.#sql = prepare(database);
  }

  conversation(key: ConversationId): Conversation | undefined {
    const cached = this.#conversations.get(key);
    if (cached !== undefined) return cached;
    const row = this.#sql.conversation.get(fromHex(key));
    if (row === undefined) return undefined;
    const id = row["id"] as number, commit = row["newest_commit"] as number;
    const isGroup = row["kind"] === ConversationKind.Group, since = isGroup ? this.#sinceOf(id) : undefined;
    const members = since === undefined ? membersOf(row["members"]) : [...since.keys()];
    return this.#conversations.set(key, {
      id,
      kind: row["kind"] as ConversationKind,
      members,
      since,
      epoch: commit > 0 || isGroup ? commit : row["epoch"] as number,
      commit,
      head: this.headOf(id, row["head"] as number),
      begins: row["begins"] as number,
    }, weightOf(members));
  }

  /** What a user may read of a conversation; `undefined` for who never was a member. */
  stay(conversation: Conversation, user: UserName): Stay | undefined {
    const since = conversation.since?.get(user) ?? (isMember(conversation, user) ? 0 : undefined);
    if (since !== undefined) return { since, until: undefined };
    if (conversation.since === undefined) return undefined;
    const row = this.#sql.stay.get(conversation.id, user);
    return row && { since: row["since"] as number, until: row["until"] as number };
  }

  device(key: DeviceId): Device | undefined {
    const cached = this.#devices.get(key);
    if (cached !== undefined) return cached;
    const row = this.#sql.deviceByKey.get(fromHex(key));
    if (row === undefined) return undefined;
    return this.#devices.set(key, { id: row["id"] as number, user: row["name"] as UserName });
  }

  /** A record was added: the head rises to it. In the table it does so with {@linkcode writeHeads}. */
  setHead(conversation: Conversation, seq: number): void {
    conversation.head = seq;
    this.#records++;
    this.#raised.set(conversation.id, seq);
  }

  /** A conversation's head, of which the table says this. */
  headOf(id: number, written: number): number {
    const behind = this.#isBehindWritten ? undefined : this.#behind.get(id);
    return Math.max(written, this.#raised.get(id) ?? 0, behind ?? 0);
  }

  /** Brings the table up to date; before the end of a transaction, and before a statement that reads heads. */
  writeHeads(): void {
    if (!this.#isBehindWritten) {
      for (const [id, head] of this.#behind) if (!this.#raised.has(id)) this.#sql.setHead.run(head, id);
      this.#isBehindWritten = true;
    }
    if (this.#raised.size === 0) return;
    for (const [id, head] of this.#raised) this.#sql.setHead.run(head, id);
    this.#raised.clear();
  }

  /** Whether so many records more may be in the log while the table does not know of them. */
  mayStayBehind(records: number): boolean {
    return this.#recordsBehind + records <= HEADS_BEHIND_MAX;
  }

  /** Of a transaction of nothing but records, before its end: {@linkcode writeHeads} where there are many. */
  writeHeadsOfMany(): void {
    if (this.#records > RECORDS_FEW || !this.mayStayBehind(this.#records)) this.writeHeads();
  }

  /** The transaction is on the disk. */
  committed(): void {
    if (this.#isBehindWritten) {
      this.#behind.clear();
      this.#recordsBehind = 0;
    }
    if (this.#raised.size > 0) {
      for (const [id, head] of this.#raised) this.#behind.set(id, head);
      this.#raised.clear();
      this.#recordsBehind += this.#records;
    }
    this.#isBehindWritten = false;
    this.#records = 0;
  }

  /** The record of that number is a commit. */
  setCommit(conversation: Conversation, seq: number): void {
    this.#sql.setCommit.run(seq, conversation.id);
    conversation.epoch = conversation.commit = seq;
  }

  /** In the table somebody came to a group, or was dismissed. */
  setMembers(conversation: Conversation): void {
    conversation.since = this.#sinceOf(conversation.id);
    conversation.members = [...conversation.since.keys()];
  }

  /** Records up to this one are gone. */
  setBegins(id: number, key: ConversationId, begins: number): void {
    this.#sql.setBegins.run(begins, id);
    const cached = this.#conversations.get(key);
    if (cached !== undefined) cached.begins = begins;
  }

  /** Epochs that follow from devices were changed in the table: those of direct conversations. */
  forgetDirect(): void {
    this.writeHeads();
    this.#conversations.keep(({ kind }) => kind === ConversationKind.Group);
  }

  /** It is no more. */
  forgetConversation(key: ConversationId): void {
    this.writeHeads();
    this.#conversations.delete(key);
  }

  /** The transaction is undone. */
  forget(): void {
    this.#isBehindWritten = false;
    this.#records = 0;
    this.undo();
  }

  /** What was changed since {@linkcode writeHeads} is undone. */
  undo(): void {
    this.#raised.clear();
    this.#conversations.clear();
    this.#devices.clear();
  }

  /** In order of name. */
  #sinceOf(id: number): ReadonlyMap<UserName, number> {
    return new Map(this.#sql.group.all(id).map((row) => [row["name"] as UserName, row["since"] as number]));
  }
}

/** Gives the table the heads that are only in the log. For whoever opens a database to write it, in a transaction and first of all. */
export function completeHeads(database: DatabaseSync): void {
  database.prepare(
    `UPDATE conversations SET head = newest.seq
     FROM (SELECT conversation, max(seq) AS seq FROM log WHERE rowid > ${BEHIND} GROUP BY conversation) AS newest
     WHERE id = newest.conversation AND head < newest.seq`,
  ).run();
}

/** Names hold no comma. */
export function membersOf(names: unknown): UserName[] {
  return names === null ? [] : (names as string).split(",") as UserName[];
}

/** What `devices.ended` says. */
export enum Ended {
  no,
  revoked,
  /** Its identity was replaced. */
  superseded,
}

/** The names of a row of `conversations`, in order; null for a group. */
export const MEMBERS = `CASE conversations.kind WHEN ${ConversationKind.Direct} THEN
  (SELECT group_concat(users.name, ',' ORDER BY users.name)
   FROM members JOIN users ON users.id = members.user WHERE members.conversation = conversations.id) END`;

/** What a row of `conversations` says that an append has to name. */
export const EPOCH =
  `CASE WHEN newest_commit > 0 OR kind = ${ConversationKind.Group} THEN newest_commit ELSE epoch END`;

/** Rows by key, of a bounded weight: the oldest goes first, and can be read again at any time. */
class Cache<K, V> {
  readonly #entries = new Map<K, { readonly value: V; readonly weight: number }>();
  #weight = 0;

  get(key: K): V | undefined {
    return this.#entries.get(key)?.value;
  }

  set(key: K, value: V, weight = 1): V {
    for (const oldest of this.#entries.keys()) {
      if (this.#weight + weight <= CACHE_WEIGHT_MAX) break;
      this.delete(oldest);
    }
    this.#weight += weight;
    this.#entries.set(key, { value, weight });
    return value;
  }

  delete(key: K): void {
    this.#weight -= this.#entries.get(key)?.weight ?? 0;
    this.#entries.delete(key);
  }

  keep(isKept: (value: V) => boolean): void {
    for (const [key, { value }] of this.#entries) if (!isKept(value)) this.delete(key);
  }

  clear(): void {
    this.#entries.clear();
    this.#weight = 0;
  }
}

/** A member takes about a third of what a conversation of two does. */
function weightOf(members: readonly UserName[]): number {
  return 1 + Math.floor(members.length / 3);
}

function prepare(database: DatabaseSync) {
  return {
    conversation: database.prepare(
      `SELECT id, kind, epoch, newest_commit, head, begins, ${MEMBERS} AS members FROM conversations WHERE key = ?`,
    ),
    group: database.prepare(
      `SELECT users.name, since FROM members JOIN users ON users.id = members.user
       WHERE conversation = ? AND until IS NULL ORDER BY users.name`,
    ),
    stay: database.prepare(
      `SELECT since, until FROM members
       WHERE conversation = ? AND user = (SELECT id FROM users WHERE name = ?) AND until IS NOT NULL`,
    ),
    setCommit: database.prepare("UPDATE conversations SET newest_commit = ? WHERE id = ?"),
    setHead: database.prepare("UPDATE conversations SET head = max(head, ?) WHERE id = ?"),
    setBegins: database.prepare("UPDATE conversations SET begins = ? WHERE id = ?"),
    deviceByKey: database.prepare(
      `SELECT devices.id, users.name FROM devices JOIN users ON users.id = devices.user WHERE devices.key = ?`,
    ),
  };
}

/** Records in the log that the heads in the table need not know of: what a new leader has to look at. */
const HEADS_BEHIND_MAX = 256;
/** Rows of `log` behind this one (and no others, whatever was removed) may be newer than the heads in the table. */
export const BEHIND = `(SELECT coalesce(max(rowid), 0) - ${HEADS_BEHIND_MAX} FROM log)`;
/** Where more are written at once their heads cost little. */
const RECORDS_FEW = 32;
/** Of conversations, and of devices, kept by key; about 300 bytes for each unit. */
const CACHE_WEIGHT_MAX = 65_536;
