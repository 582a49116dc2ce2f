/**
 * Which servers of an earlier balancer still live in a data directory.
 *
 * The proof of life is the server's lock, which the system drops with its process: no pid can mislead us, and what lies about
 * without a holder is swept up. Only for whoever holds the balancer's lock.
 */
import {
  dataPaths,
  parseServerStatus,
  readBalancerState,
  readServerState,
  removeServerState,
  type ServerState,
  type ServerStatus,
} from "../shared/cluster/mod.ts";
import { callControl, FileLock, removeStaleSocket } from "../shared/host/mod.ts";
import type { SpawnSettings } from "./spawner.ts";
import type { Fitness } from "./supervisor.ts";

export interface FoundServer {
  readonly number: number;
  readonly pid: number;
  /** 0 where it is not known: the server does not answer. */
  readonly port: number;
  readonly fitness: Fitness;
  readonly status: ServerStatus | undefined;
}

/** Looks at every server's lock; waits a little for one that is only just starting. */
export async function findServers(settings: SpawnSettings, version: string): Promise<FoundServer[]> {
  const previous = await readBalancerState(settings.dataDir);
  const sameArguments = previous === undefined ||
    JSON.stringify(previous.serverArguments) === JSON.stringify(settings.serverArguments);
  const found = await Promise.all((await lockedNumbers(settings.dataDir)).map(async (number) => {
    const pid = await holderOf(settings.dataDir, number);
    if (pid === undefined) return undefined;
    const status = await firstStatus(settings.dataDir, number, pid);
    if (status === undefined) {
      // It may have ended while we asked.
      const still = await holderOf(settings.dataDir, number);
      return still === undefined ? undefined : { number, pid: still, port: 0, fitness: "deaf" as const, status };
    }
    const state = await readServerState(settings.dataDir, number);
    const fit = sameArguments && status.version === version && state !== undefined && suits(state, settings);
    return { number, pid, port: status.port, fitness: fit ? "fit" as const : "other" as const, status };
  }));
  return found.filter((server) => server !== undefined);
}

/**
 * The pid of the living process that holds this number's lock. Where nobody does, its leavings are removed.
 */
export async function holderOf(dataDir: string, number: number): Promise<number | undefined> {
  const { lock: path, socket } = dataPaths(dataDir).server(number);
  using lock = await FileLock.tryAcquire(path);
  if (lock === undefined) {
    return await FileLock.holder(path) ?? (await readServerState(dataDir, number))?.pid;
  }
  await removeStaleSocket(socket);
  await removeServerState(dataDir, number);
  return undefined;
}

/** Asks a server for its status; `undefined` where it does not answer as the process with that pid. */
export async function askStatus(
  dataDir: string,
  number: number,
  pid: number,
  timeoutMs: number,
): Promise<ServerStatus | undefined> {
  try {
    const answer = await callControl(dataPaths(dataDir).server(number).socket, { command: "status" }, timeoutMs);
    const status = parseServerStatus(answer);
    return status?.number === number && status.pid === pid ? status : undefined;
  } catch {
    return undefined;
  }
}

async function firstStatus(dataDir: string, number: number, pid: number): Promise<ServerStatus | undefined> {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const status = await askStatus(dataDir, number, pid, ASK_MS_MAX);
    if (status !== undefined) return status;
    await new Promise((resolve) => setTimeout(resolve, ATTEMPT_PAUSE_MS));
  }
  return undefined;
}

async function lockedNumbers(dataDir: string): Promise<number[]> {
  const numbers: number[] = [];
  for await (const entry of Deno.readDir(dataPaths(dataDir).run)) {
    const match = /^server-(\d{1,3})\.lock$/.exec(entry.name);
    if (match) numbers.push(Number(match[1]));
  }
  return numbers.sort((a, b) => a - b);
}

function suits(state: ServerState, settings: SpawnSettings): boolean {
  return state.host === settings.host && state.advertise === settings.advertise;
}

const ASK_MS_MAX = 1000;
const ATTEMPTS_MAX = 4;
const ATTEMPT_PAUSE_MS = 250;
