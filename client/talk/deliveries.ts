/** Hands messages to a script that acknowledges by hand, for as long as it listens. */
import type { Acks, Delivery } from "./acks.ts";
import { ListenerSlot } from "./listener_slot.ts";
import { pause } from "../pause.ts";

/** How messages are handed to a script that acknowledges by hand. */
export interface DeliveriesOptions {
  /** How long a message may stay unacknowledged before it is handed out again; 60 s by default. */
  readonly ackAfterMs?: number;
  /** Messages handed out and not acknowledged at a time; 1,000 by default. */
  readonly window?: number;
  readonly signal?: AbortSignal;
}

export interface DeliveriesParts {
  readonly home: string;
  readonly acks: Acks;
  /** Resolves at the next change of the home, after that time, or when the signal aborts. */
  waitForChange(timeoutMs: number, signal?: AbortSignal): Promise<void>;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

/**
 * One message after the other, each taken before it is given: what a dead listener left first, then in the order it came.
 *
 * Ends when the signal aborts. However it ends, what was not acknowledged is free for the next listener at once.
 */
export async function* deliveries(parts: DeliveriesParts, options: DeliveriesOptions): AsyncGenerator<Delivery> {
  const { home, acks, nowMs } = parts;
  const { ackAfterMs = ACK_AFTER_SECONDS * 1000, window = WINDOW, signal } = options;
  const slot = await ListenerSlot.take(home), holder = slot.number;
  let lookedMs = -Infinity, count = 0;
  try {
    acks.begin();
    // The number is ours now, so whoever had these under it is dead.
    acks.release(holder);
    while (!signal?.aborted) {
      if (Math.abs(nowMs() - lookedMs) >= DEAD_MS) {
        lookedMs = nowMs();
        await buryTheDead(parts, holder);
      }
      const delivery = acks.take({ holder, leaseMs: ackAfterMs, window, nowMs: nowMs() });
      if (delivery === undefined) {
        const freeMs = (acks.nextFreeMs() ?? Infinity) - nowMs();
        await parts.waitForChange(Math.min(DEAD_MS, Math.max(1, freeMs)), signal);
        continue;
      }
      yield delivery;
      // It has no id to acknowledge by; that it was put out has to be enough.
      if (delivery.event.type !== "message") acks.settle(delivery.position);
      // The connection wants to live meanwhile.
      if (++count % BREATH === 0) await pause(0);
    }
  } finally {
    try {
      acks.release(holder);
    } finally {
      slot.release();
    }
  }
}

async function buryTheDead({ home, acks }: DeliveriesParts, self: number): Promise<void> {
  for (const holder of acks.holders()) {
    if (holder !== self) await ListenerSlot.ifDead(home, holder, () => acks.release(holder));
  }
}

export const ACK_AFTER_SECONDS = 60;
export const WINDOW = 1_000;
/** How soon a listener takes over what another one had that was killed. */
const DEAD_MS = 1_000;
const BREATH = 64;
