/**
 * Keys that were used up are overwritten in the database, but older pages lie in its write-ahead log until that is emptied
 * (SECURITY M12): whoever copied both could go back. So it is emptied soon after keys went, not after each.
 */
import type { EngineOptions } from "./options.ts";

export class Scrubber {
  readonly #options: Pick<EngineOptions, "database" | "timers">;
  #cancel: (() => void) | undefined;

  constructor(options: Pick<EngineOptions, "database" | "timers">) {
    this.#options = options;
  }

  /** Keys went. */
  soon(delayMs = DELAY_MS): void {
    this.#cancel ??= this.#options.timers.after(delayMs, () => {
      this.#cancel = undefined;
      const { database } = this.#options;
      if (database.closed) return;
      // Another process reads just now, or a transaction is under way.
      if (database.isTransaction || !database.truncateLog()) this.soon(RETRY_MS);
    });
  }

  close(): void {
    const { database } = this.#options;
    if (this.#cancel === undefined) return;
    this.#cancel();
    this.#cancel = undefined;
    if (!database.closed && !database.isTransaction) database.truncateLog();
  }
}

const DELAY_MS = 1_000;
const RETRY_MS = 2_000;
