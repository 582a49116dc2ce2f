/** What is so for a moment only: who is here and who types, of the people of one home (docs/PROTOCOL.md §14). */
import { WATCH_NAMES_MAX } from "../../shared/limits.ts";
import type { ConversationId, HintDown, HintUp, UserName } from "../../shared/protocol/mod.ts";
import type { PresenceEvent, TypingEvent } from "../events.ts";
import { ConversationKind, type Conversations } from "./conversations.ts";
import type { Link } from "../network/link.ts";
import { PresenceWatch } from "./presence.ts";
import type { Settings } from "../home/settings.ts";
import { systemTimers, type Timers } from "../timers.ts";
import { Typing } from "./typing.ts";

export interface LiveOptions {
  readonly conversations: Conversations;
  readonly settings: Settings;
  readonly link: Pick<Link, "ask" | "remote">;
  onEvent(event: PresenceEvent | TypingEvent): void;
  readonly timers?: Timers;
}

export class Live {
  readonly #options: LiveOptions;
  readonly #presence: PresenceWatch;
  readonly #typing: Typing;
  /** Those who listen to it. While there are none, the server is not asked and says nothing. */
  #listeners = 0;
  /** Watched beside those there is a conversation with. */
  #extra: readonly UserName[] = [];
  /** Conversations of this run: a first message may be from somebody new. */
  readonly #met = new Set<ConversationId>();

  constructor(options: LiveOptions) {
    const { link, onEvent, timers = systemTimers } = options;
    this.#options = options;
    this.#presence = new PresenceWatch({
      ask: (names) => link.ask<"watch">({ type: "watch", names: [...names] }),
      onChange: (name, online) => onEvent({ type: "presence", name, online: online ?? null }),
      timers,
    });
    this.#typing = new Typing({
      send: (conversation, active) => this.#send({ type: "typing", conversation, active }),
      onChange: (name, conversation, typing) => {
        const group = options.conversations.get(conversation)?.name || undefined;
        onEvent({ type: "typing", name, conversation, ...(group !== undefined && { group }), typing });
      },
      timers,
    });
  }

  /** Somebody wants to hear of it, until the answer is called. */
  listen(): () => void {
    this.#listeners++;
    this.#watch();
    let isListening = true;
    return () => {
      if (!isListening) return;
      isListening = false;
      this.#listeners--;
      this.#watch();
    };
  }

  /** Of these too. */
  watch(names: readonly UserName[]): void {
    this.#extra = names;
    this.#watch();
  }

  presence(name: UserName): boolean | undefined {
    return this.#presence.of(name);
  }

  /** This person is typing to somebody or in a group, or is not any more. To whom one never wrote there is nowhere to type. */
  typing(conversation: ConversationId | undefined, active: boolean): void {
    if (!active) return this.#typing.stopped();
    if (this.#options.settings.typing && conversation !== undefined) this.#typing.typed(conversation);
  }

  /** There is a connection, perhaps to another server than before. */
  connected(): void {
    this.#presence.connected();
  }

  /** A message was applied: of others, where it was not sent here. */
  applied(conversation: ConversationId, here: boolean): void {
    if (!here) this.#typing.arrived(conversation);
    if (this.#listeners === 0 || this.#met.has(conversation)) return;
    this.#met.add(conversation);
    this.#watch();
  }

  heard(hint: HintDown): void {
    if (this.#listeners === 0) return;
    if (hint.type === "presence") return this.#presence.heard(hint.name, hint.online, hint.ttlMs);
    // Whoever is no member cannot type there, whatever a server says.
    const { conversations } = this.#options, conversation = conversations.get(hint.conversation);
    const isMember = conversation?.kind === ConversationKind.group
      ? conversations.isMember(conversation.id, hint.name)
      : conversation?.peer === hint.name;
    if (isMember) this.#typing.heard(hint.name, hint.conversation, hint.ttlMs);
  }

  close(): void {
    this.#typing.close();
    this.#presence.close();
  }

  #watch(): void {
    const isWanted = this.#listeners > 0;
    this.#presence.watch(isWanted ? [...this.#extra, ...this.#options.conversations.peers(WATCH_NAMES_MAX)] : []);
  }

  #send(hint: HintUp): void {
    this.#options.link.remote?.hint(hint);
  }
}
