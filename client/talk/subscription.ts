/** What `events()` gives out: messages of the home from a position on, and what happens to the connection meanwhile. */
import type { ChatEvent } from "../events.ts";
import type { History } from "./history.ts";
import { Own } from "./message_row.ts";
import type { States } from "./states.ts";

export interface SubscriptionOptions {
  readonly history: History;
  readonly states: States;
  /** Whether messages that this person sent are given too, whichever process or device sent them. */
  readonly own: boolean;
  /** Whether it is told who is here and who types. */
  readonly presence: boolean;
  /** Called once, when nobody listens any more. */
  onEnd(): void;
}

/** Messages are read from the database when asked for, so a slow reader costs no memory; only other events wait in it. */
export class Subscription implements AsyncIterableIterator<ChatEvent> {
  readonly #options: SubscriptionOptions;
  readonly #waiting: ChatEvent[] = [];
  #position: number;
  /** The last change of state given out, and whether whoever asked has come back for more: then it counts as told. */
  #statePosition: number;
  #wake: (() => void) | undefined;
  #closing = false;
  #ended = false;

  constructor(options: SubscriptionOptions) {
    this.#options = options;
    this.#position = options.history.lastPosition();
    this.#statePosition = options.states.told();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Anything but a message. */
  push(event: ChatEvent): void {
    if ((event.type === "presence" || event.type === "typing") && !this.#options.presence) return;
    this.#waiting.push(event);
    if (this.#waiting.length > EVENTS_WAITING_MAX) this.#waiting.shift();
    this.#wake?.();
  }

  /** The history may have grown. */
  poke(): void {
    this.#wake?.();
  }

  /** Gives out what is there, then ends. */
  finish(): void {
    this.#closing = true;
    // The database is about to close: what is in it by now is read now.
    if (!this.#ended) {
      for (let event = this.#nextStored(); event; event = this.#nextStored()) this.#waiting.push(event);
    }
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<ChatEvent>> {
    if (!this.#closing && !this.#ended) this.#options.states.markTold(this.#statePosition);
    while (!this.#ended) {
      const event = this.#waiting.shift() ?? (this.#closing ? undefined : this.#nextStored());
      if (event !== undefined) return { done: false, value: event };
      if (this.#closing) break;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
    return this.return();
  }

  return(): Promise<IteratorResult<ChatEvent>> {
    if (!this.#ended) {
      this.#ended = true;
      this.#wake?.();
      this.#options.onEnd();
    }
    return Promise.resolve({ done: true, value: undefined });
  }

  /** What the database has to tell: a message, or what became of one. */
  #nextStored(): ChatEvent | undefined {
    const message = this.#nextMessage();
    if (message !== undefined) return message;
    const [change] = this.#options.states.after(this.#statePosition, 1);
    if (change === undefined) return undefined;
    this.#statePosition = change.position;
    return change.event;
  }

  #nextMessage(): ChatEvent | undefined {
    for (;;) {
      const [row] = this.#options.history.after(this.#position, 1);
      if (row === undefined) return undefined;
      this.#position = row.position;
      // What came as a copy was said long ago.
      if (row.own === Own.no || (this.#options.own && row.own !== Own.copy)) return row.event;
    }
  }
}

/** Connection changes and notices that nobody reads; the oldest are dropped. */
const EVENTS_WAITING_MAX = 1_000;
