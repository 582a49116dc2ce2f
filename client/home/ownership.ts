/**
 * Who takes rows and seals (SECURITY M11): one process of a home at a time, under a lock of the system's that goes with its
 * process, however that dies. Whoever does not get it watches the database, and tries again.
 *
 * Several parts of one process share it: it is held for as long as any of them works, and given back a moment after none does:
 * what the engine does by itself, behind an answer or an event, belongs to what it was told before. States of groups that another process may have changed meanwhile are read again ({@linkcode OwnershipOptions.onGained}).
 */
import { join } from "node:path";
import { systemRandom } from "../../shared/crypto/mod.ts";
import { FileLock } from "../../shared/host/mod.ts";
import type { Database } from "./database.ts";
import { pause } from "../pause.ts";

export interface OwnershipOptions {
  /** The home. */
  readonly directory: string;
  readonly database: Database;
  /** Another process owned it since this one did, or may have: what memory holds is not true any more. */
  onGained(): void;
  /** How long it is kept when nobody works any more, for what comes of the work by itself; 150 ms by default. */
  readonly lingerMs?: number;
}

/** One part's share. */
export interface Hold {
  /** Repeating it does nothing. */
  release(): void;
}

export class Ownership {
  readonly #options: OwnershipOptions;
  /** Tells whether anybody else owned it in between. */
  readonly #token = systemRandom.bytes(16).toHex();
  #lock: FileLock | undefined;
  #holds = 0;
  #taking: Promise<boolean> | undefined;
  #sinceMs = 0;
  #lookedMs = 0;
  #mustYield = false;
  #linger: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: OwnershipOptions) {
    this.#options = options;
  }

  /** Whether this process owns the home now. */
  get isHeld(): boolean {
    return this.#lock !== undefined;
  }

  /** A share, if this process owns the home or nobody does. */
  async tryHold(): Promise<Hold | undefined> {
    while (this.#lock === undefined) {
      if (this.#closed) return undefined;
      this.#taking ??= this.#take().finally(() => this.#taking = undefined);
      if (!await this.#taking) return undefined;
    }
    return this.#share();
  }

  /** A share, where this process owns the home already. */
  share(): Hold | undefined {
    return this.#lock === undefined ? undefined : this.#share();
  }

  /** A share as soon as it can be had; the one that has it is told that somebody waits. @throws The signal's reason. */
  async hold(signal?: AbortSignal): Promise<Hold> {
    const first = await this.tryHold();
    if (first !== undefined) return first;
    const queue = await FileLock.acquire(this.#path(QUEUE_FILE), { pollMs: POLL_MS, ...(signal && { signal }) });
    try {
      for (;;) {
        const hold = await this.tryHold();
        if (hold !== undefined) return hold;
        signal?.throwIfAborted();
        await pause(POLL_MS, signal);
      }
    } finally {
      queue.release();
    }
  }

  /** Runs with a share. */
  async with<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const hold = await this.hold(signal);
    try {
      return await work();
    } finally {
      hold.release();
    }
  }

  /**
   * Whether others wait while this process has had it for long: whoever always has more to do ends what it is doing, and begins
   * again. Asked often, it looks once in a while.
   */
  async isWanted(): Promise<boolean> {
    const nowMs = performance.now();
    if (this.#lock === undefined || this.#mustYield) return this.#mustYield;
    if (nowMs - this.#sinceMs < TENURE_MS || nowMs - this.#lookedMs < TENURE_MS) return false;
    this.#lookedMs = nowMs;
    const queue = await FileLock.tryAcquire(this.#path(QUEUE_FILE));
    queue?.release();
    if (queue === undefined && this.#lock !== undefined) this.#mustYield = true;
    return this.#mustYield;
  }

  /** Nobody takes it here any more; shares that are held stay so until they are given back. */
  close(): void {
    this.#closed = true;
    if (this.#holds === 0) this.#release();
  }

  async #take(): Promise<boolean> {
    // Whoever was waited for leaves those who wait the time to look.
    if (this.#mustYield) await pause(2 * POLL_MS);
    this.#mustYield = false;
    const lock = await FileLock.tryAcquire(this.#path(LOCK_FILE));
    if (lock === undefined) return false;
    const { database, onGained } = this.#options;
    try {
      if (this.#closed || database.closed) {
        lock.release();
        return false;
      }
      if (database.meta(OWNER) !== this.#token) {
        database.transaction(() => database.setMeta(OWNER, this.#token));
        onGained();
      }
    } catch (error) {
      lock.release();
      throw error;
    }
    this.#lock = lock;
    this.#sinceMs = this.#lookedMs = performance.now();
    return true;
  }

  #share(): Hold {
    this.#holds++;
    clearTimeout(this.#linger);
    let isHeld = true;
    return {
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        if (--this.#holds > 0) return;
        const { lingerMs = LINGER_MS } = this.#options;
        if (this.#closed || this.#mustYield || lingerMs === 0) return this.#release();
        this.#linger = setTimeout(() => this.#release(), lingerMs);
      },
    };
  }

  #release(): void {
    clearTimeout(this.#linger);
    this.#lock?.release();
    this.#lock = undefined;
  }

  #path(file: string): string {
    return join(this.#options.directory, file);
  }
}

const LOCK_FILE = "keys.lock";
/** Held by whoever waits for the other one: that is how its holder hears of it. */
const QUEUE_FILE = "keys-next.lock";
/** Whose token stands here owned the home last. */
const OWNER = "keys-owner";
const POLL_MS = 50;
const LINGER_MS = 150;
const TENURE_MS = 500;
