/** How far this device has come in each conversation, and how much of that it has told the server: columns of `conversations`. */
import type { ConversationId } from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";

/** Methods that change something run inside the caller's transaction. */
export class OwnProgress {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** How far this device has come, and what it has told the server of that. */
  of(
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

  /** The server has been told. Never back. */
  told(id: ConversationId, { delivered, read }: { delivered: number; read: number }): void {
    this.#db.run(
      "UPDATE conversations SET said_delivered = max(said_delivered, ?), said_read = max(said_read, ?) WHERE id = ?",
      delivered,
      read,
      id,
    );
  }

  /** Conversations of which the server was not told all. @param withRead Also where only reading is untold. */
  untold(withRead: boolean): ConversationId[] {
    return this.#db.all(
      "SELECT id FROM conversations WHERE cursor_hash IS NOT NULL AND (cursor > said_delivered OR (? AND cursor > said_read))",
      withRead ? 1 : 0,
    ).map((row) => row["id"] as ConversationId);
  }
}
