/** Has the leader's store remove, every minute and a little at a time, what has had its time: Welcomes, key packages, groups that ended. */
import type { Logger } from "../../shared/log.ts";
import { pauseUntil } from "./pause.ts";
import type { Store } from "./store.ts";

export interface SweeperOptions {
  readonly store: Pick<Store, "sweep">;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  readonly logger: Logger;
  readonly roundMs?: number;
}

export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves after the batch that is under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { store, nowMs, logger, roundMs = ROUND_MS } = this.#options, { signal } = this.#stop;
    while (!signal.aborted) {
      let isMore = false;
      try {
        isMore = await store.sweep(nowMs());
      } catch (error) {
        logger.log("warn", "store.sweep-failed", { error });
      }
      await pauseUntil(signal, isMore ? BATCH_PAUSE_MS : roundMs);
    }
  }
}

const ROUND_MS = 60_000;
/** Room for commits in between. */
const BATCH_PAUSE_MS = 20;
