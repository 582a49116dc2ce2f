/**
 * Brings what was waiting into one order: while conversations are caught up with, side by side, a row is applied only when no
 * other conversation still has an older one. What people are shown after an absence is then oldest first.
 *
 * An order for reading, not a promise: a conversation that keeps everybody waiting is passed after a while.
 */
export class Turns {
  /** Who is catching up → the time of its next row; `undefined` while it is being fetched. */
  readonly #next = new Map<unknown, number | undefined>();
  #changed: (() => void)[] = [];
  readonly #patienceMs: number;

  constructor(patienceMs = 2_000) {
    this.#patienceMs = patienceMs;
  }

  /** Others wait for its rows until it leaves. */
  enter(who: unknown): void {
    if (!this.#next.has(who)) this.#next.set(who, undefined);
  }

  leave(who: unknown): void {
    if (this.#next.delete(who)) this.#tell();
  }

  /**
   * Waits for one's turn. What is taken is told by {@linkcode passed}, one row after the other.
   *
   * @param times When each of one's next rows was stored, ascending; at least one.
   * @returns How many of them may be applied now, at least one.
   */
  async take(who: unknown, times: readonly number[]): Promise<number> {
    const isIn = this.#next.has(who), until = performance.now() + this.#patienceMs;
    if (isIn && this.#next.get(who) !== times[0]) {
      this.#next.set(who, times[0]);
      this.#tell();
    }
    for (;;) {
      const oldest = this.#oldestOfOthers(who);
      let count = 0;
      while (count < times.length && times[count]! <= oldest) count++;
      const leftMs = until - performance.now();
      if (count === 0 && leftMs > 0) {
        await this.#change(leftMs);
        continue;
      }
      return Math.max(1, count);
    }
  }

  /** One's next row was applied. @param next When the one behind it was stored; `undefined` while that is being fetched. */
  passed(who: unknown, next: number | undefined): void {
    if (!this.#next.has(who)) return;
    this.#next.set(who, next);
    this.#tell();
  }

  #oldestOfOthers(who: unknown): number {
    let oldest = Infinity;
    for (const [other, time] of this.#next) {
      if (other !== who) oldest = Math.min(oldest, time ?? -Infinity);
    }
    return oldest;
  }

  #change(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      this.#changed.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #tell(): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const wake of changed) wake();
  }
}
