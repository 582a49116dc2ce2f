/**
 * Whether a database is whole: what SQLite says of its pages and indexes, and what must hold between rows that SQLite does not
 * know of. Reads one snapshot, so it may run beside a leader; changes nothing.
 *
 * Judges databases of earlier versions too: what a version does not have is not looked for.
 */
import { DatabaseSync } from "node:sqlite";
import { EMPTY_KEY_LOG, nextKeyLogHead, sha256 } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { sameBytes } from "./bytes.ts";
import { MIGRATIONS, StoreVersionError } from "./migrations.ts";
import { BEHIND } from "./sqlite/rows.ts";

export interface CheckReport {
  /** Migrations the database has seen. */
  readonly version: number;
  /** Rows of every table. */
  readonly counts: Readonly<Record<string, number>>;
  /** Empty where all is well. */
  readonly problems: readonly Problem[];
}

export interface Problem {
  readonly code: ProblemCode;
  /** One sentence for a person. */
  readonly text: string;
}

export type ProblemCode =
  /** Pages or indexes: the disk or somebody's hand has changed what SQLite wrote. */
  | "damaged"
  /** A row that refers to one that is not there. */
  | "dangling"
  /** A conversation lacks messages between its first and its newest. */
  | "gap"
  /** A conversation's newest number is not that of its newest message. */
  | "head"
  /** A device has acknowledged more than there is. */
  | "cursor"
  /** The keys beside the database are not those its rows were sealed with. */
  | "keys"
  /** The key log does not hang together: every client would take it for another one. */
  | "key-log"
  /** Somebody's archive lacks parts: its user is told of them when it is brought back. */
  | "archive";

/**
 * Opens a database to look at it, beside whoever writes it.
 *
 * @throws StoreVersionError where a newer program wrote it, or what SQLite says of the file.
 */
