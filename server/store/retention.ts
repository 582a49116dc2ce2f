/**
 * How long messages are kept: by age, by size, or for ever. The leader removes the oldest in small batches between commits.
 *
 * Records go in the order in which they came, so a conversation loses its first ones, and `begins` says up to which. What came
 * less than {@linkcode RECORD_AGE_MS_MIN} ago stays whatever the setting says: until then a repeated append is known by its row.
 * Later a repeat is stored as new, and dropped by the clients that have the message, by the id inside it.
 */
import type { Logger } from "../../shared/log.ts";
import { RECORD_AGE_MS_MIN } from "../../shared/limits.ts";
import { pauseUntil } from "./pause.ts";
import type { Store, TrimLimits } from "./store.ts";

/** As an operator sets it. */
export interface RetentionSettings {
  /** 0 means for ever. */
  readonly days: number;
  /** What the database may take, in MiB; 0 means any size. */
  readonly mebibytes: number;
}

export interface RetentionOptions {
  readonly store: Pick<Store, "trim">;
  readonly settings: RetentionSettings;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  readonly logger: Logger;
  readonly roundMs?: number;
}

/** Looks for what may go, again and again, until it is stopped. */
export class Retention {
  readonly #options: RetentionOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** Does nothing where everything is kept. */
  start(): void {
    const { settings: { days, mebibytes } } = this.#options;
    if (days > 0 || mebibytes > 0) this.#running ??= this.#run();
  }

  /** Resolves after the batch that is under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** One round: batch after batch, with room for commits in between. @returns How many records went. */
  async round(): Promise<number> {
    const { store, settings: { days, mebibytes }, nowMs } = this.#options;
    const limits: TrimLimits = {
      nowMs: nowMs(),
      ageMsMax: days > 0 ? days * DAY_MS : undefined,
      bytesMax: mebibytes > 0 ? mebibytes * 2 ** 20 : undefined,
      recordsMax: BATCH_RECORDS_MAX,
    };
    let removed = 0;
    while (!this.#stop.signal.aborted) {
      const count = await store.trim(limits);
      if (count === 0) break;
      removed += count;
      await pauseUntil(this.#stop.signal, BATCH_PAUSE_MS);
    }
    return removed;
  }

  async #run(): Promise<void> {
    const { logger, roundMs = ROUND_MS } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        const removed = await this.round();
        if (removed > 0) logger.log("info", "store.trimmed", { records: removed });
      } catch (error) {
        logger.log("warn", "store.trim-failed", { error });
      }
      await pauseUntil(this.#stop.signal, roundMs);
    }
  }
}

/** A record, as far as it matters here. */
export interface Aged {
  readonly timeMs: number;
  /** Of its body. */
  readonly bytes: number;
}

/**
 * How many of the oldest records go now. Those that stand before one that has to go are at least as old, whatever the clocks of
 * their servers said; one that must stay, stays with all behind it.
 *
 * @param oldest In the order in which they came.
 * @param storedBytes What all records take.
 */
export function countToTrim(oldest: Iterable<Aged>, limits: TrimLimits, storedBytes: number): number {
  const { nowMs, ageMsMax = Infinity, bytesMax = Infinity, recordsMax } = limits;
  let count = 0, seen = 0, bytes = 0;
  for (const record of oldest) {
    if (seen >= recordsMax || bytes >= BATCH_BYTES_MAX) break;
    const ageMs = nowMs - record.timeMs;
    // One that came in the future has no age to go by.
    if (ageMs >= 0 && ageMs < RECORD_AGE_MS_MIN) break;
    seen++;
    const goes = ageMs >= 0 && (ageMs > ageMsMax || storedBytes - bytes > bytesMax);
    bytes += record.bytes + RECORD_BYTES;
    if (goes) count = seen;
  }
  return count;
}

/** About what a record takes beside its body. */
export const RECORD_BYTES = 128;
/** Together a batch holds the writer up for a few milliseconds. */
const BATCH_RECORDS_MAX = 128;
const BATCH_BYTES_MAX = 1 << 20;
const BATCH_PAUSE_MS = 20;
const ROUND_MS = 60_000;
const DAY_MS = 24 * 3600 * 1000;
