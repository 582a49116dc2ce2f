/**
 * The database file. Synchronous: every method of its parts is one or a few statements on the one connection that the leader owns.
 *
 * Methods that change something must run inside a transaction, which {@linkcode GroupWriter} makes for many of them at
 * once. They judge everything before their first change, so a refusal ({@linkcode RefusedError}) leaves nothing behind.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { migrate, MIGRATIONS, StoreVersionError, versionOf } from "../migrations.ts";
import type { Reserve } from "../space.ts";
import { Accounts } from "./accounts.ts";
import { Archives } from "./archives.ts";
import { Asks } from "./asks.ts";
import { StoreClock } from "./clock.ts";
import { Conversations } from "./conversations.ts";
import { Credentials } from "./credentials.ts";
import type { Notices } from "../notices.ts";
import type { AppendResult, StoreAppend } from "../store.ts";
import { SupersededError } from "./errors.ts";
import { Groups } from "./groups.ts";
import { HistoryParts } from "./history_parts.ts";
import { KeyLogTable } from "./key_log.ts";
import { KeyPackages } from "./key_packages.ts";
import { Links } from "./links.ts";
import { Log } from "./log.ts";
import { Receipts } from "./receipts.ts";
import { completeHeads, Rows } from "./rows.ts";
import { Welcomes } from "./welcomes.ts";

export interface SqliteOptions {
  /** Largest size of the database file, in pages of 4 KiB; beyond it the disk counts as full. */
  readonly pagesMax?: number;
  /** Room taken for the WAL at once: a file that need not grow costs half the time and processor at each commit. */
  readonly walBytes?: number;
  /** An older database is about to be brought up to date, which may take minutes and answers nobody. */
  readonly onMigrating?: (from: number, to: number) => void;
}

export class SqliteDatabase {
  /** Rises by one with every opening. */
  readonly leadership: number;
  readonly accounts: Accounts;
  readonly credentials: Credentials;
  readonly conversations: Conversations;
  readonly log: Log;
  readonly keyLog: KeyLogTable;
  readonly links: Links;
  readonly receipts: Receipts;
  readonly groups: Groups;
  readonly welcomes: Welcomes;
  readonly asks: Asks;
  readonly keyPackages: KeyPackages;
  readonly archives: Archives;
  readonly historyParts: HistoryParts;
  readonly #database: DatabaseSync;
  readonly #options: SqliteOptions;
  readonly #rows: Rows;
  readonly #sql: { readonly begin: StatementSync; readonly commit: StatementSync; readonly leadership: StatementSync };

