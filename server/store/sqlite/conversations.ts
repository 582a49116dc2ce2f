/** Who talks to whom, and how far each device has come: tables `conversations`, `members`, `cursors`. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import type { ConversationHead, ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { ConversationKind } from "../groups.ts";
import { type Conversation, EPOCH, isMember, MEMBERS, membersOf, type Rows } from "./rows.ts";

export class Conversations {
  readonly #rows: Rows;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows) {
    this.#rows = rows;
    this.#sql = prepare(database);
  }

  /** Whether {@linkcode openDirect} would change nothing, so that it need not wait for a transaction. */
  isOpen(id: ConversationId): boolean {
    return this.#rows.conversation(id)?.kind === ConversationKind.Direct;
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
    return isMember(conversation, user) ? this.head(id, conversation, user, device) : undefined;
  }

  /** As a member sees it. */
  head(
    id: ConversationId,
    conversation: Conversation,
    user: UserName,
    device: DeviceId | undefined,
  ): ConversationHead {
    const { kind, members, since, head, begins, epoch } = conversation;
    return {
      conversation: id,
      kind,
      members: since === undefined ? [...members] : [],
      head,
      begins: Math.max(begins, (since?.get(user) ?? 0) - 1),
      cursor: this.#cursor(user, device, conversation),
      epoch,
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
      head: Math.min(this.#rows.headOf(row["id"] as number, row["head"] as number), row["upto"] as number),
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
      const stay = conversation && this.#rows.stay(conversation, user);
      if (conversation === undefined || stay === undefined) continue;
      this.#sql.setCursor.run(found.id, conversation.id, Math.min(seq, stay.until ?? conversation.head));
    }
  }

  #insertDirect(id: ConversationId, members: readonly { [column: string]: unknown }[]): void {
    const distinct = members.filter((row, at) => members.findIndex((other) => other["id"] === row["id"]) === at);
    const epoch = distinct.reduce((sum, row) => sum + (row["device_revision"] as number), 0);
    const key = fromHex(id);
    const { lastInsertRowid } = this.#sql.insertConversation.run(key, ConversationKind.Direct, epoch);
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
      `SELECT conversations.id, key, kind, min(${EPOCH}, ${UNTIL}) AS epoch, head, ${UNTIL} AS upto,
         max(begins, since - 1) AS begins,
         ${MEMBERS} AS members, coalesce(cursors.seq, 0) AS cursor
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
         LEFT JOIN cursors ON cursors.device = ? AND cursors.conversation = conversations.id
       WHERE own.user = (SELECT id FROM users WHERE name = ?) AND own.conversation_key > ?
         AND coalesce(cursors.seq, 0) < ${UNTIL}
       ORDER BY own.conversation_key LIMIT ?`,
    ),
    cursor: sql("SELECT seq FROM cursors WHERE device = ? AND conversation = ?"),
    setCursor: sql(
      `INSERT INTO cursors (device, conversation, seq) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq`,
    ),
  };
}

/** Beyond every number where a user is a member. */
const UNTIL = `coalesce(until, ${Number.MAX_SAFE_INTEGER})`;
const NO_ROW = -1;
