/** The store as every server has it: calls to the leader, wherever that is. */
import type { Ask, ConversationHead, ConversationId, DeviceId } from "../../shared/protocol/mod.ts";
import type { DirectoryEntry, OwnReceipt, Receipt, UserName } from "../../shared/protocol/mod.ts";
import {
  ASKS_PAGE_MAX,
  HISTORY_PARTS_MAX,
  KEY_ENTRIES_MAX,
  KEY_LOG_PAGE_MAX,
  KEY_PACKAGES_MAX,
  RECEIPTS_MAX,
  RECEIPTS_PAGE_MAX,
} from "../../shared/limits.ts";
import type { ArchiveChunk, ArchivePut, NewArchiveChunk, NewArchiveKey, StoredArchive } from "./archives.ts";
import type { Calls } from "./calls.ts";
import { DIRECTORY_NAMES_MAX, LIST_ITEMS_MAX, operations } from "./operations.ts";
import { PACKAGE_NAMES_MAX, untyped } from "./group_operations.ts";
import type { HistoryPart, NewHistoryPart } from "./history.ts";
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
import { StaleSenders } from "./stale_senders.ts";
import type {
  Account,
  AppendResult,
  DeviceName,
  DeviceStanding,
  KeyChange,
  KeyEntry,
  KeyLogPage,
  Link,
  LinkGranted,
  LiveSession,
  LogPage,
  NewDevice,
  NewRecovery,
  NewUser,
  PasswordChange,
  Session,
  Store,
  StoreAppend,
  StoredCredentials,
  TrimLimits,
} from "./store.ts";

export class RemoteStore implements Store {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  createUser(user: NewUser): Promise<"created" | "name-taken"> {
    return this.#calls.call(operations.createUser, user);
  }

  account(name: UserName): Promise<Account | undefined> {
    return this.#calls.call(operations.account, { name });
  }

  addDevice(
    name: UserName,
    device: NewDevice,
    identityKey?: Uint8Array,
  ): Promise<"added" | "unapproved" | "limit" | "id-taken"> {
    return this.#calls.call(operations.addDevice, { name, device, identityKey });
  }

  keyLog(after: number, limit: number): Promise<KeyLogPage> {
    return this.#calls.call(operations.keyLog, { after, limit: Math.min(limit, KEY_LOG_PAGE_MAX) });
  }

  keyEntries(numbers: readonly number[]): Promise<KeyEntry[]> {
    return this.#calls.call(operations.keyEntries, { numbers: numbers.slice(0, KEY_ENTRIES_MAX) });
  }

  keyEntriesOf(name: UserName): Promise<KeyEntry[]> {
    return this.#calls.call(operations.keyEntriesOf, { name });
  }

  changeKeys(change: KeyChange): Promise<"done" | "moved" | "limit"> {
    return this.#calls.call(operations.changeKeys, change);
  }

  device(name: UserName, id: DeviceId): Promise<DeviceStanding | undefined> {
    return this.#calls.call(operations.device, { name, id });
  }

  offerLink(place: Uint8Array, offer: Uint8Array, nowMs: number): Promise<Link | undefined> {
    return this.#calls.call(operations.offerLink, { place, offer, nowMs });
  }

