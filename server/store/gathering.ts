/**
 * Lets changes that nobody waits for come together: whoever asks for a turn gets it with all others of the same moment, so that
 * they share a transaction and their notices go out in one go. What people wait for never comes through here.
 */
export class Gathering {
  readonly #ms: number;
  #turn: PromiseWithResolvers<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param ms How long the first one waits for others. */
  constructor(ms: number) {
    this.#ms = ms;
  }

  turn(): Promise<void> {
    if (this.#turn === undefined) {
      this.#turn = Promise.withResolvers();
      this.#timer = setTimeout(() => this.end(), this.#ms);
    }
    return this.#turn.promise;
  }

  /** Whoever waits gets the turn now. */
  end(): void {
    clearTimeout(this.#timer);
    this.#turn?.resolve();
    this.#turn = undefined;
  }
}
