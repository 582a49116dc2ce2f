/**
 * A copy of the database while a leader writes it, and the way back.
 *
 * SQLite's own backup copies page by page. It would begin again whenever another process commits, so the copying connection
 * holds one snapshot from its first page to its last; a writer waits for nothing, only its WAL grows meanwhile.
 */
import { basename, dirname, join } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { type BackupAbout, BackupFile, BackupFileError, type BackupManifest, finishBackup } from "./backup_file.ts";
import { checkDatabase, type CheckReport, openToRead } from "./check.ts";
import { migrate } from "./migrations.ts";
import { leap, type Restore } from "./sqlite/leaps.ts";
import { completeHeads } from "./sqlite/rows.ts";

export interface BackupOptions {
  /** The database. */
  readonly from: string;
  /** The file to make. One that is there is replaced, in one step, when the new one is whole. */
  readonly to: string;
  readonly about: Pick<BackupAbout, "program" | "madeAt" | "clusterId" | "fingerprint">;
  /** Files of DIR/keys by their names in the backup; empty where keys are kept apart. */
  readonly keys: ReadonlyMap<string, Uint8Array>;
  onProgress(done: number, total: number): void;
}

/** What was found in a database that was to be backed up or restored: nothing was made of it. */
export class DamagedError extends Error {
  override readonly name = "DamagedError";
  constructor(message: string, readonly report: CheckReport) {
    super(message);
  }
}

/** Copies, checks the copy, and puts it in its place. @throws DamagedError, StoreVersionError, and what the system says. */
export async function makeBackup(options: BackupOptions): Promise<BackupManifest> {
  const { from, to, about, keys } = options;
  const temporary = temporaryOf(to);
  await discardOld(to);
  try {
    Deno.openSync(temporary, { write: true, createNew: true, mode: 0o600 }).close();
    await copyDatabase(from, temporary, options.onProgress);
    const report = checkAlone(temporary);
    if (report.problems.length > 0) throw new DamagedError(`Cannot back up ${from}: it is damaged`, report);
    const manifest = await finishBackup(temporary, { ...about, version: report.version, counts: report.counts }, keys);
    await Deno.rename(temporary, to);
    await syncDirectory(dirname(to));
    return manifest;
  } catch (error) {
    discard(temporary);
    throw error;
  }
}

/** Where a backup grows until it is whole. */
export function temporaryOf(file: string): string {
  return `${file}.${Deno.pid}.tmp`;
}

/**
 * Takes away what programs left beside this file that were killed over it: nothing else ever would. Whether their process lives cannot be
 * asked, on a shared disk least of all; but what was not written for a day is not being made, and what bears our own pid is not ours.
 */
export async function discardOld(file: string): Promise<void> {
  const folder = dirname(file), begin = `${basename(file)}.`, ours = basename(temporaryOf(file));
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith(begin) || !/^\d+\.tmp(-journal|-wal|-shm)?$/.test(name.slice(begin.length))) continue;
    const path = join(folder, name);
    try {
      const { mtime } = await Deno.stat(path), ageMs = Date.now() - (mtime?.getTime() ?? Date.now());
      if (ageMs > LEFT_MS || name.startsWith(ours)) await Deno.remove(path, { recursive: true });
    } catch { /* somebody else was faster */ }
  }
}

/**
 * Writes the database of a backup to `to` (a new file), compares every byte with what was written, and looks at every row.
 *
 * @throws BackupFileError, DamagedError, StoreVersionError
 */
export async function unpackDatabase(file: BackupFile, to: string): Promise<CheckReport> {
  {
    using target = await Deno.open(to, { write: true, createNew: true, mode: 0o600 });
    await file.copy(file.database, target);
    await target.sync();
  }
  const report = checkAlone(to);
  if (report.problems.length > 0) throw new DamagedError("The database in the backup is damaged", report);
  const { version, counts } = file.manifest;
  const differing = Object.keys({ ...counts, ...report.counts }).filter((name) => counts[name] !== report.counts[name]);
  if (report.version !== version || differing.length > 0) {
    throw new BackupFileError(`The database in the backup is not the one it tells of: ${differing.join(", ")}`);
  }
  return report;
}

export interface ReadyOptions extends Restore {
  /** Nobody comes back with a session or a ticket of that time: whoever was logged out since stays out, everybody logs in anew. */
  readonly endSessions: boolean;
}

/**
 * Makes an unpacked database ready to serve: brings it to this program's version, and lets every conversation leap over the numbers
 * that were given out since the copy was made.
 */
export function makeReady(path: string, { endSessions, ...restore }: ReadyOptions): void {
  const database = new DatabaseSync(path, { enableForeignKeyConstraints: true });
  try {
    database.exec("PRAGMA synchronous = FULL; BEGIN IMMEDIATE");
    migrate(database, path);
    completeHeads(database);
    leap(database, restore);
    // Taken since, most likely: a second Welcome to one of them would be refused (SECURITY M10). Devices leave new ones.
    database.exec("DELETE FROM key_packages WHERE last_resort = 0; DELETE FROM taken_packages WHERE last_resort = 0");
    if (endSessions) database.exec("DELETE FROM sessions; UPDATE users SET generation = generation + 1");
    database.exec("COMMIT");
  } finally {
    database.close();
  }
}

async function copyDatabase(from: string, to: string, onProgress: BackupOptions["onProgress"]): Promise<void> {
  const source = openToRead(from);
  try {
    // The snapshot begins with the first read.
    source.prepare("SELECT count(*) FROM sqlite_schema").get();
    await backup(source, to, {
      rate: PAGES_AT_ONCE,
      progress: ({ totalPages, remainingPages }: { totalPages: number; remainingPages: number }) =>
        onProgress(totalPages - remainingPages, totalPages),
    });
  } finally {
    source.close();
  }
  // In the copy's header stands WAL; as one file it needs none, and whoever opens it to serve switches it on again.
  const copy = new DatabaseSync(to);
  try {
    copy.exec("PRAGMA journal_mode = DELETE");
  } finally {
    copy.close();
  }
}

function checkAlone(path: string): CheckReport {
  const database = openToRead(path);
  try {
    return checkDatabase(database);
  } finally {
    database.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  try {
    using directory = await Deno.open(path, { read: true });
    await directory.sync();
  } catch { /* Windows cannot open one */ }
}

/** Removes what a backup that was broken off left behind. */
export function discard(path: string): void {
  for (const file of [path, `${path}-journal`, `${path}-wal`, `${path}-shm`]) {
    try {
      Deno.removeSync(file);
    } catch { /* it was never there */ }
  }
}

const LEFT_MS = 24 * 3600 * 1000;
/** A piece of the copy: a few milliseconds, between which progress is told. */
const PAGES_AT_ONCE = 1024;
