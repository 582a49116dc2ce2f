/** Work that is done by one at a time, however many ask for it. Pure. */

/** Each round sees all that was there when somebody last asked: whoever asks during one gets another behind it. */
export class Rounds {
  readonly #work: () => Promise<void>;
  #isAsked = false;
  #running: Promise<void> | undefined;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** @returns When no round is left to do. Rejects with what a round failed with; the next call begins anew. */
  run(): Promise<void> {
    this.#isAsked = true;
    return this.#running ??= this.#go();
  }

  /** Resolves when nothing is under way. Never rejects. */
  async idle(): Promise<void> {
    await this.#running?.catch(() => {});
  }

  async #go(): Promise<void> {
    try {
      while (this.#isAsked) {
        this.#isAsked = false;
        await this.#work();
      }
    } finally {
      // In the same step as the last look, or whoever asks between the two is forgotten.
      this.#running = undefined;
    }
  }
}
