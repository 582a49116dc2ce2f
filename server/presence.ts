/**
 * Which connections of this server watch whom, and what each of them is told (docs/PROTOCOL.md §14). Pure.
 *
 * The board of the cluster tells this server of everybody whom somebody here watches; what it said last stands until it says
 * otherwise, also while there is no leader.
 */
import { encode } from "../shared/codec/mod.ts";
import { type HintDown, hintDown, type UserName } from "../shared/protocol/mod.ts";
import type { TypingHint } from "./bus/bus.ts";
import { WATCHED_MAX } from "./bus/presence_board.ts";
import type { Session, Sessions } from "./sessions.ts";

export interface PresenceOptions {
  readonly sessions: Sessions;
  /** Somebody here wants to hear of a user, or nobody does any more. */
  readonly watch: (user: UserName, on: boolean) => void;
}

export class Presence {
  readonly #options: PresenceOptions;
  /** In order of the last time each was asked for: the first to end is first. */
  readonly #watches = new Map<Session, { readonly names: readonly UserName[]; readonly untilUs: number }>();
  readonly #watchers = new Map<UserName, Set<Session>>();
  /** What the board said of those who are watched. */
  readonly #online = new Map<UserName, boolean>();
  /** Hints handed to connections, for the counters. */
  told = 0;

  constructor(options: PresenceOptions) {
    this.#options = options;
  }

  /**
   * From now on the session hears of these and no others, for {@linkcode WATCH_TTL_US}.
   *
   * @returns False where too many people are watched here: then everything is as it was.
   */
  watch(session: Session, names: readonly UserName[], nowUs: number): boolean {
    const wanted = new Set(names), before = this.#watches.get(session)?.names ?? [];
    const added = [...wanted].filter((name) => !this.#watchers.has(name));
    if (this.#watchers.size + added.length > WATCHED_MAX) return false;
    this.#watches.delete(session);
    this.#watches.set(session, { names: [...wanted], untilUs: nowUs + WATCH_TTL_US });
    for (const name of wanted) {
      const watchers = this.#watchers.get(name);
      if (watchers !== undefined) watchers.add(session);
      else {
        this.#watchers.set(name, new Set([session]));
        this.#options.watch(name, true);
      }
    }
    for (const name of before) if (!wanted.has(name)) this.#unwatch(session, name);
    return true;
  }

  /** It asked for no more, or is gone. */
  unwatch(session: Session): void {
    const names = this.#watches.get(session)?.names ?? [];
    this.#watches.delete(session);
    for (const name of names) this.#unwatch(session, name);
  }

  /** Those of them who are here, where all of them are known. */
  among(names: readonly UserName[]): UserName[] | undefined {
    if (!names.every((name) => this.#online.has(name))) return undefined;
    return names.filter((name) => this.#online.get(name));
  }

  /** What the board says. It repeats itself; connections hear of changes only. */
  changed(user: UserName, online: boolean, nowUs: number): void {
    const watchers = this.#watchers.get(user), before = this.#online.get(user);
    if (watchers === undefined) return;
    this.#online.set(user, online);
    // Whoever asked before anything was known waits for an answer, which comes behind this.
    if (before === undefined || before === online) return;
    for (const session of watchers) {
      const leftUs = this.#watches.get(session)!.untilUs - nowUs;
      if (leftUs > 0) this.#tell(session, { type: "presence", name: user, online, ttlMs: Math.ceil(leftUs / 1000) });
    }
  }

  /** Those of a conversation who are here and want to know hear that somebody types; the person themself does not. */
  typed({ conversation, user, members, active }: TypingHint): void {
    const hint: HintDown = { type: "typing", conversation, name: user, ttlMs: active ? TYPING_TTL_MS : 0 };
    for (const member of members) {
      if (member === user) continue;
      for (const session of this.#options.sessions.of(member)) {
        if (this.#watches.has(session)) this.#tell(session, hint);
      }
    }
  }

  tick(nowUs: number): void {
    for (const [session, { untilUs }] of this.#watches) {
      if (nowUs < untilUs) return;
      this.unwatch(session);
    }
  }

  /** People watched by anybody here. */
  get watched(): number {
    return this.#watchers.size;
  }

  #unwatch(session: Session, name: UserName): void {
    const watchers = this.#watchers.get(name);
    if (!watchers?.delete(session) || watchers.size > 0) return;
    this.#watchers.delete(name);
    this.#online.delete(name);
    this.#options.watch(name, false);
  }

  #tell(session: Session, hint: HintDown): void {
    session.channel.sendHint(encode(hintDown, hint));
    this.told++;
  }
}

/** How long a watch holds; clients ask again well before. */
export const WATCH_TTL_US = 60_000_000;
/** How long somebody types, unless they say it again. */
export const TYPING_TTL_MS = 6_000;
