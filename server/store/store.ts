/**
 * The store's contract: what every implementation (SQLite, memory, the link to the leader; later PostgreSQL) must do.
 * One contract test suite runs against all of them.
 *
 * Everything is asynchronous and what is on the hot path takes batches. A promise resolves only after its change is
 * committed to disk. Reads see every change that was acknowledged before they were asked for. Checks of rights are made
 * inside the transaction that relies on them, never before an await.
 *
 * Methods reject with `StoreUnavailableError` where the store cannot be reached now (a leader died: the same call may be
 * made again, every change is idempotent) and with `StoreFullError` where the disk is full.
 */
import type {
  ConversationId,
  CredentialChange,
  DeviceId,
  OwnReceipt,
  Receipt,
  UserName,
} from "../../shared/protocol/mod.ts";
import type { Append, ConversationHead, DirectoryEntry, Record, Stretching } from "../../shared/protocol/mod.ts";
import type { ArchiveStore } from "./archives.ts";
import type { GroupStore } from "./groups.ts";
import type { HistoryStore } from "./history.ts";

export interface Store extends GroupStore, ArchiveStore, HistoryStore {
  /**
   * Makes a user with a first device, all or nothing. The same name, identity key and device again is `created`: a retry,
   * and changes nothing. Device ids are one name space: one that somebody else has is refused as `name-taken` too.
   */
  createUser(user: NewUser): Promise<"created" | "name-taken">;

  /** What a login needs, or `undefined` for a name nobody has. */
  account(name: UserName): Promise<Account | undefined>;

  /**
   * Adds a device to a user: raises the device revision, and with it the epoch of every direct conversation of the user that never
   * had a commit; the device's cursors begin at the heads of now, since nothing earlier was sealed for it. Idempotent by device id
   * with the same certificate.
   * A device whose identity was replaced comes back in its own place, with the certificate of the new one. `unapproved` where its
   * user wants that another device approves it: until then it is nobody's.
   *
   * @param identityKey Where given, the identity that has certified it: refused as `id-taken` where the user has another by now.
   */
  addDevice(
    name: UserName,
    device: NewDevice,
    identityKey?: Uint8Array,
  ): Promise<"added" | "unapproved" | "limit" | "id-taken">;

  /** The key log behind its first `after` entries, at most `limit` of them. Every user and device is in it from its first moment on. */
  keyLog(after: number, limit: number): Promise<KeyLogPage>;

  /** Entries of the key log by number, those that are there. */
  keyEntries(numbers: readonly number[]): Promise<KeyEntry[]>;

  /** All entries about a user, in order. */
  keyEntriesOf(name: UserName): Promise<KeyEntry[]>;

  /**
   * Adds an entry about a user to the key log and does what it says, all or nothing: `moved` where there is a newer one than the
   * entry was judged behind, `limit` where the user has KEY_ENTRIES_PER_USER_MAX, which a revocation may pass. The device revision
   * rises, and the members are told; sessions of devices that end, end with them.
   */
  changeKeys(change: KeyChange): Promise<"done" | "moved" | "limit">;

  /** A device of a user, whatever became of it; `undefined` where there never was one. */
  device(name: UserName, id: DeviceId): Promise<DeviceStanding | undefined>;

  /**
   * Keeps what a device that is to be linked leaves at a place (32 bytes), for LINK_MS: what is there already stays. `undefined`
   * where LINKS_MAX wait.
   */
  offerLink(place: Uint8Array, offer: Uint8Array, nowMs: number): Promise<Link | undefined>;

  /** Keeps it at a place until `untilMs`, in place of what is there. @returns Whether there was room among LINKS_MAX. */
  replaceLink(place: Uint8Array, offer: Uint8Array, untilMs: number, nowMs: number): Promise<boolean>;

  /** What is at a place, and has not expired at `nowMs`. */
  link(place: Uint8Array, nowMs: number): Promise<Link | undefined>;

  /** Leaves what a device is given. @returns Whether it still waits. */
  grantLink(place: Uint8Array, grant: LinkGranted, nowMs: number): Promise<boolean>;

