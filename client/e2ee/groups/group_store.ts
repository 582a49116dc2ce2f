/**
 * Groups on disk (SECURITY M11, M12): the rows of `mls/state.ts`, each sealed under a random key of its conversation and epoch,
 * which the vault seals. The key goes with its epoch, so nothing that is left of a row in free pages can be read again.
 * Tables `mls_rows`, `mls_keys`; and `mls_past`, by which is found what has past epochs that are over, without opening anything.
 */
import type { Database } from "../../home/database.ts";
import { KeyVault, type Vault } from "../../home/vault.ts";
import type { RandomSource } from "../../../shared/primitives.ts";
import type { Group, Mls, OwnDevice } from "../mls/mod.ts";
import type { Library } from "./library.ts";

/** Where a group lies: under its conversation's id, or beside it while this device's own join is on its way. */
export type Slot = string;

export class GroupStore {
  readonly #db: Database;
  readonly #vault: Vault;
  readonly #random: RandomSource;
  readonly #keys = new Map<string, KeyVault>();

  constructor({ database, vault, random }: {
    readonly database: Database;
    readonly vault: Vault;
    readonly random: RandomSource;
  }) {
    this.#db = database;
    this.#vault = vault;
    this.#random = random;
  }

  /** The group of a slot; `undefined` where there is none. @throws VaultError, DecodeError where the disk is damaged. */
  load({ lib, mls }: { readonly lib: Library; readonly mls: Mls }, device: OwnDevice, slot: Slot): Group | undefined {
    const rows = new Map<string, Uint8Array>();
    for (const row of this.#db.all("SELECT key, value FROM mls_rows WHERE slot = ?", slot)) {
      const key = row["key"] as string;
      rows.set(key, this.#key(slot, epochOf(key)).open(row["value"] as Uint8Array, context(slot, key)));
    }
    return rows.size === 0 ? undefined : lib.loadGroup(mls, device, rows);
  }

  /** Puts `after` in place of `before`, inside the caller's transaction. */
  write(lib: Library, slot: Slot, before: Group | undefined, after: Group): void {
    if (before === undefined) this.drop(slot);
    const { put, drop } = lib.changesOf(before, after);
    for (const key of drop) {
      this.#db.run("DELETE FROM mls_rows WHERE slot = ? AND key = ?", slot, key);
      const epoch = /^epoch\/(\d+)$/.exec(key)?.[1];
      if (epoch !== undefined) this.#dropKey(slot, Number(epoch));
    }
    for (const [key, value] of put) {
      this.#db.run(
        "INSERT INTO mls_rows (slot, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        slot,
        key,
        this.#key(slot, epochOf(key)).seal(value, context(slot, key)),
      );
    }
    if (before === undefined || lib.oldestEndMs(before) !== lib.oldestEndMs(after)) this.notePast(lib, slot, after);
  }

  /** Keeps when the oldest past epoch ended, inside the caller's transaction. */
  notePast(lib: Library, slot: Slot, group: Group | undefined): void {
    const endedMs = group && lib.oldestEndMs(group);
    if (endedMs === undefined) this.#db.run("DELETE FROM mls_past WHERE slot = ?", slot);
    else this.#db.run("INSERT OR REPLACE INTO mls_past (slot, ended_ms) VALUES (?, ?)", slot, endedMs);
  }

  /** Those with a past epoch that ended before then, the oldest first. */
  withPastBefore(ms: number, limit: number): Slot[] {
    return this.#db.all("SELECT slot FROM mls_past WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?", ms, limit)
      .map((row) => row["slot"] as Slot);
  }

  /** Forgets a group with its keys, inside the caller's transaction. */
  drop(slot: Slot): void {
    this.#db.run("DELETE FROM mls_rows WHERE slot = ?", slot);
    this.#db.run("DELETE FROM mls_keys WHERE slot = ?", slot);
    this.#db.run("DELETE FROM mls_past WHERE slot = ?", slot);
    this.forget(slot);
  }

  /** Another process, or a transaction that did not commit, may have changed what is on disk. */
  forget(slot?: Slot): void {
    for (const key of this.#keys.keys()) if (slot === undefined || key.startsWith(`${slot} `)) this.#keys.delete(key);
  }

  #key(slot: Slot, epoch: number): KeyVault {
    const name = `${slot} ${epoch}`;
    let key = this.#keys.get(name);
    if (key !== undefined) return key;
    const place = `mls_keys.key ${name}`;
    const row = this.#db.get("SELECT key FROM mls_keys WHERE slot = ? AND epoch = ?", slot, epoch);
    let bytes: Uint8Array;
    if (row === undefined) {
      bytes = this.#random.bytes(32);
      const sealed = this.#vault.seal(bytes, place);
      this.#db.run("INSERT INTO mls_keys (slot, epoch, key) VALUES (?, ?, ?)", slot, epoch, sealed);
    } else bytes = this.#vault.open(row["key"] as Uint8Array, place);
    this.#keys.set(name, key = new KeyVault(bytes));
    return key;
  }

  #dropKey(slot: Slot, epoch: number): void {
    this.#db.run("DELETE FROM mls_keys WHERE slot = ? AND epoch = ?", slot, epoch);
    this.#keys.delete(`${slot} ${epoch}`);
  }
}

/** Which epoch's secrets a row holds; tree nodes are public and shared by all. */
function epochOf(key: string): number {
  const epoch = /^(?:epoch|tree|ratchet)\/(\d+)/.exec(key)?.[1];
  return epoch === undefined ? OF_NO_EPOCH : Number(epoch);
}

function context(slot: Slot, key: string): string {
  return `mls_rows.value ${slot} ${key}`;
}

const OF_NO_EPOCH = -1;
