/**
 * Who gets an RSA decryption, the dearest thing that a stranger can ask of a server (SECURITY H7): at most a few in flight
 * and a bounded queue behind them whose oldest entry gives way, a rate for each address, a ceiling over all.
 *
 * Established connections and everything else a server does never wait here.
 */
import { RSA_IN_FLIGHT_MAX, RSA_QUEUED_MAX } from "../limits.ts";
import { type Rate, RateTable, TokenBucket } from "./rate_limit.ts";

export interface RsaLimits {
  readonly inFlightMax: number;
  readonly queuedMax: number;
  /** For one IPv4 address or IPv6 /64. */
  readonly perAddress: Rate;
  readonly ceiling: Rate;
  /** Addresses remembered at once. */
  readonly addressesMax: number;
}

export const DEFAULT_RSA_LIMITS: RsaLimits = {
  inFlightMax: RSA_IN_FLIGHT_MAX,
  queuedMax: RSA_QUEUED_MAX,
  perAddress: { perSecond: 3, burst: 300 },
  ceiling: { perSecond: 200, burst: 400 },
  addressesMax: 16_384,
};

export class RsaGate<Job> {
  readonly #limits: RsaLimits;
  readonly #perAddress: RateTable;
  readonly #ceiling: TokenBucket;
  readonly #queue: Job[] = [];
  #inFlight = 0;

  constructor(limits: RsaLimits, nowUs: number) {
    this.#limits = limits;
    this.#perAddress = new RateTable(limits.perAddress, limits.addressesMax);
    this.#ceiling = new TokenBucket(limits.ceiling, nowUs);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /** Whether this address may have one now. Counts it where it may. */
  admit(address: string, nowUs: number): boolean {
    return this.#perAddress.take(address, nowUs) && this.#ceiling.take(nowUs);
  }

  /** @returns The job that had to give way: the oldest one waiting, which has likely been given up. */
  queue(job: Job): Job | undefined {
    this.#queue.push(job);
    return this.#queue.length > this.#limits.queuedMax ? this.#queue.shift() : undefined;
  }

  /** The next job to begin now, counted as in flight until {@linkcode done}. */
  begin(): Job | undefined {
    if (this.#inFlight >= this.#limits.inFlightMax || this.#queue.length === 0) return undefined;
    this.#inFlight++;
    return this.#queue.shift();
  }

  done(): void {
    this.#inFlight--;
  }
}
