/**
 * The store in memory: the plain twin that the others are tested against, and what handlers' tests run on.
 *
 * Every change happens inside the call, as if each were a transaction of its own; answers still come a microtask later,
 * so that nobody learns to rely on less than the contract says.
 */
import type {
  Ask,
  ConversationHead,
  ConversationId,
  DeviceId,
  DirectoryEntry,
  OwnReceipt,
  Receipt,
  UserName,
} from "../../shared/protocol/mod.ts";
import type { CommitListener } from "../bus/bus.ts";
import type { ArchiveChunk, ArchivePut, NewArchiveChunk, NewArchiveKey, StoredArchive } from "./archives.ts";
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
import { MemoryAccounts } from "./memory/accounts.ts";
import { MemoryArchives } from "./memory/archives.ts";
import { MemoryConversations } from "./memory/conversations.ts";
import { MemoryCredentials } from "./memory/credentials.ts";
import { MemoryGroups } from "./memory/groups.ts";
import { MemoryHistory } from "./memory/history.ts";
import { MemoryKeyLog } from "./memory/key_log.ts";
import { MemoryKeyPackages } from "./memory/key_packages.ts";
import { MemoryLinks } from "./memory/links.ts";
import { MemoryLog } from "./memory/log.ts";
import { MemoryReceipts } from "./memory/receipts.ts";
import { MemoryTables } from "./memory/rows.ts";
import { MemorySessions } from "./memory/sessions.ts";
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
  StoreUnavailableError,
  type TrimLimits,
} from "./store.ts";

export class MemoryStore implements Store {
  readonly #tables: MemoryTables;
  readonly #keyLog = new MemoryKeyLog();
  readonly #links = new MemoryLinks();
  readonly #sessions: MemorySessions;
  readonly #accounts: MemoryAccounts;
  readonly #credentials: MemoryCredentials;
  readonly #conversations: MemoryConversations;
  readonly #log: MemoryLog;
  readonly #receipts: MemoryReceipts;
  readonly #keyPackages: MemoryKeyPackages;
  readonly #groups: MemoryGroups;
  readonly #history: MemoryHistory;
  readonly #archives: MemoryArchives;
  #closed = false;

