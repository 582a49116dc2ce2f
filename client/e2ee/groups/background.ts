/** Work that nobody waits for. What fails in it fails for want of a connection, and is done again with the next one. */
import type { Timers } from "../../timers.ts";

export class Background {
  readonly #timers: Timers;
  readonly #running = new Set<Promise<void>>();
  readonly #pauses = new Set<() => void>();
  #closed = false;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  get isBusy(): boolean {
    return this.#running.size > this.#pauses.size;
  }

  /** @returns When it has ended, however; never rejects. */
  run(work: () => Promise<void>): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const running = work().catch(() => {}).finally(() => this.#running.delete(running));
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
