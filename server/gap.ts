/**
 * After the link to the leader was down, notices may be missing: every session is told of the conversations in which it may
 * have missed something, and reads the log. One pass at a time; a gap during a pass makes another.
 */
import { CloseCode } from "../shared/errors.ts";
import { ASKS_PAGE_MAX, PAGE_ENTRIES_MAX } from "../shared/limits.ts";
import type { Logger } from "../shared/log.ts";
import type { ConversationId } from "../shared/protocol/mod.ts";
import { Rounds } from "../shared/rounds.ts";
import type { Server } from "./server.ts";
import type { Session } from "./sessions.ts";
import type { Store } from "./store/store.ts";

export class GapRepair {
  readonly #store: Pick<Store, "conversations" | "session" | "asks" | "welcomesWaiting" | "history">;
  readonly #server: Server;
  readonly #logger: Logger;
  readonly #pause: (ms: number) => Promise<void>;
  readonly #nowMs: () => number;
  readonly #rounds = new Rounds(() => this.#pass());
  #stopped = false;

  constructor(
    options: {
      store: Pick<Store, "conversations" | "session" | "asks" | "welcomesWaiting" | "history">;
      server: Server;
      logger: Logger;
      pause: (ms: number) => Promise<void>;
      nowMs: () => number;
    },
  ) {
    this.#store = options.store;
    this.#server = options.server;
    this.#logger = options.logger;
    this.#pause = options.pause;
    this.#nowMs = options.nowMs;
  }

  /** Begins a pass, or asks for another after the one under way. */
  start(): void {
    this.#rounds.run().catch((error) => this.#logger.log("warn", "gap-repair-failed", { error }));
  }

  /** Ends after the question to the store that is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#rounds.idle();
  }

  async #pass(): Promise<void> {
    if (this.#stopped) return;
    // Who comes during the pass synchronises anyway.
    const sessions = [...this.#server.sessions].values();
    await Promise.all(Array.from({ length: SESSIONS_AT_ONCE }, () => this.#repair(sessions)));
  }

  /** Takes one after the other, beside others who do. */
  async #repair(sessions: Iterable<Session>): Promise<void> {
    for (const session of sessions) {
      while (!this.#stopped && !await this.#verify(session)) await this.#pause(RETRY_MS);
      while (!this.#stopped && session.feed !== undefined && !await this.#hint(session)) await this.#pause(RETRY_MS);
    }
  }

  /** That its session ended may be what was missed. @returns Whether it is done. */
  async #verify(session: Session): Promise<boolean> {
    try {
      const live = await this.#store.session(Uint8Array.fromHex(session.tokenHash), this.#nowMs());
      if (live === undefined) session.channel.close(CloseCode.sessionEnded, "Your session is over: log in again");
      return true;
    } catch (error) {
      this.#logger.log("warn", "gap-repair-failed", { error });
      return false;
    }
  }

  /** @returns Whether it is done: not where the store cannot be reached yet. */
  async #hint(session: Session): Promise<boolean> {
    try {
      let after: ConversationId | undefined;
      while (true) {
        const heads = await this.#store.conversations(session.user, session.device, after, PAGE_ENTRIES_MAX);
        for (const { conversation, head, cursor } of heads) {
          if (head > cursor) this.#server.fanout.hint(session, conversation, head);
        }
        if (heads.length < PAGE_ENTRIES_MAX) break;
        after = heads.at(-1)!.conversation;
      }
      await this.#tellWaiting(session);
      return true;
    } catch (error) {
      this.#logger.log("warn", "gap-repair-failed", { error });
      return false;
    }
  }

  /** What stands in no log: something to join by, and devices that wait to be let in. */
  async #tellWaiting(session: Session): Promise<void> {
    const { user, device } = session, { fanout } = this.#server;
    for (const conversation of await this.#store.welcomesWaiting(user, device, WELCOMES_TOLD_MAX)) {
      fanout.groupNews({ type: "welcomed", conversation, devices: [{ user, device }] });
    }
    if ((await this.#store.history(user, device, 0)).length > 0) {
      fanout.groupNews({ type: "historyWaits", devices: [{ user, device }] });
    }
    for (const ask of await this.#store.asks(user, undefined, undefined, ASKS_PAGE_MAX)) {
      fanout.groupNews({ type: "asked", ask, members: [user] });
    }
  }
}

/** Each costs a few questions to the leader, which has much to do at that moment. */
const SESSIONS_AT_ONCE = 8;
const WELCOMES_TOLD_MAX = 256;
const RETRY_MS = 500;
