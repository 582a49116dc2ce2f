/**
 * Those who wait to hear that what they sent is stored. The outbox knows, whichever process of the home sent it; a clock may be
 * quicker, and then the message is taken back, if it still can be.
 */
import type { ConversationId, MessageId } from "../../shared/protocol/mod.ts";
import { FastChatError, TimedOutError } from "../errors.ts";
import { timeText } from "../time.ts";
import type { Outbox } from "./outbox.ts";
import { systemTimers, type Timers } from "../timers.ts";

/** Where the log put a message. */
export interface SentMessage {
  readonly id: MessageId;
  readonly conversation: ConversationId;
  readonly seq: number;
  /** RFC 3339, UTC: when the server stored it. */
  readonly time: string;
  readonly state: "stored";
}

export interface ConfirmationsOptions {
  readonly outbox: Pick<Outbox, "fate" | "withdraw">;
  /** Why a message may not have left, for whoever waited in vain. */
  reason(id: MessageId): string | undefined;
  onStored(conversation: ConversationId, seq: number): void;
  readonly timers?: Pick<Timers, "after">;
}

export class Confirmations {
  readonly #options: ConfirmationsOptions;
  readonly #timers: Pick<Timers, "after">;
  readonly #waiters = new Map<MessageId, Waiter>();

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
  }

  /** Whether somebody waits. */
  get areDue(): boolean {
    return this.#waiters.size > 0;
  }

  /** Resolves when the message is stored. @throws Why it never will be; TimedOutError. */
  of(id: MessageId, timeoutMs: number | undefined): Promise<SentMessage> {
    return new Promise<SentMessage>((resolve, reject) => {
      const stop = timeoutMs === undefined
        ? undefined
        : this.#timers.after(timeoutMs, () => this.#timeOut(id, timeoutMs));
      this.#waiters.set(id, { resolve, reject, stop });
    });
  }

  /** A message may have met its fate: then whoever waits for it hears of that. */
  settle(id: MessageId): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    const fate = this.#options.outbox.fate(id);
    if (fate.state === "waiting") return;
    this.#forget(id);
    if (fate.state === "failed") return waiter.reject(fate.error);
    if (fate.state === "gone") return waiter.reject(new FastChatError("The message is no longer in the outbox"));
    const { conversation, seq, timeMs } = fate.stored;
    this.#options.onStored(conversation, seq);
    waiter.resolve({ id, conversation, seq, time: timeText(timeMs), state: "stored" });
  }

  /** Any of them may have. */
  settleAll(): void {
    for (const id of [...this.#waiters.keys()]) this.settle(id);
  }

  /** Nobody will send anything any more. */
  fail(error: Error): void {
    for (const [id, waiter] of [...this.#waiters]) {
      this.#forget(id);
      waiter.reject(error);
    }
  }

  #timeOut(id: MessageId, timeoutMs: number): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    const seconds = timeoutMs / 1000, why = this.#options.reason(id);
    const reason = why === undefined ? "" : ` (${why})`;
    const takenBack = new TimedOutError(`Not sent within ${seconds} s${reason}: the message was taken back`);
    const withdrawn = this.#options.outbox.withdraw(id, takenBack);
    // Another process may have settled it a moment ago.
    if (!withdrawn) this.settle(id);
    if (!this.#waiters.has(id)) return;
    this.#forget(id);
    waiter.reject(
      withdrawn ? takenBack : new TimedOutError(
        `Not confirmed within ${seconds} s${reason}: the message may have arrived, and is sent again from the outbox until that is known`,
      ),
    );
  }

  #forget(id: MessageId): void {
    this.#waiters.get(id)?.stop?.();
    this.#waiters.delete(id);
  }
}

interface Waiter {
  resolve(sent: SentMessage): void;
  reject(error: Error): void;
  /** Stops the clock, where there is one. */
  readonly stop: (() => void) | undefined;
}
