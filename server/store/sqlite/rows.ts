/**
 * The rows that nearly every call needs, by the ids the world knows: 16 random bytes outside, small integers inside. Cached,
 * heads and epochs too; whatever is undone, or changes them past this, empties the caches.
 *
 * A head that rises with every record is written once for each conversation of a transaction, at its end.
 */
import type { DatabaseSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import type { ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";

/** A conversation's row, its head and its members' names in order. */
export interface Conversation {
  readonly id: number;
  readonly members: readonly UserName[];
  readonly epoch: number;
  /** Changed by {@linkcode Rows.setHead}. */
  head: number;
  /** Records up to this one are gone; changed by {@linkcode Rows.setBegins}. */
  begins: number;
}

export interface Device {
  readonly id: number;
  readonly user: UserName;
}

export class Rows {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #conversations = new Cache<ConversationId, Conversation>();
  readonly #devices = new Cache<DeviceId, Device>();
  /** Whose heads have risen and are not in the table yet. */
  readonly #raised = new Set<Conversation>();

  constructor(database: DatabaseSync) {
    this.#sql = prepare(database);
  }

  conversation(key: ConversationId): Conversation | undefined {
    const cached = this.#conversations.get(key);
    if (cached !== undefined) return cached;
    // It may be one of those, and have been crowded out.
    this.writeHeads();
    const row = this.#sql.conversation.get(fromHex(key));
    if (row === undefined) return undefined;
    return this.#conversations.set(key, {
      id: row["id"] as number,
      epoch: row["epoch"] as number,
      head: row["head"] as number,
      begins: row["begins"] as number,
      members: membersOf(row["members"]),
    });
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
    this.#raised.add(conversation);
  }

  /** Brings the table up to date; before the end of a transaction, and before a statement that reads heads. */
  writeHeads(): void {
    if (this.#raised.size === 0) return;
    for (const { head, id } of this.#raised) this.#sql.setHead.run(head, id);
    this.#raised.clear();
  }

  /** Records up to this one are gone. */
  setBegins(id: number, key: ConversationId, begins: number): void {
    this.#sql.setBegins.run(begins, id);
    const cached = this.#conversations.get(key);
    if (cached !== undefined) cached.begins = begins;
  }

  /** Epochs or members were changed in the tables. */
  forgetConversations(): void {
    this.writeHeads();
    this.#conversations.clear();
  }

  /** What was changed is undone. */
  forget(): void {
    this.#raised.clear();
    this.#conversations.clear();
    this.#devices.clear();
  }
}

/** Names hold no comma. */
export function membersOf(names: unknown): UserName[] {
  return (names as string).split(",") as UserName[];
}

/** The names of a row of `conversations`, in order. */
export const MEMBERS = `(SELECT group_concat(users.name, ',' ORDER BY users.name)
  FROM members JOIN users ON users.id = members.user WHERE members.conversation = conversations.id)`;

/** Rows by key, a bounded number: the oldest goes first, and can be read again at any time. */
class Cache<K, V> {
  readonly #entries = new Map<K, V>();

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  set(key: K, value: V): V {
    if (this.#entries.size >= CACHE_ENTRIES_MAX) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(key, value);
    return value;
  }

  clear(): void {
    this.#entries.clear();
  }
}

function prepare(database: DatabaseSync) {
  return {
    conversation: database.prepare(
      `SELECT id, epoch, head, begins, ${MEMBERS} AS members FROM conversations WHERE key = ?`,
    ),
    setHead: database.prepare("UPDATE conversations SET head = ? WHERE id = ?"),
    setBegins: database.prepare("UPDATE conversations SET begins = ? WHERE id = ?"),
    deviceByKey: database.prepare(
      `SELECT devices.id, users.name FROM devices JOIN users ON users.id = devices.user WHERE devices.key = ?`,
    ),
  };
}

/** Conversations and devices kept by key; about 300 bytes each. */
const CACHE_ENTRIES_MAX = 65_536;
