/** What the engine of encrypted conversations needs of its surroundings. */
import type { ConversationId, DeviceId, DirectoryEntry, Record, UserName } from "../../../shared/protocol/mod.ts";
import type { RandomSource } from "../../../shared/primitives.ts";
import type { Database } from "../../home/database.ts";
import type { AccountKey } from "../../account/account_key.ts";
import type { KeyChangedError } from "../../errors.ts";
import type { Self } from "../../trust/keyring.ts";
import type { Remote } from "../../network/remote.ts";
import type { Timers } from "../../timers.ts";
import type { Vault } from "../../home/vault.ts";
import type { Step, Taken, Warning } from "../engine.ts";
import type { SuiteName } from "../mls/mod.ts";
import type { Turn } from "./givers.ts";

export interface EngineOptions {
  readonly database: Database;
  /** Seals what lies on disk. */
  readonly vault: Vault;
  readonly self: Self & {
    /** This device's own, encoded. */
    readonly certificate: Uint8Array;
  };
  readonly people: People;
  readonly keyLog: KeyLogView;
  /** What this user's devices leave for each other is sealed by; `undefined` where the home does not have it. */
  accountKey?(): AccountKey | undefined;
  /** Sends a request over the connection there is. @throws ServerRefusal, ConnectionLostError. */
  readonly ask: Remote["ask"];
  /** The other one of a direct conversation; `undefined` for a group, and for what this home does not know. */
  peerOf(conversation: ConversationId): UserName | undefined;
  /** Takes a row of the first form of encryption (an envelope with a text). */
  takeText(record: Record): Promise<{ readonly taken: Taken; readonly step: Step }>;
  /** The log of a conversation reaches at least up to here: what is missing is to be read and taken. */
  onReaches(conversation: ConversationId, seq: number): void;
  /** Told apart from a row: by a timer, or while something is prepared. */
  onWarning(conversation: ConversationId, warning: Warning): void;
  /** This device came into a conversation apart from its rows: by a Welcome whose row is not for it to read. */
  onJoined(conversation: ConversationId, taken: Extract<Taken, { kind: "change" | "nothing" }>): void;
  /**
   * Devices have come into a group that shares its history, and it may be this one's turn to hand it to them. Called inside the
   * transaction by which they are in: what is written there is so, or nothing is. @param upTo They read what is behind it themselves.
   */
  onComers?(conversation: ConversationId, comers: readonly Turn[], upTo: number): void;
  /** Something about a conversation has changed that is not told by a row: what waits in it may be tried again. */
  onChanged(conversation: ConversationId): void;
  /** Holds the home for something that begins now and is not waited for. @returns To be called when that has ended. */
  readonly hold?: () => () => void;
  /** Milliseconds since 1970. */
  nowMs(): number;
  readonly timers: Timers;
  readonly random: RandomSource;
  /** X-Wing unless given. */
  readonly suite?: SuiteName;
  /** The server's address, for invite links: `HOST:PORT`. */
  serverAddress?(): string;
  /** Of the cluster's key, 32 bytes, for invite links. */
  readonly clusterFingerprint?: Uint8Array;
}

/** Whose keys are whose, under the pins. */
export interface People {
  /** Fingerprint of the pinned identity, 32 bytes; for one's own name one's own. */
  pinned(name: UserName): Uint8Array | undefined;
  /** Compares with the pin, and pins where there is none. */
  check(name: UserName, fingerprint: Uint8Array): "pinned" | "known" | "changed";
  /** The error that stops sending to a changed identity. */
  changed(name: UserName, offered: Uint8Array): KeyChangedError;
  /** What the home last heard of somebody. */
  entry(name: UserName): DirectoryEntry | undefined;
  /** Asks the directory, and pins at first use. Names that nobody has are left out. */
  fetch(names: readonly UserName[]): Promise<void>;
}

/** The cluster's log of keys (SECURITY M13), as far as this home has read it. */
export interface KeyLogView {
  readonly length: number;
  /** 32 bytes, zeros when empty. */
  readonly head: Uint8Array;
  /** @throws KeyLogError while the server is known to show different logs: nothing is to be sent. */
  requireOne(): void;
  /** Whether a head is in its past; `undefined` where it may be one that is not read yet. */
  knows(head: Uint8Array): boolean | undefined;
  catchUp(atLeast?: number): Promise<void>;
  /** @param uptoEntries Judged by the first entries only, so that everybody finds the same. */
  isRevoked(user: UserName, device: DeviceId, uptoEntries?: number): boolean;
  /**
   * The identity by which somebody goes, for one by which they go or went, as hex: each has signed the next.
   *
   * @param uptoEntries As for {@linkcode isRevoked}.
   */
  identityOf(user: UserName, identity: string, uptoEntries?: number): string;
  /**
   * Whether a device may be let in: it is in the log, has not ended, and waits for nobody's approval.
   *
   * @param uptoEntries As for {@linkcode isRevoked}.
   */
  isUsable(user: UserName, device: DeviceId, uptoEntries?: number): boolean;
  /** Entries about these are read from now on; resolves when those that there are have been. */
  follow(names: readonly UserName[]): Promise<void>;
}

/** Where there is no log: nothing is revoked, and every head of zeros is known. */
export const NO_KEY_LOG: KeyLogView = {
  length: 0,
  head: new Uint8Array(32),
  requireOne: () => {},
  knows: () => true,
  catchUp: () => Promise.resolve(),
  isRevoked: () => false,
  isUsable: () => true,
  identityOf: (_, identity) => identity,
  follow: () => Promise.resolve(),
};
