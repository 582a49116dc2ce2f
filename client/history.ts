/** What was said: conversations, their messages, and how much of them has been shown. Tables `conversations`, `messages`, `chains`. */
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import { placeOf } from "./adoption.ts";
import type { Database, Row } from "./database.ts";
import type { MessageEvent, RefusedEvent } from "./events.ts";
import { openText, sealText, type Vault } from "./vault.ts";

export interface Conversation {
  readonly id: ConversationId;
  readonly peer: UserName;
  /** Rows of the log up to and including this one are dealt with. */
  readonly cursor: number;
  /** Where this device began, or the server's log did when it was read last: nothing up to here is read. */
  readonly begins: number;
}

/** A line of the list of conversations. */
export interface ConversationSummary {
  readonly name: UserName;
  readonly conversation: ConversationId;
  /** Messages not yet marked as shown. */
  readonly unread: number;
  /** RFC 3339 of the newest message; absent where nothing was said yet. */
  readonly lastTime?: string;
}

/** Something to show, and the cursor that says it was. */
export interface Positioned {
  readonly event: MessageEvent | RefusedEvent;
  readonly position: number;
}

/** Who sent a row: someone else, this home, or another device of the same person. */
export const Own = { no: 0, here: 1, elsewhere: 2 } as const;
export type Own = (typeof Own)[keyof typeof Own];

/** A row to keep. `text` is already sanitized. */
export interface NewMessage {
  readonly conversation: ConversationId;
  readonly seq: number;
  readonly id: MessageId;
  readonly sender: UserName;
  readonly recipient: UserName;
  readonly device: DeviceId;
  readonly timeMs: number;
  readonly own: Own;
  /** Absent where it was refused. */
  readonly text?: string;
  readonly reason?: string;
  /** Kept only where the row may become readable. */
  readonly body?: Uint8Array;
  /** SHA-256 of the row's body: 32 bytes. */
  readonly hash?: Uint8Array;
}

/** The last envelope of one device in one conversation. */
export interface Chain {
  readonly counter: number;
  /** SHA-256 of its body: 32 bytes; empty where the server has removed what came behind it. */
  readonly hash: Uint8Array;
}

/** Reads and changes the tables; whoever changes several things at once does it in one transaction of the database. */
export class History {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  conversation(id: ConversationId): Conversation | undefined {
    return toConversation(this.#db.get("SELECT * FROM conversations WHERE id = ?", id));
  }

  conversationWith(peer: UserName): Conversation | undefined {
    return toConversation(this.#db.get("SELECT * FROM conversations WHERE peer = ?", peer));
  }

  /** Whom there is a conversation with, the newest acquaintances first. */
  peers(limit: number): UserName[] {
    return this.#db.all("SELECT peer FROM conversations ORDER BY rowid DESC LIMIT ?", limit)
      .map((row) => row["peer"] as UserName);
  }

  /** Keeps it unless it is known; what is known stands, since the local cursor is never behind what was applied. */
  addConversation({ id, peer, cursor }: { id: ConversationId; peer: UserName; cursor: number }): void {
    this.#db.run(
      "INSERT OR IGNORE INTO conversations (id, peer, cursor, begins) VALUES (?, ?, ?, ?)",
      id,
      peer,
      cursor,
      cursor,
    );
  }

  /** @param hash SHA-256 of the body of the row there; without it nothing can be said of that place. */
  setCursor(id: ConversationId, cursor: number, hash?: Uint8Array): void {
    this.#db.run("UPDATE conversations SET cursor = ?, cursor_hash = ? WHERE id = ?", cursor, hash ?? null, id);
  }

  /**
   * The server has removed everything up to a place, as old messages are: the cursor steps over it. What devices sent before is
   * not missed, and what they send next follows nothing that we know.
   *
   * @returns How many of the rows this home does not have, and the place of the last of them.
   */
  passRemoved(id: ConversationId, upTo: number): { readonly count: number; readonly last: number } {
    const { cursor } = this.conversation(id)!;
    if (cursor >= upTo) return { count: 0, last: upTo };
    const held = new Set(
      this.#db.all("SELECT seq FROM messages WHERE conversation = ? AND seq > ? AND seq <= ?", id, cursor, upTo)
        .map((row) => row["seq"] as number),
    );
    this.setCursor(id, upTo);
    this.#db.run("UPDATE conversations SET begins = ? WHERE id = ?", upTo, id);
    this.#db.run("UPDATE chains SET hash = x'' WHERE conversation = ?", id);
    let last = upTo;
    while (held.has(last)) last--;
    return { count: upTo - cursor - held.size, last };
  }

