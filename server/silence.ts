/**
 * Clients that died without a word. Pure.
 *
 * The transport would notice too, but waits a minute: long enough for a network to come back, too long for others to see somebody
 * who is not there. A living client says something every fifteen seconds, answers when it is asked, and comes back with a ticket
 * where it was out of reach for longer.
 */
import type { Channel } from "../shared/net/channel.ts";

export class Silence {
  readonly #heard = new WeakMap<Channel, { received: number; sinceUs: number; askedUs: number | undefined }>();

  /** @returns Whether the client has been silent, and did not answer when it was asked. Call it every few seconds. */
  isDead(channel: Channel, nowUs: number): boolean {
    const received = channel.stats.datagramsReceived, known = this.#heard.get(channel);
    if (known === undefined || known.received !== received) {
      this.#heard.set(channel, { received, sinceUs: nowUs, askedUs: undefined });
      return false;
    }
    if (known.askedUs !== undefined) return nowUs - known.askedUs >= ANSWER_US;
    if (nowUs - known.sinceUs >= SILENT_US && channel.ping !== undefined) {
      known.askedUs = nowUs;
      channel.ping();
    }
    return false;
  }
}

/** How often to look. */
export const SILENCE_LOOK_US = 2_000_000;
/** A keep-alive and a lost one's repetition fit. */
const SILENT_US = 18_000_000;
const ANSWER_US = 6_000_000;
