/** The number of a listener that acknowledges by hand: leases name it, and a lock of the system's says whether it still lives. */
import { join } from "node:path";
import { FileLock } from "../../shared/host/mod.ts";
import { UsageError } from "../errors.ts";

export class ListenerSlot {
  readonly number: number;
  readonly #lock: FileLock;

  private constructor(number: number, lock: FileLock) {
    this.number = number;
    this.#lock = lock;
  }

  /**
   * Takes the lowest free number of a home.
   *
   * @throws UsageError where there are {@linkcode LISTENERS_MAX} already.
   */
  static async take(home: string): Promise<ListenerSlot> {
    for (let number = 0; number < LISTENERS_MAX; number++) {
      const lock = await FileLock.tryAcquire(lockPath(home, number));
      if (lock !== undefined) return new ListenerSlot(number, lock);
    }
    throw new UsageError(`${LISTENERS_MAX} listeners acknowledge by hand in ${home} already: that is the most`);
  }

  /** Runs `bury` if nobody lives under that number; nobody can begin under it meanwhile. */
  static async ifDead(home: string, number: number, bury: () => void): Promise<void> {
    const lock = await FileLock.tryAcquire(lockPath(home, number));
    if (lock === undefined) return;
    try {
      bury();
    } finally {
      lock.release();
    }
  }

  release(): void {
    this.#lock.release();
  }
}

function lockPath(home: string, number: number): string {
  return join(home, `listener-${number}.lock`);
}

/** Listeners of one home at a time. */
export const LISTENERS_MAX = 32;
