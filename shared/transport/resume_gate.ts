/**
 * Who may resume now (SECURITY H8). A resumption costs an X25519 exchange, a thousandth of what RSA does to a busy server, so it
 * has a gate of its own and never waits behind RSA. After a server died thousands may come at once: whoever is too many is told
 * when to come back, each a little later than the one before, and is not forgotten in a queue.
 */
import { type Rate, RateTable, TokenBucket } from "./rate_limit.ts";

export interface ResumptionLimits {
  /** All clients together. */
  readonly ceiling: Rate;
  /** One ticket: whoever copied it off the network gets no more exchanges out of us than this. */
  readonly perTicket: Rate;
  /** Tickets remembered at once. */
  readonly ticketsMax: number;
}

export const DEFAULT_RESUMPTION_LIMITS: ResumptionLimits = {
  ceiling: { perSecond: 400, burst: 400 },
  perTicket: { perSecond: 1, burst: 4 },
  ticketsMax: 16_384,
};

export class ResumeGate {
  readonly #ceiling: TokenBucket;
  readonly #perTicket: RateTable;
  readonly #placeUs: number;
  /** When the last one who was sent away will be back. */
  #promisedUs = 0;

  constructor(limits: ResumptionLimits, nowUs: number) {
    this.#ceiling = new TokenBucket(limits.ceiling, nowUs);
    this.#perTicket = new RateTable(limits.perTicket, limits.ticketsMax);
    this.#placeUs = 1_000_000 / limits.ceiling.perSecond;
  }

  /** @returns 0: come in; else the milliseconds after which to come again. */
  admit(ticketKey: string, nowUs: number): number {
    if (!this.#perTicket.take(ticketKey, nowUs)) return WAIT_MS_MAX;
    if (this.#ceiling.take(nowUs)) return 0;
    this.#promisedUs = Math.max(nowUs, this.#promisedUs) + this.#placeUs;
    const waitMs = Math.ceil((this.#promisedUs - nowUs) / 1000);
    if (waitMs <= WAIT_MS_MAX) return Math.max(1, waitMs);
    // More than come back within that time: they spread over it anew.
    this.#promisedUs = nowUs;
    return WAIT_MS_MAX;
  }
}

/** What a client waits at the most before it asks again (docs/PROTOCOL.md §2.4). */
const WAIT_MS_MAX = 2000;
