/**
 * Who is here, for those who watch: one board in the cluster, beside the hub. Pure: time comes with {@linkcode PresenceBoard.tick}.
 *
 * Somebody whose last session ended is here for a moment longer: a client that lost its server is back on another one within
 * a second, and nobody should see that. For the same moment a new board believes of nobody that they are gone: their server may
 * not have told it yet. So a server that dies takes its users with it, the leader too, and nobody flickers.
 */
import type { UserName } from "../../shared/protocol/mod.ts";

/** A server, as the board sees it. */
export interface PresencePort {
  /** Of somebody whom it watches: at first, and with each change. Repeated now and then. Must not throw. */
  presence(user: UserName, online: boolean): void;
}

export class PresenceBoard<P extends PresencePort> {
  readonly #here = new Set<UserName>();
  /** Who was here a moment ago → when that was noticed, in order; `undefined` until the next tick. */
  readonly #leaving = new Map<UserName, number | undefined>();
  readonly #watchers = new Map<UserName, Set<P>>();
  readonly #watched = new Map<P, Set<UserName>>();
  #bornUs: number | undefined;
  #isYoung = true;

  /** The first session of somebody, on any server. */
  arrived(user: UserName): void {
    this.#here.add(user);
    if (!this.#leaving.delete(user)) this.#tell(user, true);
  }

  /** The last session of somebody ended. */
  left(user: UserName): void {
    if (this.#here.delete(user)) this.#leaving.set(user, undefined);
  }

  /** A server wants to hear of somebody, or no more. It hears at once how things are, unless the board is too young to say. */
  watch(port: P, user: UserName, on: boolean): void {
    if (!on) return this.#unwatch(port, user);
    const watched = this.#watched.get(port) ?? new Set();
    if (watched.size >= WATCHED_MAX && !watched.has(user)) return;
    this.#watched.set(port, watched.add(user));
    const watchers = this.#watchers.get(user) ?? new Set();
    this.#watchers.set(user, watchers.add(port));
    const isHere = this.#isHere(user);
    if (isHere || !this.#isYoung) port.presence(user, isHere);
  }

  /** A server is gone; its users are told of apart. */
  forget(port: P): void {
    for (const user of [...this.#watched.get(port) ?? []]) this.#unwatch(port, user);
  }

  /** Those of them who are here, and whether the others surely are not. */
  among(names: readonly UserName[]): { online: UserName[]; isSure: boolean } {
    const online = names.filter((name) => this.#isHere(name));
    return { online, isSure: !this.#isYoung || online.length === names.length };
  }

  /** Several times within {@linkcode PRESENCE_GRACE_US}, and with a time that never goes back. */
  tick(nowUs: number): void {
    this.#bornUs ??= nowUs;
    if (this.#isYoung && nowUs - this.#bornUs >= PRESENCE_GRACE_US) {
      this.#isYoung = false;
      for (const user of this.#watchers.keys()) if (!this.#isHere(user)) this.#tell(user, false);
    }
    for (const [user, sinceUs] of this.#leaving) {
      if (sinceUs === undefined) this.#leaving.set(user, nowUs);
      else if (nowUs - sinceUs >= PRESENCE_GRACE_US) {
        this.#leaving.delete(user);
        this.#tell(user, false);
      }
    }
  }

  #isHere(user: UserName): boolean {
    return this.#here.has(user) || this.#leaving.has(user);
  }

  #tell(user: UserName, online: boolean): void {
    for (const port of this.#watchers.get(user) ?? []) port.presence(user, online);
  }

  #unwatch(port: P, user: UserName): void {
    const watched = this.#watched.get(port), watchers = this.#watchers.get(user);
    if (watched?.delete(user) && watched.size === 0) this.#watched.delete(port);
    if (watchers?.delete(port) && watchers.size === 0) this.#watchers.delete(user);
  }
}

/** How long somebody without a session is still here. */
export const PRESENCE_GRACE_US = 3_000_000;
/** People whom one server watches for all its clients; further ones it does not hear of. */
export const WATCHED_MAX = 65_536;
