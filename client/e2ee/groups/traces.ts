/**
 * What rows leave behind, to compare with what others say (SECURITY M2, M4): the rolling hash behind each of the newest rows,
 * which messages were opened, and how far each device has counted. Tables `mls_history`, `mls_seen`, `mls_chains`, `mls_sent`.
 */
import type { ConversationId, DeviceId, MessageId } from "../../../shared/protocol/mod.ts";
import type { Database } from "../../home/database.ts";

export class Traces {
  constructor(private readonly db: Database) {}

  /** The rolling hash behind a row; `undefined` for one that is too old, or was never taken. */
  historyAt(id: ConversationId, seq: number): Uint8Array | undefined {
    return this.db.get("SELECT hash FROM mls_history WHERE conversation = ? AND seq = ?", id, seq)
      ?.["hash"] as Uint8Array | undefined;
  }

  setHistory(id: ConversationId, seq: number, hash: Uint8Array): void {
    this.db.run("INSERT OR REPLACE INTO mls_history (conversation, seq, hash) VALUES (?, ?, ?)", id, seq, hash);
    if (seq % PRUNE_EVERY !== 0) return;
    this.db.run("DELETE FROM mls_history WHERE conversation = ? AND seq <= ?", id, seq - ROWS_KEPT);
    this.db.run("DELETE FROM mls_seen WHERE conversation = ? AND seq <= ?", id, seq - ROWS_KEPT);
  }

  isSeen(id: ConversationId, device: DeviceId, message: MessageId): boolean {
    return this.db.get(
      "SELECT 1 FROM mls_seen WHERE conversation = ? AND device = ? AND id = ?",
      id,
      device,
      message,
    ) !== undefined;
  }

  setSeen(id: ConversationId, device: DeviceId, message: MessageId, seq: number): void {
    this.db.run(
      "INSERT OR REPLACE INTO mls_seen (conversation, device, id, seq) VALUES (?, ?, ?, ?)",
      id,
      device,
      message,
      seq,
    );
  }

  /** The counter under which a message of this device was sealed before. */
  sentUnder(id: ConversationId, message: MessageId): number | undefined {
    return this.db.get("SELECT counter FROM mls_sent WHERE conversation = ? AND id = ?", id, message)
      ?.["counter"] as number | undefined;
  }

  setSent(id: ConversationId, message: MessageId, counter: number): void {
    this.db.run(
      "INSERT OR REPLACE INTO mls_sent (conversation, id, counter) VALUES (?, ?, ?)",
      id,
      message,
      counter,
    );
  }

  /** It was read back. */
  dropSent(id: ConversationId, message: MessageId): void {
    this.db.run("DELETE FROM mls_sent WHERE conversation = ? AND id = ?", id, message);
  }

  /** This device has a new leaf, and counts from 1 again. */
  restartOwn(id: ConversationId): void {
    this.db.run("DELETE FROM mls_sent WHERE conversation = ?", id);
  }

  /** The highest counter of a device; `undefined` where none was read since its leaf came in. */
  counterOf(id: ConversationId, device: DeviceId): number | undefined {
    return this.db.get("SELECT counter FROM mls_chains WHERE conversation = ? AND device = ?", id, device)
      ?.["counter"] as number | undefined;
  }

  setCounter(id: ConversationId, device: DeviceId, counter: number): void {
    this.db.run(
      `INSERT INTO mls_chains (conversation, device, counter) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET counter = max(counter, excluded.counter)`,
      id,
      device,
      counter,
    );
  }

  /** A device came in with a new leaf, and counts from 1 again. */
  restart(id: ConversationId, device: DeviceId, counter: number | undefined): void {
    this.db.run("DELETE FROM mls_chains WHERE conversation = ? AND device = ?", id, device);
    if (counter !== undefined) this.setCounter(id, device, counter);
  }
}

/** A repeat of an older message does not open any more: its epoch's keys are gone, or the key was used. */
const ROWS_KEPT = 4_096;
const PRUNE_EVERY = 64;