  /**
   * The server is a restored backup and goes on behind a place: the cursor steps over numbers that it never gave out. As with
   * {@linkcode passRemoved} nothing is missed of any device, and what they send next follows nothing that we know.
   */
  passRestored(id: ConversationId, upTo: number): void {
    this.setCursor(id, upTo);
    this.#db.run("UPDATE conversations SET begins = ? WHERE id = ?", upTo, id);
    this.#db.run("UPDATE chains SET hash = x'' WHERE conversation = ?", id);
  }

  /** What this home sent between two places of the log, in order. */
  sentBetween(id: ConversationId, after: number, upTo: number): MessageEvent[] {
    return this.#db.all(
      "SELECT * FROM messages WHERE conversation = ? AND seq > ? AND seq <= ? AND own = ? AND text IS NOT NULL ORDER BY seq",
      id,
      after,
      upTo,
      Own.here,
    ).map((row) => toEvent(row, this.#db.vault) as MessageEvent);
  }

  /**
   * A message of this home that is shown already has another place in the log: it was sent again.
   *
   * @returns Whether there is such a message.
   */
  moveSent(
    { conversation, seq, id, hash }: Pick<NewMessage, "conversation" | "seq" | "id"> & { hash: Uint8Array },
  ): boolean {
    const at = this.#db.get(
      "SELECT position FROM messages WHERE id = ? AND conversation = ? AND own = ? AND text IS NOT NULL",
      id,
      conversation,
      Own.here,
    );
    if (at === undefined) return false;
    this.#db.run("DELETE FROM messages WHERE conversation = ? AND seq = ? AND text IS NULL", conversation, seq);
    this.#db.run("UPDATE messages SET seq = ?, hash = ? WHERE position = ?", seq, hash, at["position"] as number);
    return true;
  }

  /** Conversations of which this home has read something, with whom. */
  begun(): { readonly id: ConversationId; readonly peer: UserName }[] {
    return this.#db.all("SELECT id, peer FROM conversations WHERE cursor > 0")
      .map((row) => ({ id: row["id"] as ConversationId, peer: row["peer"] as UserName }));
  }

  /** SHA-256 of the body at a place, where this home knows it. */
  hashAt(id: ConversationId, seq: number): Uint8Array | undefined {
    const row = this.#db.get("SELECT hash FROM messages WHERE conversation = ? AND seq = ?", id, seq) ??
      this.#db.get("SELECT cursor_hash AS hash FROM conversations WHERE id = ? AND cursor = ?", id, seq);
    return row?.["hash"] as Uint8Array | null ?? undefined;
  }

  /** How far this device has come, and what it has told the server of that. */
  said(
    id: ConversationId,
  ): { cursor: number; hash: Uint8Array | undefined; delivered: number; read: number } | undefined {
    const row = this.#db.get(
      "SELECT cursor, cursor_hash, said_delivered, said_read FROM conversations WHERE id = ?",
      id,
    );
    return row && {
      cursor: row["cursor"] as number,
      hash: row["cursor_hash"] as Uint8Array | null ?? undefined,
      delivered: row["said_delivered"] as number,
      read: row["said_read"] as number,
    };
  }

