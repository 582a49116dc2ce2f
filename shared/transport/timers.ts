/** The deadlines of one connection: one table, one minimum. */
import { keptDoubles } from "../kept.ts";

export enum Timer {
  /** A packet will count as lost, or a probe is due. */
  Loss,
  /** A delayed acknowledgement is due. */
  Ack,
  /** The pacer lets the next packet out. */
  Pacing,
  /** A second copy is to leave. */
  Copy,
  /** Silence for too long. */
  Idle,
  /** Speak, so that the path's NATs remember us and we learn whether the peer lives. */
  KeepAlive,
  /** The peer has not answered anything for so long that it may be gone. */
  Silence,
  /** The candidate path did not answer. */
  Path,
  /** A closed connection is forgotten. */
  Close,
}

export class Timers {
  readonly #deadlinesUs = keptDoubles(TIMERS).fill(Infinity);

  /** @param deadlineUs `Infinity` for never. */
  set(timer: Timer, deadlineUs: number): void {
    this.#deadlinesUs[timer] = deadlineUs;
  }

  clear(timer: Timer): void {
    this.#deadlinesUs[timer] = Infinity;
  }

  clearAll(): void {
    this.#deadlinesUs.fill(Infinity);
  }

  get(timer: Timer): number {
    return this.#deadlinesUs[timer]!;
  }

  /** Whether `timer` is due; a due timer is cleared by this. */
  take(timer: Timer, nowUs: number): boolean {
    if (this.#deadlinesUs[timer]! > nowUs) return false;
    this.#deadlinesUs[timer] = Infinity;
    return true;
  }

  nextDeadlineUs(): number | undefined {
    const deadlines = this.#deadlinesUs;
    let soonestUs = Infinity;
    for (let i = 0; i < TIMERS; i++) if (deadlines[i]! < soonestUs) soonestUs = deadlines[i]!;
    return soonestUs === Infinity ? undefined : soonestUs;
  }
}

const TIMERS = 9;
