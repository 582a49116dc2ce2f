/** The store of the process that leads: reads run at once, changes go through the group commit. */
import type { Ask, ConversationHead, ConversationId, DeviceId } from "../../shared/protocol/mod.ts";
import type { DirectoryEntry, OwnReceipt, Receipt, UserName } from "../../shared/protocol/mod.ts";
import type { ArchiveChunk, ArchivePut, NewArchiveChunk, NewArchiveKey, StoredArchive } from "./archives.ts";
import type { Checkpointer } from "./checkpointer.ts";
import { Gathering } from "./gathering.ts";
import type { SqliteDatabase } from "./sqlite/database.ts";
import type {
  CommitResult,
  InviteResult,
  KeyPackageStock,
  StoreCommit,
  StoredWelcome,
  StoreInvitation,
  StoreKeyPackages,
  StoreLeave,
  TakenKeyPackage,
  WantedKeyPackages,
} from "./groups.ts";
import type { HistoryPart, NewHistoryPart } from "./history.ts";
import type { Space } from "./space.ts";
import {
  type Account,
  type AppendResult,
  type DeviceName,
  type DeviceStanding,
  type KeyChange,
  type KeyEntry,
  type KeyLogPage,
  type Link,
  type LinkGranted,
  type LiveSession,
  type LogPage,
  type NewDevice,
  type NewRecovery,
  type NewUser,
  type PasswordChange,
  type Session,
  type Store,
  type StoreAppend,
  type StoredCredentials,
  StoreFullError,
  StoreUnavailableError,
  type TrimLimits,
} from "./store.ts";
import { type Alone, type Change, GroupWriter, type GroupWriterOptions, storeError } from "./writer.ts";

export interface SqliteStoreOptions extends GroupWriterOptions {
  /** Closed with the store. Without one SQLite checkpoints in the midst of commits. */
  readonly checkpointer?: Checkpointer;
  /** Closed with the store. Without it every change is tried, however full the disk is. */
  readonly space?: Space;
}

export class SqliteStore implements Store {
  readonly #database: SqliteDatabase;
  readonly #writer: GroupWriter;
  readonly #checkpointer: Checkpointer | undefined;
  readonly #space: Space | undefined;
  /** Of large groups. */
  readonly #receipts = new Gathering(RECEIPTS_MS);
  #closed: Promise<void> | undefined;

  /** @param database Owned from now on: closed with the store. */
  constructor(database: SqliteDatabase, options: SqliteStoreOptions) {
    this.#database = database;
    this.#checkpointer = options.checkpointer;
    this.#space = options.space;
    this.#writer = new GroupWriter(database, { ...options, onFull: () => this.#space?.exhausted() });
  }

  /** Transactions committed since the start. */
  get transactions(): number {
    return this.#writer.transactions;
  }

  createUser(user: NewUser): Promise<"created" | "name-taken"> {
    return this.#write(ROW_BYTES, (database) => database.accounts.createUser(user));
  }

  account(name: UserName): Promise<Account | undefined> {
    return this.#read(() => this.#database.accounts.account(name));
  }