  constructor(listener?: CommitListener) {
    const tables = this.#tables = new MemoryTables(listener);
    const keyPackages = this.#keyPackages = new MemoryKeyPackages(tables);
    const groups = this.#groups = new MemoryGroups(
      tables,
      (conversation, device) => keyPackages.used(conversation, device),
    );
    const history = this.#history = new MemoryHistory(tables);
    const sessions = this.#sessions = new MemorySessions(tables);
    this.#accounts = new MemoryAccounts(tables, {
      keyLog: this.#keyLog,
      sessions,
      forget: (device) => {
        keyPackages.forget(device);
        groups.forget(device);
        history.forget(device);
      },
    });
    this.#credentials = new MemoryCredentials(tables, this.#accounts, sessions);
    this.#conversations = new MemoryConversations(tables, groups);
    this.#log = new MemoryLog(tables);
    this.#receipts = new MemoryReceipts(tables);
    this.#archives = new MemoryArchives((name) => tables.users.get(name)?.recovery?.proofHash);
  }

  createUser(user: NewUser): Promise<"created" | "name-taken"> {
    return this.#now(() => this.#accounts.createUser(user));
  }

  account(name: UserName): Promise<Account | undefined> {
    return this.#now(() => this.#accounts.account(name));
  }

  addDevice(
    name: UserName,
    device: NewDevice,
    identityKey?: Uint8Array,
  ): Promise<"added" | "unapproved" | "limit" | "id-taken"> {
    return this.#now(() => this.#accounts.addDevice(name, device, identityKey));
  }

  keyLog(after: number, limit: number): Promise<KeyLogPage> {
    return this.#now(() => this.#keyLog.page(after, limit));
  }

  keyEntries(numbers: readonly number[]): Promise<KeyEntry[]> {
    return this.#now(() => this.#keyLog.entries(numbers));
  }

  keyEntriesOf(name: UserName): Promise<KeyEntry[]> {
    return this.#now(() => this.#keyLog.entriesOf(name));
  }

  changeKeys(change: KeyChange): Promise<"done" | "moved" | "limit"> {
    return this.#now(() => this.#accounts.changeKeys(change));
  }

  device(name: UserName, id: DeviceId): Promise<DeviceStanding | undefined> {
    return this.#now(() => this.#accounts.device(name, id));
  }

  offerLink(place: Uint8Array, offer: Uint8Array, nowMs: number): Promise<Link | undefined> {
    return this.#now(() => this.#links.offer(place, offer, nowMs));
  }

  replaceLink(place: Uint8Array, offer: Uint8Array, untilMs: number, nowMs: number): Promise<boolean> {
    return this.#now(() => this.#links.replace(place, offer, untilMs, nowMs));
  }

  link(place: Uint8Array, nowMs: number): Promise<Link | undefined> {
    return this.#now(() => this.#links.of(place, nowMs));
  }

  grantLink(place: Uint8Array, grant: LinkGranted, nowMs: number): Promise<boolean> {
    return this.#now(() => this.#links.grant(place, grant, nowMs));
  }

  nameDevice(name: UserName, id: DeviceId, named: Pick<DeviceName, "name" | "signature">): Promise<void> {
    return this.#now(() => this.#accounts.nameDevice(name, id, named));
  }

  deviceNames(name: UserName): Promise<DeviceName[]> {
    return this.#now(() => this.#accounts.deviceNames(name));
  }

  createSession(session: Session): Promise<number> {
    return this.#now(() => this.#sessions.create(session));
  }

  session(tokenHash: Uint8Array, nowMs: number): Promise<LiveSession | undefined> {
    return this.#now(() => this.#sessions.of(tokenHash, nowMs));
  }

  raiseGeneration(name: UserName, keep?: Uint8Array): Promise<number> {
    return this.#now(() => this.#sessions.raise(name, keep));
  }

  deleteSession(tokenHash: Uint8Array): Promise<void> {
    return this.#now(() => this.#sessions.delete(tokenHash));
  }

  credentials(name: UserName): Promise<StoredCredentials | undefined> {
    return this.#now(() => this.#credentials.of(name));
  }

  setRecovery(name: UserName, recovery: NewRecovery): Promise<void> {
    return this.#now(() => this.#credentials.setRecovery(name, recovery));
  }

  changePassword(asked: PasswordChange): Promise<"changed" | "stale" | "limit" | "id-taken"> {
    return this.#now(() => this.#credentials.changePassword(asked));
  }

  users(after: string, limit: number): Promise<UserName[]> {
    return this.#now(() => this.#accounts.users(after, limit));
  }

  directory(names: readonly UserName[]): Promise<DirectoryEntry[]> {
    return this.#now(() => this.#accounts.directory(names));
  }

  openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device?: DeviceId,
  ): Promise<ConversationHead | undefined> {
    return this.#now(() => this.#conversations.openDirect(id, user, peer, device));
  }

  conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): Promise<ConversationHead[]> {
    return this.#now(() => this.#conversations.of(user, device, after, limit));
  }

  append(records: readonly StoreAppend[]): Promise<AppendResult[]> {
    return this.#now(() => this.#log.append(records));
  }

  read(user: UserName, conversation: ConversationId, after: number, limit: number): Promise<LogPage | undefined> {
    return this.#now(() => this.#log.read(user, conversation, after, limit));
  }

  setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): Promise<void> {
    return this.#now(() => this.#conversations.setCursors(user, device, cursors));
  }

  setReceipts(user: UserName, device: DeviceId, receipts: readonly OwnReceipt[]): Promise<void> {
    return this.#now(() => this.#receipts.set(user, device, receipts));
  }

  receipts(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Promise<Receipt[]> {
    return this.#now(() => this.#receipts.of(user, conversations, after, limit));
  }

  trim(limits: TrimLimits): Promise<number> {
    return this.#now(() => this.#log.trim(limits));
  }

  createGroup(id: ConversationId, user: UserName, device: DeviceId): Promise<ConversationHead | undefined> {
    return this.#now(() => this.#groups.createGroup(id, user, device));
  }

  commit(commit: StoreCommit): Promise<CommitResult> {
    return this.#now(() => this.#groups.commit(commit));
  }

  leave(leave: StoreLeave): Promise<CommitResult> {
    return this.#now(() => this.#groups.leave(leave));
  }

  members(user: UserName, conversation: ConversationId, after: string, limit: number): Promise<UserName[] | undefined> {
    return this.#now(() => this.#groups.members(user, conversation, after, limit));
  }

  welcome(user: UserName, device: DeviceId, conversation: ConversationId): Promise<StoredWelcome | undefined> {
    return this.#now(() => this.#groups.welcome(user, device, conversation));
  }

  welcomesWaiting(user: UserName, device: DeviceId, limit: number): Promise<ConversationId[]> {
    return this.#now(() => this.#groups.welcomesWaiting(user, device, limit));
  }

  invite(invitation: StoreInvitation): Promise<InviteResult> {
    return this.#now(() => this.#groups.invite(invitation));
  }

  putKeyPackages(packages: StoreKeyPackages): Promise<KeyPackageStock> {
    return this.#now(() => this.#keyPackages.put(packages));
  }

  takeKeyPackages(wanted: WantedKeyPackages): Promise<TakenKeyPackage[]> {
    return this.#now(() => this.#keyPackages.take(wanted));
  }

  ask(ask: Ask): Promise<"waits" | "refused" | "limit"> {
    return this.#now(() => this.#groups.ask(ask));
  }

  asks(
    user: UserName,
    conversation: ConversationId | undefined,
    after: { readonly conversation: ConversationId; readonly device: DeviceId } | undefined,
    limit: number,
  ): Promise<Ask[]> {
    return this.#now(() => this.#groups.asks(user, conversation, after, limit));
  }

  dropAsk(user: UserName, conversation: ConversationId, device: DeviceId): Promise<void> {
    return this.#now(() => this.#groups.dropAsk(user, conversation, device));
  }

  setArchiveKey(name: UserName, key: NewArchiveKey): Promise<"set" | "stale" | "taken"> {
    return this.#now(() => {
      if (!this.#tables.users.has(name)) throw new RangeError(`Cannot keep an archive's key: there is no user ${name}`);
      return this.#archives.setKey(name, key);
    });
  }

  archive(name: UserName): Promise<StoredArchive | undefined> {
    return this.#now(() => this.#archives.of(name));
  }

  putArchiveChunk(chunk: NewArchiveChunk): Promise<ArchivePut> {
    return this.#now(() => this.#archives.put(chunk));
  }

  archiveChunks(name: UserName, stream: Uint8Array, after: number): Promise<ArchiveChunk[]> {
    return this.#now(() => this.#archives.chunks(name, stream, after));
  }

  dropArchive(name: UserName, keyId: Uint8Array): Promise<void> {
    return this.#now(() => this.#archives.drop(name, keyId));
  }

  putHistory(part: NewHistoryPart): Promise<"kept" | "given" | "full" | "refused"> {
    return this.#now(() => this.#history.put(part));
  }

  history(user: UserName, device: DeviceId, after: number): Promise<HistoryPart[]> {
    return this.#now(() => this.#history.of(user, device, after));
  }

  dropHistory(user: UserName, device: DeviceId, numbers: readonly number[], isTaken: boolean): Promise<void> {
    return this.#now(() => this.#history.drop(user, device, numbers, isTaken));
  }

  sweep(nowMs: number): Promise<boolean> {
    return this.#now(() => {
      this.#groups.sweep(nowMs);
      this.#keyPackages.sweep(nowMs);
      this.#history.sweep(nowMs);
      return false;
    });
  }

  // deno-lint-ignore require-await
  async close(): Promise<void> {
    this.#closed = true;
  }

  // deno-lint-ignore require-await
  async #now<T>(perform: () => T): Promise<T> {
    this.#open();
    return perform();
  }

  #open(): void {
    if (this.#closed) throw new StoreUnavailableError("Cannot use the store: it is closed");
  }
}
