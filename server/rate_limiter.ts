/**
 * How often something may be done (SECURITY P7): token buckets, and lockouts that double. Pure: the time is handed in.
 *
 * Both tables are bounded. When one is full the key that was used longest ago is forgotten, which only ever gives somebody
 * more than their share.
 */

export interface BucketOptions {
  /** What comes back each second; 0 means no limit. */
  readonly ratePerSecond: number;
  /** What may be taken at once by who took nothing for long. */
  readonly burst: number;
  readonly keysMax?: number;
}

/** One bucket per key. */
export class TokenBuckets {
  readonly #options: BucketOptions;
  readonly #table: RecentTable<Bucket>;

  constructor(options: BucketOptions) {
    this.#options = options;
    this.#table = new RecentTable(options.keysMax ?? KEYS_MAX);
  }

  /**
   * Takes one token.
   *
   * @returns 0 where it was there, else the milliseconds until it will be; then nothing was taken.
   */
  take(key: string, nowUs: number): number {
    if (this.#options.ratePerSecond <= 0) return 0;
    let bucket = this.#table.touch(key);
    if (bucket === undefined) this.#table.set(key, bucket = new Bucket(this.#options, nowUs));
    return bucket.take(nowUs);
  }

  get size(): number {
    return this.#table.size;
  }
}

/** A single bucket, for who needs just one. */
export class Bucket {
  readonly #perUs: number;
  readonly #burst: number;
  #tokens: number;
  #atUs: number;

  constructor(options: BucketOptions, nowUs: number) {
    this.#perUs = options.ratePerSecond / 1_000_000;
    this.#burst = options.burst;
    this.#tokens = options.burst;
    this.#atUs = nowUs;
  }

  /** As {@linkcode TokenBuckets.take}. */
  take(nowUs: number): number {
    if (this.#perUs <= 0) return 0;
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, nowUs - this.#atUs) * this.#perUs);
    this.#atUs = Math.max(this.#atUs, nowUs);
    // A token that is there but for rounding counts: who waits as long as told must not be told to wait again.
    if (this.#tokens < 1 - 1e-9) return Math.ceil((1 - this.#tokens) / this.#perUs / 1000);
    this.#tokens = Math.max(0, this.#tokens - 1);
    return 0;
  }
}

export interface LockoutOptions {
  /** Wrong tries that cost nothing. */
  readonly triesFree: number;
  /** The wait after the last free one; it doubles with each further wrong try, up to `delayMsMax`. */
  readonly delayMsFirst: number;
  readonly delayMsMax: number;
  /** Without a try for so long all is forgotten. */
  readonly forgetMs: number;
  readonly keysMax?: number;
}

/**
 * Wrong tries per key. A try counts as wrong from the moment it is taken until it is cleared: many at once gain nothing
 * over one after the other.
 */
export class Lockouts {
  readonly #options: LockoutOptions;
  readonly #table: RecentTable<Tries>;

  constructor(options: LockoutOptions) {
    this.#options = options;
    this.#table = new RecentTable(options.keysMax ?? KEYS_MAX);
  }

  /** Takes a try: 0 where it may be made, else the milliseconds to wait; then it was not taken. */
  take(key: string, nowUs: number): number {
    const { triesFree, delayMsFirst, delayMsMax, forgetMs } = this.#options;
    let tries = this.#table.touch(key);
    if (tries === undefined || nowUs - tries.lastUs > forgetMs * 1000) {
      this.#table.set(key, tries = { wrong: 0, openUs: nowUs, lastUs: nowUs });
    }
    if (nowUs < tries.openUs) return Math.ceil((tries.openUs - nowUs) / 1000);
    tries.wrong++;
    tries.lastUs = nowUs;
    if (tries.wrong >= triesFree) {
      // 2 ** 40 would pass any maximum; the bound keeps the product finite after very many tries.
      const doublings = Math.min(40, tries.wrong - triesFree);
      tries.openUs = nowUs + Math.min(delayMsMax, delayMsFirst * 2 ** doublings) * 1000;
    }
    return 0;
  }

  /** The try was right: nothing is held against this key any more. */
  clear(key: string): void {
    this.#table.delete(key);
  }

  /** The try was never judged (we were busy): as if it had not been taken. */
  forgive(key: string, nowUs: number): void {
    const tries = this.#table.touch(key);
    if (tries === undefined) return;
    tries.wrong = Math.max(0, tries.wrong - 1);
    tries.openUs = Math.min(tries.openUs, nowUs);
  }

  get size(): number {
    return this.#table.size;
  }
}

/**
 * What addresses are counted as: IPv4 as it is, IPv6 by its /64, since one household or one rented machine has all of that.
 *
 * @param host As in `Address`: the shortest text form, IPv4-mapped IPv6 folded.
 */
export function addressKey(host: string): string {
  if (!host.includes(":")) return host;
  const [head, tail] = host.split("%")[0]!.split("::") as [string, string | undefined];
  const groups = head === "" ? [] : head.split(":");
  // "::" stands for the zeros that are missing from eight groups; an embedded IPv4 tail is beyond the first four.
  if (tail !== undefined) {
    const behind = tail === "" ? 0 : tail.split(":").length + (tail.includes(".") ? 1 : 0);
    const missing = 8 - groups.length - behind;
    for (let i = 0; i < missing; i++) groups.push("0");
    if (tail !== "") groups.push(...tail.split(":"));
  }
  return groups.slice(0, 4).map((group) => group.toLowerCase().replace(/^0+(?=.)/, "")).join(":") + "::/64";
}

interface Tries {
  wrong: number;
  /** No try is taken before this. */
  openUs: number;
  lastUs: number;
}

/** A map that forgets the entry used longest ago when it is full. */
class RecentTable<V> {
  readonly #entries = new Map<string, V>();
  readonly #entriesMax: number;

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The entry, now the one used last. */
  touch(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    if (this.#entries.size >= this.#entriesMax) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    this.#entries.set(key, value);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }
}

const KEYS_MAX = 65_536;
