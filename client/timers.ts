/** The time and a way to wait for it, handed in so that tests can let hours pass. */

export interface Timers {
  /** Milliseconds that never go back. */
  nowMs(): number;
  /** @returns How to call it off. */
  after(ms: number, run: () => void): () => void;
}

export const systemTimers: Timers = {
  nowMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
