/**
 * The rows that nearly every call needs, by the ids the world knows: 16 random bytes outside, small integers inside. Cached,
 * heads and epochs too; whatever is undone, or changes them past this, empties the caches.
 */
import type { DatabaseSync } from "node:sqlite";
import type { ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";

/** A conversation's row, its head and its members' names in order. */
export interface Conversation {
  readonly id: number;
  readonly members: readonly UserName[];
  readonly epoch: number;
  head: number;
}

export interface Device {
  readonly id: number;
  readonly user: UserName;
}

export class Rows {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #conversations = new Cache<ConversationId, Conversation>();
  readonly #devices = new Cache<DeviceId, Device>();

  constructor(database: DatabaseSync) {
    this.#sql = prepare(database);
  }

  conversation(key: ConversationId): Conversation | undefined {
    const cached = this.#conversations.get(key);
    if (cached !== undefined) return cached;
    const row = this.#sql.conversation.get(Uint8Array.fromHex(key));
    if (row === undefined) return undefined;
    return this.#conversations.set(key, {
      id: row["id"] as number,
      epoch: row["epoch"] as number,
      head: row["head"] as number,
      members: membersOf(row["members"]),
    });
  }

  device(key: DeviceId): Device | undefined {
    const cached = this.#devices.get(key);
    if (cached !== undefined) return cached;
    const row = this.#sql.deviceByKey.get(Uint8Array.fromHex(key));
    if (row === undefined) return undefined;
    return this.#devices.set(key, { id: row["id"] as number, user: row["name"] as UserName });
  }

  /** Epochs, heads or members were changed in the tables. */
  forgetConversations(): void {
    this.#conversations.clear();
  }

  forget(): void {
    this.#conversations.clear();
    this.#devices.clear();
  }
}

/** Names hold no comma. */
export function membersOf(names: unknown): UserName[] {
  return (names as string).split(",") as UserName[];
}

/** The newest sequence number of a row of `conversations`; one step in the index. */
export const HEAD = "coalesce((SELECT max(seq) FROM log WHERE log.conversation = conversations.id), 0)";
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
      `SELECT id, epoch, ${HEAD} AS head, ${MEMBERS} AS members FROM conversations WHERE key = ?`,
    ),
    deviceByKey: database.prepare(
      `SELECT devices.id, users.name FROM devices JOIN users ON users.id = devices.user WHERE devices.key = ?`,
    ),
  };
}

/** Conversations and devices kept by key; about 300 bytes each. */
const CACHE_ENTRIES_MAX = 65_536;
