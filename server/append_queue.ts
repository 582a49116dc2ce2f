/**
 * Appends of all streams and sessions of this server on their way to the store: what arrives while a batch is being committed
 * is the next batch. One batch is under way at a time, so that nothing can overtake what came before it, not even when the
 * store changes hands in between; under load batches grow by themselves, without load the first append waits for nothing.
 */
import { ErrorCode } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import {
  type AppendResult,
  type Store,
  type StoreAppend,
  StoreFullError,
  StoreUnavailableError,
} from "./store/store.ts";

/** Where an append came from and its answer goes. */
export interface Appender {
  /** After a refusal: nothing more of this appender goes to the store, since it would overtake what was refused. */
  readonly refusing: boolean;
  /** The store's verdict, once and in order of submission. */
  settled(record: StoreAppend, result: AppendResult): void;
  /** Not stored. Called for what was submitted behind a refusal too. */
  refused(record: StoreAppend, code: ErrorCode, message: string): void;
}

export interface AppendQueueOptions {
  readonly store: Pick<Store, "append">;
  /** Runs a function at the end of this turn of the event loop. */
  readonly defer: (run: () => void) => void;
  /** Waits, between two tries to reach the store. */
  readonly pause: (ms: number) => Promise<void>;
  readonly logger: Logger;
  /** How long an unreachable store is tried before everything that waits is refused. */
  readonly unavailableMsMax?: number;
}

export class AppendQueue {
  readonly #options: AppendQueueOptions;
  #records: StoreAppend[] = [];
  #appenders: Appender[] = [];
  #bytes = 0;
  #running = false;
  /** Who reads nothing more from their clients for now. */
  #held: (() => void)[] = [];

  constructor(options: AppendQueueOptions) {
    this.#options = options;
  }

  /** Bodies that are not stored yet, those of the batch under way too. */
  get bytesWaiting(): number {
    return this.#bytes;
  }

  /**
   * The store is slower than what comes. Whoever submits should read nothing more before {@linkcode whenRoom}: then clients' windows
   * close, and what they send waits with them instead of here.
   */
  get isCongested(): boolean {
    return this.#bytes >= CONGESTED_BYTES;
  }

  /** Calls back once, as soon as half of that is stored. */
  whenRoom(resume: () => void): void {
    this.#held.push(resume);
  }

  /** @returns False where too much is waiting already: then nothing was taken. */
  submit(record: StoreAppend, appender: Appender): boolean {
    if (this.#bytes >= WAITING_BYTES_MAX) return false;
    this.#records.push(record);
    this.#appenders.push(appender);
    this.#bytes += record.body.length;
    if (!this.#running) {
      this.#running = true;
      this.#options.defer(() => this.#run());
    }
    return true;
  }

  /** Resolves when nothing waits any more and no batch is under way. */
  async idle(): Promise<void> {
    while (this.#running) await this.#options.pause(IDLE_POLL_MS);
  }

  async #run(): Promise<void> {
    while (this.#records.length > 0) {
      const records = this.#records, appenders = this.#appenders;
      this.#records = [];
      this.#appenders = [];
      for (let from = 0; from < records.length;) from = await this.#commit(records, appenders, from);
    }
    this.#running = false;
  }

  /** Commits one batch from `from` on, and returns where the next begins. */
  async #commit(records: StoreAppend[], appenders: Appender[], from: number): Promise<number> {
    const batch: StoreAppend[] = [], owners: Appender[] = [];
    let at = from, bytes = 0;
    for (; at < records.length && batch.length < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX; at++) {
      const record = records[at]!, appender = appenders[at]!;
      if (appender.refusing) {
        this.#bytes -= record.body.length;
        appender.refused(record, ErrorCode.unavailable, "A message before this one was refused");
        continue;
      }
      bytes += record.body.length;
      batch.push(record);
      owners.push(appender);
    }
    if (batch.length === 0) return at;
    const results = await this.#append(batch);
    this.#bytes -= bytes;
    for (let i = 0; i < batch.length; i++) {
      if (Array.isArray(results)) owners[i]!.settled(batch[i]!, results[i]!);
      else owners[i]!.refused(batch[i]!, results.code, results.message);
    }
    if (this.#held.length > 0 && this.#bytes <= CONGESTED_BYTES / 2) {
      for (const resume of this.#held.splice(0)) resume();
    }
    return at;
  }

  /** Tries again while the store is changing hands: every append may be repeated. */
  async #append(batch: StoreAppend[]): Promise<AppendResult[] | { code: ErrorCode; message: string }> {
    const { store, pause, logger, unavailableMsMax = UNAVAILABLE_MS_MAX } = this.#options;
    const sinceMs = performance.now();
    for (let waitedMs = 0, waitMs = RETRY_MS_FIRST;; waitedMs += waitMs, waitMs = Math.min(2 * waitMs, RETRY_MS_MAX)) {
      try {
        return await store.append(batch);
      } catch (error) {
        if (error instanceof StoreFullError) {
          logger.log("error", "disk-full", { records: batch.length });
          return { code: ErrorCode.diskFull, message: "The server's disk is full" };
        }
        if (!(error instanceof StoreUnavailableError)) {
          logger.log("error", "append-failed", { records: batch.length, error });
          return { code: ErrorCode.internal, message: "The server could not store this" };
        }
        // The store tries for itself too: what counts is the time since the first try, however it was spent.
        if (Math.max(waitedMs, performance.now() - sinceMs) >= unavailableMsMax) {
          logger.log("warn", "append-unavailable", { records: batch.length, error });
          return { code: ErrorCode.unavailable, message: "The store cannot be reached now" };
        }
      }
      await pause(waitMs);
    }
  }
}

/** Together these bound what one transaction holds up, and what the link to the leader carries at once. */
const BATCH_RECORDS_MAX = 2048;
const BATCH_BYTES_MAX = 4 << 20;
/** Bodies in memory at which clients are no longer read from: more than a healthy store ever leaves waiting. */
const CONGESTED_BYTES = 8 << 20;
/** Beyond this an append is refused: what all clients' windows held already when reading stopped. */
const WAITING_BYTES_MAX = 128 << 20;
/** A new leader is there within a second or two; a client that waits longer may as well try another server. */
const UNAVAILABLE_MS_MAX = 10_000;
const IDLE_POLL_MS = 10;
const RETRY_MS_FIRST = 20;
const RETRY_MS_MAX = 500;
