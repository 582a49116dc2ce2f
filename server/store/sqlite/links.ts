/** Devices that wait to be linked, and what they are given (docs/PROTOCOL.md §18): table `links`, kept for minutes. */
import type { DatabaseSync } from "node:sqlite";
import { LINK_MS, LINKS_MAX } from "../../../shared/limits.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import type { Link, LinkGranted } from "../store.ts";

export class Links {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
    this.#sql = prepare(database);
  }

  offer(place: Uint8Array, offer: Uint8Array, nowMs: number): Link | undefined {
    const known = this.get(place, nowMs);
    if (known !== undefined) return known;
    return this.replace(place, offer, nowMs + LINK_MS, nowMs) ? { offer, grant: undefined } : undefined;
  }

  replace(place: Uint8Array, offer: Uint8Array, expiresMs: number, nowMs: number): boolean {
    this.#sql.forget.run(nowMs);
    const isNew = this.get(place, nowMs) === undefined;
    if (isNew && this.#sql.count.get()!["count"] as number >= LINKS_MAX) return false;
    this.#sql.insert.run(place, offer, expiresMs);
    return true;
  }

  get(place: Uint8Array, nowMs: number): Link | undefined {
    const row = this.#sql.get.get(place, nowMs);
    if (row === undefined) return undefined;
    const sealed = row["sealed"] as Uint8Array | null;
    return {
      offer: row["offer"] as Uint8Array,
      grant: sealed === null
        ? undefined
        : { user: row["user"] as UserName, device: (row["device"] as Uint8Array).toHex() as DeviceId, sealed },
    };
  }

  grant(place: Uint8Array, { user, device, sealed }: LinkGranted, nowMs: number): boolean {
    const { changes } = this.#sql.grant.run(user, Uint8Array.fromHex(device), sealed, place, nowMs);
    return changes > 0;
  }
}

function prepare(database: DatabaseSync) {
  return {
    get: database.prepare("SELECT offer, user, device, sealed FROM links WHERE place = ? AND expires_ms > ?"),
    count: database.prepare("SELECT count(*) AS count FROM links"),
    forget: database.prepare("DELETE FROM links WHERE expires_ms <= ?"),
    insert: database.prepare("INSERT OR REPLACE INTO links (place, offer, expires_ms) VALUES (?, ?, ?)"),
    grant: database.prepare("UPDATE links SET user = ?, device = ?, sealed = ? WHERE place = ? AND expires_ms > ?"),
  };
}
