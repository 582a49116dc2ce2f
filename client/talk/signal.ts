/** Wakes whoever waits; firing while nobody does is remembered once. */
export class Signal {
  #fired = false;
  #resolve: (() => void) | undefined;

  fire(): void {
    this.#fired = true;
    this.#resolve?.();
  }

  async wait(): Promise<void> {
    if (!this.#fired) await new Promise<void>((resolve) => this.#resolve = resolve);
    this.#fired = false;
    this.#resolve = undefined;
  }
}
