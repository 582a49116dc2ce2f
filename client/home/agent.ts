/**
 * The agent: a small process that keeps one home's key for the length of a session, so that a password is typed once
 * (SECURITY P11). It hands the key to whoever can open its socket, and the system lets only the same user (and root) do that:
 * the socket, mode 0600, lies in a directory of mode 0700, and the agent does not start in an open one. Where there are no Unix
 * sockets (Windows) it listens on loopback TCP, and both ends first prove that they can read a key file in that directory.
 *
 * It ends by itself after some time of no use, when somebody locks the home, and when its socket or the home is gone: a login
 * session that ends takes XDG_RUNTIME_DIR with it.
 */
import { dirname, join } from "node:path";
import { sha256 } from "../../shared/crypto/mod.ts";
import {
  callControl,
  ControlError,
  type ControlServer,
  ensurePrivateDirectory,
  FileLock,
  PrivateFileError,
  removeStaleSocket,
  serveControl,
  usesTcp,
} from "../../shared/host/mod.ts";
import { UsageError } from "../errors.ts";
import type { Timers } from "../timers.ts";

export interface AgentOptions {
  /** The home's directory. */
  readonly home: string;
  /** 32 bytes, copied. */
  readonly key: Uint8Array;
  /** For how long nobody may ask before it ends. */
  readonly idleMs: number;
  readonly timers: Timers;
  /** Where sockets of a session lie: XDG_RUNTIME_DIR. */
  readonly runtimeDirectory?: string | undefined;
}

/** Why an agent has ended. */
export type AgentEnd = "locked" | "unused" | "gone" | "stopped";

export class Agent {
  readonly path: string;
  readonly ended: Promise<AgentEnd>;
  readonly #options: AgentOptions;
  readonly #key: Uint8Array;
  readonly #lock: FileLock;
  readonly #end: (reason: AgentEnd) => void;
  #server!: ControlServer;
  #usedMs: number;
  #cancel: () => void = () => {};
  #closing: Promise<void> | undefined;

  private constructor(path: string, options: AgentOptions, lock: FileLock) {
    this.path = path;
    this.#options = options;
    this.#key = new Uint8Array(options.key);
    this.#lock = lock;
    this.#usedMs = options.timers.nowMs();
    const { promise, resolve } = Promise.withResolvers<AgentEnd>();
    this.ended = promise;
    this.#end = resolve;
  }

  /**
   * Listens.
   *
   * @throws UsageError where another agent keeps this home unlocked, or the directory of its socket is open to others.
   */
  static async start(options: AgentOptions): Promise<Agent> {
    const path = agentPath(options.home, options.runtimeDirectory);
    try {
      await ensurePrivateDirectory(dirname(path));
      const lock = await FileLock.tryAcquire(`${path}.lock`);
      if (lock === undefined) throw new UsageError("An agent keeps this home unlocked already: fastchat lock ends it");
      try {
        // Whoever held the lock is gone, so nobody listens there.
        await removeStaleSocket(path);
        const agent = new Agent(path, options, lock);
        agent.#server = await serveControl(path, {
          key: () => agent.#handOut(),
          lock: () => agent.#lockUp(),
        });
        agent.#watch();
        return agent;
      } catch (error) {
        lock.release();
        throw error;
      }
    } catch (error) {
      if (error instanceof PrivateFileError) throw new UsageError(error.message, { cause: error });
      throw error;
    }
  }

  /** Ends it: the key is overwritten, the socket gone. Repeating it does nothing. */
  close(reason: AgentEnd = "stopped"): Promise<void> {
    return this.#closing ??= this.#close(reason);
  }

  async #close(reason: AgentEnd): Promise<void> {
    this.#cancel();
    this.#key.fill(0);
    await this.#server.close();
    this.#lock.release();
    this.#end(reason);
  }

  #handOut(): object {
    this.#usedMs = this.#options.timers.nowMs();
    return { key: this.#key.toBase64() };
  }

  #lockUp(): object {
    this.#key.fill(0);
    // Once the answer is written.
    queueMicrotask(() => this.close("locked"));
    return {};
  }

  #watch(): void {
    const { home, idleMs, timers } = this.#options;
    const leftMs = this.#usedMs + idleMs - timers.nowMs();
    if (leftMs <= 0) return void this.close("unused");
    if (!exists(home) || !exists(usesTcp(this.path) ? `${this.path}.tcp` : this.path)) return void this.close("gone");
    this.#cancel = timers.after(Math.min(leftMs, LOOK_MS), () => this.#watch());
  }
}

/** The key of a home, from the agent that keeps it. Whether it is this home's key its vault will tell. */
export async function askAgent(home: string, runtimeDirectory?: string): Promise<Uint8Array | undefined> {
  const answer = await call(home, runtimeDirectory, "key");
  if (typeof answer?.["key"] !== "string") return undefined;
  try {
    return Uint8Array.fromBase64(answer["key"]);
  } catch {
    return undefined;
  }
}

/** Ends a home's agent. @returns Whether there was one. */
export async function lockAgent(home: string, runtimeDirectory?: string): Promise<boolean> {
  if (await call(home, runtimeDirectory, "lock") === undefined) return false;
  // Its lock is free once it has gone.
  (await FileLock.acquire(`${agentPath(home, runtimeDirectory)}.lock`, {
    pollMs: 10,
    signal: AbortSignal.timeout(ANSWER_MS),
  })).release();
  return true;
}

/** Where a home's agent listens. */
export function agentPath(home: string, runtimeDirectory: string | undefined): string {
  if (runtimeDirectory === undefined) return join(home, "agent.sock");
  const name = sha256(new TextEncoder().encode(realPath(home))).subarray(0, 8).toHex();
  return join(runtimeDirectory, "fastchat", `${name}.sock`);
}

async function call(home: string, runtimeDirectory: string | undefined, command: string) {
  try {
    return await callControl(agentPath(home, runtimeDirectory), { command }, ANSWER_MS);
  } catch (error) {
    // Nobody listens, or nobody that we know: then there is no agent.
    if (error instanceof ControlError) return undefined;
    throw error;
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

/** How often it looks whether it is still wanted. */
const LOOK_MS = 30_000;
const ANSWER_MS = 2_000;
