/** One direction of a bad link, as arithmetic: when does a packet of so many bytes that comes now leave, if it does? */
import type { Prng } from "../../tests/sim/prng.ts";

/** Rates are probabilities; every one counts per direction. */
export interface Faults {
  readonly delayMs: number;
  /** Up to this much more delay, without changing the order. */
  readonly jitterMs: number;
  readonly loss: number;
  readonly duplicate: number;
  /** Probability that a packet is held back so that later ones overtake it. */
  readonly reorder: number;
  /** Bits a second of the bottleneck, IP headers included; 0 = no bottleneck. */
  readonly rateBits: number;
  /** Bytes that wait at the bottleneck before it drops. */
  readonly queueBytes: number;
}

export interface LinkCounters {
  packets: number;
  /** Of IP packets, as they were sent: before loss and duplication. */
  bytes: number;
  lost: number;
  duplicated: number;
  reordered: number;
  overflowed: number;
}

export const PERFECT: Faults = {
  delayMs: 0,
  jitterMs: 0,
  loss: 0,
  duplicate: 0,
  reorder: 0,
  rateBits: 0,
  queueBytes: Infinity,
};

export class Link {
  readonly counters: LinkCounters = { packets: 0, bytes: 0, lost: 0, duplicated: 0, reordered: 0, overflowed: 0 };
  faults: Faults = PERFECT;
  readonly #random: Prng;
  #freeAtMs = 0;
  #lastDueMs = 0;

  constructor(random: Prng) {
    this.#random = random;
  }

  /** @returns When each copy of the packet arrives; none where it is lost. */
  carry(bytes: number, nowMs: number): number[] {
    const { loss, duplicate } = this.faults;
    this.counters.packets++;
    this.counters.bytes += bytes;
    if (this.#random.chance(loss)) {
      this.counters.lost++;
      return [];
    }
    if (!this.#random.chance(duplicate)) return this.#queue(bytes, nowMs);
    this.counters.duplicated++;
    return [...this.#queue(bytes, nowMs), ...this.#queue(bytes, nowMs)];
  }

  #queue(bytes: number, nowMs: number): number[] {
    const { delayMs, jitterMs, reorder, rateBits, queueBytes } = this.faults;
    let leavesMs = nowMs;
    if (rateBits > 0) {
      const bytesPerMs = rateBits / 8000;
      const startsMs = Math.max(nowMs, this.#freeAtMs);
      if ((startsMs - nowMs) * bytesPerMs + bytes > queueBytes) {
        this.counters.overflowed++;
        return [];
      }
      leavesMs = this.#freeAtMs = startsMs + bytes / bytesPerMs;
    }
    const dueMs = leavesMs + delayMs + jitterMs * this.#random.float();
    if (this.#random.chance(reorder)) {
      this.counters.reordered++;
      return [dueMs + REORDER_MS + this.#random.float() * Math.max(REORDER_MS, delayMs / 2)];
    }
    this.#lastDueMs = Math.max(dueMs, this.#lastDueMs);
    return [this.#lastDueMs];
  }
}

/** Least time by which a packet is held back to be overtaken. */
const REORDER_MS = 3;
