/** A seeded generator (xorshift128): everything random in a simulation comes from here, so that a seed replays it. */
import type { RandomSource } from "../../shared/primitives.ts";

export class Prng implements RandomSource {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    // splitmix32, so that neighbouring seeds have nothing in common.
    let state = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      state = (state + 0x9e3779b9) >>> 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      this.#state[i] = mixed ^ (mixed >>> 15) | 1;
    }
  }

  /** 32 random bits, as a number from 0. */
  u32(): number {
    const state = this.#state;
    let mixed = state[3]!;
    const first = state[0]!;
    state[3] = state[2]!;
    state[2] = state[1]!;
    state[1] = first;
    mixed ^= mixed << 11;
    mixed ^= mixed >>> 8;
    state[0] = mixed ^ first ^ (first >>> 19);
    return state[0]!;
  }

  /** From 0 to below 1. */
  float(): number {
    return this.u32() / 2 ** 32;
  }

  /** An integer in `[low, high]`. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.float() * (high - low + 1));
  }

  chance(probability: number): boolean {
    return probability > 0 && this.float() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(0, items.length - 1)]!;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.u32() >>> 24;
    return bytes;
  }
}
