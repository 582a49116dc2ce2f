/**
 * Of large conversations: which members have sessions on which server. Kept from record to record, so that a record costs the
 * leader what it costs to tell those who are here, and not a look at everybody who might be.
 *
 * An audience stands while the store hands out the same list of members; comings and goings of sessions change it in place.
 */
import type { ConversationId, UserName } from "../../shared/protocol/mod.ts";

/** Members here, by server; both are replaced and never changed. */
export type Audience<P> = ReadonlyMap<P, readonly UserName[]>;

export class Audiences<P> {
  readonly #portsOf: (user: UserName) => Iterable<P>;
  readonly #kept = new Map<ConversationId, Kept<P>>();
  readonly #byUser = new Map<UserName, Set<Kept<P>>>();
  /** Of all that are kept. */
  #members = 0;

  constructor(portsOf: (user: UserName) => Iterable<P>) {
    this.#portsOf = portsOf;
  }

  /** @param members The same array as before, unless somebody came or went. */
  of(conversation: ConversationId, members: readonly UserName[]): Audience<P> {
    const kept = this.#kept.get(conversation);
    if (kept?.members === members) return kept.here;
    if (kept !== undefined) this.#forget(kept);
    return this.#keep(conversation, members).here;
  }

  /** This server has sessions of this user now. */
  arrived(port: P, user: UserName): void {
    for (const kept of this.#byUser.get(user) ?? []) {
      kept.here.set(port, [...kept.here.get(port) ?? [], user]);
    }
  }

  /** ... and has none any more. */
  left(port: P, user: UserName): void {
    for (const kept of this.#byUser.get(user) ?? []) {
      const rest = (kept.here.get(port) ?? []).filter((other) => other !== user);
      if (rest.length > 0) kept.here.set(port, rest);
      else kept.here.delete(port);
    }
  }

  #keep(conversation: ConversationId, members: readonly UserName[]): Kept<P> {
    const here = new Map<P, UserName[]>(), kept: Kept<P> = { conversation, members, here };
    for (const member of members) {
      for (const port of this.#portsOf(member)) {
        const present = here.get(port);
        if (present === undefined) here.set(port, [member]);
        else present.push(member);
      }
      const ofUser = this.#byUser.get(member);
      if (ofUser === undefined) this.#byUser.set(member, new Set([kept]));
      else ofUser.add(kept);
    }
    this.#members += members.length;
    this.#kept.set(conversation, kept);
    // The oldest can be made again at any time.
    for (const oldest of this.#kept.values()) {
      if (this.#members <= MEMBERS_KEPT_MAX || oldest === kept) break;
      this.#forget(oldest);
    }
    return kept;
  }

  #forget(kept: Kept<P>): void {
    this.#kept.delete(kept.conversation);
    this.#members -= kept.members.length;
    for (const member of kept.members) {
      const ofUser = this.#byUser.get(member);
      if (ofUser?.delete(kept) && ofUser.size === 0) this.#byUser.delete(member);
    }
  }
}

interface Kept<P> {
  readonly conversation: ConversationId;
  readonly members: readonly UserName[];
  readonly here: Map<P, UserName[]>;
}

/** In all audiences together; about 100 bytes each. */
const MEMBERS_KEPT_MAX = 500_000;
