/** A balancer's data directory: made usable, held by one balancer, found again without `--data`. */
import { join } from "node:path";
import { dataPaths } from "../shared/cluster/mod.ts";
import { ensurePrivateDirectory, FileLock, PrivateFileError, userDataDirectory } from "../shared/host/mod.ts";
import { StartError } from "./start_error.ts";

/** Makes the directory and takes its balancer's lock. @throws StartError */
export async function claimDataDir(dataDir: string): Promise<FileLock> {
  const paths = dataPaths(dataDir);
  let lock: FileLock | undefined;
  try {
    await Deno.mkdir(dataDir, { recursive: true, mode: 0o700 });
    await ensurePrivateDirectory(paths.run);
    await ensurePrivateDirectory(paths.log);
    lock = await FileLock.tryAcquire(paths.balancer.lock);
  } catch (error) {
    if (error instanceof PrivateFileError) throw new StartError(1, error.message);
    throw new StartError(
      1,
      `Cannot use ${dataDir} for data: ${
        (error as Error).message
      }. Make it a directory that you may write to, or choose another with --data DIR`,
      { cause: error },
    );
  }
  if (lock !== undefined) return lock;
  const pid = await FileLock.holder(paths.balancer.lock);
  throw new StartError(
    3,
    `Cannot start: a balancer (pid ${
      pid ?? "unknown"
    }) already runs on ${dataDir}. Stop it with: fastchat-balancer stop --data ${dataDir}`,
  );
}

/** Whether a directory has ever been a balancer's. */
export async function isDataDir(dataDir: string): Promise<boolean> {
  try {
    return (await Deno.stat(dataPaths(dataDir).run)).isDirectory;
  } catch {
    return false;
  }
}

/** Default directories of this user in which something runs: a balancer, or servers that one left. */
export async function liveDataDirs(): Promise<string[]> {
  const parent = join(userDataDirectory(), "fastchat");
  const live: string[] = [];
  try {
    for await (const entry of Deno.readDir(parent)) {
      const dataDir = join(parent, entry.name);
      if (/^balancer_\d+$/.test(entry.name) && await somethingRuns(dataDir)) live.push(dataDir);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return live.sort();
}

async function somethingRuns(dataDir: string): Promise<boolean> {
  if (!await isDataDir(dataDir)) return false;
  for await (const { name } of Deno.readDir(dataPaths(dataDir).run)) {
    if (!/^(?:balancer|server-\d+)\.lock$/.test(name)) continue;
    using lock = await FileLock.tryAcquire(join(dataPaths(dataDir).run, name));
    if (lock === undefined) return true;
  }
  return false;
}
