/** Who talks to whom, and how far each device has come: tables `conversations`, `members`, `cursors`. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import type { ConversationHead, ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { type Conversation, MEMBERS, membersOf, type Rows } from "./rows.ts";

export class Conversations {
  readonly #rows: Rows;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows) {
    this.#rows = rows;
    this.#sql = prepare(database);
  }

  /** Whether {@linkcode openDirect} would change nothing, so that it need not wait for a transaction. */
  isOpen(id: ConversationId): boolean {
    return this.#rows.conversation(id) !== undefined;
  }

  openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device: DeviceId | undefined,
  ): ConversationHead | undefined {
    const own = this.#sql.userByName.get(user), other = this.#sql.userByName.get(peer);
    if (own === undefined || other === undefined) return undefined;
    if (this.#rows.conversation(id) === undefined) this.#insertDirect(id, [...new Set([own, other])]);
    const conversation = this.#rows.conversation(id)!;
    if (!conversation.members.includes(user)) return undefined;
    return {
      conversation: id,
      kind: KIND_DIRECT,
      members: [...conversation.members],
      head: conversation.head,
      begins: conversation.begins,
      cursor: this.#cursor(user, device, conversation),
      epoch: conversation.epoch,
    };
  }

  heads(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): ConversationHead[] {
    const found = this.#rows.device(device);
    const own = found?.user === user ? found.id : NO_ROW;
    const behind = after === undefined ? new Uint8Array() : fromHex(after);
    return this.#sql.heads.all(own, user, behind, limit).map((row) => ({
      conversation: (row["key"] as Uint8Array).toHex() as ConversationId,
      kind: row["kind"] as number,
      members: membersOf(row["members"]),
      head: row["head"] as number,
      begins: row["begins"] as number,
      cursor: row["cursor"] as number,
      epoch: row["epoch"] as number,
    }));
  }

  setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): void {
    const found = this.#rows.device(device);
    if (found?.user !== user) return;
    for (const { conversation: id, seq } of cursors) {
      const conversation = this.#rows.conversation(id);
      if (!conversation?.members.includes(user)) continue;
      this.#sql.setCursor.run(found.id, conversation.id, Math.min(seq, conversation.head));
    }
  }

  #insertDirect(id: ConversationId, members: readonly { [column: string]: unknown }[]): void {
    const distinct = members.filter((row, at) => members.findIndex((other) => other["id"] === row["id"]) === at);
    const epoch = distinct.reduce((sum, row) => sum + (row["device_revision"] as number), 0);
    const key = fromHex(id);
    const { lastInsertRowid } = this.#sql.insertConversation.run(key, KIND_DIRECT, epoch);
    for (const row of distinct) this.#sql.insertMember.run(row["id"] as number, key, lastInsertRowid);
  }

  #cursor(user: UserName, key: DeviceId | undefined, conversation: Conversation): number {
    const device = key === undefined ? undefined : this.#rows.device(key);
    if (device?.user !== user) return 0;
    return this.#sql.cursor.get(device.id, conversation.id)?.["seq"] as number ?? 0;
  }
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    userByName: sql("SELECT id, device_revision FROM users WHERE name = ?"),
    insertConversation: sql("INSERT INTO conversations (key, kind, epoch) VALUES (?, ?, ?)"),
    insertMember: sql("INSERT INTO members (user, conversation_key, conversation) VALUES (?, ?, ?)"),
    heads: sql(
      `SELECT key, kind, epoch, head, begins, ${MEMBERS} AS members,
         coalesce((SELECT seq FROM cursors WHERE device = ? AND cursors.conversation = conversations.id), 0) AS cursor
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = (SELECT id FROM users WHERE name = ?) AND own.conversation_key > ?
       ORDER BY own.conversation_key LIMIT ?`,
    ),
    cursor: sql("SELECT seq FROM cursors WHERE device = ? AND conversation = ?"),
    setCursor: sql(
      `INSERT INTO cursors (device, conversation, seq) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq`,
    ),
  };
}

const KIND_DIRECT = 1;
const NO_ROW = -1;
