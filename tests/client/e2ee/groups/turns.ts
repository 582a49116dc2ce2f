/**
 * Whose turn it is, decided by a seed. Everything that waits here waits either for a turn (a delay of the test's) or for the
 * platform's cryptography, which works on threads and is done whenever it is. Under these turns one thing goes on at a time, as far
 * as it can; then the seed says whether the oldest turn is given or the oldest work handed over, however long that took. So the
 * same seed is the same history, and every order of the two that the threads could have brought about may come.
 *
 * Not ruled by it: what is random in keys, certificates and ciphertexts, and so their bytes.
 */
import { setImmediate } from "node:timers";
import type { Prng } from "../../../sim/prng.ts";

interface Work {
  /** Resolves when the platform has done it. */
  readonly done: Promise<unknown>;
  /** Lets whoever asked for it go on. */
  readonly hand: () => void;
}

export class Turns {
  readonly #random: Prng;
  readonly #works: Work[] = [];
  readonly #turns: (() => void)[] = [];
  #running: Promise<void> | undefined;

  /** Turns for as long as `use` runs. One at a time in a process: the platform's cryptography is everybody's. */
  static async rule<T>(random: Prng, use: () => Promise<T>): Promise<T> {
    const turns = new Turns(random), taken = turns.#takeCrypto();
    ruling = turns;
    try {
      return await use();
    } finally {
      // Whoever still waits for something that nobody needs any more comes to their end under these turns, not the next ones.
      await turns.#running;
      ruling = undefined;
      taken.giveBack();
    }
  }

  private constructor(random: Prng) {
    this.#random = random;
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#turns.push(resolve);
      this.#running ??= this.#run();
    });
  }

  #takeCrypto(): { giveBack(): void } {
    const methods = SubtleCrypto.prototype as unknown as { [name: string]: (...args: unknown[]) => Promise<unknown> };
    const originals = new Map(METHODS.map((name) => [name, methods[name]!]));
    // deno-lint-ignore no-this-alias
    const turns = this;
    for (const [name, original] of originals) {
      methods[name] = function (this: unknown, ...args: unknown[]) {
        return turns.#await(original.apply(this, args));
      };
    }
    return { giveBack: () => originals.forEach((original, name) => methods[name] = original) };
  }

  #await(result: Promise<unknown>): Promise<unknown> {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#works.push({ done: result.then(() => {}, () => {}), hand: () => resolve(result) });
    this.#running ??= this.#run();
    return promise;
  }

  /** One thing after the other, until there is none. */
  async #run(): Promise<void> {
    for (;;) {
      // Whatever can go on without us does so first.
      await new Promise<void>((resolve) => setImmediate(resolve));
      const isWork = this.#works.length > 0 && (this.#turns.length === 0 || this.#random.chance(WORK_FIRST));
      const [work] = isWork ? this.#works.splice(0, 1) : [];
      if (work !== undefined) {
        await work.done;
        work.hand();
      } else if (this.#turns.length > 0) this.#turns.shift()!();
      else break;
    }
    this.#running = undefined;
  }
}

/** The next turn; where none rule, whenever the event loop comes round again. */
export function nextTurn(): Promise<void> {
  return ruling === undefined ? new Promise((resolve) => setTimeout(resolve, 0)) : ruling.next();
}

let ruling: Turns | undefined;
/** Cryptography is quicker than a delay, mostly. */
const WORK_FIRST = 0.8;
const METHODS = [
  "decrypt",
  "deriveBits",
  "deriveKey",
  "digest",
  "encrypt",
  "exportKey",
  "generateKey",
  "importKey",
  "sign",
  "unwrapKey",
  "verify",
  "wrapKey",
];
