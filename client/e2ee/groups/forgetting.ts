/**
 * Past epochs are kept for seven days (SECURITY M12). Where people talk they go by the way; this looks after conversations in which
 * nothing happens: with each connection and once a day, those that are due and no others, a few at a time.
 */
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import type { Loaded } from "./library.ts";

export class Forgetting {
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #here: (id: ConversationId) => Promise<Conversation>;
  #cancel = () => {};
  #isRunning = false;
  #isClosed = false;

  constructor(context: Context, loaded: Loaded, here: (id: ConversationId) => Promise<Conversation>) {
    this.#context = context;
    this.#loaded = loaded;
    this.#here = here;
  }

  /** Looks now, and every day from now on. Repeating it is fine. */
  start(): void {
    const { background, options: { timers } } = this.#context;
    this.#cancel();
    if (this.#isClosed) return;
    this.#cancel = timers.after(DAY_MS, () => this.start());
    if (this.#isRunning) return;
    this.#isRunning = true;
    background.run(() => this.#run().finally(() => this.#isRunning = false), { pauses: true });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  async #run(): Promise<void> {
    const { groups, background, options: { nowMs } } = this.#context, { lib } = this.#loaded;
    // What cannot be read, or belongs to another process of this home just now, is looked at again the next day.
    const failed = new Set<string>();
    for (;;) {
      const due = groups.withPastBefore(nowMs() - lib.EPOCH_MS_KEPT, AT_ONCE + failed.size);
      const now = due.filter((slot) => !failed.has(slot)).slice(0, AT_ONCE);
      if (now.length === 0) return;
      for (const slot of now) {
        if (this.#isClosed) return;
        try {
          await (await this.#here(slot as ConversationId)).forgetOld();
        } catch {
          failed.add(slot);
        }
      }
      await background.pause(PAUSE_MS);
    }
  }
}

const DAY_MS = 24 * 3600 * 1000;
/** So many are read between two pauses, which are for whatever somebody waits for. */
const AT_ONCE = 16;
const PAUSE_MS = 250;
