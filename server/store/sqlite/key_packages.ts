/** What devices can be added with while they are away: tables `key_packages` and, of those given out in the last hour, `taken_packages`. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import { KEY_PACKAGES_MAX } from "../../../shared/limits.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import {
  KEPT_MS,
  type KeyPackageStock,
  PACKAGE_CONVERSATIONS_MAX,
  PACKAGES_PER_HOUR_MAX,
  type StoreKeyPackages,
  TAKEN_MS,
  type TakenKeyPackage,
  type WantedKeyPackages,
} from "../groups.ts";
import type { Rows } from "./rows.ts";

export class KeyPackages {
  readonly #rows: Rows;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows) {
    this.#rows = rows;
    this.#sql = prepare(database);
  }

  stock(user: UserName, key: DeviceId, nowMs: number): KeyPackageStock {
    const device = this.#rows.device(key);
    if (device?.user !== user) return { oneTime: 0, lastResort: false };
    const row = this.#sql.stock.get(device.id, nowMs - KEPT_MS)!;
    return { oneTime: row["one_time"] as number, lastResort: row["last_resort"] as number > 0 };
  }

  put({ user, device: key, oneTime, lastResort, nowMs }: StoreKeyPackages): KeyPackageStock {
    const device = this.#rows.device(key);
    if (device?.user !== user) return { oneTime: 0, lastResort: false };
    this.#sql.forgetOld.run(device.id, nowMs - KEPT_MS);
    for (const body of oneTime) {
      if (this.#sql.known.get(device.id, body, device.id, body) !== undefined) continue;
      this.#sql.put.run(device.id, 0, nowMs, body);
    }
    this.#sql.forgetSurplus.run(device.id, KEY_PACKAGES_MAX);
    if (lastResort !== undefined) {
      this.#sql.forgetLastResort.run(device.id);
      this.#sql.put.run(device.id, 1, nowMs, lastResort);
    }
    return this.stock(user, key, nowMs);
  }

  take(wanted: WantedKeyPackages): TakenKeyPackage[] {
    const { user, device: asking, nowMs } = wanted;
    const taker = this.#sql.userByName.get(user)?.["id"] as number | undefined;
    if (taker === undefined) return [];
    const conversation = fromHex(wanted.conversation), since = nowMs - TAKEN_MS, taken: TakenKeyPackage[] = [];
    for (const name of wanted.names) {
      const owner = this.#sql.userByName.get(name)?.["id"] as number | undefined;
      if (owner === undefined) continue;
      for (const row of this.#sql.devices.all(owner)) {
        const id = row["id"] as number, device = (row["key"] as Uint8Array).toHex() as DeviceId;
        if (device === asking) continue;
        const asker = { taker, owner, device: id, conversation, since, nowMs };
        const found = this.#sql.again.get(id, since, taker, conversation) ?? this.#next(asker);
        if (found === undefined) continue;
        const keyPackage = found["body"] as Uint8Array, lastResort = found["last_resort"] === 1;
        taken.push({ user: name, device, keyPackage, lastResort });
      }
    }
    return taken;
  }

  /** @returns Whether there may be more. */
  sweep(nowMs: number): boolean {
    const taken = this.#sql.sweepTaken.run(nowMs - TAKEN_MS, ROWS_MAX);
    const kept = this.#sql.sweepKept.run(nowMs - KEPT_MS, ROWS_MAX);
    return taken.changes === ROWS_MAX || kept.changes === ROWS_MAX;
  }

  #next({ taker, owner, device, conversation, since, nowMs }: Asker): { [column: string]: unknown } | undefined {
    const conversations = this.#sql.conversations.get(taker, owner, since, conversation)!["count"] as number;
    const isDrained = conversations >= PACKAGE_CONVERSATIONS_MAX ||
      this.#sql.given.get(device, since)!["count"] as number >= PACKAGES_PER_HOUR_MAX;
    // One-time ones stand first, the oldest before the others.
    const found = this.#sql.next.get(device, isDrained ? 1 : 0, nowMs - KEPT_MS);
    if (found === undefined) return undefined;
    const lastResort = found["last_resort"] as number;
    if (lastResort === 0) this.#sql.remove.run(found["id"] as number);
    this.#sql.take.run(taker, owner, device, conversation, lastResort, nowMs, found["body"] as Uint8Array);
    return found;
  }
}

interface Asker {
  readonly taker: number;
  readonly owner: number;
  readonly device: number;
  readonly conversation: Uint8Array;
  readonly since: number;
  readonly nowMs: number;
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    userByName: sql("SELECT id FROM users WHERE name = ?"),
    devices: sql(
      `SELECT devices.id, key FROM devices JOIN users ON users.id = devices.user
       WHERE user = ? AND ended = 0 AND (approved = 1 OR approval = 0) ORDER BY devices.id`,
    ),
    stock: sql(
      `SELECT count(*) FILTER (WHERE last_resort = 0) AS one_time, count(*) FILTER (WHERE last_resort = 1) AS last_resort
       FROM key_packages WHERE device = ? AND put_ms > ?`,
    ),
    known: sql(
      `SELECT 1 FROM key_packages WHERE device = ? AND body = ?
       UNION ALL SELECT 1 FROM taken_packages WHERE device = ? AND body = ?`,
    ),
    put: sql("INSERT INTO key_packages (device, last_resort, put_ms, body) VALUES (?, ?, ?, ?)"),
    forgetOld: sql("DELETE FROM key_packages WHERE device = ? AND put_ms <= ?"),
    forgetSurplus: sql(
      `DELETE FROM key_packages WHERE id IN (
         SELECT id FROM key_packages WHERE device = ? AND last_resort = 0 ORDER BY id DESC LIMIT -1 OFFSET ?)`,
    ),
    forgetLastResort: sql("DELETE FROM key_packages WHERE device = ? AND last_resort = 1"),
    again: sql(
      `SELECT body, last_resort FROM taken_packages
       WHERE device = ? AND taken_ms > ? AND taker = ? AND conversation_key = ? AND is_used = 0 ORDER BY id LIMIT 1`,
    ),
    conversations: sql(
      `SELECT count(DISTINCT conversation_key) AS count FROM taken_packages
       WHERE taker = ? AND owner = ? AND taken_ms > ? AND conversation_key <> ? AND last_resort = 0`,
    ),
    given: sql("SELECT count(*) AS count FROM taken_packages WHERE device = ? AND taken_ms > ? AND last_resort = 0"),
    next: sql(
      `SELECT id, body, last_resort FROM key_packages
       WHERE device = ? AND last_resort >= ? AND put_ms > ? ORDER BY last_resort, id LIMIT 1`,
    ),
    remove: sql("DELETE FROM key_packages WHERE id = ?"),
    take: sql(
      `INSERT INTO taken_packages (taker, owner, device, conversation_key, last_resort, is_used, taken_ms, body)
       VALUES (?, ?, ?, ?, ?, 0, ?, ?)`,
    ),
    sweepTaken: sql(
      "DELETE FROM taken_packages WHERE id IN (SELECT id FROM taken_packages WHERE taken_ms <= ? LIMIT ?)",
    ),
    sweepKept: sql("DELETE FROM key_packages WHERE id IN (SELECT id FROM key_packages WHERE put_ms <= ? LIMIT ?)"),
  };
}

const ROWS_MAX = 256;
