/**
 * A server's number, held by a locked file for as long as it lives (SECURITY H3): connection ids begin with it, so two
 * servers must never have the same.
 */
import { dataPaths } from "../shared/cluster/mod.ts";
import { FileLock } from "../shared/host/mod.ts";
import { SERVERS_MAX } from "../shared/limits.ts";
import { StartError } from "./start_error.ts";

export interface HeldNumber {
  readonly number: number;
  readonly lock: FileLock;
}

/** @param wanted `undefined` takes the first free one. @throws StartError */
export async function holdNumber(dataDir: string, wanted: number | undefined): Promise<HeldNumber> {
  if (wanted !== undefined) return { number: wanted, lock: await holdThis(dataDir, wanted) };
  for (let number = 0; number < SERVERS_MAX; number++) {
    const lock = await FileLock.tryAcquire(dataPaths(dataDir).server(number).lock);
    if (lock !== undefined) return { number, lock };
  }
  throw new StartError(3, `Cannot start: all ${SERVERS_MAX} server numbers in ${dataDir} are taken`);
}

/** Waits a moment: a balancer that looks whether anybody has the number holds its lock for an instant. */
async function holdThis(dataDir: string, number: number): Promise<FileLock> {
  const path = dataPaths(dataDir).server(number).lock;
  try {
    return await FileLock.acquire(path, { signal: AbortSignal.timeout(WAIT_MS) });
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    const pid = await FileLock.holder(path);
    throw new StartError(3, `Cannot start: number ${number} in ${dataDir} is taken${pid ? ` by pid ${pid}` : ""}`);
  }
}

const WAIT_MS = 1000;