  /** What a user calls a device of theirs. Signatures are not judged. */
  nameDevice(name: UserName, id: DeviceId, named: Pick<DeviceName, "name" | "signature">): Promise<void>;

  /** The names of those of a user's devices that have one and were not revoked. */
  deviceNames(name: UserName): Promise<DeviceName[]>;

  /**
   * Keeps a session token's hash (32 bytes) for a device. An expired one is forgotten at some time, and of more than
   * SESSIONS_PER_DEVICE_MAX those that expire first.
   *
   * @returns The user's credential generation.
   */
  createSession(session: Session): Promise<number>;

  /** The session of that token hash, if it has not expired at `nowMs`. */
  session(tokenHash: Uint8Array, nowMs: number): Promise<LiveSession | undefined>;

  /**
   * The user's credentials have changed: raises the generation, so that every ticket given before is worth nothing, and ends all
   * sessions but `keep`, where one is named by its token hash. Servers hear of it and close what is live. Doing it twice does no
   * more harm than doing it once.
   *
   * @returns The new generation.
   * @throws RangeError for a name nobody has.
   */
  raiseGeneration(name: UserName, keep?: Uint8Array): Promise<number>;

  /**
   * Makes a recovery key good for a user, in place of the one before, and tells the user's devices. The very same again changes
   * nothing.
   *
   * @throws RangeError for a name nobody has.
   */
  setRecovery(name: UserName, recovery: NewRecovery): Promise<void>;

  /** What changed in a user's credentials; `undefined` for a name nobody has. */
  credentials(name: UserName): Promise<StoredCredentials | undefined>;

  /**
   * Changes a user's password, and with it the backup and how it is stretched, all or nothing; enrols a device with it where one is
   * given; ends other sessions where asked to, as `raiseGeneration` does; tells the user's devices. The very same again is `changed`.
   *
   * @returns `stale` where password or recovery key are not the expected ones any more, or the serial does not rise.
   */
  changePassword(change: PasswordChange): Promise<"changed" | "stale" | "limit" | "id-taken">;

  /** Ends it; unknown ones are fine. */
  deleteSession(tokenHash: Uint8Array): Promise<void>;

  /** Names in order, beginning behind `after` (which need not exist). */
  users(after: string, limit: number): Promise<UserName[]>;

  /** Public keys of those of the names that exist, in the order asked. */
  directory(names: readonly UserName[]): Promise<DirectoryEntry[]>;

