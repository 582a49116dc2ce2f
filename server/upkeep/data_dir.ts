/** What upkeep wants of a data directory before it touches anything. */
import { StartError } from "../start_error.ts";
import { storePaths } from "../store/leader.ts";

/** The path of the directory's database. @throws StartError where there is none. */
export async function databaseOf(dataDir: string): Promise<string> {
  const { database } = storePaths(dataDir);
  if (await exists(database)) return database;
  throw new StartError(2, `There is no ${database}: is ${dataDir} the data directory of a cluster?`);
}

/**
 * A directory to restore into: it is not there, is empty, or holds the cluster's keys and nothing else.
 *
 * @throws StartError which says what to do.
 */
export async function refuseUsed(dataDir: string): Promise<void> {
  const used: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(dataDir)) {
      if (MAY_BE_THERE.includes(name)) continue;
      if (isDirectory && (await Array.fromAsync(Deno.readDir(`${dataDir}/${name}`))).length === 0) continue;
      used.push(name);
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new StartError(2, `Cannot restore into ${dataDir}: ${(error as Error).message}`, { cause: error });
  }
  if (used.length === 0) return;
  throw new StartError(
    2,
    `Cannot restore into ${dataDir}: it holds ${used.sort().slice(0, 5).join(", ")}. Stop what runs there (` +
      `fastchat-balancer stop --data ${dataDir}), move the directory away, and put its keys, if you restore a backup ` +
      `without them, back to ${dataDir}/keys`,
  );
}

export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

export async function isFolder(path: string): Promise<boolean> {
  return await exists(path) && (await Deno.stat(path)).isDirectory;
}

/** Where a restore keeps what is not yet whole. */
export const RESTORING = "restoring";
const MAY_BE_THERE = ["keys", "keys.lock", "store.lock", RESTORING];
