/**
 * This device's key packages (SECURITY M10): made, left at the server, kept until they are used or too old. Of a used one only
 * its reference stays, so that a second Welcome to it is known for what it is. Table `mls_key_packages`.
 */
import type { Database } from "../../home/database.ts";
import type { Vault } from "../../home/vault.ts";
import type { OwnDevice, OwnKeyPackage } from "../mls/mod.ts";
import type { Loaded } from "./library.ts";
import type { EngineOptions } from "./options.ts";

export class Shelf {
  readonly #db: Database;
  readonly #vault: Vault;
  readonly #options: Pick<EngineOptions, "ask" | "nowMs">;

  constructor(options: Pick<EngineOptions, "database" | "vault" | "ask" | "nowMs">) {
    this.#db = options.database;
    this.#vault = options.vault;
    this.#options = options;
  }

  /** Leaves at the server what is missing there. Private halves are on disk before anybody can use the public ones. */
  async replenish({ lib, mls }: Loaded, device: OwnDevice): Promise<void> {
    const { ask, nowMs } = this.#options;
    this.#forgetOld(nowMs());
    const stock = await ask<"putKeyPackages">({ type: "putKeyPackages", oneTime: [], lastResort: undefined });
    // Those that are there may be too old for whoever takes them: newer ones are put behind them.
    const fresh = this.#count("last_resort = 0 AND state = 1 AND not_after_ms > ?", nowMs() + OLD_MS);
    const missing = Math.max(0, ONE_TIME - Math.min(stock.oneTime, fresh));
    const needsLast = !stock.lastResort ||
      this.#count("last_resort = 1 AND state = 1 AND not_after_ms > ?", nowMs() + OLD_MS) === 0;
    if (missing < REFILL_AT && !needsLast) return;
    const oneTime = missing < REFILL_AT
      ? []
      : await Promise.all(Array.from({ length: missing }, () => lib.makeKeyPackage(mls, device, { nowMs: nowMs() })));
    const last = needsLast ? await lib.makeKeyPackage(mls, device, { nowMs: nowMs(), lastResort: true }) : undefined;
    this.#db.transaction(() => {
      for (const made of last === undefined ? oneTime : [...oneTime, last]) this.#keep(made);
    });
    await ask<"putKeyPackages">({
      type: "putKeyPackages",
      oneTime: oneTime.map(({ publicBytes }) => publicBytes),
      lastResort: last?.publicBytes,
    });
  }

  /** An unused one, or a last-resort one, by the reference in a Welcome. */
  find(ref: string): OwnKeyPackage | undefined {
    const row = this.#db.get("SELECT * FROM mls_key_packages WHERE ref = ? AND private IS NOT NULL", ref);
    if (row === undefined) return undefined;
    return {
      ref,
      publicBytes: row["public"] as Uint8Array,
      privateBytes: this.#vault.open(row["private"] as Uint8Array, context(ref)),
      lastResort: row["last_resort"] === 1,
      notAfterMs: row["not_after_ms"] as number,
    };
  }

  /** Whether it was used before, and may not be again. */
  isUsed(ref: string): boolean {
    return this.#count("ref = ? AND state = 2 AND last_resort = 0", ref) > 0;
  }

  /** It let this device in: inside the transaction that stores the group. The last-resort one is replaced at the next connect. */
  use({ ref, lastResort }: OwnKeyPackage): void {
    const rest = lastResort ? "" : ", public = NULL, private = NULL";
    this.#db.run(`UPDATE mls_key_packages SET state = 2${rest} WHERE ref = ?`, ref);
  }

  #keep({ ref, lastResort, notAfterMs, publicBytes, privateBytes }: OwnKeyPackage): void {
    this.#db.run(
      "INSERT INTO mls_key_packages (ref, state, last_resort, not_after_ms, public, private) VALUES (?, 1, ?, ?, ?, ?)",
      ref,
      lastResort ? 1 : 0,
      notAfterMs,
      publicBytes,
      this.#vault.seal(privateBytes, context(ref)),
    );
  }

  /** Private halves go when nobody may use the public ones any more; what is used is remembered as long again. */
  #forgetOld(nowMs: number): void {
    const old = this.#count("not_after_ms < ?", nowMs - SLACK_MS);
    if (old === 0) return;
    this.#db.transaction(() => {
      this.#db.run(
        "DELETE FROM mls_key_packages WHERE not_after_ms < ? AND (state = 1 OR last_resort = 1)",
        nowMs - SLACK_MS,
      );
      this.#db.run("DELETE FROM mls_key_packages WHERE not_after_ms < ?", nowMs - LIFETIME_MS);
    });
  }

  #count(where: string, value: string | number): number {
    return this.#db.get(`SELECT count(*) AS count FROM mls_key_packages WHERE ${where}`, value)!["count"] as number;
  }
}

function context(ref: string): string {
  return `mls_key_packages.private ${ref}`;
}

/** One-time packages that a device has at the server; more are made when some are gone. */
const ONE_TIME = 24;
const REFILL_AT = 8;
const DAY_MS = 24 * 3600 * 1000;
const LIFETIME_MS = 30 * DAY_MS;
/** A package with less than this to live is replaced. */
const OLD_MS = 10 * DAY_MS;
const SLACK_MS = DAY_MS;
