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
import type { ConversationId, DeviceId, OwnReceipt, Receipt, UserName } from "../../shared/protocol/mod.ts";
import type { Append, ConversationHead, DirectoryEntry, Record, Stretching } from "../../shared/protocol/mod.ts";

export interface Store {
  /**
   * Makes a user with a first device, all or nothing. The same name, identity key and device again is `created`: a retry,
   * and changes nothing. Device ids are one name space: one that somebody else has is refused as `name-taken` too.
   */
  createUser(user: NewUser): Promise<"created" | "name-taken">;

  /** What a login needs, or `undefined` for a name nobody has. */
  account(name: UserName): Promise<Account | undefined>;

  /**
   * Adds a device to a user: raises the device revision, and with it the epoch of every conversation the user is in; the
   * device's cursors begin at the heads of now, since nothing earlier was sealed for it. Idempotent by device id with the same certificate.
   */
  addDevice(name: UserName, device: NewDevice): Promise<"added" | "limit" | "id-taken">;

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

  /** Ends it; unknown ones are fine. */
  deleteSession(tokenHash: Uint8Array): Promise<void>;

  /** Names in order, beginning behind `after` (which need not exist). */
  users(after: string, limit: number): Promise<UserName[]>;

  /** Public keys of those of the names that exist, in the order asked. */
  directory(names: readonly UserName[]): Promise<DirectoryEntry[]>;

  /**
   * Makes the direct conversation of two users exist; `undefined` where one of them does not. `id` follows from their names.
   * Both see it from then on. The cursor is that of `device`, which belongs to `user`; 0 where none is given.
   */
  openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device?: DeviceId,
  ): Promise<ConversationHead | undefined>;

  /** This user's conversations in order of id, a page behind `after`, with this device's cursor. */
  conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): Promise<ConversationHead[]>;

  /**
   * Appends a batch in the order given: assigns `seq` without gaps, one transaction for the batch and whatever else is queued.
   * Each record is judged by itself: a refused one does not stop the others, except that after a `stale-epoch` later records
   * of the same device and conversation in the batch are refused the same way (they are sealed for that epoch too).
   * A repeated (conversation, device, messageId) gets the first one's numbers and changes nothing.
   */
  append(records: readonly StoreAppend[]): Promise<AppendResult[]>;

  /**
   * Records of one conversation with seq > `after`, ascending, at most `limit` and about READ_BYTES_MAX bytes of bodies (always at least one).
   * Where the first ones were removed, it begins behind them. `undefined` where `user` is not a member.
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
   * much and more of it read. Its cursor moves with it, and the members are told. A repeat or an older one changes nothing, and
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
  readonly devices: readonly NewDevice[];
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
