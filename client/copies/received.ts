/** Which parts of which bundles this home was handed: table `received_parts`. Whether one is whole, only all of its parts can tell. */
import type { ConversationId, DeviceId, UserName } from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";
import type { BundlePart } from "./bundle.ts";

/** A bundle of which parts are missing. */
export interface Incomplete {
  readonly conversation: ConversationId;
  readonly user: UserName;
  readonly received: number;
  readonly parts: number;
}

export interface ReceivedFrom {
  readonly conversation: ConversationId;
  readonly user: UserName;
  readonly device: DeviceId;
  readonly nowMs: number;
}

export class Received {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /**
   * Inside the caller's transaction.
   *
   * @param messages How many were new of it.
   * @returns `undefined` for a repeat; else how many messages of the bundle were new by now, and whether it is whole with this one.
   */
  add(
    { bundle, part, parts }: BundlePart,
    { conversation, user, device, nowMs }: ReceivedFrom,
    messages: number,
  ): { readonly messages: number; readonly isWhole: boolean } | undefined {
    const added = this.#db.run(
      `INSERT OR IGNORE INTO received_parts (giver, bundle, part, parts, conversation, user, messages, received_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      device,
      bundle,
      part,
      parts,
      conversation,
      user,
      messages,
      nowMs,
    );
    if (added === 0) return undefined;
    const row = this.#db.get(
      "SELECT count(*) AS count, sum(messages) AS messages, max(parts) AS parts FROM received_parts WHERE giver = ? AND bundle = ?",
      device,
      bundle,
    )!;
    return { messages: row["messages"] as number, isWhole: row["count"] === row["parts"] };
  }

  /** Bundles of which nothing has come since then and parts are missing; told once, and then forgotten. */
  takeIncomplete(beforeMs: number): Incomplete[] {
    const find = () =>
      this.#db.all(
        `SELECT giver, bundle, conversation, user, count(*) AS received, max(parts) AS parts FROM received_parts
         GROUP BY giver, bundle HAVING count(*) < max(parts) AND max(received_ms) < ?`,
        beforeMs,
      );
    if (find().length === 0) return [];
    return this.#db.transaction(() =>
      find().map((row) => {
        const giver = row["giver"] as DeviceId, bundle = row["bundle"] as string;
        this.#db.run("DELETE FROM received_parts WHERE giver = ? AND bundle = ?", giver, bundle);
        return {
          conversation: row["conversation"] as ConversationId,
          user: row["user"] as UserName,
          received: row["received"] as number,
          parts: row["parts"] as number,
        };
      })
    );
  }
}