  /**
   * Opens or makes the database at `path` and begins a leadership. Only for the holder of the store's lock.
   *
   * @throws StoreVersionError, or what SQLite says of the file.
   */
  constructor(path: string, options: SqliteOptions = {}) {
    createPrivately(path);
    this.#options = options;
    this.#database = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    try {
      // Before anything is written, even WAL into its header.
      const version = versionOf(this.#database, path);
      configure(this.#database, options);
      this.#database.exec("BEGIN IMMEDIATE");
      if (version > 0 && version < MIGRATIONS.length) options.onMigrating?.(version, MIGRATIONS.length);
      migrate(this.#database, path);
      this.#database.exec("UPDATE leadership SET number = number + 1");
      this.#sql = {
        begin: this.#database.prepare("BEGIN IMMEDIATE"),
        commit: this.#database.prepare("COMMIT"),
        leadership: this.#database.prepare("SELECT number FROM leadership"),
      };
      this.leadership = this.#sql.leadership.get()!["number"] as number;
      completeHeads(this.#database);
      const rows = this.#rows = new Rows(this.#database), clock = new StoreClock();
      this.keyLog = new KeyLogTable(this.#database);
      this.keyLog.complete();
      this.links = new Links(this.#database);
      this.accounts = new Accounts(this.#database, { rows, clock, keyLog: this.keyLog });
      this.credentials = new Credentials(this.#database, this.accounts, clock);
      this.conversations = new Conversations(this.#database, rows);
      this.log = new Log(this.#database, rows, clock);
      this.receipts = new Receipts(this.#database, rows);
      const welcomes = this.welcomes = new Welcomes(this.#database, rows), { conversations, log } = this;
      this.groups = new Groups(this.#database, { rows, conversations, log, welcomes });
      this.asks = new Asks(this.#database, rows);
      this.keyPackages = new KeyPackages(this.#database, rows);
      this.archives = new Archives(this.#database);
      this.historyParts = new HistoryParts(this.#database, rows);
      this.#database.exec("COMMIT");
      if (options.walBytes !== undefined) takeRoom(`${path}-wal`, options.walBytes);
    } catch (error) {
      if (error instanceof StoreVersionError) closeUntouched(this.#database, path);
      else this.#database.close();
      throw error;
    }
  }

  /** Begins a write transaction. @throws SupersededError */
  begin(): void {
    this.#sql.begin.run();
    const number = this.#sql.leadership.get()!["number"] as number;
    if (number === this.leadership) return;
    this.rollback();
    throw new SupersededError(`Cannot write as leader ${this.leadership}: leader ${number} has taken over`);
  }

  /** Removes some of what has had its time. @returns Whether there may be more. */
  sweep(nowMs: number): boolean {
    const parts = [this.welcomes, this.asks, this.keyPackages, this.groups, this.archives, this.historyParts];
    return parts.map((part) => part.sweep(nowMs)).includes(true);
  }

  /**
   * Everything since {@linkcode begin} is on the disk when this returns.
   *
   * @param isRecordsOnly It was nothing but {@linkcode Log.append}: heads may be written later.
   */
  commit(isRecordsOnly = false): void {
    if (isRecordsOnly) this.#rows.writeHeadsOfMany();
    else this.#rows.writeHeads();
    this.#sql.commit.run();
    this.#rows.committed();
  }

  /** As {@linkcode Log.appendAlone}, outside of {@linkcode begin} and {@linkcode commit}. */
  appendAlone(records: readonly StoreAppend[], notices: Notices): AppendResult[] | undefined {
    const results = this.log.appendAlone(records, this.leadership, notices);
    if (results !== undefined) this.#rows.committed();
    return results;
  }

  /** Undoes everything since {@linkcode begin}; fine where SQLite has done it already. */
  rollback(): void {
    this.#rows.forget();
    if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
  }

  /** Runs `change` so that its failure undoes it alone. */
  guarded<T>(change: () => T): T {
    // With what they belong to: a failure makes the cache forget.
    this.#rows.writeHeads();
    this.#database.exec("SAVEPOINT guarded");
    try {
      const result = change();
      this.#rows.writeHeads();
      this.#database.exec("RELEASE guarded");
      return result;
    } catch (error) {
      this.#rows.undo();
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK TO guarded; RELEASE guarded");
      throw error;
    }
  }

  /** Writes the WAL back and cuts its file off, where nobody reads from it. */
  makeRoom(): void {
    this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  /** Pages held back below {@linkcode SqliteOptions.pagesMax}, where that is given. */
  get reserve(): Reserve {
    const { pagesMax } = this.#options,
      allow = (pages: number) => this.#database.exec(`PRAGMA max_page_count = ${pages}`);
    if (pagesMax === undefined) return { take: () => true, release() {} };
    return {
      take: () => {
        allow(pagesMax - RESERVE_PAGES);
        const [used, free] = ["page_count", "freelist_count"].map((name) =>
          Object.values(this.#database.prepare(`PRAGMA ${name}`).get()!)[0] as number
        ) as [number, number];
        return used - free < pagesMax - RESERVE_PAGES - SPARE_PAGES;
      },
      release: () => allow(pagesMax),
    };
  }

  /** Writes everything back into the database file and closes. */
  close(): void {
    try {
      this.#writeHeads();
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } finally {
      this.#database.close();
    }
  }

  /** For whoever looks into the file; whoever opens it to write it need not rely on it. */
  #writeHeads(): void {
    try {
      this.begin();
      this.commit();
    } catch {
      this.rollback();
    }
  }
}

/** The last connection to close writes the WAL back, unless it may only read. */
function closeUntouched(database: DatabaseSync, path: string): void {
  const reader = new DatabaseSync(path, { readOnly: true });
  reader.prepare("SELECT count(*) FROM sqlite_schema").get();
  database.close();
  reader.close();
}

/** Makes the file for nobody but its owner; SQLite gives the files beside it the same mode. Not while it is open: closing it drops SQLite's own locks. */
function createPrivately(path: string): void {
  Deno.openSync(path, { create: true, write: true, mode: 0o600 }).close();
}

/**
 * Makes the WAL's file as long as it may become, with zeros, which SQLite takes for the end of what is written. SQLite keeps no locks
 * on this one, so it may be opened and closed beside it. A full disk is no reason not to serve.
 */
function takeRoom(path: string, bytes: number): void {
  using file = Deno.openSync(path, { append: true });
  const { size } = file.statSync();
  try {
    for (let missing = bytes - size; missing > 0; missing -= ROOM_BYTES) {
      const zeros = new Uint8Array(Math.min(missing, ROOM_BYTES));
      for (let at = 0; at < zeros.length;) at += file.writeSync(zeros.subarray(at));
    }
    file.syncSync();
  } catch {
    // It grows as it is written, then; and nobody else should go without.
    file.truncateSync(size);
  }
}

/**
 * `secure_delete`: what is removed is overwritten, so that neither free pages nor backups hold it; measured, it costs less than runs
 * differ (13.5 to 15 µs a removed row with it and without).
 */
function configure(database: DatabaseSync, { pagesMax }: SqliteOptions): void {
  database.exec(`
    PRAGMA busy_timeout = 2000;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
    PRAGMA journal_size_limit = ${WAL_BYTES_MAX};
    PRAGMA cache_size = -${CACHE_KIB};
    PRAGMA secure_delete = ON;
  `);
  // Elsewhere fsync reaches the disk itself; on macOS only this does.
  if (Deno.build.os === "darwin") database.exec("PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON");
  if (pagesMax !== undefined) database.exec(`PRAGMA max_page_count = ${pagesMax}`);
}

const CACHE_KIB = 16 << 10;
/**
 * Pages in the WAL at which a commit also writes them back, where no checkpointer has done it: 64 MiB, so that the pause of tens
 * of milliseconds falls on fewer than one commit in a hundred.
 */
const CHECKPOINT_PAGES = 16_384;
/** The WAL's file is cut back to this after a burst; what is within is overwritten, which is cheaper than growing again. */
const WAL_BYTES_MAX = 72 << 20;
const ROOM_BYTES = 1 << 20;
/** Of 4 KiB. */
const RESERVE_PAGES = 64;
const SPARE_PAGES = 32;
