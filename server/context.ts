/** What handlers are given: the services of this server, and who is asking. */
import type { Clock } from "../shared/net/clock.ts";
import type { Logger } from "../shared/log.ts";
import type { Primitives } from "../shared/primitives.ts";
import type { DeviceId, UserName } from "../shared/protocol/mod.ts";
import type { Bus } from "./bus/bus.ts";
import type { PasswordHasher } from "./password_pool.ts";
import type { Pepper } from "./pepper.ts";
import type { Session } from "./sessions.ts";
import type { Store } from "./store/store.ts";
import type { Throttles } from "./throttles.ts";
import type { Typing } from "./typing.ts";

export interface Services {
  readonly store: Store;
  readonly bus: Bus;
  readonly typing: Typing;
  readonly primitives: Primitives;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** 32 bytes: makes salts for names that nobody has (SECURITY P3). */
  readonly saltKey: Uint8Array;
  readonly pepper: Pepper;
  readonly passwords: PasswordHasher;
  readonly throttles: Throttles;
  readonly settings: AccountSettings;
  readonly counters: Counters;
  readonly logger: Logger;
}

export interface AccountSettings {
  readonly registration: "open" | "closed";
  /** The least scrypt cost accepted and the one proposed: SCRYPT_LOG2_N_MIN, lower in tests only. */
  readonly scryptLog2N: number;
  /** A bcrypt hash that no secret has, of the same cost as real ones. */
  readonly dummyHash: string;
  readonly sessionDays: number;
  /** What one user's archive of history may take; 0 keeps none. */
  readonly archiveBytesMax: number;
}

/** What happened since the start; for `status`. */
export interface Counters {
  stored: number;
  signUps: number;
  logIns: number;
  logInsRefused: number;
  resumed: number;
  /** Log-ins by a resumption ticket, and tickets whose session or generation the store no longer knew. */
  ticketLogIns: number;
  ticketLogInsRefused: number;
  enrolled: number;
  /** RSA signatures checked. */
  rsaVerifications: number;
}

export function newCounters(): Counters {
  return {
    stored: 0,
    signUps: 0,
    logIns: 0,
    logInsRefused: 0,
    resumed: 0,
    ticketLogIns: 0,
    ticketLogInsRefused: 0,
    enrolled: 0,
    rsaVerifications: 0,
  };
}

/** What a connection has shown of who it is (docs/PROTOCOL.md §7.1). */
export type Standing =
  | { readonly rights: "none" }
  /** The password was right, the device is unknown: it may fetch the backup and enrol, nothing else (P6). */
  | { readonly rights: "enrolling"; readonly user: UserName }
  /** The recovery key was right, whose proof's hash is sealed like this: another password may be set, and nothing else. */
  | { readonly rights: "recovering"; readonly user: UserName; readonly proofHash: Uint8Array }
  | { readonly rights: "session"; readonly session: Session };

/** What a log-in has come to. */
export interface LoggedIn {
  readonly user: UserName;
  readonly device: DeviceId;
  /** SHA-256 of the session token, 32 bytes. */
  readonly tokenHash: Uint8Array;
  /** The user's credential generation, as the store told it with the session. */
  readonly generation: number;
}

/** The connection that asks, as handlers see it. */
export interface Caller {
  /** From `addressKey`: what rates are counted by. */
  readonly address: string;
  /** 32 bytes that name this connection and no other: what proofs sign. */
  readonly bind: Uint8Array;
  readonly standing: Standing;
  /** @throws RequestError where the connection has logged in meanwhile. */
  beginEnrolling(user: UserName): void;
  /** @throws RequestError where the connection has logged in meanwhile. */
  beginRecovering(user: UserName, proofHash: Uint8Array): void;
  /** @throws RequestError where the connection has logged in meanwhile. */
  beginSession(login: LoggedIn): void;
  endSession(): void;
  /** From now on what is committed is delivered here. */
  subscribe(): void;
  /**
   * From now on the coming and going of these is told here, and of no others.
   *
   * @returns Those who are here, where that is known of all.
   * @throws RequestError where too many are watched.
   */
  watch(names: readonly UserName[]): UserName[] | undefined;
}
