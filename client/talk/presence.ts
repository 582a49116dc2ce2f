/**
 * Who of those one knows is here (docs/PROTOCOL.md §14). The server is asked again well before its word runs out; what it does
 * not confirm in time is unknown, never "online".
 */
import { WATCH_NAMES_MAX } from "../../shared/limits.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Timers } from "../timers.ts";

export interface PresenceOptions {
  /** Asks the server, whoever that is by then. Rejects where it gave no answer in time. */
  ask(names: readonly UserName[]): Promise<{ readonly online: readonly UserName[]; readonly ttlMs: number }>;
  /** `undefined`: nobody knows. */
  onChange(name: UserName, online: boolean | undefined): void;
  readonly timers: Timers;
}

interface Known {
  readonly online: boolean;
  readonly untilMs: number;
  /** The question before which it was heard. */
  readonly round: number;
}

export class PresenceWatch {
  readonly #options: PresenceOptions;
  #names: readonly UserName[] = [];
  readonly #known = new Map<UserName, Known>();
  /** Counts questions: an answer to an earlier one than the last is not looked at. */
  #round = 0;
  #wasAsked = false;
  #isConnected = false;
  #closed = false;
  #stopAsking = () => {};
  #stopExpiring = () => {};

  constructor(options: PresenceOptions) {
    this.#options = options;
  }

  /** From now on these and no others; the first {@linkcode WATCH_NAMES_MAX} of them. */
  watch(names: readonly UserName[]): void {
    const wanted = [...new Set(names)].slice(0, WATCH_NAMES_MAX), all = new Set(wanted);
    if (all.size === this.#names.length && this.#names.every((name) => all.has(name))) return;
    this.#names = wanted;
    for (const name of [...this.#known.keys()]) if (!all.has(name)) this.#known.delete(name);
    if (this.#isConnected) this.#ask();
  }

  /** There is a connection, a new one perhaps: it has to be told. */
  connected(): void {
    this.#isConnected = true;
    this.#wasAsked = false;
    this.#ask();
  }

  /** A hint came. */
  heard(name: UserName, online: boolean, ttlMs: number): void {
    if (!this.#names.includes(name)) return;
    this.#set(name, online, Math.min(ttlMs, TTL_MS_MAX));
    this.#expireLater();
  }

  /** Whether somebody is here; `undefined` where that is not known. */
  of(name: UserName): boolean | undefined {
    return this.#known.get(name)?.online;
  }

  close(): void {
    this.#closed = true;
    this.#stopAsking();
    this.#stopExpiring();
  }

  #ask(): void {
    this.#stopAsking();
    // Whoever watches nobody need not say so, unless this server knows otherwise.
    if (this.#closed || (this.#names.length === 0 && !this.#wasAsked)) return;
    const names = this.#names, round = ++this.#round;
    this.#wasAsked = true;
    this.#options.ask(names).then(
      ({ online, ttlMs }) => round === this.#round && this.#answered(names, new Set(online), ttlMs),
      () => round === this.#round && this.#askLater(RETRY_MS),
    );
  }

  #answered(names: readonly UserName[], online: ReadonlySet<UserName>, ttlMs: number): void {
    const lifeMs = Math.min(ttlMs, TTL_MS_MAX);
    for (const name of names) {
      // A hint that came since the question is newer than its answer.
      if (this.#known.get(name)?.round === this.#round) continue;
      this.#set(name, online.has(name), lifeMs);
    }
    this.#expireLater();
    if (names.length > 0) this.#askLater(Math.max(RETRY_MS, lifeMs / RENEWALS));
  }

  #askLater(ms: number): void {
    if (!this.#closed) this.#stopAsking = this.#options.timers.after(ms, () => this.#ask());
  }

  #set(name: UserName, online: boolean, ttlMs: number): void {
    const before = this.#known.get(name)?.online;
    this.#known.set(name, { online, untilMs: this.#options.timers.nowMs() + ttlMs, round: this.#round });
    if (before !== online) this.#options.onChange(name, online);
  }

  #expireLater(): void {
    this.#stopExpiring();
    if (this.#closed || this.#known.size === 0) return;
    const { timers } = this.#options;
    const first = Math.min(...[...this.#known.values()].map(({ untilMs }) => untilMs));
    this.#stopExpiring = timers.after(Math.max(0, first - timers.nowMs()), () => this.#expire());
  }

  #expire(): void {
    const nowMs = this.#options.timers.nowMs();
    for (const [name, { untilMs }] of [...this.#known]) {
      if (untilMs > nowMs) continue;
      this.#known.delete(name);
      this.#options.onChange(name, undefined);
    }
    this.#expireLater();
  }
}

/** Questions within the life of an answer: two may get lost. */
const RENEWALS = 3;
const RETRY_MS = 5_000;
/** Whatever a server says. */
const TTL_MS_MAX = 300_000;
