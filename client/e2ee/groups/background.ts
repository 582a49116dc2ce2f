/** Work that nobody waits for. What fails in it fails for want of a connection, and is done again with the next one. */
import type { Timers } from "../../timers.ts";

export class Background {
  readonly #timers: Timers;
  readonly #hold: () => () => void;
  readonly #running = new Set<Promise<void>>();
  readonly #pauses = new Set<() => void>();
  #closed = false;

  /** @param hold Holds the home for what begins now; what it gives back is called when that has ended. */
  constructor(timers: Timers, hold: () => () => void = () => () => {}) {
    this.#timers = timers;
    this.#hold = hold;
  }

  get isBusy(): boolean {
    return this.#running.size > this.#pauses.size;
  }

  /**
   * Between one of its requests and what it does with the answer nobody else comes in, however long that takes: what failed for
   * that would not be done again before the next connection.
   *
   * @param pauses It takes its time, and others may come in between.
   * @returns When it has ended, however; never rejects.
   */
  run(work: () => Promise<void>, { pauses = false } = {}): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const release = pauses ? () => {} : this.#hold();
    const running = work().catch(() => {}).finally(() => {
      release();
      this.#running.delete(running);
    });
    this.#running.add(running);
    return running;
  }

  /** A while; rejects where everything is closed meanwhile. */
  async pause(ms: number): Promise<void> {
    if (this.#closed) throw new Error("The home is closed");
    await new Promise<void>((resolve, reject) => {
      const end = () => {
        cancel();
        this.#pauses.delete(end);
        reject(new Error("The home is closed"));
      };
      const cancel = this.#timers.after(ms, () => {
        this.#pauses.delete(end);
        resolve();
      });
      this.#pauses.add(end);
    });
  }

  /** Begins nothing more; resolves when nothing runs. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const end of [...this.#pauses]) end();
    await Promise.allSettled([...this.#running]);
  }
}
