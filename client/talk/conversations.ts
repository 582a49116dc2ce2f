/**
 * Whom one talks with and in which groups, who is in them, and how far each log is dealt with. Tables `conversations` and
 * `members`.
 */
import type { ConversationId, UserName } from "../../shared/protocol/mod.ts";
import { groupAddress } from "../addresses.ts";
import { Chains } from "./chains.ts";
import type { EngineMember } from "../e2ee/engine.ts";
import type { Database, Row } from "../home/database.ts";
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

/** Whoever changes several things at once does it in one transaction of the database. */
export class Conversations {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  get(id: ConversationId): Conversation | undefined {
    return toConversation(this.#db.get("SELECT * FROM conversations WHERE id = ?", id));
  }

  with(peer: UserName): Conversation | undefined {
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
  add({ id, peer, cursor }: { id: ConversationId; peer: UserName; cursor: number }): void {
    this.#db.run(
      "INSERT OR IGNORE INTO conversations (id, peer, cursor, begins) VALUES (?, ?, ?, ?)",
      id,
      peer,
      cursor,
      cursor,
    );
  }

  /** As {@linkcode add}, for a group; without a name until it is joined. */
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
   * The server has nothing up to a place, since it removed old messages or is a restored backup: the cursor steps over it. What
   * devices sent before is not missed, and what they send next follows nothing that we know.
   */
  stepOver(id: ConversationId, upTo: number): void {
    this.setCursor(id, upTo);
    this.#db.run("UPDATE conversations SET begins = ? WHERE id = ?", upTo, id);
    new Chains(this.#db).cut(id);
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
