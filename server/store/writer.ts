/**
 * Natural group commit: one transaction takes everything that queued up while the one before it ran, and in this turn of
 * the event loop. There is no timer: alone, a change is committed at once; under load, hundreds share one fsync.
 *
 * Nobody hears of a change before it is on the disk. After that the callers' promises resolve and the records go out.
 */
import { setImmediate } from "node:timers";
import { assert } from "../../shared/assert.ts";
import type { Logger } from "../../shared/log.ts";
import type { CommitListener } from "../bus/bus.ts";
import type { Checkpointer } from "./checkpointer.ts";
import { isFailureOfTheDisk } from "./full.ts";
import { Notices } from "./notices.ts";
import type { SqliteDatabase } from "./sqlite/database.ts";
import { RefusedError, SupersededError } from "./sqlite/errors.ts";
import { StoreFullError, StoreUnavailableError } from "./store.ts";

/** One change. It runs inside a transaction, perhaps twice (where another one of the batch failed), and must not wait. */
export type Change<T> = (database: SqliteDatabase, notices: Notices) => T;

/** How a record that is all of its batch is written in one statement; `undefined` where it has to be a {@linkcode Change}. */
export type Alone<T> = (database: SqliteDatabase, notices: Notices) => T | undefined;

export interface GroupWriterOptions {
  readonly listener: CommitListener;
  readonly logger: Logger;
  /** Hears of commits, and may hold the next one up. */
  readonly checkpointer?: Pick<Checkpointer, "wrote" | "blocked">;
  /** Called for every transaction that found the disk full. */
  readonly onFull?: () => void;
  /** Called once, when a newer leadership was found in the database: this process no longer leads. */
  readonly onSuperseded?: () => void;
}

