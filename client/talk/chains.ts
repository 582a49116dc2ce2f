/**
 * How far each device's envelopes have come in each conversation, by its own counter: table `chains`, and for this device
 * columns of `conversations`.
 */
import type { ConversationId, DeviceId } from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";

/** The last envelope of one device in one conversation. */
export interface Chain {
  readonly counter: number;
  /** SHA-256 of its body: 32 bytes; empty where the server has removed what came behind it. */
  readonly hash: Uint8Array;
}

/** Methods that change something run inside the caller's transaction. */
export class Chains {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** This device's own last stored envelope. */
  own(id: ConversationId): Chain {
    const row = this.#db.get("SELECT sent_counter, sent_hash FROM conversations WHERE id = ?", id);
    return {
      counter: row?.["sent_counter"] as number ?? 0,
      hash: row?.["sent_hash"] as Uint8Array ?? new Uint8Array(32),
    };
  }

  /** Moves forward only: a late answer for an earlier envelope changes nothing. */
  setOwn(id: ConversationId, { counter, hash }: Chain): void {
    this.#db.run(
      "UPDATE conversations SET sent_counter = ?, sent_hash = ? WHERE id = ? AND sent_counter < ?",
      counter,
      hash,
      id,
      counter,
    );
  }

  /** Another device's last envelope; `undefined` before its first one. */
  of(conversation: ConversationId, device: DeviceId): Chain | undefined {
    const row = this.#db.get(
      "SELECT counter, hash FROM chains WHERE conversation = ? AND device = ?",
      conversation,
      device,
    );
    return row && { counter: row["counter"] as number, hash: row["hash"] as Uint8Array };
  }

  set(conversation: ConversationId, device: DeviceId, { counter, hash }: Chain): void {
    this.#db.run(
      `INSERT INTO chains (conversation, device, counter, hash) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET counter = excluded.counter, hash = excluded.hash`,
      conversation,
      device,
      counter,
      hash,
    );
  }

  /** Something is gone from the log: what devices sent before is not missed, and what they send next follows nothing that we know. */
  cut(conversation: ConversationId): void {
    this.#db.run("UPDATE chains SET hash = x'' WHERE conversation = ?", conversation);
  }
}