  addDevice(
    name: UserName,
    device: NewDevice,
    identityKey?: Uint8Array,
  ): Promise<"added" | "unapproved" | "limit" | "id-taken"> {
    return this.#write(
      ROW_BYTES,
      (database, notices) => database.accounts.addDevice(name, device, notices, identityKey),
    );
  }

  keyLog(after: number, limit: number): Promise<KeyLogPage> {
    return this.#read(() => this.#database.keyLog.page(after, limit));
  }

  keyEntries(numbers: readonly number[]): Promise<KeyEntry[]> {
    return this.#read(() => this.#database.keyLog.entries(numbers));
  }

  keyEntriesOf(name: UserName): Promise<KeyEntry[]> {
    return this.#read(() => this.#database.keyLog.entriesOf(name));
  }

  changeKeys(change: KeyChange): Promise<"done" | "moved" | "limit"> {
    return this.#write(ROW_BYTES, (database, notices) => database.accounts.changeKeys(change, notices));
  }

  device(name: UserName, id: DeviceId): Promise<DeviceStanding | undefined> {
    return this.#read(() => this.#database.accounts.device(name, id));
  }

  offerLink(place: Uint8Array, offer: Uint8Array, nowMs: number): Promise<Link | undefined> {
    return this.#write(ROW_BYTES, (database) => database.links.offer(place, offer, nowMs));
  }

  replaceLink(place: Uint8Array, offer: Uint8Array, untilMs: number, nowMs: number): Promise<boolean> {
    return this.#write(ROW_BYTES, (database) => database.links.replace(place, offer, untilMs, nowMs));
  }

  link(place: Uint8Array, nowMs: number): Promise<Link | undefined> {
    return this.#read(() => this.#database.links.get(place, nowMs));
  }

  grantLink(place: Uint8Array, grant: LinkGranted, nowMs: number): Promise<boolean> {
    return this.#write(ROW_BYTES, (database) => database.links.grant(place, grant, nowMs));
  }

  nameDevice(name: UserName, id: DeviceId, named: Pick<DeviceName, "name" | "signature">): Promise<void> {
    return this.#write(ROW_BYTES, (database) => database.accounts.nameDevice(name, id, named));
  }

  deviceNames(name: UserName): Promise<DeviceName[]> {
    return this.#read(() => this.#database.accounts.deviceNames(name));
  }

  createSession(session: Session): Promise<number> {
    return this.#write(ROW_BYTES, (database) => database.accounts.createSession(session));
  }

  session(tokenHash: Uint8Array, nowMs: number): Promise<LiveSession | undefined> {
    return this.#read(() => this.#database.accounts.session(tokenHash, nowMs));
  }

  deleteSession(tokenHash: Uint8Array): Promise<void> {
    return this.#write(ROW_BYTES, (database) => database.accounts.deleteSession(tokenHash));
  }

  raiseGeneration(name: UserName, keep?: Uint8Array): Promise<number> {
    return this.#write(ROW_BYTES, (database, notices) => database.accounts.raiseGeneration(name, keep, notices));
  }

  setRecovery(name: UserName, recovery: NewRecovery): Promise<void> {
    return this.#write(ROW_BYTES, (database, notices) => database.credentials.setRecovery(name, recovery, notices));
  }

  credentials(name: UserName): Promise<StoredCredentials | undefined> {
    return this.#read(() => this.#database.credentials.of(name));
  }

  changePassword(change: PasswordChange): Promise<"changed" | "stale" | "limit" | "id-taken"> {
    return this.#write(ROW_BYTES, (database, notices) => database.credentials.changePassword(change, notices));
  }

  users(after: string, limit: number): Promise<UserName[]> {
    return this.#read(() => this.#database.accounts.users(after, limit));
  }

  directory(names: readonly UserName[]): Promise<DirectoryEntry[]> {
    return this.#read(() => this.#database.accounts.directory(names));
  }

  openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device?: DeviceId,
  ): Promise<ConversationHead | undefined> {
    const open = () => {
      const { accounts, conversations, groups } = this.#database;
      if (accounts.exists(user) && accounts.exists(peer)) groups.giveWay(id);
      return conversations.openDirect(id, user, peer, device);
    };
    // Most often it is there already, and then nothing changes.
    return this.#database.conversations.isOpen(id) ? this.#read(open) : this.#write(ROW_BYTES, open);
  }

  conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): Promise<ConversationHead[]> {
    return this.#read(() => this.#database.conversations.heads(user, device, after, limit));
  }

  append(records: readonly StoreAppend[]): Promise<AppendResult[]> {
    if (this.#space?.isFull) return Promise.reject(new StoreFullError("Cannot store: the disk is full"));
    let bytes = 0;
    for (const { body } of records) bytes += ROW_BYTES + body.length;
    return this.#write(
      bytes,
      (database, notices) => database.log.append(records, notices),
      (database, notices) => database.appendAlone(records, notices),
    );
  }

  read(user: UserName, conversation: ConversationId, after: number, limit: number): Promise<LogPage | undefined> {
    return this.#read(() => this.#database.log.read(user, conversation, after, limit));
  }

  setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): Promise<void> {
    if (cursors.length === 0) return Promise.resolve();
    return this.#write(
      cursors.length * ROW_BYTES,
      (database) => database.conversations.setCursors(user, device, cursors),
    );
  }

  async setReceipts(user: UserName, device: DeviceId, receipts: readonly OwnReceipt[]): Promise<void> {
    if (receipts.length === 0) return;
    if (await this.#read(() => this.#database.receipts.areOfMany(receipts))) await this.#receipts.turn();
    return await this.#write(
      receipts.length * 2 * ROW_BYTES,
      (database, notices) => database.receipts.set(user, device, receipts, notices),
    );
  }

  receipts(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Promise<Receipt[]> {
    return this.#read(() => this.#database.receipts.of(user, conversations, after, limit));
  }

  trim(limits: TrimLimits): Promise<number> {
    return this.#write(ROW_BYTES, (database) => database.log.trim(limits));
  }

  createGroup(id: ConversationId, user: UserName, device: DeviceId): Promise<ConversationHead | undefined> {
    return this.#add(ROW_BYTES, (database) => database.groups.create(id, user, device));
  }

  commit(commit: StoreCommit): Promise<CommitResult> {
    let bytes = ROW_BYTES + commit.body.length + commit.tree.length;
    for (const { body } of commit.welcomes) bytes += ROW_BYTES + body.length;
    return this.#add(bytes, (database, notices) => database.groups.commit(commit, notices));
  }

  leave(leave: StoreLeave): Promise<CommitResult> {
    const bytes = ROW_BYTES + leave.body.length;
    return this.#add(bytes, (database, notices) => database.groups.leave(leave, notices));
  }

  members(user: UserName, conversation: ConversationId, after: string, limit: number): Promise<UserName[] | undefined> {
    return this.#read(() => this.#database.groups.members(user, conversation, after, limit));
  }

  async welcome(user: UserName, device: DeviceId, conversation: ConversationId): Promise<StoredWelcome | undefined> {
    const { welcomes } = this.#database, found = await this.#read(() => welcomes.of(user, device, conversation));
    // That it was fetched is only worth a change the first time, and not worth keeping the device out.
    if (found?.isFetched === false) {
      const { commit } = found.welcome;
      await this.#write(ROW_BYTES, (database) => database.welcomes.fetched(device, conversation, commit))
        .catch((error) => {
          if (!(error instanceof StoreFullError)) throw error;
        });
    }
    return found?.welcome;
  }

  welcomesWaiting(user: UserName, device: DeviceId, limit: number): Promise<ConversationId[]> {
    return this.#read(() => this.#database.welcomes.waiting(user, device, limit));
  }

  invite(invitation: StoreInvitation): Promise<InviteResult> {
    const bytes = 2 * ROW_BYTES + invitation.welcome.body.length + invitation.tree.length;
    return this.#add(bytes, (database, notices) => database.groups.invite(invitation, notices));
  }

  putKeyPackages(packages: StoreKeyPackages): Promise<KeyPackageStock> {
    const { user, device, oneTime, lastResort, nowMs } = packages;
    if (oneTime.length === 0 && lastResort === undefined) {
      return this.#read(() => this.#database.keyPackages.stock(user, device, nowMs));
    }
    let bytes = ROW_BYTES + (lastResort?.length ?? 0);
    for (const { length } of oneTime) bytes += ROW_BYTES + length;
    return this.#add(bytes, (database) => database.keyPackages.put(packages));
  }

  takeKeyPackages(wanted: WantedKeyPackages): Promise<TakenKeyPackage[]> {
    return this.#write(wanted.names.length * ROW_BYTES, (database) => database.keyPackages.take(wanted));
  }

  ask(ask: Ask): Promise<"waits" | "refused" | "limit"> {
    return this.#add(ROW_BYTES + ask.body.length, (database, notices) => database.asks.put(ask, notices));
  }

  asks(
    user: UserName,
    conversation: ConversationId | undefined,
    after: { readonly conversation: ConversationId; readonly device: DeviceId } | undefined,
    limit: number,
  ): Promise<Ask[]> {
    return this.#read(() => this.#database.asks.list(user, conversation, after, limit));
  }

  dropAsk(user: UserName, conversation: ConversationId, device: DeviceId): Promise<void> {
    return this.#write(ROW_BYTES, (database) => database.asks.drop(user, conversation, device));
  }

  setArchiveKey(name: UserName, key: NewArchiveKey): Promise<"set" | "stale" | "taken"> {
    return this.#add(ROW_BYTES + key.sealed.length, (database) => database.archives.setKey(name, key));
  }

  archive(name: UserName): Promise<StoredArchive | undefined> {
    return this.#read(() => this.#database.archives.of(name));
  }

  putArchiveChunk(chunk: NewArchiveChunk): Promise<ArchivePut> {
    return this.#add(2 * ROW_BYTES + chunk.body.length, (database) => database.archives.put(chunk));
  }

  archiveChunks(name: UserName, stream: Uint8Array, after: number): Promise<ArchiveChunk[]> {
    return this.#read(() => this.#database.archives.chunks(name, stream, after));
  }

  dropArchive(name: UserName, keyId: Uint8Array): Promise<void> {
    return this.#write(ROW_BYTES, (database) => database.archives.drop(name, keyId));
  }

  putHistory(part: NewHistoryPart): Promise<"kept" | "given" | "full" | "refused"> {
    return this.#add(2 * ROW_BYTES + part.body.length, (database, notices) => database.historyParts.put(part, notices));
  }

  history(user: UserName, device: DeviceId, after: number): Promise<HistoryPart[]> {
    return this.#read(() => this.#database.historyParts.of(user, device, after));
  }

  dropHistory(user: UserName, device: DeviceId, numbers: readonly number[], isTaken: boolean): Promise<void> {
    return this.#write(
      numbers.length * ROW_BYTES,
      (database) => database.historyParts.drop(user, device, numbers, isTaken),
    );
  }

  sweep(nowMs: number): Promise<boolean> {
    return this.#write(ROW_BYTES, (database) => database.sweep(nowMs));
  }

  /** Commits what is queued, writes the WAL back and closes the database. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#receipts.end();
    await this.#writer.drain();
    this.#space?.close();
    await this.#checkpointer?.close();
    this.#database.close();
  }

  /** A change that takes room for good. */
  #add<T>(bytes: number, change: Change<T>): Promise<T> {
    if (this.#space?.isFull) return Promise.reject(new StoreFullError("Cannot store: the disk is full"));
    return this.#write(bytes, change);
  }

  #write<T>(bytes: number, change: Change<T>, alone?: Alone<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new StoreUnavailableError(CLOSED));
    return this.#writer.write(bytes, change, alone);
  }

  // deno-lint-ignore require-await
  async #read<T>(query: () => T): Promise<T> {
    if (this.#closed) throw new StoreUnavailableError(CLOSED);
    try {
      return query();
    } catch (error) {
      throw storeError(error);
    }
  }
}

const CLOSED = "Cannot use the store: it is closed";
/** How long receipts of large groups wait for others: a few transactions a second for all of them. */
const RECEIPTS_MS = 250;
/** About what a row costs beside its body. */
const ROW_BYTES = 128;