  async replaceLink(place: Uint8Array, offer: Uint8Array, untilMs: number, nowMs: number): Promise<boolean> {
    return (await this.#calls.call(operations.replaceLink, { place, offer, untilMs, nowMs })).kept;
  }

  link(place: Uint8Array, nowMs: number): Promise<Link | undefined> {
    return this.#calls.call(operations.link, { place, nowMs });
  }

  async grantLink(place: Uint8Array, grant: LinkGranted, nowMs: number): Promise<boolean> {
    return (await this.#calls.call(operations.grantLink, { place, grant, nowMs })).waits;
  }

  async nameDevice(user: UserName, device: DeviceId, named: Pick<DeviceName, "name" | "signature">): Promise<void> {
    await this.#calls.call(operations.nameDevice, { user, device, ...named });
  }

  deviceNames(name: UserName): Promise<DeviceName[]> {
    return this.#calls.call(operations.deviceNames, { name });
  }

  async createSession(session: Session): Promise<number> {
    return (await this.#calls.call(operations.createSession, session)).generation;
  }

  session(tokenHash: Uint8Array, nowMs: number): Promise<LiveSession | undefined> {
    return this.#calls.call(operations.session, { tokenHash, nowMs });
  }

  async deleteSession(tokenHash: Uint8Array): Promise<void> {
    await this.#calls.call(operations.deleteSession, { tokenHash });
  }

  async raiseGeneration(name: UserName, keep?: Uint8Array): Promise<number> {
    return (await this.#calls.call(operations.raiseGeneration, { name, keep })).generation;
  }

  async setRecovery(name: UserName, recovery: NewRecovery): Promise<void> {
    await this.#calls.call(operations.setRecovery, { name, recovery });
  }

  credentials(name: UserName): Promise<StoredCredentials | undefined> {
    return this.#calls.call(operations.credentials, { name });
  }

  changePassword(
    { expected, ...rest }: PasswordChange,
  ): Promise<"changed" | "stale" | "limit" | "id-taken"> {
    const [expectedPasswordHash, expectedRecovery] = "passwordHash" in expected
      ? [expected.passwordHash, undefined]
      : [undefined, expected.recoveryProofHash];
    return this.#calls.call(operations.changePassword, { ...rest, expectedPasswordHash, expectedRecovery });
  }

  users(after: string, limit: number): Promise<UserName[]> {
    return this.#calls.call(operations.users, { after, limit: clamp(limit) });
  }

  async directory(names: readonly UserName[]): Promise<DirectoryEntry[]> {
    const entries: DirectoryEntry[] = [];
    for (let at = 0; at < names.length; at += DIRECTORY_NAMES_MAX) {
      const part = names.slice(at, at + DIRECTORY_NAMES_MAX);
      entries.push(...await this.#calls.call(operations.directory, { names: part }));
    }
    return entries;
  }

  openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device?: DeviceId,
  ): Promise<ConversationHead | undefined> {
    return this.#calls.call(operations.openDirect, { id, user, peer, device });
  }

  conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): Promise<ConversationHead[]> {
    return this.#calls.call(operations.conversations, { user, device, after, limit: clamp(limit) });
  }

  append(records: readonly StoreAppend[]): Promise<AppendResult[]> {
    let bytes = 0;
    for (const { body } of records) bytes += body.length;
    return bytes <= APPEND_BYTES_MAX && records.length <= LIST_ITEMS_MAX
      ? this.#calls.call(operations.append, records, bytes)
      : this.#appendInParts(records);
  }

  read(user: UserName, conversation: ConversationId, after: number, limit: number): Promise<LogPage | undefined> {
    return this.#calls.call(operations.read, { user, conversation, after, limit: clamp(limit) });
  }

  async setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): Promise<void> {
    for (let at = 0; at < cursors.length; at += LIST_ITEMS_MAX) {
      const part = cursors.slice(at, at + LIST_ITEMS_MAX);
      await this.#calls.call(operations.setCursors, { user, device, cursors: part });
    }
  }

  async setReceipts(user: UserName, device: DeviceId, receipts: readonly OwnReceipt[]): Promise<void> {
    for (let at = 0; at < receipts.length; at += RECEIPTS_MAX) {
      const part = receipts.slice(at, at + RECEIPTS_MAX);
      await this.#calls.call(operations.setReceipts, { user, device, receipts: part });
    }
  }

  receipts(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Promise<Receipt[]> {
    return this.#calls.call(operations.receipts, {
      user,
      conversations: conversations.slice(0, RECEIPTS_MAX),
      after,
      limit: Math.min(limit, RECEIPTS_PAGE_MAX),
    });
  }

  async trim(limits: TrimLimits): Promise<number> {
    return (await this.#calls.call(operations.trim, limits)).removed;
  }

  createGroup(id: ConversationId, user: UserName, device: DeviceId): Promise<ConversationHead | undefined> {
    return this.#calls.call(operations.createGroup, { id, user, device });
  }

  async commit(commit: StoreCommit): Promise<CommitResult> {
    let bytes = commit.body.length + commit.tree.length;
    for (const { body } of commit.welcomes) bytes += body.length;
    return untyped(await this.#calls.call(operations.commit, commit, bytes));
  }

  async leave(leave: StoreLeave): Promise<CommitResult> {
    return untyped(await this.#calls.call(operations.leave, leave, leave.body.length));
  }

  members(user: UserName, conversation: ConversationId, after: string, limit: number): Promise<UserName[] | undefined> {
    return this.#calls.call(operations.members, { user, conversation, after, limit: clamp(limit) });
  }

  welcome(user: UserName, device: DeviceId, conversation: ConversationId): Promise<StoredWelcome | undefined> {
    return this.#calls.call(operations.welcome, { user, device, conversation });
  }

  welcomesWaiting(user: UserName, device: DeviceId, limit: number): Promise<ConversationId[]> {
    return this.#calls.call(operations.welcomesWaiting, { user, device, limit: clamp(limit) });
  }

  async invite(invitation: StoreInvitation): Promise<InviteResult> {
    const bytes = invitation.welcome.body.length + invitation.tree.length;
    return untyped(await this.#calls.call(operations.invite, invitation, bytes));
  }

  putKeyPackages(packages: StoreKeyPackages): Promise<KeyPackageStock> {
    const oneTime = packages.oneTime.slice(-KEY_PACKAGES_MAX);
    return this.#calls.call(operations.putKeyPackages, { ...packages, oneTime });
  }

  async takeKeyPackages(wanted: WantedKeyPackages): Promise<TakenKeyPackage[]> {
    const taken: TakenKeyPackage[] = [];
    for (let at = 0; at < wanted.names.length; at += PACKAGE_NAMES_MAX) {
      const names = wanted.names.slice(at, at + PACKAGE_NAMES_MAX);
      taken.push(...await this.#calls.call(operations.takeKeyPackages, { ...wanted, names }));
    }
    return taken;
  }

  ask(ask: Ask): Promise<"waits" | "refused" | "limit"> {
    return this.#calls.call(operations.ask, ask);
  }

  asks(
    user: UserName,
    conversation: ConversationId | undefined,
    after: { readonly conversation: ConversationId; readonly device: DeviceId } | undefined,
    limit: number,
  ): Promise<Ask[]> {
    return this.#calls.call(operations.asks, { user, conversation, after, limit: Math.min(limit, ASKS_PAGE_MAX) });
  }

  async dropAsk(user: UserName, conversation: ConversationId, device: DeviceId): Promise<void> {
    await this.#calls.call(operations.dropAsk, { user, conversation, device });
  }

  setArchiveKey(name: UserName, key: NewArchiveKey): Promise<"set" | "stale" | "taken"> {
    return this.#calls.call(operations.setArchiveKey, { name, key });
  }

  archive(name: UserName): Promise<StoredArchive | undefined> {
    return this.#calls.call(operations.archive, { name });
  }

  putArchiveChunk(chunk: NewArchiveChunk): Promise<ArchivePut> {
    return this.#calls.call(operations.putArchiveChunk, chunk, chunk.body.length);
  }

  archiveChunks(name: UserName, stream: Uint8Array, after: number): Promise<ArchiveChunk[]> {
    return this.#calls.call(operations.archiveChunks, { name, stream, after });
  }

  async dropArchive(name: UserName, keyId: Uint8Array): Promise<void> {
    await this.#calls.call(operations.dropArchive, { name, keyId });
  }

  putHistory(part: NewHistoryPart): Promise<"kept" | "given" | "full" | "refused"> {
    return this.#calls.call(operations.putHistory, part, part.body.length);
  }

  history(user: UserName, device: DeviceId, after: number): Promise<HistoryPart[]> {
    return this.#calls.call(operations.history, { user, device, after });
  }

  async dropHistory(user: UserName, device: DeviceId, numbers: readonly number[], isTaken: boolean): Promise<void> {
    const part = numbers.slice(0, HISTORY_PARTS_MAX);
    await this.#calls.call(operations.dropHistory, { user, device, numbers: part, isTaken });
  }

  async sweep(nowMs: number): Promise<boolean> {
    return (await this.#calls.call(operations.sweep, { nowMs })).isMore;
  }

  // deno-lint-ignore require-await
  async close(): Promise<void> {
    this.#calls.close();
  }

  /** A batch that no frame holds: one part after the other, so that what is stale stays so in the parts behind it. */
  async #appendInParts(records: readonly StoreAppend[]): Promise<AppendResult[]> {
    const stale = new StaleSenders(), results: AppendResult[] = [];
    for (let at = 0; at < records.length;) {
      let end = at, bytes = 0;
      while (end < records.length && end - at < LIST_ITEMS_MAX && (end === at || bytes < APPEND_BYTES_MAX)) {
        bytes += records[end++]!.body.length;
      }
      const part = records.slice(at, end), sent = part.filter((record) => !stale.has(record));
      const answers = new Map((await this.#calls.call(operations.append, sent, bytes)).map((r, i) => [sent[i]!, r]));
      for (const record of part) {
        const result = answers.get(record) ?? { status: "stale-epoch", epoch: stale.epoch(record)! };
        if (result.status === "stale-epoch") stale.add(record, result.epoch);
        results.push(result);
      }
      at = end;
    }
    return results;
  }
}

function clamp(limit: number): number {
  return Math.min(limit, LIST_ITEMS_MAX);
}

/** Bytes of bodies in one call; the largest single body fits besides. */
const APPEND_BYTES_MAX = 4 << 20;
