/**
 * RSA decryptions whose end tells nothing (SECURITY H7): not how long one took, not whether it opened.
 *
 * The platform's RSA does not take the same time for everything (RUSTSEC-2023-0071), and a place among those in flight that is
 * free again can be noticed from outside. So every decryption, however it ends, keeps its place until the next point of a grid
 * and a random while longer.
 */
import type { RandomSource } from "../primitives.ts";

export interface RsaPaceOptions {
  readonly random: RandomSource;
  /** Monotonic milliseconds; the platform's, where it is not given. */
  readonly nowMs?: () => number;
  readonly wait?: (ms: number) => Promise<void>;
}

export class RsaPace {
  readonly #random: RandomSource;
  readonly #nowMs: () => number;
  readonly #wait: (ms: number) => Promise<void>;

  constructor(options: RsaPaceOptions) {
    this.#random = options.random;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#wait = options.wait ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
  }

  /** @returns What `decrypt` gave; `undefined` where it threw. */
  async run(decrypt: () => Promise<Uint8Array | undefined>): Promise<Uint8Array | undefined> {
    const startMs = this.#nowMs();
    const result = await decrypt().catch(() => undefined);
    const tookMs = this.#nowMs() - startMs, jitterMs = this.#random.bytes(1)[0]! / 256 * RSA_GRID_MS;
    await this.#wait(RSA_GRID_MS - tookMs % RSA_GRID_MS + jitterMs);
    return result;
  }
}

/** Above what one decryption takes on most machines, so that nearly all end at the first point. */
export const RSA_GRID_MS = 5;
