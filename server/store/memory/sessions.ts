/** Sessions of the store in memory: the plain twin of what `sqlite/accounts.ts` does with its table `sessions`. */
import { SESSIONS_PER_DEVICE_MAX } from "../../../shared/limits.ts";
import type { CredentialChange, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import type { LiveSession, Session } from "../store.ts";
import { isLive, type MemoryTables, type MemoryUser } from "./rows.ts";

export class MemorySessions {
  readonly #tables: MemoryTables;
  /** By the hash of their token, as hex. */
  readonly #sessions = new Map<string, Session>();

  constructor(tables: MemoryTables) {
    this.#tables = tables;
  }

  create(session: Session): number {
    const own = this.#tables.devices.get(session.device);
    if (own?.user.name !== session.user || !isLive(own)) {
      throw new RangeError(`Cannot keep a session: ${session.user} has no device ${session.device}`);
    }
    const hash = session.tokenHash.toHex();
    this.#sessions.set(hash, { ...session });
    const others = [...this.#sessions].filter(([other, { device }]) => device === session.device && other !== hash)
      .sort(([one, { expiresMs: a }], [two, { expiresMs: b }]) => b - a || (one < two ? -1 : 1));
    for (const [other] of others.slice(SESSIONS_PER_DEVICE_MAX - 1)) this.#sessions.delete(other);
    return own.user.generation;
  }

  of(tokenHash: Uint8Array, nowMs: number): LiveSession | undefined {
    const session = this.#sessions.get(tokenHash.toHex());
    if (session === undefined || session.expiresMs <= nowMs) return undefined;
    return { ...session, generation: this.#tables.users.get(session.user)!.generation };
  }

  delete(tokenHash: Uint8Array): void {
    this.#sessions.delete(tokenHash.toHex());
  }

  /** Ends all of a user's, but for the one whose token has the hash `keep`. @returns The generation from now on. */
  raise(name: UserName, keep: Uint8Array | undefined, change?: CredentialChange): number {
    const user = this.#tables.users.get(name);
    if (user === undefined) throw new RangeError(`Cannot end sessions: there is no user ${name}`);
    const generation = ++user.generation;
    for (const [hash, session] of this.#sessions) {
      if (session.user === name && hash !== keep?.toHex()) this.#sessions.delete(hash);
    }
    this.#tables.listener?.sessionsEnded({ user: name, generation, keep, change });
    return generation;
  }

  /** Ends those of a device. */
  endOf({ name, generation }: MemoryUser, device: DeviceId): void {
    for (const [hash, session] of this.#sessions) if (session.device === device) this.#sessions.delete(hash);
    this.#tables.listener?.sessionsEnded({ user: name, generation, keep: undefined, device });
  }
}
