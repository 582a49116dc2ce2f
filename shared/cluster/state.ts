/**
 * What servers and balancer of one data directory tell one another: state files in DIR/run, and the answer to `status` on a
 * server's control socket.
 *
 * A state file says where a process is, not that it lives: it stays behind when its process is killed. Only an answer on
 * the control socket that carries the same pid and version proves it.
 */
import { writePrivateFile } from "../host/mod.ts";
import { SERVERS_MAX } from "../limits.ts";
import { dataPaths } from "./paths.ts";

/** DIR/run/server-N.json, written by the server once it answers on its UDP port, removed when it stops cleanly. */
export interface ServerState {
  readonly pid: number;
  /** 0 to 127: the first byte of its connection ids (SECURITY H3). */
  readonly number: number;
  /** What it bound: an address, or `0.0.0.0` or `::`. */
  readonly host: string;
  /** What clients should be told, or "" for the host they already reached. */
  readonly advertise: string;
  readonly port: number;
  readonly version: string;
  /** RFC 3339. */
  readonly startedAt: string;
}

/**
 * A server's answer to `{"command":"status"}`. It must be quick (the balancer asks every second) and must not depend on the
 * store, or a store that stands still would look like a dead server.
 */
export interface ServerStatus {
  readonly pid: number;
  readonly number: number;
  readonly port: number;
  readonly version: string;
  /** Live client connections: what `two-choices` and `least-connections` go by. */
  readonly connections: number;
  /** False while it starts or stops: alive, but no client should be sent there. */
  readonly ready: boolean;
  /** What this server does for the store. */
  readonly store: "leader" | "follower" | "none";
  /** Users with a session on this server. */
  readonly users?: number;
  readonly uptimeMs?: number;
  /** Counters for people and tests; names as the server likes. */
  readonly counters?: Readonly<Record<string, number>>;
}

/** `{"command":"stop"}`: the server answers `{}` at once, tells its clients to go elsewhere, and exits 0 within this. */
export const SERVER_STOP_MS_MAX = 10_000;

/** DIR/run/balancer.json: for people and scripts, and for the next balancer to know how the servers were started. */
export interface BalancerState {
  readonly pid: number;
  readonly host: string;
  readonly port: number;
  readonly version: string;
  readonly startedAt: string;
  readonly serverArguments: readonly string[];
}

/**
 * DIR/run/migration.json, while the store's leader brings an older database up to date. That may take minutes, in which it answers
 * nobody: the file says to the balancer that it is not hung, and to the other servers that there will be a leader.
 */
export interface Migration {
  readonly pid: number;
  readonly from: number;
  readonly to: number;
}

/** Synchronous, like what follows on it. */
export function writeMigration(dataDir: string, migration: Migration): void {
  Deno.writeTextFileSync(dataPaths(dataDir).migration, JSON.stringify(migration) + "\n", { mode: 0o600 });
}

/** Only for the holder of the store's lock: whoever else left one behind is dead. */
export async function removeMigration(dataDir: string): Promise<void> {
  await removeQuietly(dataPaths(dataDir).migration);
}

export async function readMigration(dataDir: string): Promise<Migration | undefined> {
  let text: string;
  try {
    text = await Deno.readTextFile(dataPaths(dataDir).migration);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const { pid, from, to } = parseObject(text) ?? {};
  return isCount(pid, 1) && isCount(from, 0) && isCount(to, 0) ? { pid, from, to } : undefined;
}

export async function writeServerState(dataDir: string, state: ServerState): Promise<void> {
  await writePrivateFile(dataPaths(dataDir).server(state.number).state, JSON.stringify(state) + "\n");
}

export async function removeServerState(dataDir: string, number: number): Promise<void> {
  await removeQuietly(dataPaths(dataDir).server(number).state);
}

/** One server's state file, or `undefined` where there is none or it cannot be understood. */
export async function readServerState(dataDir: string, number: number): Promise<ServerState | undefined> {
  try {
    const state = parseServerState(await Deno.readTextFile(dataPaths(dataDir).server(number).state));
    return state?.number === number ? state : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** All state files, in order of number: where servers of this directory are or were. */
export async function readServerStates(dataDir: string): Promise<ServerState[]> {
  const numbers: number[] = [];
  try {
    for await (const entry of Deno.readDir(dataPaths(dataDir).run)) {
      const match = /^server-(\d{1,3})\.json$/.exec(entry.name);
      if (match) numbers.push(Number(match[1]));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const states = await Promise.all(numbers.sort((a, b) => a - b).map((number) => readServerState(dataDir, number)));
  return states.filter((state) => state !== undefined);
}

/** A file that another program wrote, perhaps of another version: everything is checked, extra fields are ignored. */
export function parseServerState(text: string): ServerState | undefined {
  const value = parseObject(text);
  if (value === undefined) return undefined;
  const { pid, number, host, advertise, port, version, startedAt } = value;
  if (!isCount(pid, 1) || !isCount(number, 0, SERVERS_MAX - 1) || !isCount(port, 1, 65_535)) return undefined;
  if (!isText(host) || !isText(advertise) || !isText(version) || !isText(startedAt)) return undefined;
  return { pid, number, host, advertise, port, version, startedAt };
}

/** Checks an answer to `status`; `undefined` where it lacks what the balancer needs. */
export function parseServerStatus(value: Readonly<Record<string, unknown>>): ServerStatus | undefined {
  const { pid, number, port, version, connections, ready, store } = value;
  if (!isCount(pid, 1) || !isCount(number, 0, SERVERS_MAX - 1) || !isCount(port, 1, 65_535)) return undefined;
  if (!isText(version) || !isCount(connections, 0) || typeof ready !== "boolean") return undefined;
  if (store !== "leader" && store !== "follower" && store !== "none") return undefined;
  return { ...value, pid, number, port, version, connections, ready, store };
}

export async function writeBalancerState(dataDir: string, state: BalancerState): Promise<void> {
  await writePrivateFile(dataPaths(dataDir).balancer.state, JSON.stringify(state) + "\n");
}

/** What the last balancer wrote that did not stop cleanly; `undefined` where there is none or it cannot be understood. */
export async function readBalancerState(dataDir: string): Promise<BalancerState | undefined> {
  let text: string;
  try {
    text = await Deno.readTextFile(dataPaths(dataDir).balancer.state);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const value = parseObject(text);
  if (value === undefined) return undefined;
  const { pid, host, port, version, startedAt, serverArguments } = value;
  if (!isCount(pid, 1) || !isText(host) || !isCount(port, 1, 65_535) || !isText(version) || !isText(startedAt)) {
    return undefined;
  }
  if (!Array.isArray(serverArguments) || !serverArguments.every(isText)) return undefined;
  return { pid, host, port, version, startedAt, serverArguments };
}

export async function removeBalancerState(dataDir: string): Promise<void> {
  await removeQuietly(dataPaths(dataDir).balancer.state);
}

async function removeQuietly(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function isCount(value: unknown, min: number, max = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= 255;
}
