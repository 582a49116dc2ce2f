/**
 * The key log (docs/PROTOCOL.md §16): tables `key_log`, small rows that are read in long runs, and `key_entries`, what they say.
 * Numbers go up by one, without gaps, in the order of the commits.
 */
import type { DatabaseSync } from "node:sqlite";
import { deviceEntry, EMPTY_KEY_LOG, nextKeyLogHead, sha256 } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import type { KeyEntry, KeyLogPage } from "../store.ts";

export class KeyLogTable {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
    this.#sql = prepare(database);
  }

  /** Gives devices that were there before the log their entries, in the order in which they came. Inside a transaction. */
  complete(): void {
    if (this.length > 0) return;
    for (const row of this.#sql.devices.all()) {
      this.add(row["name"] as UserName, row["user"] as number, deviceEntry(row["certificate"] as Uint8Array));
    }
  }

  get length(): number {
    return this.#sql.last.get()?.["number"] as number ?? 0;
  }

  /** @param user The integer that stands for `name` here. @returns The entry's number. */
  add(name: UserName, user: number, entry: Uint8Array): number {
    const last = this.#sql.last.get(), number = (last?.["number"] as number ?? 0) + 1;
    const hash = sha256(entry), head = nextKeyLogHead(last?.["head"] as Uint8Array ?? EMPTY_KEY_LOG, name, hash);
    this.#sql.insert.run(number, user, hash, head);
    this.#sql.insertEntry.run(number, entry);
    return number;
  }

  page(after: number, limit: number): KeyLogPage {
    const rows = this.#sql.page.all(after, limit);
    const head = rows.at(-1)?.["head"] ?? this.#sql.headAt.get(after)?.["head"];
    return {
      entries: rows.map((row) => ({ user: row["name"] as UserName, hash: row["hash"] as Uint8Array })),
      head: head as Uint8Array | undefined ?? EMPTY_KEY_LOG,
      length: this.length,
    };
  }

  entries(numbers: readonly number[]): KeyEntry[] {
    return numbers.flatMap((number) => {
      const row = this.#sql.entry.get(number);
      return row === undefined ? [] : [{ number, entry: row["entry"] as Uint8Array }];
    });
  }

  entriesOf(name: UserName): KeyEntry[] {
    return this.#sql.entriesOf.all(name).map((row) => ({
      number: row["number"] as number,
      entry: row["entry"] as Uint8Array,
    }));
  }

  /** Number of a user's newest entry. */
  newestOf(user: number): number {
    return this.#sql.newestOf.get(user)!["number"] as number | null ?? 0;
  }

  countOf(user: number): number {
    return this.#sql.countOf.get(user)!["count"] as number;
  }
}

function prepare(database: DatabaseSync) {
  return {
    devices: database.prepare(
      `SELECT users.name, devices.user, devices.certificate
       FROM devices JOIN users ON users.id = devices.user ORDER BY devices.id`,
    ),
    last: database.prepare("SELECT number, head FROM key_log ORDER BY number DESC LIMIT 1"),
    insert: database.prepare("INSERT INTO key_log (number, user, hash, head) VALUES (?, ?, ?, ?)"),
    insertEntry: database.prepare("INSERT INTO key_entries (number, entry) VALUES (?, ?)"),
    page: database.prepare(
      `SELECT users.name, key_log.hash, key_log.head FROM key_log JOIN users ON users.id = key_log.user
       WHERE number > ? ORDER BY number LIMIT ?`,
    ),
    headAt: database.prepare("SELECT head FROM key_log WHERE number = ?"),
    entry: database.prepare("SELECT entry FROM key_entries WHERE number = ?"),
    entriesOf: database.prepare(
      `SELECT key_entries.number, key_entries.entry
       FROM users JOIN key_log ON key_log.user = users.id JOIN key_entries ON key_entries.number = key_log.number
       WHERE users.name = ? ORDER BY key_log.number`,
    ),
    newestOf: database.prepare("SELECT max(number) AS number FROM key_log WHERE user = ?"),
    countOf: database.prepare("SELECT count(*) AS count FROM key_log WHERE user = ?"),
  };
}
