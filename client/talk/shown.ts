/** What people have been shown: one mark for the home, whoever put a message out, and what lies behind it. */
import type { ConversationId, UserName } from "../../shared/protocol/mod.ts";
import { groupAddress } from "../addresses.ts";
import { ConversationKind } from "./conversations.ts";
import type { Database } from "../home/database.ts";
import { type Positioned, toPositioned } from "./message_row.ts";
import { timeText } from "../time.ts";

/** A line of the list of conversations. */
export interface ConversationSummary {
  /** What one gives to `send` to write there: a name, or a group's `#name`. */
  readonly name: string;
  readonly conversation: ConversationId;
  /** The group's name; absent where it is between two people. */
  readonly group?: string;
  /** Messages not yet marked as shown. */
  readonly unread: number;
  /** RFC 3339 of the newest message; absent where nothing was said yet. */
  readonly lastTime?: string;
}

export class Shown {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** Everything up to here has been put out. */
  upTo(): number {
    return Number(this.#db.meta(SHOWN) ?? 0);
  }

  /** Never back: of two processes that show at once the further one counts. */
  mark(position: number): void {
    this.#db.transaction(() => {
      if (position <= this.upTo()) return;
      const { last } = this.#db.get("SELECT coalesce(max(position), 0) AS last FROM messages")!;
      this.#db.setMeta(SHOWN, String(Math.min(position, last as number)));
    });
  }

  /** What others sent and nobody was shown yet, oldest first. */
  unshown(limit: number): Positioned[] {
    return this.#db.all(
      "SELECT * FROM messages WHERE position > ? AND own = 0 ORDER BY position LIMIT ?",
      this.upTo(),
      limit,
    ).map((row) => toPositioned(row, this.#db));
  }

  /** Conversations with their unread counts, newest first. What changed in a group is nothing to read. */
  summaries(): ConversationSummary[] {
    return this.#db.all(
      `SELECT c.*, max(m.time_ms) AS last, coalesce(sum(m.own = 0 AND m.kind = 1 AND m.position > ?), 0) AS unread
       FROM conversations c LEFT JOIN messages m ON m.conversation = c.id WHERE c.kind = 1 OR c.name <> ''
       GROUP BY c.id ORDER BY last DESC, c.peer, c.name`,
      this.upTo(),
    ).map((row) => {
      const conversation = row["id"] as ConversationId, isGroup = row["kind"] === ConversationKind.group;
      return {
        name: isGroup ? groupAddress(this.#db, conversation) : row["peer"] as UserName,
        conversation,
        ...(isGroup && { group: row["name"] as string }),
        unread: row["unread"] as number,
        ...(row["last"] !== null && { lastTime: timeText(row["last"] as number) }),
      };
    });
  }

  /** Everything of others up to here was shown to somebody. */
  readUpTo(id: ConversationId): number {
    const row = this.#db.get(
      `SELECT coalesce((SELECT min(seq) - 1 FROM messages NOT INDEXED WHERE conversation = ? AND own = 0 AND position > ?), cursor) AS seq
       FROM conversations WHERE id = ?`,
      id,
      this.upTo(),
      id,
    );
    return row?.["seq"] as number ?? 0;
  }

  /** Conversations with messages of others between two positions. */
  conversationsBetween(from: number, to: number): ConversationId[] {
    return this.#db.all(
      "SELECT DISTINCT conversation FROM messages WHERE position > ? AND position <= ? AND own = 0",
      from,
      to,
    ).map((row) => row["conversation"] as ConversationId);
  }
}

const SHOWN = "shown";
