/** What a home is opened and connected with. */
import type { UserName } from "../shared/protocol/mod.ts";
import type { DialServer } from "./network/dialer.ts";
import type { NoticeEvent } from "./events.ts";
import type { ServerAddress } from "./network/server_address.ts";

/** How to open a home and connect it: who, where, and by which of the ways in. */
export interface OpenOptions {
  /** Directory that holds everything of one person on one machine; made where it is not there. */
  readonly home: string;
  /** `HOST:PORT`, `[IPV6]:PORT` or `HOST:PORT#FINGERPRINT`; by default where this home was last. */
  readonly server?: string | undefined;
  /** By default the home's account. */
  readonly name?: string | undefined;
  /** Needed in a home without a session, and unlocks one that is sealed. Never stored. */
  readonly password?: string | undefined;
  /** What is in a token file: unlocks the home in place of the password. */
  readonly token?: string | undefined;
  /** The home's key ({@linkcode LocalHome.key}): unlocks it at once. */
  readonly unlock?: Uint8Array | undefined;
  /** Sign up if the name is new. "only": a name that exists is an error. */
  readonly register?: boolean | "only" | undefined;
  /** Whether a sign-up leaves the sealed identity key on the server, so that name and password are enough elsewhere. */
  readonly serverBackup?: boolean | undefined;
  /** What this device is called where it has no name yet: its owner's other devices see that, and the server. */
  readonly deviceName?: string | undefined;
  /** Log in with the password even where a session would do. */
  readonly fresh?: boolean | undefined;
  /** What this home was sealed by, where the password was changed on another device since; `password` by default. */
  readonly homePassword?: string | undefined;
  /** The recovery key, as it was written down: it shows who this is, and `password` is the new one. */
  readonly recoveryKey?: string | undefined;
  /** Whether a recovery ends all other sessions. */
  readonly signOutOthers?: boolean | undefined;
  /** Whether to resolve only when everything that was waiting is in the history: the default. */
  readonly catchUp?: boolean | undefined;
  /** For connecting and logging in; 20 s by default. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of what takes longer than a moment. */
  readonly onProgress?: ((text: string) => void) | undefined;
  /** Told of every notice as it comes, for who does not listen to the events. */
  readonly onNotice?: ((notice: NoticeEvent) => void) | undefined;
  /** How to reach a server; over UDP by default. */
  readonly dial?: DialServer | undefined;
}

/** {@linkcode OpenOptions} with name and server parsed. */
export type SessionOptions = Omit<OpenOptions, "name" | "server"> & {
  readonly name: UserName | undefined;
  readonly server: ServerAddress | undefined;
};

/** How long opening may take, where nothing else is said; and whatever takes one question or two. */
export const OPEN_TIMEOUT_MS = 20_000;