  /**
   * Makes the direct conversation of two users exist; `undefined` where one of them does not. `id` follows from their names: a
   * group under it was put there on purpose, and ends. Both see it from then on. The cursor is that of `device`, which belongs to `user`; 0 where none is given.
   */
  openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device?: DeviceId,
  ): Promise<ConversationHead | undefined>;

  /**
   * This user's conversations in order of id, a page behind `after`, with this device's cursor. One from which the user was dismissed is
   * among them, and ends there, until this device has come so far.
   */
  conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): Promise<ConversationHead[]>;

  /**
   * Appends a batch in the order given: assigns `seq` without gaps (a restored store begins behind one, see {@linkcode Restored}),
   * one transaction for the batch and whatever else is queued. The epoch of a group, and of any conversation that had a commit, is
   * the newest commit's number. Each record is judged by itself: a refused one does not stop the others, except that after a
   * `stale-epoch` later records
   * of the same device and conversation in the batch are refused the same way (they are sealed for that epoch too).
   * A repeated (conversation, device, messageId) gets the first one's numbers and changes nothing.
   */
  append(records: readonly StoreAppend[]): Promise<AppendResult[]>;

  /**
   * Records of one conversation with seq > `after`, ascending, at most `limit` and about READ_BYTES_MAX bytes of bodies (always at least one).
   * Where the first ones were removed, it begins behind them; it ends before numbers that a restore left out, and says so, without
   * records, to whoever asks from there. `undefined` where `user` is not a member.
   */
  read(user: UserName, conversation: ConversationId, after: number, limit: number): Promise<LogPage | undefined>;

  /** Moves this device's cursors forward, never back, never past the head. Conversations it is not in are ignored. */
  setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): Promise<void>;

  /**
   * Keeps what a device says of conversations (docs/PROTOCOL.md §13) where it says more than before: more is delivered, or as
   * much and more of it read. Its cursor moves with it, and the members are told; in a group only the user and those whose records it is about, of
   * the newest RECEIPT_RECORDS_MAX. A repeat or an older one changes nothing, and
   * neither does one beyond the head or of a conversation that the user is not in. Signatures are not judged.
   */
  setReceipts(user: UserName, device: DeviceId, receipts: readonly OwnReceipt[]): Promise<void>;

  /**
   * The newest receipt of each device, of one conversation after the other in the order given and by device id in each, at most
   * `limit` and RECEIPTS_PAGE_MAX. `after` is a device of the first conversation: it begins behind that one. Of conversations
   * that the user is not in, nothing; of at most RECEIPTS_MAX conversations.
   */
  receipts(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Promise<Receipt[]>;

  /**
   * Removes some of the oldest records: those that are older than wanted, or as many as it takes to come down to a size, and
   * with each all that came before it; never one that came less than RECORD_AGE_MS_MIN ago. A conversation's `begins` rises
   * with it, its head never goes back. To be called until the answer is 0.
   *
   * @returns How many it removed.
   */
  trim(limits: TrimLimits): Promise<number>;

  close(): Promise<void>;
}

export interface TrimLimits {
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** Older ones go; `undefined` for any age. */
  readonly ageMsMax: number | undefined;
  /** About what all records may take, with all that belongs to them; `undefined` for any size. */
  readonly bytesMax: number | undefined;
  /** At most so many at once. */
  readonly recordsMax: number;
}

export interface NewDevice {
  readonly id: DeviceId;
  /** Encoded certificate (docs/PROTOCOL.md §9), already checked by the caller. */
  readonly certificate: Uint8Array;
}

export interface KeyLogPage {
  readonly entries: readonly { readonly user: UserName; /** SHA-256 of the entry. */ readonly hash: Uint8Array }[];
  /** Behind the last of them. */
  readonly head: Uint8Array;
  /** Of the whole log. */
  readonly length: number;
}

export interface KeyEntry {
  /** From 1, without gaps. */
  readonly number: number;
  /** An encoded statement (docs/PROTOCOL.md §16). */
  readonly entry: Uint8Array;
}

/** An entry, already judged by the caller, and what it means here. */
export interface KeyChange {
  readonly user: UserName;
  /** Number of the user's newest entry when it was judged. */
  readonly after: number;
  readonly entry: Uint8Array;
  readonly effect:
    | { readonly type: "approve"; readonly device: DeviceId }
    | { readonly type: "revoke"; readonly device: DeviceId }
    | { readonly type: "policy"; readonly approval: boolean }
    | {
      readonly type: "rotate";
      readonly identityKey: Uint8Array;
      /** As in {@linkcode NewUser}. */
      readonly backup: Uint8Array;
      /** The device that did it, with the certificate by the new identity. */
      readonly device: NewDevice;
      /** Hash of the session token that stays, 32 bytes: all others end. */
      readonly keep: Uint8Array;
    };
}

export interface DeviceStanding {
  readonly certificate: Uint8Array;
  /** `superseded`: its identity was replaced, and it has no certificate by the new one yet. */
  readonly standing: "live" | "unapproved" | "revoked" | "superseded";
}

/** A device that is to be linked. Both letters are sealed: a store cannot read them. */
export interface Link {
  readonly offer: Uint8Array;
  readonly grant: LinkGranted | undefined;
}

export interface LinkGranted {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly sealed: Uint8Array;
}

export interface DeviceName {
  readonly device: DeviceId;
  readonly name: string;
  /** By the device's leaf key, 64 bytes. */
  readonly signature: Uint8Array;
}

