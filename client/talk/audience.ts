/** Those who listen to what happens in a session; the first of them hears what happened before anybody listened, too. */
import type { ChatEvent } from "../events.ts";
import { Subscription, type SubscriptionOptions } from "./subscription.ts";

/** What each of them asks for. */
export type Listening = Pick<SubscriptionOptions, "own" | "presence" | "onEnd">;

export class Audience {
  readonly #home: Pick<SubscriptionOptions, "history" | "states">;
  readonly #subscriptions = new Set<Subscription>();
  #early: ChatEvent[] | undefined = [];

  constructor({ history, states }: Pick<SubscriptionOptions, "history" | "states">) {
    this.#home = { history, states };
  }

  add({ own, presence, onEnd }: Listening): Subscription {
    const subscription: Subscription = new Subscription({
      ...this.#home,
      own,
      presence,
      onEnd: () => {
        this.#subscriptions.delete(subscription);
        onEnd();
      },
    });
    this.#subscriptions.add(subscription);
    for (const event of this.#early ?? []) subscription.push(event);
    this.#early = undefined;
    return subscription;
  }

  tell(event: ChatEvent): void {
    // Who is here and who types is so for a moment only: nobody needs to hear of it later.
    const isMomentary = event.type === "presence" || event.type === "typing";
    if (this.#early && !isMomentary && this.#early.length < EARLY_EVENTS_MAX) this.#early.push(event);
    for (const subscription of this.#subscriptions) subscription.push(event);
  }

  /** There may be new messages and states in the home. */
  poke(): void {
    for (const subscription of this.#subscriptions) subscription.poke();
  }

  /** Nothing more will happen. */
  finish(): void {
    for (const subscription of [...this.#subscriptions]) subscription.finish();
  }
}

const EARLY_EVENTS_MAX = 100;
