/** Work that nobody waits for. What fails in it fails for want of a connection, and is done again with the next one. */
export class Background {
  readonly #running = new Set<Promise<void>>();
  #closed = false;

  get isBusy(): boolean {
    return this.#running.size > 0;
  }

  /** @returns When it has ended, however; never rejects. */
  run(work: () => Promise<void>): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const running = work().catch(() => {}).finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }

  /** Begins nothing more; resolves when nothing runs. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#running]);
  }
}
