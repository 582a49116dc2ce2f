/** Who is typing: telling it while one does, and forgetting it of others who say it no more (docs/PROTOCOL.md §14). */
import type { ConversationId, UserName } from "../../shared/protocol/mod.ts";
import type { Timers } from "../timers.ts";

export interface TypingOptions {
  /** May get lost. */
  send(conversation: ConversationId, active: boolean): void;
  onChange(name: UserName, conversation: ConversationId, typing: boolean): void;
  readonly timers: Timers;
}

export class Typing {
  readonly #options: TypingOptions;
  /** Where this person types: a person types in one place. */
  #own: { readonly conversation: ConversationId; readonly saidMs: number; readonly forget: () => void } | undefined;
  /** By conversation and name: how to forget it. */
  readonly #others = new Map<string, { readonly conversation: ConversationId; end(): void; cancel(): void }>();

  constructor(options: TypingOptions) {
    this.#options = options;
  }

  /** Call it with every key: it is said every few seconds, and ends by itself. */
  typed(conversation: ConversationId): void {
    const { timers } = this.#options, nowMs = timers.nowMs();
    if (this.#own?.conversation !== conversation) this.stopped();
    const isDue = this.#own === undefined || nowMs - this.#own.saidMs >= REPEAT_MS;
    this.#own?.forget();
    const forget = timers.after(IDLE_MS, () => this.stopped());
    this.#own = { conversation, saidMs: isDue ? nowMs : this.#own!.saidMs, forget };
    if (isDue) this.#options.send(conversation, true);
  }

  /** It was sent, or given up. */
  stopped(): void {
    const own = this.#own;
    if (own === undefined) return;
    this.#own = undefined;
    own.forget();
    this.#options.send(own.conversation, false);
  }

  /** A hint came. */
  heard(name: UserName, conversation: ConversationId, ttlMs: number): void {
    const key = `${conversation} ${name}`, known = this.#others.get(key);
    if (ttlMs === 0) return known?.end();
    if (known === undefined && this.#others.size >= OTHERS_MAX) return;
    known?.cancel();
    const end = () => {
      cancel();
      this.#others.delete(key);
      this.#options.onChange(name, conversation, false);
    };
    const cancel = this.#options.timers.after(Math.min(ttlMs, TTL_MS_MAX), end);
    this.#others.set(key, { conversation, end, cancel });
    if (known === undefined) this.#options.onChange(name, conversation, true);
  }

  /** A message of others is there: what was being typed has come. */
  arrived(conversation: ConversationId): void {
    for (const other of [...this.#others.values()]) if (other.conversation === conversation) other.end();
  }

  /** Says that one has stopped, and forgets the others without a word. */
  close(): void {
    this.stopped();
    for (const { cancel } of this.#others.values()) cancel();
    this.#others.clear();
  }
}

const REPEAT_MS = 3_000;
/** Without a key for so long one has stopped. */
const IDLE_MS = 5_000;
/** Whatever a server says, and however many people it makes up. */
const TTL_MS_MAX = 30_000;
const OTHERS_MAX = 256;
