/** What was said: conversations and their messages. Tables `conversations`, `members`, `messages`. */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { groupAddress } from "../addresses.ts";
import { Chains } from "./chains.ts";
import type { Database, Row } from "../home/database.ts";
import type { EngineMember } from "../e2ee/engine.ts";
import type { ChangeEvent, LogEvent, MessageEvent } from "../events.ts";
import { insertRow, type NewMessage, Own, type Positioned, toEvent, toKept, toPositioned } from "./message_row.ts";
import { sanitizeLine } from "../sanitize.ts";

export const ConversationKind = { direct: 1, group: 2 } as const;
export type ConversationKind = (typeof ConversationKind)[keyof typeof ConversationKind];

export interface Conversation {
  readonly id: ConversationId;
  readonly kind: ConversationKind;
  /** The other one of a direct conversation; empty for a group. */
  readonly peer: UserName;
  /** Of a group; empty until this home has joined it. */
  readonly name: string;
  readonly topic: string;
  /** This device is no longer in it. */
  readonly ended: boolean;
  /** Rows of the log up to and including this one are dealt with. */
  readonly cursor: number;
  /** Where this device began, or the server's log did when it was read last: nothing up to here is read. */
  readonly begins: number;
}

/** A group as its state says that it is. */
export interface GroupFacts {
  readonly name: string;
  readonly topic: string;
  readonly ended: boolean;
  readonly members: readonly Pick<EngineMember, "name" | "role">[];
}

/** Reads and changes the tables; whoever changes several things at once does it in one transaction of the database. */
export class History {
  readonly #db: Database;
  readonly #chains: Chains;

  constructor(database: Database) {
    this.#db = database;
    this.#chains = new Chains(database);
  }

  conversation(id: ConversationId): Conversation | undefined {
    return toConversation(this.#db.get("SELECT * FROM conversations WHERE id = ?", id));
  }

  conversationWith(peer: UserName): Conversation | undefined {
    return toConversation(this.#db.get("SELECT * FROM conversations WHERE peer = ?", peer));
  }

  /** Whom there is a conversation with, the newest acquaintances first. */
  peers(limit: number): UserName[] {
    return this.#db.all("SELECT peer FROM conversations WHERE kind = 1 ORDER BY rowid DESC LIMIT ?", limit)
      .map((row) => row["peer"] as UserName);
  }

  /** The groups that this home has joined, by name; those that have ended among them. */
  groups(): Conversation[] {
    return this.#db.all("SELECT * FROM conversations WHERE kind = 2 AND name <> '' ORDER BY name, id")
      .map((row) => toConversation(row)!);
  }

  /** Who is in a conversation, by name, as its group last said. */
  members(id: ConversationId): Pick<EngineMember, "name" | "role">[] {
    return this.#db.all("SELECT name, role FROM members WHERE conversation = ? ORDER BY name", id).map((row) => ({
      name: row["name"] as UserName,
      role: row["role"] as EngineMember["role"],
    }));
  }

  /** How many are in a group; 0 for what is none. */
  countMembers(id: ConversationId): number {
    return this.#db.get("SELECT count(*) AS count FROM members WHERE conversation = ?", id)!["count"] as number;
  }

  isMember(id: ConversationId, name: UserName): boolean {
    return this.#db.get("SELECT 1 FROM members WHERE conversation = ? AND name = ?", id, name) !== undefined;
  }

  /** Keeps what a group says of itself. Name and topic are somebody else's words. */
  setGroup(id: ConversationId, { name, topic, ended, members }: GroupFacts): void {
    this.#db.run(
      "UPDATE conversations SET name = ?, topic = ?, ended = ? WHERE id = ?",
      sanitizeLine(name, GROUP_NAME_MAX),
      sanitizeLine(topic),
      ended ? 1 : 0,
      id,
    );
    this.#db.run("DELETE FROM members WHERE conversation = ?", id);
    for (const { name, role } of members) {
      this.#db.run("INSERT OR REPLACE INTO members (conversation, name, role) VALUES (?, ?, ?)", id, name, role);
    }
  }

  /** This device is no longer in it. Who else is, it does not hear any more. */
  endGroup(id: ConversationId): void {
    this.#db.run("UPDATE conversations SET ended = 1 WHERE id = ?", id);
    this.#db.run("DELETE FROM members WHERE conversation = ?", id);
  }

  /** This device is no longer in it. */
  setEnded(id: ConversationId): void {
    this.#db.run("UPDATE conversations SET ended = 1 WHERE id = ?", id);
  }

  /** What one types to write there. */
  addressOf({ id, kind, peer }: Pick<Conversation, "id" | "kind" | "peer">): string {
    return kind === ConversationKind.direct ? peer : groupAddress(this.#db, id);
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

  /** As {@linkcode addConversation}, for a group; without a name until it is joined. */
  addGroup({ id, cursor }: { id: ConversationId; cursor: number }): void {
    this.#db.run(
      "INSERT OR IGNORE INTO conversations (id, kind, peer, cursor, begins) VALUES (?, 2, '', ?, ?)",
      id,
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
    this.#chains.cut(id);
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
    this.#chains.cut(id);
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

  /** Conversations of which this home has read something, and how far. */
  begun(): {
    readonly id: ConversationId;
    readonly kind: ConversationKind;
    readonly peer: UserName;
    readonly cursor: number;
  }[] {
    return this.#db.all("SELECT id, kind, peer, cursor FROM conversations WHERE cursor > 0").map((row) => ({
      id: row["id"] as ConversationId,
      kind: row["kind"] as ConversationKind,
      peer: row["peer"] as UserName,
      cursor: row["cursor"] as number,
    }));
  }

  /** SHA-256 of the body at a place, where this home knows it. */
  hashAt(id: ConversationId, seq: number): Uint8Array | undefined {
    const row =
      this.#db.get("SELECT hash FROM messages WHERE conversation = ? AND seq = ? AND copy_from IS NULL", id, seq) ??
        this.#db.get("SELECT cursor_hash AS hash FROM conversations WHERE id = ? AND cursor = ?", id, seq);
    return row?.["hash"] as Uint8Array | null ?? undefined;
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

  /** The newest `limit` messages with someone, oldest first. Refused rows are not among them: they are nobody's words. */
  messages(peer: UserName, limit: number): MessageEvent[] {
    const conversation = this.conversationWith(peer);
    return conversation ? this.messagesIn(conversation.id, limit) : [];
  }

  /** The newest `limit` messages of a conversation, oldest first. */
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
}

function toConversation(row: Row | undefined): Conversation | undefined {
  return row && {
    id: row["id"] as ConversationId,
    kind: row["kind"] as ConversationKind,
    peer: row["peer"] as UserName,
    name: row["name"] as string,
    topic: row["topic"] as string,
    ended: row["ended"] === 1,
    cursor: row["cursor"] as number,
    begins: row["begins"] as number,
  };
}

const GROUP_NAME_MAX = 64;
