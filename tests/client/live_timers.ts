/** Time for tests of what passes by itself: it stands still until somebody lets it pass. */
import type { Timers } from "../../client/timers.ts";

export class TestTimers implements Timers {
  #nowMs = 5_000;
  readonly #waiting = new Set<{ readonly atMs: number; readonly run: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, run };
    this.#waiting.add(timer);
    return () => this.#waiting.delete(timer);
  }

  /** Runs what is due, in order, and lets promises settle behind each. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const [next] = [...this.#waiting].sort((a, b) => a.atMs - b.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.#waiting.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
      await settle();
    }
    this.#nowMs = endMs;
    await settle();
  }

  get waiting(): number {
    return this.#waiting.size;
  }
}

/** Lets promises settle. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}
