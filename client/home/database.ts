/**
 * The home's database: one SQLite file that several processes of one person use at once.
 *
 * Every change is one `BEGIN IMMEDIATE` that reads again what it relies on ({@linkcode Database.transaction}); nothing read
 * before an `await` is trusted after it. WAL with `synchronous=NORMAL`: a killed process loses nothing; a power cut may take
 * the last moments, which the server's log gives back (rows are read again after the cursor, the outbox sends under the same ids).
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { sealOldRows } from "./adoption.ts";
import { HomeVault } from "./home_vault.ts";
import { migrate, versionOf } from "./migrations.ts";

/** A row as SQLite gives it; the table's own module knows its shape. */
export type Row = Readonly<Record<string, unknown>>;

export class Database {
  readonly path: string;
  /** Seals what is secret in it: locked, until somebody unlocks it. */
  readonly vault: HomeVault;
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #listeners = new Set<() => void>();
  #closed = false;
  #told = false;

  private constructor(path: string, db: DatabaseSync) {
    this.path = path;
    this.#db = db;
    this.vault = new HomeVault(this);
  }

  /**
   * Opens the file, makes it (mode 0600) and brings its tables up to date.
   *
   * @throws FastChatError where a newer program wrote it.
   */
  static open(path: string): Database {
    // SQLite would make it with the umask's mode; its -wal and -shm files take the mode of this one.
    Deno.openSync(path, { create: true, append: true, mode: 0o600 }).close();
    const db = new DatabaseSync(path);
    try {
      db.exec(`PRAGMA busy_timeout=${BUSY_TIMEOUT_MS}`);
      // Before anything is written, even WAL into its header.
      versionOf(db, path);
      switchToWal(db);
      db.exec("PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON; PRAGMA foreign_keys=ON");
      migrate(db, path);
      const database = new Database(path, db);
      sealOldRows(database);
      return database;
    } catch (error) {
      db.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Runs `change` as one transaction that holds the write lock from its first read on. All or nothing.
   *
   * @param change Synchronous; must not begin another transaction.
   */
  transaction<T>(change: () => T): T {
    this.#db.exec("BEGIN IMMEDIATE");
    let result: T;
    try {
      result = change();
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
    this.#tell();
    return result;
  }

  /** Whether a transaction of this connection is under way. */
  get isTransaction(): boolean {
    return this.#db.isTransaction;
  }

  run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  /** A small value by name, for what is not worth a table. */
  meta(key: string): string | undefined {
    return this.get("SELECT value FROM meta WHERE key = ?", key)?.["value"] as string | undefined;
  }

  setMeta(key: string, value: string | undefined): void {
    if (value === undefined) this.run("DELETE FROM meta WHERE key = ?", key);
    else {this.run(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        key,
        value,
      );}
  }

  /**
   * Empties the write-ahead log, so that what was deleted is not in it any longer: `secure_delete` overwrites it in the file only.
   * Call it when keys were deleted. Outside a transaction.
   *
   * @returns False while another process reads or writes: then try again later.
   */
  truncateLog(): boolean {
    this.#db.exec("PRAGMA busy_timeout=0");
    try {
      return this.#db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.["busy"] === 0;
    } catch (error) {
      if (isStorageError(error)) return false;
      throw error;
    } finally {
      this.#db.exec(`PRAGMA busy_timeout=${BUSY_TIMEOUT_MS}`);
    }
  }

  /**
   * Writes every table anew, so that nothing of former content is left in gaps of its pages, and empties the log. What VACUUM does
   * needs a second database attached, which Deno allows only to programs with every permission.
   *
   * @returns False where others are in the way: then try again later.
   */
  rewrite(): boolean {
    try {
      this.#db.exec("PRAGMA foreign_keys=OFF");
      this.transaction(() => {
        const tables = this.all("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'");
        // With `secure_delete` a page is zeroed when its table is emptied.
        for (const { name } of tables) {
          this.#db.exec(
            `CREATE TABLE rewritten AS SELECT * FROM ${name}; DELETE FROM ${name};
             INSERT INTO ${name} SELECT * FROM rewritten; DROP TABLE rewritten`,
          );
        }
      });
    } catch (error) {
      if (isStorageError(error)) return false;
      throw error;
    } finally {
      this.#db.exec("PRAGMA foreign_keys=ON");
    }
    return this.truncateLog();
  }

  /** Changes whenever another connection, of this or any process, has committed. */
  dataVersion(): number {
    return this.get("PRAGMA data_version")!["data_version"] as number;
  }

  /** Calls back, from a microtask, after transactions of this connection. @returns How to stop that. */
  onCommit(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.clear();
    this.#statements.clear();
    this.#db.close();
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, statement = this.#db.prepare(sql));
    return statement;
  }

  #tell(): void {
    if (this.#told || this.#listeners.size === 0) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}

/** Whether SQLite could not read or write: a full disk, a damaged file. */
export function isStorageError(error: unknown): error is Error {
  return error instanceof Error && (error as { code?: unknown }).code === "ERR_SQLITE_ERROR";
}

/** SQLite's busy handler does not cover the switch to WAL, which two processes that start at once both try. */
function switchToWal(db: DatabaseSync): void {
  const deadline = performance.now() + BUSY_TIMEOUT_MS;
  while (true) {
    try {
      db.exec("PRAGMA journal_mode=WAL");
      return;
    } catch (error) {
      if (!/locked|busy/i.test(String(error)) || performance.now() > deadline) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

const BUSY_TIMEOUT_MS = 10_000;
