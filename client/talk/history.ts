/** What was said: the rows of each conversation that this home has. Table `messages`. */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import type { ChangeEvent, LogEvent, MessageEvent } from "../events.ts";
import type { Database } from "../home/database.ts";
import { insertRow, type NewMessage, Own, type Positioned, toEvent, toKept, toPositioned } from "./message_row.ts";

/** Whoever changes several things at once does it in one transaction of the database. */
export class History {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** Whether a message of that id and device is already there (refused ones and copies do not count: their id is only a claim). */
  has(conversation: ConversationId, device: DeviceId, id: MessageId): boolean {
    return this.#db.get(
      `SELECT 1 FROM messages
       WHERE id = ? AND conversation = ? AND device = ? AND text IS NOT NULL AND kind = 1 AND copy_from IS NULL`,
      id,
      conversation,
      device,
    ) !== undefined;
  }

  /** Whether anything of that device is there from behind a place on. */
  hasBehind(conversation: ConversationId, device: DeviceId, seq: number): boolean {
    return this.#db.get(
      `SELECT 1 FROM messages
       WHERE conversation = ? AND seq > ? AND device = ? AND text IS NOT NULL AND copy_from IS NULL LIMIT 1`,
      conversation,
      seq,
      device,
    ) !== undefined;
  }

  /** Whether the history has this row as one that this home sent. */
  hasOwn(conversation: ConversationId, seq: number): boolean {
    return this.#db.get(
      "SELECT 1 FROM messages WHERE conversation = ? AND seq = ? AND own = ? AND text IS NOT NULL AND kind = 1",
      conversation,
      seq,
      Own.here,
    ) !== undefined;
  }

  /** Adds a row; one that has its (conversation, seq) already stays as it is, unless it is somebody's copy. */
  add(message: NewMessage): void {
    this.#dropCopies(message);
    insertRow(message, this.#db);
  }

  /** A row of this home that the cursor has not passed: it was stored, and its body is not known from the log. */
  ownBody(conversation: ConversationId, seq: number): (NewMessage & { body: Uint8Array }) | undefined {
    const row = this.#db.get(
      `SELECT * FROM messages WHERE conversation = ? AND seq = ? AND own = ? AND text IS NOT NULL AND kind = 1
       AND body IS NOT NULL`,
      conversation,
      seq,
      Own.here,
    );
    return row && toKept(row, this.#db);
  }

  /** The cursor has passed it. */
  dropOwnBody(conversation: ConversationId, seq: number): void {
    this.#db.run(
      "UPDATE messages SET body = NULL WHERE conversation = ? AND seq = ? AND own = ? AND body IS NOT NULL",
      conversation,
      seq,
      Own.here,
    );
  }

  /** Refused rows of conversations with somebody that kept their body, oldest first. */
  retryable(peer: UserName): (NewMessage & { body: Uint8Array })[] {
    return this.#db.all(
      `SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation
       WHERE m.body IS NOT NULL AND m.text IS NULL
       AND (c.peer = ? OR EXISTS (SELECT 1 FROM members WHERE conversation = c.id AND name = ?)) ORDER BY m.position`,
      peer,
      peer,
    )
      .map((row) => toKept(row, this.#db));
  }

  /** Puts a readable row in the place of a refused one, at a new position: it has not been shown. */
  replace(message: NewMessage): void {
    this.#db.run("DELETE FROM messages WHERE conversation = ? AND seq = ?", message.conversation, message.seq);
    this.add(message);
  }

  /** As {@linkcode add}, also where the same place holds a refused row: one of this home's own that it did not recognise. */
  replaceRefused(message: NewMessage): void {
    const { conversation, seq } = message;
    this.#db.run("DELETE FROM messages WHERE conversation = ? AND seq = ? AND text IS NULL", conversation, seq);
    this.add(message);
  }

  /** How many rows of a stretch of the log this home does not have, and the place of the last of them. */
  lacking(id: ConversationId, after: number, upTo: number): { readonly count: number; readonly last: number } {
    const held = new Set(
      this.#db.all("SELECT seq FROM messages WHERE conversation = ? AND seq > ? AND seq <= ?", id, after, upTo)
        .map((row) => row["seq"] as number),
    );
    let last = upTo;
    while (held.has(last)) last--;
    return { count: upTo - after - held.size, last };
  }

  /** What this home sent between two places of the log, in order. */
  sentBetween(id: ConversationId, after: number, upTo: number): MessageEvent[] {
    return this.#db.all(
      `SELECT * FROM messages WHERE conversation = ? AND seq > ? AND seq <= ? AND own = ? AND text IS NOT NULL AND kind = 1
       ORDER BY seq`,
      id,
      after,
      upTo,
      Own.here,
    ).map((row) => toEvent(row, this.#db)).filter((event) => event.type === "message");
  }

  /**
   * A message of this home that is shown already has another place in the log: it was sent again.
   *
   * @returns Whether there is such a message.
   */
  moveSent(
    { conversation, seq, id, hash }: Pick<NewMessage, "conversation" | "seq" | "id"> & { hash: Uint8Array },
  ): boolean {
    const row = this.#db.get(
      "SELECT * FROM messages WHERE id = ? AND conversation = ? AND own = ? AND text IS NOT NULL AND kind = 1",
      id,
      conversation,
      Own.here,
    );
    if (row === undefined) return false;
    this.#db.run("DELETE FROM messages WHERE conversation = ? AND seq = ? AND text IS NULL", conversation, seq);
    this.#db.run("UPDATE messages SET seq = ?, hash = ? WHERE position = ?", seq, hash, row["position"] as number);
    return true;
  }

  /** SHA-256 of the body at a place, where this home knows it. */
  hashAt(id: ConversationId, seq: number): Uint8Array | undefined {
    const row =
      this.#db.get("SELECT hash FROM messages WHERE conversation = ? AND seq = ? AND copy_from IS NULL", id, seq) ??
        this.#db.get("SELECT cursor_hash AS hash FROM conversations WHERE id = ? AND cursor = ?", id, seq);
    return row?.["hash"] as Uint8Array | null ?? undefined;
  }

  /** The newest `limit` messages of a conversation, oldest first. Refused rows are not among them: they are nobody's words. */
  messagesIn(id: ConversationId, limit: number): MessageEvent[] {
    return this.#newest(id, "kind = 1", limit).filter((event) => event.type === "message");
  }

  /** {@linkcode messagesIn} with what changed in between, which counts too. */
  talkIn(id: ConversationId, limit: number): (MessageEvent | ChangeEvent)[] {
    return this.#newest(id, "kind IN (1, 2)", limit).filter((event) => event.type !== "refused");
  }

  #newest(id: ConversationId, which: "kind = 1" | "kind IN (1, 2)", limit: number): LogEvent[] {
    return this.#db.all(
      `SELECT * FROM (SELECT * FROM messages WHERE conversation = ? AND text IS NOT NULL AND ${which}
       ORDER BY seq DESC LIMIT ?) ORDER BY seq`,
      id,
      limit,
    ).map((row) => toPositioned(row, this.#db).event);
  }

  /** Everything behind a position, sent or received, in the order it came. */
  after(position: number, limit: number): (Positioned & { own: Own })[] {
    return this.#db.all("SELECT * FROM messages WHERE position > ? ORDER BY position LIMIT ?", position, limit)
      .map((row) => ({ ...toPositioned(row, this.#db), own: row["own"] as Own }));
  }

  /** The newest position; 0 where there is nothing. */
  lastPosition(): number {
    return this.#db.get("SELECT coalesce(max(position), 0) AS last FROM messages")!["last"] as number;
  }

  /** The log itself has what somebody's copy told until now. The id of a refused row is only a claim. */
  #dropCopies({ conversation, seq, id, device, text }: NewMessage): void {
    this.#db.run(
      "DELETE FROM messages WHERE conversation = ? AND seq = ? AND copy_from IS NOT NULL",
      conversation,
      seq,
    );
    if (text === undefined) return;
    this.#db.run(
      "DELETE FROM messages WHERE id = ? AND conversation = ? AND device = ? AND copy_from IS NOT NULL",
      id,
      conversation,
      device,
    );
  }
}
