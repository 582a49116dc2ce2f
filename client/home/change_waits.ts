/** Those who wait until something in the home has changed, whichever of its processes changes it. */
export class ChangeWaits {
  readonly #ended: () => Error | undefined;
  readonly #waiting = new Set<() => void>();

  /** @param ended Why nothing changes any more; those who wait are told. */
  constructor(ended: () => Error | undefined) {
    this.#ended = ended;
  }

  /** Something has changed, or nothing ever will again. */
  wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves at the next change, after a time, or when the signal aborts. @throws What ended it all before. */
  async next(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const ended = this.#ended();
    if (ended) throw ended;
    const enough = new AbortController(), stop = () => enough.abort();
    const timer = setTimeout(stop, Math.min(timeoutMs, TIMER_MS_MAX));
    signal?.addEventListener("abort", stop, { once: true });
    if (!signal?.aborted) await this.#change(enough.signal);
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }

  /**
   * Waits until something is so.
   *
   * @param isSo Asked at first and after each change.
   * @returns False where the time was over or the signal aborted before.
   * @throws What ended it all.
   */
  async until(isSo: () => boolean, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const deadline = AbortSignal.any([
      AbortSignal.timeout(Math.min(timeoutMs, TIMER_MS_MAX)),
      ...(signal ? [signal] : []),
    ]);
    while (!isSo()) {
      const ended = this.#ended();
      if (ended) throw ended;
      if (deadline.aborted) return false;
      await this.#change(deadline);
    }
    return true;
  }

  #change(deadline: AbortSignal): Promise<void> {
    return new Promise<void>((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        deadline.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      deadline.addEventListener("abort", wake, { once: true });
    });
  }
}

/** `setTimeout` takes 31 bits. */
const TIMER_MS_MAX = 2 ** 31 - 1;