export class GroupWriter {
  /** Transactions committed so far. */
  transactions = 0;
  readonly #database: SqliteDatabase;
  readonly #options: GroupWriterOptions;
  #queue: Pending[] = [];
  #queuedBytes = 0;
  #scheduled = false;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(database: SqliteDatabase, options: GroupWriterOptions) {
    this.#database = database;
    this.#options = options;
  }

  /**
   * Queues a change; the promise settles after the commit that holds it.
   *
   * @param bytes About how much it writes: a transaction and the queue are bounded.
   * @param alone Of a change that is nothing but records.
   */
  write<T>(bytes: number, change: Change<T>, alone?: Alone<T>): Promise<T> {
    if (this.#queuedBytes + bytes > QUEUE_BYTES_MAX) {
      return Promise.reject(new StoreUnavailableError("Cannot store: too much is waiting to be written"));
    }
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ bytes, change, alone, resolve: resolve as (value: unknown) => void, reject });
      this.#queuedBytes += bytes;
      this.#schedule();
    });
  }

  /** Resolves once nothing is queued. */
  drain(): Promise<void> {
    if (this.#queue.length === 0) return Promise.resolve();
    return (this.#drained ??= Promise.withResolvers<void>()).promise;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Behind this turn's input and output, so that all of it shares the transaction; a microtask would come too early.
    setImmediate(() => this.#run());
  }

  #run(): void {
    const blocked = this.#options.checkpointer?.blocked;
    if (blocked !== undefined) return void blocked.finally(() => this.#run());
    this.#scheduled = false;
    const batch = this.#take();
    try {
      this.#commit(batch);
    } catch (error) {
      // Our own bug: nobody may wait forever for it.
      this.#options.logger.log("error", "store.bug", { error });
      for (const pending of batch) pending.reject(error);
    }
    if (this.#queue.length > 0) return this.#schedule();
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  /** The next transaction's worth: bounded, so that the event loop gets its turn, but at least one. */
  #take(): Pending[] {
    let bytes = 0, count = 0;
    while (count < this.#queue.length && count < BATCH_CHANGES_MAX && bytes < BATCH_BYTES_MAX) {
      bytes += this.#queue[count++]!.bytes;
    }
    this.#queuedBytes -= bytes;
    if (count === this.#queue.length) {
      const all = this.#queue;
      this.#queue = [];
      return all;
    }
    return this.#queue.splice(0, count);
  }

  #commit(batch: readonly Pending[]): void {
    const outcome = this.#attemptAlone(batch) ?? this.#attempt(batch, false) ?? this.#attempt(batch, true);
    assert(outcome !== undefined, "Guarded changes fail alone");
    const { results, notices } = outcome;
    for (let at = 0; at < batch.length; at++) {
      const result = results[at]!;
      if (result.ok) batch[at]!.resolve(result.value);
      else batch[at]!.reject(result.error);
    }
    try {
      notices.publish(this.#options.listener);
    } catch (error) {
      this.#options.logger.log("error", "store.listener", { error });
    }
  }

  /** A batch of one, without the statements round it. */
  #attemptAlone(batch: readonly Pending[]): Outcome | undefined {
    const [pending] = batch;
    if (batch.length !== 1 || pending!.alone === undefined) return undefined;
    const notices = new Notices();
    try {
      const value = pending!.alone(this.#database, notices);
      if (value === undefined) return undefined;
      this.#wrote(batch, pending!.bytes);
      return { results: [{ ok: true, value }], notices };
    } catch {
      // Nothing was written; what is wrong the transaction will tell.
      return undefined;
    }
  }

  /**
   * One transaction over the batch. Unguarded changes cost nothing extra, but one that fails in its midst takes the
   * transaction with it: then the answer is `undefined`, and the batch runs again with a savepoint round each.
   */
  #attempt(batch: readonly Pending[], guarded: boolean): Outcome | undefined {
    const database = this.#database, notices = new Notices(), results: Result[] = [];
    let bytes = 0;
    try {
      database.begin();
      for (const { change, bytes: size } of batch) {
        bytes += size;
        const mark = notices.mark();
        try {
          const value = guarded ? database.guarded(() => change(database, notices)) : change(database, notices);
          results.push({ ok: true, value });
        } catch (error) {
          if (isFailureOfTheDisk(error)) throw error;
          if (!guarded && !(error instanceof RefusedError)) {
            database.rollback();
            return undefined;
          }
          notices.rewind(mark);
          results.push({ ok: false, error });
        }
      }
      database.commit(batch.every(({ alone }) => alone !== undefined));
      this.#wrote(batch, bytes);
      return { results, notices };
    } catch (error) {
      return this.#failed(batch, error);
    }
  }

  #wrote(batch: readonly Pending[], bytes: number): void {
    this.transactions++;
    this.#options.checkpointer?.wrote(batch.length, bytes);
  }

  /** The whole transaction failed: everybody gets the reason, nothing was changed, the next one may work. */
  #failed(batch: readonly Pending[], error: unknown): Outcome {
    this.#database.rollback();
    this.#options.logger.log("error", "store.commit", { error });
    if (error instanceof SupersededError) this.#options.onSuperseded?.();
    const told = storeError(error);
    if (told instanceof StoreFullError) this.#options.onFull?.();
    return { results: batch.map(() => ({ ok: false, error: told })), notices: new Notices() };
  }
}

/** The contract's error for what SQLite says; a {@linkcode RefusedError} stays what it is. */
export function storeError(error: unknown): Error {
  if (error instanceof RefusedError) return error;
  if (isFailureOfTheDisk(error)) return new StoreFullError("Cannot store: the disk is full", { cause: error });
  return new StoreUnavailableError("Cannot use the store now", { cause: error });
}

interface Pending {
  readonly bytes: number;
  readonly change: Change<unknown>;
  readonly alone: Alone<unknown> | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

type Result = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown };

interface Outcome {
  readonly results: readonly Result[];
  readonly notices: Notices;
}

const BATCH_CHANGES_MAX = 4096;
const BATCH_BYTES_MAX = 8 << 20;
const QUEUE_BYTES_MAX = 128 << 20;
