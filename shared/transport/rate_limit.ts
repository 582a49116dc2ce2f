/** Token buckets: one for all, and a bounded table of one for each place (SECURITY H4, H7). */

export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

export class TokenBucket {
  #tokens: number;
  #atUs: number;

  constructor(readonly rate: Rate, nowUs: number) {
    this.#tokens = rate.burst;
    this.#atUs = nowUs;
  }

  /** Takes one token, or says that there is none. */
  take(nowUs: number): boolean {
    this.#fill(nowUs);
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  #fill(nowUs: number): void {
    const tokens = this.#tokens + (nowUs - this.#atUs) / 1_000_000 * this.rate.perSecond;
    this.#tokens = Math.min(this.rate.burst, tokens);
    this.#atUs = nowUs;
  }
}

/**
 * A bucket for each key. Holds at most `keysMax`: then the one asked for longest ago goes, so a flood from many addresses
 * makes the table forget, never grow; what still holds is the ceiling over all.
 */
export class RateTable {
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(readonly rate: Rate, readonly keysMax: number) {}

  get size(): number {
    return this.#buckets.size;
  }

  take(key: string, nowUs: number): boolean {
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      this.#makeRoom();
      bucket = new TokenBucket(this.rate, nowUs);
    } else {
      this.#buckets.delete(key);
    }
    // A Map keeps the order of insertion: the first is the one asked for longest ago.
    this.#buckets.set(key, bucket);
    return bucket.take(nowUs);
  }

  #makeRoom(): void {
    if (this.#buckets.size < this.keysMax) return;
    const [oldest] = this.#buckets.keys();
    this.#buckets.delete(oldest!);
  }
}
