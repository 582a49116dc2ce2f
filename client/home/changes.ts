/**
 * Hears of changes to a home, whichever of its processes made them: own transactions at once, others' by asking SQLite's
 * `data_version` ten times a second, which costs a microsecond. A socket between the processes would be quicker and is not worth it.
 */
import type { Database } from "./database.ts";

/** `foreign`: another connection committed; without it only this one did. */
export type ChangeListener = (foreign: boolean) => void;

export class Changes {
  readonly #db: Database;
  readonly #listeners = new Set<ChangeListener>();
  readonly #pollMs: number;
  #stopOwn: (() => void) | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #version: number;

  constructor(database: Database, pollMs = 100) {
    this.#db = database;
    this.#pollMs = pollMs;
    this.#version = database.dataVersion();
  }

  /** Asks only while somebody listens. @returns How to stop. */
  listen(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#start();
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#stop();
    };
  }

  /** Looks now. */
  poll(): void {
    if (this.#db.closed) return;
    const version = this.#db.dataVersion();
    if (version === this.#version) return;
    this.#version = version;
    this.#tell(true);
  }

  close(): void {
    this.#listeners.clear();
    this.#stop();
  }

  #start(): void {
    this.#stopOwn = this.#db.onCommit(() => this.#tell(false));
    this.#timer = setInterval(() => this.poll(), this.#pollMs);
  }

  #stop(): void {
    this.#stopOwn?.();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #tell(foreign: boolean): void {
    for (const listener of [...this.#listeners]) listener(foreign);
  }
}