  /** Never back. */
  setSaid(id: ConversationId, { delivered, read }: { delivered: number; read: number }): void {
    this.#db.run(
      "UPDATE conversations SET said_delivered = max(said_delivered, ?), said_read = max(said_read, ?) WHERE id = ?",
      delivered,
      read,
      id,
    );
  }

  /** Conversations of which the server was not told all. @param withRead Also where only reading is untold. */
  unsaid(withRead: boolean): ConversationId[] {
    return this.#db.all(
      "SELECT id FROM conversations WHERE cursor_hash IS NOT NULL AND (cursor > said_delivered OR (? AND cursor > said_read))",
      withRead ? 1 : 0,
    ).map((row) => row["id"] as ConversationId);
  }

  /** Everything of others up to here was shown to somebody. */
  readUpTo(id: ConversationId): number {
    const row = this.#db.get(
      `SELECT coalesce((SELECT min(seq) - 1 FROM messages NOT INDEXED WHERE conversation = ? AND own = 0 AND position > ?), cursor) AS seq
       FROM conversations WHERE id = ?`,
      id,
      this.shown(),
      id,
    );
    return row?.["seq"] as number ?? 0;
  }

  /** Conversations with messages of others between two positions. */
  conversationsShown(from: number, to: number): ConversationId[] {
    return this.#db.all(
      "SELECT DISTINCT conversation FROM messages WHERE position > ? AND position <= ? AND own = 0",
      from,
      to,
    ).map((row) => row["conversation"] as ConversationId);
  }

  /** This device's own last stored envelope. */
  sent(id: ConversationId): Chain {
    const row = this.#db.get("SELECT sent_counter, sent_hash FROM conversations WHERE id = ?", id);
    return {
      counter: row?.["sent_counter"] as number ?? 0,
      hash: row?.["sent_hash"] as Uint8Array ?? new Uint8Array(32),
    };
  }

  /** Moves forward only: a late answer for an earlier envelope changes nothing. */
  setSent(id: ConversationId, { counter, hash }: Chain): void {
    this.#db.run(
      "UPDATE conversations SET sent_counter = ?, sent_hash = ? WHERE id = ? AND sent_counter < ?",
      counter,
      hash,
      id,
      counter,
    );
  }

  chain(conversation: ConversationId, device: DeviceId): Chain | undefined {
    const row = this.#db.get(
      "SELECT counter, hash FROM chains WHERE conversation = ? AND device = ?",
      conversation,
      device,
    );
    return row && { counter: row["counter"] as number, hash: row["hash"] as Uint8Array };
  }

  setChain(conversation: ConversationId, device: DeviceId, { counter, hash }: Chain): void {
    this.#db.run(
      `INSERT INTO chains (conversation, device, counter, hash) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET counter = excluded.counter, hash = excluded.hash`,
      conversation,
      device,
      counter,
      hash,
    );
  }

  /** Whether a message of that id and device is already there (refused ones do not count: their id is only a claim). */
  has(conversation: ConversationId, device: DeviceId, id: MessageId): boolean {
    return this.#db.get(
      "SELECT 1 FROM messages WHERE id = ? AND conversation = ? AND device = ? AND text IS NOT NULL",
      id,
      conversation,
      device,
    ) !== undefined;
  }

  /** Whether the history has this row as one that this home sent. */
  hasOwn(conversation: ConversationId, seq: number): boolean {
    return this.#db.get(
      "SELECT 1 FROM messages WHERE conversation = ? AND seq = ? AND own = ? AND text IS NOT NULL",
      conversation,
      seq,
      Own.here,
    ) !== undefined;
  }

  /** Adds a row; one that has its (conversation, seq) already stays as it is. */
  add(message: NewMessage): void {
    const { vault } = this.#db, { conversation, seq, text, reason, body } = message;
    const sealed = text !== undefined
      ? sealText(vault, text, placeOf.text(message))
      : reason !== undefined
      ? sealText(vault, reason, placeOf.reason(conversation, seq))
      : null;
    this.#db.run(
      `INSERT OR IGNORE INTO messages
       (conversation, seq, id, sender, recipient, device, time_ms, own, sealed, text, reason, body, hash)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      conversation,
      seq,
      message.id,
      message.sender,
      message.recipient,
      message.device,
      message.timeMs,
      message.own,
      sealed,
      text === undefined ? null : SEALED,
      reason === undefined ? null : SEALED,
      body === undefined ? null : vault.seal(body, placeOf.body(conversation, seq)),
      message.hash ?? null,
    );
  }

  /** Refused rows of the conversation with somebody that kept their body, oldest first. */
  retryable(peer: UserName): (NewMessage & { body: Uint8Array })[] {
    return this.#db.all(
      `SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation
       WHERE c.peer = ? AND m.body IS NOT NULL ORDER BY m.position`,
      peer,
    )
      .map((row) => ({
        conversation: row["conversation"] as ConversationId,
        seq: row["seq"] as number,
        id: row["id"] as MessageId,
        sender: row["sender"] as UserName,
        recipient: row["recipient"] as UserName,
        device: row["device"] as DeviceId,
        timeMs: row["time_ms"] as number,
        own: row["own"] as Own,
        body: this.#db.vault.open(
          row["body"] as Uint8Array,
          placeOf.body(row["conversation"] as string, row["seq"] as number),
        ),
      }));
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

  /** The newest `limit` messages with someone, oldest first. Refused rows are not among them: they are nobody's words. */
  messages(peer: UserName, limit: number): MessageEvent[] {
    return this.#db.all(
      `SELECT * FROM (SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation
       WHERE c.peer = ? AND m.text IS NOT NULL ORDER BY m.seq DESC LIMIT ?) ORDER BY seq`,
      peer,
      limit,
    ).map((row) => toEvent(row, this.#db.vault) as MessageEvent);
  }

  /** What others sent and nobody was shown yet, oldest first. */
  unshown(limit: number): Positioned[] {
    return this.#db.all(
      "SELECT * FROM messages WHERE position > ? AND own = 0 ORDER BY position LIMIT ?",
      this.shown(),
      limit,
    ).map((row) => toPositioned(row, this.#db.vault));
  }

  /** Everything behind a position, sent or received, in the order it came. */
  after(position: number, limit: number): (Positioned & { own: Own })[] {
    return this.#db.all("SELECT * FROM messages WHERE position > ? ORDER BY position LIMIT ?", position, limit)
      .map((row) => ({ ...toPositioned(row, this.#db.vault), own: row["own"] as Own }));
  }

  /** The newest position; 0 where there is nothing. */
  lastPosition(): number {
    return this.#db.get("SELECT coalesce(max(position), 0) AS last FROM messages")!["last"] as number;
  }

  /** Everything up to here has been put out. */
  shown(): number {
    return Number(this.#db.meta(SHOWN) ?? 0);
  }

  /** Never back: of two processes that show at once the further one counts. */
  markShown(position: number): void {
    this.#db.transaction(() => {
      if (position > this.shown()) this.#db.setMeta(SHOWN, String(Math.min(position, this.lastPosition())));
    });
  }

  /** Conversations with their unread counts, newest first. */
  summaries(): ConversationSummary[] {
    return this.#db.all(
      `SELECT c.peer, c.id, max(m.time_ms) AS last, coalesce(sum(m.own = 0 AND m.position > ?), 0) AS unread
       FROM conversations c LEFT JOIN messages m ON m.conversation = c.id GROUP BY c.id ORDER BY last DESC, c.peer`,
      this.shown(),
    ).map((row) => ({
      name: row["peer"] as UserName,
      conversation: row["id"] as ConversationId,
      unread: row["unread"] as number,
      ...(row["last"] !== null && { lastTime: timeText(row["last"] as number) }),
    }));
  }
}

/** RFC 3339, UTC, milliseconds. */
export function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

function toConversation(row: Row | undefined): Conversation | undefined {
  return row && {
    id: row["id"] as ConversationId,
    peer: row["peer"] as UserName,
    cursor: row["cursor"] as number,
    begins: row["begins"] as number,
  };
}

/** A row of `messages` as what is shown of it. */
export function toPositioned(row: Row, vault: Vault): Positioned {
  return { event: toEvent(row, vault), position: row["position"] as number };
}

function toEvent(row: Row, vault: Vault): MessageEvent | RefusedEvent {
  const conversation = row["conversation"] as ConversationId, seq = row["seq"] as number;
  const time = timeText(row["time_ms"] as number), sender = row["sender"] as UserName;
  const sealed = row["sealed"] as Uint8Array;
  if (row["text"] === null) {
    const reason = openText(vault, sealed, placeOf.reason(conversation, seq));
    return { type: "refused", conversation, seq, claimedFrom: sender, reason, time };
  }
  const id = row["id"] as MessageId, device = row["device"] as DeviceId;
  return {
    type: "message",
    id,
    conversation,
    from: sender,
    to: row["recipient"] as UserName,
    device,
    text: openText(vault, sealed, placeOf.text({ conversation, device, id })),
    time,
    seq,
  };
}

const SHOWN = "shown";
/** What stands in place of a text, for queries that only ask whether there is one. */
const SEALED = "";
