/** Who is connected, as which device. Pure. One device may have several connections, one user several devices. */
import { CloseCode } from "../shared/errors.ts";
import type { Channel } from "../shared/net/channel.ts";
import type { DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import type { SessionsEnded } from "./bus/bus.ts";
import type { Feed } from "./feed.ts";

/** One connection that has logged in. */
export interface Session {
  readonly user: UserName;
  readonly device: DeviceId;
  /** SHA-256 of the session token, as hex: what a logout ends. */
  readonly tokenHash: string;
  /** The user's credential generation under which it began: a raised one ends it. */
  readonly generation: number;
  readonly channel: Channel;
  /** What is delivered to it; there once it has asked for that by `subscribe`. */
  feed: Feed | undefined;
  /**
   * Messages handed in on this connection whose commit was not yet announced: it learns of them by `stored` and needs no
   * delivery.
   */
  readonly sent: Set<MessageId>;
}

export class Sessions {
  readonly #byUser = new Map<UserName, Session[]>();
  /** Whose credentials have changed lately, the oldest first: a login that was under way meanwhile must not slip through. */
  readonly #ended = new Map<UserName, SessionsEnded>();
  /** Devices revoked lately, the oldest first. */
  readonly #revoked = new Set<DeviceId>();
  #size = 0;

  /** @returns Whether it is the user's first one here. */
  add(session: Session): boolean {
    this.#size++;
    const present = this.#byUser.get(session.user);
    if (present === undefined) this.#byUser.set(session.user, [session]);
    else present.push(session);
    return present === undefined;
  }

  /** @returns Whether it was the user's last one here. Unknown ones change nothing. */
  remove(session: Session): boolean {
    const present = this.#byUser.get(session.user);
    const index = present?.indexOf(session) ?? -1;
    if (present === undefined || index < 0) return false;
    this.#size--;
    present.splice(index, 1);
    if (present.length > 0) return false;
    this.#byUser.delete(session.user);
    return true;
  }

  /** A user's sessions here; borrowed until the next change. */
  of(user: UserName): readonly Session[] {
    return this.#byUser.get(user) ?? NONE;
  }

  /** Whether a session that began so is over already. */
  isOver(
    { user, device, generation, tokenHash }: Pick<Session, "user" | "device" | "generation" | "tokenHash">,
  ): boolean {
    if (this.#revoked.has(device)) return true;
    const ended = this.#ended.get(user);
    return ended !== undefined && generation < ended.generation && tokenHash !== ended.keep?.toHex();
  }

  /** Ends what began before a user's credentials changed. */
  closeEnded(ended: SessionsEnded): void {
    if (ended.device !== undefined) return this.#closeDevice(ended.user, ended.device);
    const known = this.#ended.get(ended.user);
    if (known !== undefined && known.generation > ended.generation) return;
    this.#ended.delete(ended.user);
    this.#ended.set(ended.user, ended);
    if (this.#ended.size > ENDED_MAX) this.#ended.delete(this.#ended.keys().next().value!);
    for (const session of [...this.of(ended.user)]) {
      if (this.isOver(session)) {
        session.channel.close(CloseCode.sessionEnded, "Your credentials were changed: log in again");
      }
    }
  }

  #closeDevice(user: UserName, device: DeviceId): void {
    this.#revoked.add(device);
    if (this.#revoked.size > ENDED_MAX) this.#revoked.delete(this.#revoked.values().next().value!);
    for (const session of [...this.of(user)]) {
      if (session.device === device) session.channel.close(CloseCode.sessionEnded, "This device was revoked");
    }
  }

  /** Ends the other sessions that stand on the same token: their user has logged out. */
  closeToken(ended: Session): void {
    for (const session of [...this.of(ended.user)]) {
      if (session !== ended && session.tokenHash === ended.tokenHash) {
        session.channel.close(CloseCode.sessionEnded, "You logged out");
      }
    }
  }

  *[Symbol.iterator](): Iterator<Session> {
    for (const sessions of this.#byUser.values()) yield* sessions;
  }

  get size(): number {
    return this.#size;
  }

  get users(): number {
    return this.#byUser.size;
  }
}

/** Far more than change while one question to the store is under way. */
const ENDED_MAX = 4096;
const NONE: readonly Session[] = [];
