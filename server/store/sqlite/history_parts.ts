/** History that devices hand to new ones: table `history_parts`. A part that was taken has no body. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import {
  HISTORY_DEVICE_BYTES_MAX,
  HISTORY_GIVER_BYTES_MAX,
  HISTORY_PAIR_BYTES_MAX,
  HISTORY_PARTS_MAX,
  READ_BYTES_MAX,
} from "../../../shared/limits.ts";
import type { ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { ConversationKind, KEPT_MS } from "../groups.ts";
import type { HistoryPart, NewHistoryPart } from "../history.ts";
import type { Notices } from "../notices.ts";
import { isMember, type Rows } from "./rows.ts";

export class HistoryParts {
  readonly #rows: Rows;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows) {
    this.#rows = rows;
    this.#sql = prepare(database);
  }

  put(given: NewHistoryPart, notices: Notices): "kept" | "given" | "full" | "refused" {
    const conversation = this.#rows.conversation(given.conversation), giver = this.#rows.device(given.device);
    const row = this.#sql.liveDevice.get(fromHex(given.to));
    if (conversation === undefined || giver?.user !== given.user || row === undefined) return "refused";
    const to = row["id"] as number, user = row["name"] as UserName, isOwn = user === given.user;
    if (!isMember(conversation, given.user) || !isMember(conversation, user) || to === giver.id) return "refused";
    if (conversation.kind === ConversationKind.Direct && !isOwn) return "refused";
    const key = fromHex(given.conversation), bundle = fromHex(given.bundle), { part, parts, body } = given;
    if (this.#sql.one.get(to, giver.id, bundle, part) !== undefined) return "kept";
    if (given.unlessGiven && this.#sql.given.get(to, key, giver.id, bundle, Number(isOwn), user) !== undefined) {
      return "given";
    }
    const { bytes, count } = this.#sql.sizeFor.get(to) as { bytes: number; count: number };
    if (bytes + body.length > HISTORY_DEVICE_BYTES_MAX || count >= HISTORY_PARTS_MAX) return "full";
    const { bytes: ofPair } = this.#sql.sizeOfPair.get(to, given.user) as { bytes: number };
    if (!isOwn && ofPair + body.length > HISTORY_PAIR_BYTES_MAX) return "full";
    const { bytes: ofGiver } = this.#sql.sizeOf.get(given.user) as { bytes: number };
    if (ofGiver + body.length > HISTORY_GIVER_BYTES_MAX) return "full";
    this.#sql.insert.run(to, giver.id, key, bundle, part, parts, given.nowMs, body.length, body);
    notices.groupNews({ type: "historyWaits", devices: [{ user, device: given.to }] });
    return "kept";
  }

  of(user: UserName, key: DeviceId, after: number): HistoryPart[] {
    const device = this.#rows.device(key), found: HistoryPart[] = [];
    if (device?.user !== user) return found;
    let bytes = 0;
    for (const row of this.#sql.waiting.iterate(device.id, after)) {
      const body = row["body"] as Uint8Array;
      bytes += body.length;
      if (bytes > READ_BYTES_MAX && found.length > 0) break;
      found.push({
        number: row["id"] as number,
        conversation: (row["conversation_key"] as Uint8Array).toHex() as ConversationId,
        body,
      });
    }
    return found;
  }

  drop(user: UserName, key: DeviceId, numbers: readonly number[], isTaken: boolean): void {
    const device = this.#rows.device(key);
    if (device?.user !== user) return;
    for (const number of numbers) (isTaken ? this.#sql.taken : this.#sql.drop).run(number, device.id);
  }

  /** @returns Whether there may be more. */
  sweep(nowMs: number): boolean {
    return this.#sql.sweep.run(nowMs - KEPT_MS, ROWS_MAX).changes === ROWS_MAX;
  }
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    liveDevice: sql(
      `SELECT devices.id, users.name FROM devices JOIN users ON users.id = devices.user
       WHERE devices.key = ? AND ended = 0 AND (approved = 1 OR approval = 0)`,
    ),
    one: sql("SELECT 1 FROM history_parts WHERE device = ? AND giver = ? AND bundle = ? AND part = ?"),
    given: sql(
      `SELECT 1 FROM history_parts WHERE device = ?1 AND conversation_key = ?2 AND NOT (giver = ?3 AND bundle = ?4)
         AND (?5 = 0 OR giver IN (SELECT devices.id FROM devices JOIN users ON users.id = devices.user WHERE users.name = ?6))
       GROUP BY giver, bundle HAVING count(*) >= max(parts) LIMIT 1`,
    ),
    sizeFor: sql("SELECT coalesce(sum(bytes), 0) AS bytes, count(*) AS count FROM history_parts WHERE device = ?"),
    sizeOfPair: sql(
      `SELECT coalesce(sum(bytes), 0) AS bytes FROM history_parts WHERE device = ?
         AND giver IN (SELECT devices.id FROM devices JOIN users ON users.id = devices.user WHERE users.name = ?)`,
    ),
    sizeOf: sql(
      `SELECT coalesce(sum(bytes), 0) AS bytes FROM history_parts
       WHERE giver IN (SELECT devices.id FROM devices JOIN users ON users.id = devices.user WHERE users.name = ?)`,
    ),
    insert: sql(
      `INSERT INTO history_parts (device, giver, conversation_key, bundle, part, parts, stored_ms, bytes, body)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    waiting: sql(
      "SELECT id, conversation_key, body FROM history_parts WHERE device = ? AND id > ? AND body IS NOT NULL ORDER BY id",
    ),
    taken: sql("UPDATE history_parts SET body = NULL, bytes = 0 WHERE id = ? AND device = ?"),
    drop: sql("DELETE FROM history_parts WHERE id = ? AND device = ?"),
    sweep: sql("DELETE FROM history_parts WHERE id IN (SELECT id FROM history_parts WHERE stored_ms <= ? LIMIT ?)"),
  };
}

/** What one transaction removes: a few milliseconds' worth. */
const ROWS_MAX = 16;
