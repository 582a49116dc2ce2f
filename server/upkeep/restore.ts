/**
 * `restore`: a backup becomes a data directory, or nothing does. All work is done in DIR/restoring; what makes DIR a cluster's, its
 * database, is moved into its place last, in one step.
 */
import { join } from "node:path";
import { type ClusterKeys, dataPaths, loadClusterKeys } from "../../shared/cluster/mod.ts";
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import { ensurePrivateDirectory, FileLock } from "../../shared/host/mod.ts";
import { StartError } from "../start_error.ts";
import { DamagedError, discardOld, makeReady, temporaryOf, unpackDatabase } from "../store/backup.ts";
import { BackupFile } from "../store/backup_file.ts";
import { openToRead } from "../store/check.ts";
import { storePaths } from "../store/leader.ts";
import { checkDirectory, sealedProblems } from "./check.ts";
import { exists, refuseUsed, RESTORING } from "./data_dir.ts";
import { describeBackup, describeCounts, type UpkeepFace } from "./face.ts";

/** Looks at a backup and makes nothing of it. @throws BackupFileError, DamagedError, StoreVersionError */
export async function verifyBackup(file: string, face: UpkeepFace): Promise<void> {
  using backup = await openBackup(file);
  const work = temporaryOf(file);
  await discardOld(file);
  await ensurePrivateDirectory(work);
  try {
    const report = await unpackDatabase(backup, join(work, "store.db"));
    await unpackKeys(backup, work);
    if (backup.keys.length > 0) await refuseOtherKeys(backup, join(work, "store.db"), work);
    face.print(`${file} is whole: ${describeBackup(backup.manifest)}\n${describeCounts(report)}\n`);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/**
 * @param again Read everything once more where it lies in the end.
 * @throws StartError, BackupFileError, DamagedError, StoreVersionError
 */
export async function restore(
  { file, dataDir, again, endSessions }: { file: string; dataDir: string; again: boolean; endSessions: boolean },
  face: UpkeepFace,
): Promise<void> {
  using backup = await openBackup(file);
  await refuseUsed(dataDir);
  await Deno.mkdir(dataDir, { recursive: true, mode: 0o700 });
  const paths = storePaths(dataDir), { keys } = dataPaths(dataDir), work = join(dataDir, RESTORING);
  using lock = await FileLock.tryAcquire(paths.lock);
  if (lock === undefined) throw new StartError(2, `Cannot restore into ${dataDir}: a server runs there. Stop it first`);
  await Deno.remove(work, { recursive: true }).catch(() => {});
  await ensurePrivateDirectory(work);
  try {
    const database = join(work, "store.db");
    const report = await unpackDatabase(backup, database);
    await unpackKeys(backup, work);
    const hasKeys = await exists(keys);
    if (!hasKeys && backup.keys.length === 0) {
      throw new StartError(
        2,
        `Cannot restore ${file} into ${dataDir}: it was made without the cluster's keys, and a database is of no use ` +
          `without them. Put your copy of the keys at ${keys} (mode 0700), then restore again`,
      );
    }
    await refuseOtherKeys(backup, database, hasKeys ? dataDir : work);
    makeReady(database, { madeMs: Date.parse(backup.manifest.madeAt), restoredMs: Date.now(), endSessions });
    if (!hasKeys) await Deno.rename(dataPaths(work).keys, keys);
    await Deno.rename(database, paths.database);
    await syncDirectory(dataDir);
    face.print(`Restored ${dataDir}: ${describeBackup(backup.manifest)}\n${describeCounts(report)}\n`);
    if (endSessions) face.print("All sessions are over: everybody logs in with their password\n");
  } finally {
    await Deno.remove(work, { recursive: true }).catch(() => {});
  }
  if (!again) return;
  const placed = await checkDirectory(paths.database, dataDir);
  if (placed.problems.length > 0) throw new DamagedError(`What lies in ${dataDir} now is damaged`, placed);
  face.print("Read again where it lies: ok\n");
}

async function openBackup(file: string): Promise<BackupFile> {
  try {
    return await BackupFile.open(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new StartError(2, `There is no ${file}`, { cause: error });
    throw error;
  }
}

async function unpackKeys(backup: BackupFile, work: string): Promise<void> {
  if (backup.keys.length === 0) return;
  await ensurePrivateDirectory(dataPaths(work).keys);
  for (const part of backup.keys) {
    using file = await Deno.open(join(work, part.name), { write: true, createNew: true, mode: 0o600 });
    await backup.copy(part, file);
    await file.sync();
  }
  await syncDirectory(dataPaths(work).keys);
}

/** A database under another cluster's keys would serve, and nobody could log in. @throws StartError, DamagedError */
async function refuseOtherKeys(backup: BackupFile, path: string, dataDir: string): Promise<void> {
  const keys = await loadClusterKeys(dataDir, { create: false });
  const { clusterId, fingerprint } = backup.manifest;
  const found = keys.clusterId.toHex();
  if (found !== clusterId) {
    throw new StartError(
      2,
      `Cannot restore: the backup is of cluster ${clusterId} (${fingerprint}), the keys in ${
        dataPaths(dataDir).keys
      } are of cluster ${found} (${formatFingerprint(keys.fingerprint)}). Put the right ones there`,
    );
  }
  refuseSealed(path, keys);
}

function refuseSealed(path: string, keys: ClusterKeys): void {
  const database = openToRead(path);
  try {
    const problems = sealedProblems(database, keys);
    if (problems.length === 0) return;
    throw new DamagedError("Cannot restore: these keys are not those that the database was sealed with", {
      version: 0,
      counts: {},
      problems,
    });
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