export function openToRead(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    database.exec("PRAGMA busy_timeout = 5000; BEGIN");
    const version = versionOf(database);
    if (version > MIGRATIONS.length) {
      throw new StoreVersionError(
        `Cannot read ${path}: it has version ${version} of a newer program, this one knows up to ${MIGRATIONS.length}`,
      );
    }
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Looks at everything; takes about a second for each few hundred thousand messages. */
export function checkDatabase(database: DatabaseSync): CheckReport {
  const problems: Problem[] = [];
  let counts: Record<string, number> = {};
  try {
    problems.push(...integrity(database));
    counts = countRows(database);
    for (const look of [danglingRows, logRows, cursors, keyLogRows, archiveRows]) problems.push(...look(database));
  } catch (error) {
    // Where pages are damaged any statement may fail, and the first failure says enough.
    problems.push({ code: "damaged", text: `It cannot be read: ${(error as Error).message}` });
  }
  return { version: versionOr(database, 0), counts, problems };
}

function integrity(database: DatabaseSync): Problem[] {
  return database.prepare(`PRAGMA integrity_check(${PROBLEMS_MAX})`).all()
    .map((row) => String(row["integrity_check"]))
    .filter((text) => text !== "ok")
    .map((text) => ({ code: "damaged", text }));
}

function countRows(database: DatabaseSync): Record<string, number> {
  const names = database.prepare(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
  ).all().map((row) => row["name"] as string);
  return Object.fromEntries(names.map((name) => [name, number(database, `SELECT count(*) FROM "${name}"`)]));
}

/** Declared references, and those that the hot tables do without (migrations.ts). */
function danglingRows(database: DatabaseSync): Problem[] {
  const problems: Problem[] = [];
  const declared = new Map<string, number>();
  for (const { table, parent } of database.prepare("PRAGMA foreign_key_check").iterate()) {
    const pair = `${table} that refer to ${parent}`;
    declared.set(pair, (declared.get(pair) ?? 0) + 1);
  }
  for (const [pair, count] of declared) problems.push(dangling(count, `rows of ${pair} which are not there`));
  const queries = hasColumn(database, "members", "since") ? [...UNDECLARED, ...OF_GROUPS] : UNDECLARED;
  for (const [what, query] of queries) {
    const count = number(database, query);
    if (count > 0) problems.push(dangling(count, what));
  }
  return problems;
}

function dangling(count: number, what: string): Problem {
  return { code: "dangling", text: `${count} ${what}` };
}

/** Numbers of each conversation run from the one behind `begins` to `head`, but for those that a restored copy never had. */
function logRows(database: DatabaseSync): Problem[] {
  const bounded = hasColumn(database, "conversations", "head");
  const leaps = hasTable(database, "leaps");
  const rows = database.prepare(`
    WITH held AS (SELECT conversation, count(*) AS count, min(seq) AS first, max(seq) AS last FROM log GROUP BY conversation),
      behind AS (SELECT conversation, max(seq) AS seq FROM log WHERE rowid > ${BEHIND} GROUP BY conversation)
    SELECT id, lower(hex(key)) AS key, coalesce(count, 0) AS count, first, last,
      ${bounded ? `begins, ${HEAD} AS head` : "0 AS begins, coalesce(last, 0) AS head"},
      ${
    leaps
      ? "coalesce((SELECT sum(upto - max(after, begins)) FROM leaps WHERE leaps.conversation = id AND upto > begins), 0)"
      : "0"
  } AS leapt
    FROM conversations LEFT JOIN held ON held.conversation = conversations.id WHERE kind <> 0`).iterate();
  const problems: Problem[] = [];
  for (const row of rows) {
    if (problems.length >= PROBLEMS_MAX) break;
    const [id, count, begins, head, leapt] = ["id", "count", "begins", "head", "leapt"].map((name) =>
      row[name] as number
    ) as [number, number, number, number, number];
    const last = row["last"] as number | null, first = row["first"] as number | null;
    const name = `Conversation ${row["key"]}`;
    if (last !== null && last > head) {
      problems.push({ code: "head", text: `${name} holds message ${last} beyond its newest number ${head}` });
    } else if (first !== null && first <= begins) {
      problems.push({ code: "head", text: `${name} holds message ${first}, though up to ${begins} all were removed` });
    } else if (count < head - begins - leapt) {
      const missing = head - begins - leapt - count, number = firstMissing(database, id, begins, leaps);
      problems.push({ code: "gap", text: `${name} lacks ${missing} messages, the first of them number ${number}` });
    } else if (count > head - begins - leapt) {
      const surplus = count - (head - begins - leapt);
      problems.push({ code: "gap", text: `${name} holds ${surplus} messages under numbers that were left out` });
    }
  }
  return problems;
}

function firstMissing(database: DatabaseSync, id: number, begins: number, leaps: boolean): number {
  const passed = new Map<number, number>();
  if (leaps) {
    for (
      const { after, upto } of database.prepare("SELECT after, upto FROM leaps WHERE conversation = ?").iterate(id)
    ) {
      passed.set(after as number, upto as number);
    }
  }
  let last = begins;
  for (const { seq } of database.prepare("SELECT seq FROM log WHERE conversation = ? ORDER BY seq").iterate(id)) {
    last = passed.get(last) ?? last;
    if (seq !== last + 1) break;
    last++;
  }
  return (passed.get(last) ?? last) + 1;
}

function cursors(database: DatabaseSync): Problem[] {
  const head = hasColumn(database, "conversations", "head")
    ? "(SELECT head FROM conversations WHERE conversations.id = cursors.conversation)"
    : "(SELECT max(seq) FROM log WHERE log.conversation = cursors.conversation)";
  const count = number(database, `SELECT count(*) FROM cursors WHERE seq > coalesce(${head}, 0)`);
  const problems: Problem[] = [];
  if (count > 0) problems.push({ code: "cursor", text: `${count} cursors stand beyond the newest message` });
  if (!hasTable(database, "receipts") || !hasColumn(database, "conversations", "head")) return problems;
  const said = number(
    database,
    "SELECT count(*) FROM receipts JOIN conversations ON conversations.id = conversation WHERE delivered > head OR read > head",
  );
  if (said > 0) problems.push({ code: "cursor", text: `${said} receipts are for more than the newest message` });
  return problems;
}

/** Numbers without gaps, entries that are what was hashed, heads that follow (docs/PROTOCOL.md §16), and every device in it. */
function keyLogRows(database: DatabaseSync): Problem[] {
  if (!hasTable(database, "key_log")) return [];
  const rows = database.prepare(
    `SELECT key_log.number, users.name, key_log.hash, key_log.head, key_entries.entry
     FROM key_log LEFT JOIN users ON users.id = key_log.user
     LEFT JOIN key_entries ON key_entries.number = key_log.number ORDER BY key_log.number`,
  ).iterate();
  let last = 0, head = EMPTY_KEY_LOG;
  for (const row of rows) {
    const hash = row["hash"] as Uint8Array, entry = row["entry"] as Uint8Array | null;
    const is = `The key log's entry ${++last}`;
    if (row["number"] !== last || entry === null) return [{ code: "key-log", text: `${is} is missing` }];
    if (!sameBytes(sha256(entry), hash)) return [{ code: "key-log", text: `${is} is not what was hashed` }];
    head = nextKeyLogHead(head, (row["name"] ?? "") as UserName, hash);
    if (!sameBytes(head, row["head"] as Uint8Array)) {
      return [{ code: "key-log", text: `${is} does not follow on the one before it` }];
    }
  }
  // Whoever opens a database of before the log fills it; none is no damage.
  const silent = last === 0 ? 0 : number(
    database,
    "SELECT count(*) FROM users WHERE NOT EXISTS (SELECT 1 FROM key_log WHERE key_log.user = users.id)",
  );
  return silent === 0 ? [] : [{ code: "key-log", text: `${silent} users are not in the key log` }];
}

/** Chunks without gaps, as many and as large as their stream says, the newest the one whose hash it has. */
function archiveRows(database: DatabaseSync): Problem[] {
  if (!hasTable(database, "archives")) return [];
  const rows = database.prepare(
    `SELECT users.name, chunks, bytes, head, count(number) AS found, coalesce(sum(length(body)), 0) AS size,
       (SELECT body FROM archive_chunks AS newest
        WHERE newest.archive = archives.id AND newest.stream = archive_streams.stream AND number = chunks) AS newest
     FROM archive_streams JOIN archives ON archives.id = archive_streams.archive JOIN users ON users.id = archives.user
     LEFT JOIN archive_chunks ON archive_chunks.archive = archives.id AND archive_chunks.stream = archive_streams.stream
     GROUP BY archives.id, archive_streams.stream`,
  ).iterate();
  const problems: Problem[] = [];
  for (const { name, chunks, bytes, head, found, size, newest } of rows) {
    const isWhole = found === chunks && size === bytes && newest !== null &&
      sameBytes(sha256(newest as Uint8Array), head as Uint8Array);
    if (!isWhole) {
      problems.push({ code: "archive", text: `The archive of ${name} holds ${found} of ${chunks} parts, or others` });
    }
  }
  return problems;
}

function versionOf(database: DatabaseSync): number {
  return number(database, "PRAGMA user_version");
}

function versionOr(database: DatabaseSync, otherwise: number): number {
  try {
    return versionOf(database);
  } catch {
    return otherwise;
  }
}

function hasTable(database: DatabaseSync, table: string): boolean {
  return database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(table) !== undefined;
}

function hasColumn(database: DatabaseSync, table: string, column: string): boolean {
  return database.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?").get(table, column) !== undefined;
}

function number(database: DatabaseSync, query: string): number {
  return Object.values(database.prepare(query).get()!)[0] as number;
}

/** A conversation's head, where the newest of its messages may not have been noted yet. */
const HEAD = "max(head, coalesce((SELECT seq FROM behind WHERE behind.conversation = conversations.id), 0))";

/** What the log and its neighbours refer to without declaring it. */
const UNDECLARED: readonly (readonly [what: string, count: string])[] = [
  [
    "messages belong to no conversation",
    "SELECT count(*) FROM log WHERE NOT EXISTS (SELECT 1 FROM conversations WHERE id = log.conversation)",
  ],
  [
    "messages come from no device",
    "SELECT count(*) FROM log WHERE NOT EXISTS (SELECT 1 FROM devices WHERE id = log.device)",
  ],
  [
    "conversations have no members",
    // Kind 0: a group that ended, whose records are being removed.
    `SELECT count(*) FROM conversations
     WHERE kind <> 0 AND NOT EXISTS (SELECT 1 FROM members WHERE conversation = conversations.id)`,
  ],
  [
    "memberships name another conversation than they refer to",
    `SELECT count(*) FROM members JOIN conversations ON conversations.id = members.conversation
     WHERE conversations.key <> members.conversation_key`,
  ],
];

/** What must hold of members and of what they join by. */
const OF_GROUPS: readonly (readonly [what: string, count: string])[] = [
  [
    "memberships begin or end at messages that are not there yet",
    `SELECT count(*) FROM members JOIN conversations ON conversations.id = members.conversation
     WHERE max(since, coalesce(until, 0)) > head OR until < since`,
  ],
  [
    "people were dismissed from a direct conversation",
    `SELECT count(*) FROM members JOIN conversations ON conversations.id = members.conversation
     WHERE kind = 1 AND (until IS NOT NULL OR since > 0)`,
  ],
  [
    "conversations name a newest commit that is not there yet",
    "SELECT count(*) FROM conversations WHERE newest_commit > head",
  ],
  [
    "Welcomes are for devices of nobody who is a member",
    `SELECT count(*) FROM welcomes JOIN devices ON devices.id = welcomes.device
     WHERE NOT EXISTS (SELECT 1 FROM members
       WHERE members.conversation = welcomes.conversation AND members.user = devices.user AND until IS NULL)`,
  ],
  [
    "Welcomes belong to commits that are not there yet",
    `SELECT count(*) FROM welcomes JOIN conversations ON conversations.id = welcomes.conversation
     WHERE commit_seq > newest_commit`,
  ],
  [
    "devices ask to be let in as members' which are not",
    `SELECT count(*) FROM asks JOIN devices ON devices.id = asks.device
     WHERE asks.kind = 1 AND NOT EXISTS (SELECT 1 FROM members
       WHERE members.conversation = asks.conversation AND members.user = devices.user AND until IS NULL)`,
  ],
];

/** Nobody reads more; the rest comes to light when these are mended. */
const PROBLEMS_MAX = 20;