export interface NewUser {
  readonly name: UserName;
  readonly stretching: Stretching;
  /** The bcrypt hash, sealed under the pepper (SECURITY P4). */
  readonly passwordHash: Uint8Array;
  readonly identityKey: Uint8Array;
  /** The client's sealed identity backup, sealed once more under the pepper; empty where there is none. */
  readonly backup: Uint8Array;
  readonly device: NewDevice;
  readonly nowMs: number;
}

export interface Account {
  readonly name: UserName;
  readonly stretching: Stretching;
  readonly passwordHash: Uint8Array;
  readonly identityKey: Uint8Array;
  readonly backup: Uint8Array;
  /** Those that may log in: neither ended nor waiting to be approved. */
  readonly devices: readonly NewDevice[];
}

/** What {@linkcode CredentialChange} says was done. */
export enum CredentialWhat {
  Password = 1,
  Recovered,
  RecoveryKey,
}

export interface NewRecovery {
  /** Hash of the proof, sealed under the pepper. */
  readonly proofHash: Uint8Array;
  /** The client's seal of the identity, sealed once more under the pepper. */
  readonly backup: Uint8Array;
  /** Where it was made. */
  readonly device: DeviceId;
  readonly nowMs: number;
}

export interface StoredRecovery {
  readonly proofHash: Uint8Array;
  readonly backup: Uint8Array;
  readonly madeMs: number;
}

export interface StoredCredentials {
  readonly recovery: StoredRecovery | undefined;
  /** The last change of the password; none since the sign-up. */
  readonly password: {
    readonly serial: number;
    readonly statement: Uint8Array;
    readonly change: CredentialChange;
  } | undefined;
}

export interface PasswordChange {
  readonly name: UserName;
  /** What the caller judged by: the sealed rows as they were read. By the old password, or by the recovery key. */
  readonly expected: { readonly passwordHash: Uint8Array } | { readonly recoveryProofHash: Uint8Array };
  readonly stretching: Stretching;
  readonly serial: number;
  /** The identity's word for both, already checked by the caller. */
  readonly statement: Uint8Array;
  /** Both as in {@linkcode NewUser}. */
  readonly passwordHash: Uint8Array;
  readonly backup: Uint8Array;
  /** Where it is done. */
  readonly device: DeviceId;
  /** That device, where it is to be enrolled. */
  readonly newDevice: NewDevice | undefined;
  readonly endOthers: boolean;
  /** Hash of the token of a session that does not end. */
  readonly keep: Uint8Array | undefined;
  readonly nowMs: number;
}

export interface Session {
  readonly tokenHash: Uint8Array;
  readonly user: UserName;
  readonly device: DeviceId;
  readonly expiresMs: number;
}

export interface LiveSession extends Session {
  /** The user's credential generation now. */
  readonly generation: number;
}

export interface StoreAppend extends Append {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly nowMs: number;
}

export interface LogPage {
  readonly records: Record[];
  /** Records up to and including this one are gone; 0 where all are there. */
  readonly begins: number;
  /** `after` is the last number before those that a restored store has never had, or one of them: nothing up to `begins` is there. */
  readonly restored?: Restored | undefined;
}

/** A backup became the store. What was stored between the two moments is on the devices that have it, if on any. */
export interface Restored {
  /** The newest number in the backup. */
  readonly kept: number;
  /** Milliseconds since 1970: when the backup was made, and when it was restored. */
  readonly madeMs: number;
  readonly restoredMs: number;
}

export type AppendResult =
  | { readonly status: "stored"; readonly seq: number; readonly timeMs: number; readonly duplicate: boolean }
  | { readonly status: "stale-epoch"; readonly epoch: number }
  | { readonly status: "not-member" };

/** The store cannot be reached now; the same call may be made again. */
export class StoreUnavailableError extends Error {
  override readonly name = "StoreUnavailableError";
}

/** The disk is full: nothing was changed. */
export class StoreFullError extends Error {
  override readonly name = "StoreFullError";
}
