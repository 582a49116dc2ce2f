/**
 * Keeps the WAL within its bound without holding the event loop up: a Worker writes back what is in it, pass after pass, until
 * little is left. For the last pass the writer waits, a few milliseconds in which packets and reads go on; then nothing in the WAL
 * is needed any more, and SQLite begins it anew from its start.
 *
 * How long the WAL is SQLite says only where it checkpoints, so in between it is estimated from what was written, and the
 * estimate is corrected each time. Where the Worker cannot keep up the writer waits for it; where there is none SQLite checkpoints
 * in the midst of commits (`wal_autocheckpoint`).
 */
import type { Logger } from "../../shared/log.ts";
import { isFailureOfTheDisk } from "./full.ts";
import type { CheckpointAnswer, CheckpointJob, CheckpointResult } from "./checkpoint_worker.ts";

/** Somebody who checkpoints beside the writer. */
export interface CheckpointThread {
  /** @throws where it cannot, now or for good. */
  checkpoint(): Promise<CheckpointResult>;
  /** Lets go of the database. */
  close(): Promise<void>;
}

export interface CheckpointerOptions {
  /** Started when there is something to do for the first time: a server that stores little needs none. */
  readonly startThread: () => CheckpointThread;
  readonly logger: Logger;
  /**
   * The disk has no room for what is in the WAL. Told at once: the WAL's own room is there already, so that commits would go on
   * until there is more in it than what is held back for a full disk can take.
   */
  readonly onFull?: () => void;
  /** Pages in the WAL at which a checkpoint begins, and at which the writer waits for its end. */
  readonly pagesMin?: number;
  readonly pagesMax?: number;
}

export class Checkpointer {
  /** Checkpoints finished, and those that came too late, so that the writer had to wait for all of it. */
  finished = 0;
  late = 0;
  readonly #options: Required<Omit<CheckpointerOptions, "onFull">> & Pick<CheckpointerOptions, "onFull">;
  #thread: CheckpointThread | undefined;
  #running: Promise<void> | undefined;
  /** The last pass is under way. */
  #isLast = false;
  #isLate = false;
  #isBroken = false;
  #closed = false;
  /** Pages in the WAL as SQLite last told, and those we think were written since. */
  #pagesKnown = 0;
  #pagesSince = 0;
  /** What one page of our estimate was in truth, lately. */
  #ratio = 1;

  constructor({ pagesMin = PAGES_MIN, pagesMax = PAGES_MAX, ...options }: CheckpointerOptions) {
    this.#options = { ...options, pagesMin, pagesMax };
  }

  /** A transaction was committed, of so many changes and about so many bytes. */
  wrote(changes: number, bytes: number): void {
    this.#pagesSince += PAGES_PER_CHANGE * changes + bytes / PAGE_BYTES;
    if (this.#running !== undefined || this.#closed || this.#isBroken || this.#pages < this.#options.pagesMin) return;
    this.#running = this.#run().finally(() => this.#running = undefined);
  }

  /** What the writer has to wait for before it writes more; most often nothing. */
  get blocked(): Promise<void> | undefined {
    if (this.#running === undefined || this.#isLast) return this.#running;
    if (this.#pages < this.#options.pagesMax) return undefined;
    if (!this.#isLate) {
      this.#isLate = true;
      // Where the disk is the bound every one is late, and a line for each of them would be no news.
      if ((this.late & (this.late + 1)) === 0) {
        this.#options.logger.log("warn", "store.checkpoint-late", {
          pages: Math.round(this.#pages),
          times: this.late + 1,
        });
      }
      this.late++;
    }
    return this.#running;
  }

  /** Finishes what is under way and lets go of the database. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
    await this.#thread?.close();
  }

  get #pages(): number {
    return this.#pagesKnown + this.#ratio * this.#pagesSince;
  }

  async #run(): Promise<void> {
    try {
      this.#thread ??= this.#options.startThread();
      // Again while the writer has written much in the meantime.
      for (let pass = 1; pass < PASSES_MAX; pass++) {
        const before = this.#pagesSince, { pages } = await this.#thread.checkpoint();
        this.#learn(pages, before);
        if (this.#closed || this.#isLate || this.#ratio * this.#pagesSince < PAGES_LEFT_MAX) break;
      }
      this.#isLast = true;
      const { pages, written } = await this.#thread.checkpoint();
      // The next transaction begins the WAL anew, unless a reader still needs what is in it.
      this.#pagesKnown = written === pages ? 0 : pages;
      this.#pagesSince = 0;
      this.finished++;
    } catch (error) {
      this.#options.logger.log("error", "store.checkpoint-thread", { error });
      if (!isFailureOfTheDisk(error)) this.#isBroken = true;
      else {
        this.#options.onFull?.();
        // Looked at anew when as much has been written again, whatever became of it.
        this.#pagesKnown = this.#pagesSince = 0;
      }
    } finally {
      this.#isLast = this.#isLate = false;
    }
  }

  /** @param before What we thought had been written when the pass began: about what it found. */
  #learn(pages: number, before: number): void {
    const found = pages - this.#pagesKnown;
    if (before > 0 && found > 0) this.#ratio = Math.min(RATIO_MAX, Math.max(RATIO_MIN, found / before));
    this.#pagesKnown = pages;
    this.#pagesSince = Math.max(0, this.#pagesSince - before);
  }
}

/** A Worker with a connection of its own to the database at `path`. */
export class CheckpointWorker implements CheckpointThread {
  readonly #worker: Worker;
  #waiting: PromiseWithResolvers<CheckpointAnswer>[] = [];
  #failure: Error | undefined;

  constructor(path: string) {
    this.#worker = new Worker(new URL("./checkpoint_worker.ts", import.meta.url), {
      type: "module",
      name: "checkpoint",
    });
    this.#worker.onmessage = (event: MessageEvent<CheckpointAnswer>) => this.#waiting.shift()?.resolve(event.data);
    this.#worker.onerror = (event) => {
      // Otherwise an error in a Worker ends the whole program.
      event.preventDefault();
      this.#fail(new Error(event.message));
    };
    // Where this fails the next question does too, and tells.
    this.#ask({ kind: "open", path }).catch(() => {});
  }

  async checkpoint(): Promise<CheckpointResult> {
    const answer = await this.#ask({ kind: "checkpoint" });
    if (!("pages" in answer)) throw new Error("The checkpoint thread has lost its way");
    return answer;
  }

  async close(): Promise<void> {
    await this.#ask({ kind: "close" }).catch(() => {});
    this.#worker.terminate();
  }

  async #ask(job: CheckpointJob): Promise<Exclude<CheckpointAnswer, { error: string }>> {
    if (this.#failure) throw this.#failure;
    const waiting = Promise.withResolvers<CheckpointAnswer>();
    this.#waiting.push(waiting);
    this.#worker.postMessage(job);
    const answer = await waiting.promise;
    if ("error" in answer) throw new Error(`Cannot ${job.kind} on a thread: ${answer.error}`);
    return answer;
  }

  #fail(error: Error): void {
    this.#failure = error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#worker.terminate();
  }
}

/** 4 KiB each: a checkpoint begins at 16 MiB and is late at 64. */
const PAGES_MIN = 4096;
const PAGES_MAX = 16_384;
/** What the writer waits for takes a few milliseconds. */
const PAGES_LEFT_MAX = 256;
const PASSES_MAX = 4;
const PAGE_BYTES = 4096;
/** A row touches a page of the log, one of each of its indexes and its conversation's; in full transactions they share many. */
const PAGES_PER_CHANGE = 3;
const RATIO_MIN = 1 / 16;
const RATIO_MAX = 4;
