/**
 * The store in memory: the plain twin that the others are tested against, and what handlers' tests run on.
 *
 * Every change happens inside the call, as if each were a transaction of its own; answers still come a microtask later,
 * so that nobody learns to rely on less than the contract says.
 */
import { deviceEntry } from "../../shared/crypto/mod.ts";
import {
  ACQUAINTED_MAX,
  DEVICES_PER_USER_MAX,
  KEY_ENTRIES_PER_USER_MAX,
  LINK_MS,
  LINKS_MAX,
  READ_BYTES_MAX,
  SESSIONS_PER_DEVICE_MAX,
} from "../../shared/limits.ts";
import type {
  Ask,
  ConversationHead,
  ConversationId,
  CredentialChange,
  DeviceId,
  DirectoryEntry,
  OwnReceipt,
  Receipt,
  Record,
  UserName,
} from "../../shared/protocol/mod.ts";
import type { CommitListener, Committed, ReceiptMoved } from "../bus/bus.ts";
import type { ArchiveChunk, ArchivePut, NewArchiveChunk, NewArchiveKey, StoredArchive } from "./archives.ts";
import { sameBytes } from "./bytes.ts";
import { type Aged, countToTrim, RECORD_BYTES } from "./retention.ts";
import { MemoryArchives } from "./memory_archives.ts";
import { MemoryKeyLog } from "./memory_key_log.ts";
import {
  type CommitResult,
  ConversationKind,
  type InviteResult,
  type KeyPackageStock,
  RECEIPT_RECORDS_MAX,
  type StoreCommit,
  type StoredWelcome,
  type StoreInvitation,
  type StoreKeyPackages,
  type StoreLeave,
  type TakenKeyPackage,
  type WantedKeyPackages,
} from "./groups.ts";
import { MemoryConversation, type MemoryDevice, MemoryGroups, type MemoryUser } from "./memory_groups.ts";
import { MemoryHistory } from "./memory_history.ts";
import { MemoryKeyPackages } from "./memory_key_packages.ts";
import type { HistoryPart, NewHistoryPart } from "./history.ts";
import { StaleSenders } from "./stale_senders.ts";
import {
  type Account,
  type AppendResult,
  CredentialWhat,
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
  readonly #listener: CommitListener | undefined;
  readonly #users = new Map<UserName, User>();
  readonly #devices = new Map<DeviceId, Device>();
  readonly #sessions = new Map<string, Session>();
  readonly #conversations = new Map<ConversationId, MemoryConversation>();
  /** All of them, in the order in which they came. */
  readonly #records: Record[] = [];
  readonly #keyLog = new MemoryKeyLog();
  /** By their place, as hex. */
  readonly #links = new Map<string, Link & { readonly expiresMs: number }>();
  readonly #keyPackages: MemoryKeyPackages;
  readonly #groups: MemoryGroups;
  readonly #history: MemoryHistory;
  readonly #archives: MemoryArchives;
  #closed = false;

  constructor(listener?: CommitListener) {
    this.#listener = listener;
    const users = this.#users, devices = this.#devices, conversations = this.#conversations, records = this.#records;
    const live = (id: DeviceId) => isLive(devices.get(id)!);
    const keyPackages = this.#keyPackages = new MemoryKeyPackages({ users, devices, isLive: live });
    this.#archives = new MemoryArchives((name) => users.get(name)?.recovery?.proofHash);
    this.#history = new MemoryHistory({ devices, conversations, listener, isLive: live });
    this.#groups = new MemoryGroups(
      { users, devices, conversations, records, listener, isLive: live },
      (conversation, device) => keyPackages.used(conversation, device),
    );
  }

  // deno-lint-ignore require-await
  async createUser(user: NewUser): Promise<"created" | "name-taken"> {
    this.#open();
    const device = this.#devices.get(user.device.id);
    const known = this.#users.get(user.name);
    if (known !== undefined) {
      const retried = device?.user === known && sameBytes(device.certificate, user.device.certificate) &&
        sameBytes(known.identityKey, user.identityKey);
      return retried ? "created" : "name-taken";
    }
    if (device !== undefined) return "name-taken";
    const { name, stretching, passwordHash, identityKey, backup } = user;
    const made: User = {
      name,
      stretching,
      passwordHash,
      identityKey,
      backup,
      recovery: undefined,
      password: undefined,
      devices: [],
      revision: 1,
      generation: 0,
      approval: false,
      conversations: new Set(),
    };
    this.#users.set(name, made);
    this.#addDevice(made, user.device).approved = true;
    this.#keyLog.add(name, deviceEntry(user.device.certificate));
    return "created";
  }

  // deno-lint-ignore require-await
  async account(name: UserName): Promise<Account | undefined> {
    this.#open();
    const user = this.#users.get(name);
    if (user === undefined) return undefined;
    const { stretching, passwordHash, identityKey, backup } = user;
    const devices = user.devices.filter(isLive).map(({ id, certificate }) => ({ id, certificate }));
    return { name, stretching: { ...stretching }, passwordHash, identityKey, backup, devices };
  }

  // deno-lint-ignore require-await
  async addDevice(
    name: UserName,
    device: NewDevice,
    identityKey?: Uint8Array,
  ): Promise<"added" | "unapproved" | "limit" | "id-taken"> {
    this.#open();
    return this.#enrol(name, device, identityKey);
  }

  #enrol(
    name: UserName,
    device: NewDevice,
    identityKey?: Uint8Array,
  ): "added" | "unapproved" | "limit" | "id-taken" {
    const user = this.#users.get(name);
    if (user === undefined) throw new RangeError(`Cannot add a device: there is no user ${name}`);
    if (identityKey !== undefined && !sameBytes(user.identityKey, identityKey)) return "id-taken";
    const known = this.#devices.get(device.id);
    const returns = known?.user === user && known.ended === "superseded" &&
      !sameBytes(known.certificate, device.certificate);
    if (known !== undefined && !returns) {
      const same = known.user === user && known.ended === undefined && sameBytes(known.certificate, device.certificate);
      if (!same) return "id-taken";
      return isLive(known) ? "added" : "unapproved";
    }
    if (user.devices.filter(({ ended }) => ended !== "revoked").length >= DEVICES_PER_USER_MAX) return "limit";
    if (this.#keyLog.countOf(name) >= KEY_ENTRIES_PER_USER_MAX) return "limit";
    const approved = !hasApproved(user);
    if (returns) Object.assign(known!, { certificate: device.certificate, ended: undefined, approved });
    else moveCursors(Object.assign(this.#addDevice(user, device), { approved }));
    this.#keyLog.add(name, deviceEntry(device.certificate));
    this.#devicesMoved(user);
    return user.approval && !approved ? "unapproved" : "added";
  }

  // deno-lint-ignore require-await
  async keyLog(after: number, limit: number): Promise<KeyLogPage> {
    this.#open();
    return this.#keyLog.page(after, limit);
  }

  // deno-lint-ignore require-await
  async keyEntries(numbers: readonly number[]): Promise<KeyEntry[]> {
    this.#open();
    return this.#keyLog.entries(numbers);
  }

  // deno-lint-ignore require-await
  async keyEntriesOf(name: UserName): Promise<KeyEntry[]> {
    this.#open();
    return this.#keyLog.entriesOf(name);
  }

  async changeKeys({ user: name, after, entry, effect }: KeyChange): Promise<"done" | "moved" | "limit"> {
    this.#open();
    const user = this.#users.get(name);
    if (user === undefined) throw new RangeError(`Cannot change keys: there is no user ${name}`);
    if (this.#keyLog.newestOf(name) !== after) return "moved";
    if (effect.type !== "revoke" && this.#keyLog.countOf(name) >= KEY_ENTRIES_PER_USER_MAX) return "limit";
    const id = effect.type === "rotate" ? effect.device.id : effect.type === "policy" ? undefined : effect.device;
    const device = this.#deviceOf(user, id);
    if (id !== undefined && device === undefined) {
      throw new RangeError(`Cannot change keys: ${name} has no such device`);
    }
    this.#keyLog.add(name, entry);
    switch (effect.type) {
      case "approve":
        if (!isLive(device!)) moveCursors(device!);
        device!.approved = true;
        break;
      case "revoke":
        this.#end(device!, "revoked");
        device!.named = undefined;
        for (const [hash, session] of this.#sessions) if (session.device === id) this.#sessions.delete(hash);
        this.#listener?.sessionsEnded({ user: name, generation: user.generation, keep: undefined, device: id });
        // Somebody must be able to approve the next: of those that are left, whoever came first (docs/PROTOCOL.md §16.1).
        if (!hasApproved(user)) {
          Object.assign(user.devices.find(({ ended }) => ended === undefined) ?? {}, { approved: true });
        }
        break;
      case "policy":
        user.approval = effect.approval;
        break;
      case "rotate":
        for (const other of user.devices) if (other.ended === undefined) this.#end(other, "superseded");
        Object.assign(device!, { certificate: effect.device.certificate, ended: undefined, approved: true });
        // By the old identity, both: a recovery key would bring that one back.
        Object.assign(user, { recovery: undefined, password: undefined });
        Object.assign(user, { identityKey: effect.identityKey, backup: effect.backup });
        await this.raiseGeneration(name, effect.keep);
    }
    this.#devicesMoved(user);
    return "done";
  }

  // deno-lint-ignore require-await
  async device(name: UserName, id: DeviceId): Promise<DeviceStanding | undefined> {
    this.#open();
    const device = this.#devices.get(id);
    if (device?.user.name !== name) return undefined;
    return { certificate: device.certificate, standing: device.ended ?? (isLive(device) ? "live" : "unapproved") };
  }

  // deno-lint-ignore require-await
  async offerLink(place: Uint8Array, offer: Uint8Array, nowMs: number): Promise<Link | undefined> {
    this.#open();
    for (const [key, { expiresMs }] of this.#links) if (expiresMs <= nowMs) this.#links.delete(key);
    const known = this.#links.get(place.toHex());
    if (known !== undefined) return { offer: known.offer, grant: known.grant };
    if (this.#links.size >= LINKS_MAX) return undefined;
    this.#links.set(place.toHex(), { offer, grant: undefined, expiresMs: nowMs + LINK_MS });
    return { offer, grant: undefined };
  }

  // deno-lint-ignore require-await
  async link(place: Uint8Array, nowMs: number): Promise<Link | undefined> {
    this.#open();
    const known = this.#links.get(place.toHex());
    return known === undefined || known.expiresMs <= nowMs ? undefined : { offer: known.offer, grant: known.grant };
  }

  // deno-lint-ignore require-await
  async grantLink(place: Uint8Array, grant: LinkGranted, nowMs: number): Promise<boolean> {
    this.#open();
    const known = this.#links.get(place.toHex());
    if (known === undefined || known.expiresMs <= nowMs) return false;
    this.#links.set(place.toHex(), { ...known, grant });
    return true;
  }

  // deno-lint-ignore require-await
  async nameDevice(name: UserName, id: DeviceId, named: Pick<DeviceName, "name" | "signature">): Promise<void> {
    this.#open();
    const device = this.#devices.get(id);
    if (device?.user.name !== name) throw new RangeError(`Cannot name a device: ${name} has no such device`);
    device.named = { name: named.name, signature: named.signature };
  }

  // deno-lint-ignore require-await
  async deviceNames(name: UserName): Promise<DeviceName[]> {
    this.#open();
    return (this.#users.get(name)?.devices ?? []).flatMap(({ id, named, ended }) =>
      named === undefined || ended === "revoked" ? [] : [{ device: id, ...named }]
    );
  }

  // deno-lint-ignore require-await
  async createSession(session: Session): Promise<number> {
    this.#open();
    const own = this.#devices.get(session.device);
    if (own?.user.name !== session.user || !isLive(own)) {
      throw new RangeError(`Cannot keep a session: ${session.user} has no device ${session.device}`);
    }
    const hash = session.tokenHash.toHex();
    this.#sessions.set(hash, { ...session });
    const others = [...this.#sessions].filter(([other, { device }]) => device === session.device && other !== hash)
      .sort(([one, { expiresMs: a }], [two, { expiresMs: b }]) => b - a || (one < two ? -1 : 1));
    for (const [other] of others.slice(SESSIONS_PER_DEVICE_MAX - 1)) this.#sessions.delete(other);
    return this.#users.get(session.user)!.generation;
  }

  // deno-lint-ignore require-await
  async session(tokenHash: Uint8Array, nowMs: number): Promise<LiveSession | undefined> {
    this.#open();
    const session = this.#sessions.get(tokenHash.toHex());
    if (session === undefined || session.expiresMs <= nowMs) return undefined;
    return { ...session, generation: this.#users.get(session.user)!.generation };
  }

  // deno-lint-ignore require-await
  async raiseGeneration(name: UserName, keep?: Uint8Array): Promise<number> {
    this.#open();
    return this.#raise(name, keep);
  }

  // deno-lint-ignore require-await
  async credentials(name: UserName): Promise<StoredCredentials | undefined> {
    this.#open();
    const user = this.#users.get(name);
    return user && { recovery: user.recovery, password: user.password };
  }

  // deno-lint-ignore require-await
  async setRecovery(name: UserName, { proofHash, backup, device, nowMs }: NewRecovery): Promise<void> {
    this.#open();
    const user = this.#users.get(name);
    if (user === undefined) throw new RangeError(`Cannot keep a recovery key: there is no user ${name}`);
    if (user.recovery && sameBytes(user.recovery.proofHash, proofHash)) return;
    user.recovery = { proofHash, backup, madeMs: nowMs };
    const change = { what: CredentialWhat.RecoveryKey, device, timeMs: nowMs };
    this.#listener?.sessionsEnded({ user: name, generation: 0, keep: undefined, change });
  }

  // deno-lint-ignore require-await
  async changePassword(asked: PasswordChange): Promise<"changed" | "stale" | "limit" | "id-taken"> {
    this.#open();
    const { name, expected, serial, statement, device, nowMs } = asked, user = this.#users.get(name);
    if (user === undefined) throw new RangeError(`Cannot change a password: there is no user ${name}`);
    const isRepeat = sameBytes(user.passwordHash, asked.passwordHash);
    if (!isRepeat) {
      const isExpected = "passwordHash" in expected
        ? sameBytes(expected.passwordHash, user.passwordHash)
        : user.recovery !== undefined && sameBytes(expected.recoveryProofHash, user.recovery.proofHash);
      if (!isExpected || serial <= (user.password?.serial ?? 0)) return "stale";
    }
    const added = asked.newDevice === undefined ? "added" : this.#enrol(name, asked.newDevice);
    if (added === "limit" || added === "id-taken") return added;
    if (added === "unapproved") this.#devices.get(device)!.approved = true;
    const what = "passwordHash" in expected ? CredentialWhat.Password : CredentialWhat.Recovered;
    const change = { what, device, timeMs: nowMs };
    if (!isRepeat) {
      user.stretching = asked.stretching;
      user.passwordHash = asked.passwordHash;
      user.backup = asked.backup;
      user.password = { serial, statement, change };
    }
    if (asked.endOthers) this.#raise(name, asked.keep, change);
    else this.#listener?.sessionsEnded({ user: name, generation: 0, keep: undefined, change });
    return "changed";
  }

  #raise(name: UserName, keep: Uint8Array | undefined, change?: CredentialChange): number {
    const user = this.#users.get(name);
    if (user === undefined) throw new RangeError(`Cannot end sessions: there is no user ${name}`);
    const generation = ++user.generation;
    for (const [hash, session] of this.#sessions) {
      if (session.user === name && hash !== keep?.toHex()) this.#sessions.delete(hash);
    }
    this.#listener?.sessionsEnded({ user: name, generation, keep, change });
    return generation;
  }

  // deno-lint-ignore require-await
  async deleteSession(tokenHash: Uint8Array): Promise<void> {
    this.#open();
    this.#sessions.delete(tokenHash.toHex());
  }

  // deno-lint-ignore require-await
  async users(after: string, limit: number): Promise<UserName[]> {
    this.#open();
    return [...this.#users.keys()].filter((name) => name > after).sort().slice(0, limit);
  }

  // deno-lint-ignore require-await
  async directory(names: readonly UserName[]): Promise<DirectoryEntry[]> {
    this.#open();
    return names.flatMap((name) => {
      const user = this.#users.get(name);
      if (user === undefined) return [];
      const certificates = user.devices.filter(isLive).map((device) => device.certificate);
      return [{ name, identityKey: user.identityKey, deviceRevision: user.revision, certificates }];
    });
  }

  // deno-lint-ignore require-await
  async openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device?: DeviceId,
  ): Promise<ConversationHead | undefined> {
    this.#open();
    const members = [...new Set([user, peer].sort())].map((name) => this.#users.get(name));
    if (!members.every((member) => member !== undefined)) return undefined;
    let conversation = this.#conversations.get(id);
    if (conversation?.kind === ConversationKind.Group) {
      this.#groups.end(conversation);
      conversation = undefined;
    }
    conversation ??= new MemoryConversation(id, ConversationKind.Direct, members);
    this.#conversations.set(id, conversation);
    const own = this.#users.get(user)!;
    return conversation.isMember(own) ? conversation.listed(own, this.#deviceOf(own, device)) : undefined;
  }

  // deno-lint-ignore require-await
  async conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): Promise<ConversationHead[]> {
    this.#open();
    const own = this.#users.get(user);
    if (own === undefined) return [];
    const found = this.#deviceOf(own, device);
    return [...own.conversations].toSorted(byId)
      .filter(({ id, stays }) => {
        const { until = Infinity } = stays.get(own)!;
        return (after === undefined || id > after) && (found?.cursors.get(id) ?? 0) < until;
      })
      .slice(0, limit)
      .map((conversation) => conversation.listed(own, found));
  }

  // deno-lint-ignore require-await
  async append(records: readonly StoreAppend[]): Promise<AppendResult[]> {
    this.#open();
    const stale = new StaleSenders(), committed: Committed[] = [];
    const results = records.map((record) => this.#append(record, stale, committed));
    if (committed.length > 0) this.#listener?.committed(committed);
    return results;
  }

  // deno-lint-ignore require-await
  async read(
    user: UserName,
    conversation: ConversationId,
    after: number,
    limit: number,
  ): Promise<LogPage | undefined> {
    this.#open();
    const found = this.#conversations.get(conversation);
    const own = this.#users.get(user), stay = own && found?.stays.get(own);
    if (found === undefined || stay === undefined) return undefined;
    const records: Record[] = [], begins = Math.max(found.begins, stay.since - 1);
    let bytes = 0;
    const from = Math.max(begins, after) - found.begins, end = (stay.until ?? Infinity) - found.begins;
    for (const record of found.log.slice(from, Math.min(from + limit, end))) {
      bytes += record.body.length;
      if (bytes > READ_BYTES_MAX && records.length > 0) break;
      records.push(record);
    }
    return { records, begins };
  }

  // deno-lint-ignore require-await
  async setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): Promise<void> {
    this.#open();
    const own = this.#users.get(user);
    const found = own && this.#deviceOf(own, device);
    if (found === undefined) return;
    for (const { conversation: id, seq } of cursors) {
      const conversation = this.#conversations.get(id);
      const stay = conversation?.stays.get(found.user);
      if (conversation === undefined || stay === undefined) continue;
      const at = found.cursors.get(id) ?? 0;
      found.cursors.set(id, Math.max(at, Math.min(seq, stay.until ?? conversation.head)));
    }
  }

  // deno-lint-ignore require-await
  async setReceipts(user: UserName, device: DeviceId, receipts: readonly OwnReceipt[]): Promise<void> {
    this.#open();
    const own = this.#users.get(user), moved: ReceiptMoved[] = [];
    const found = own && this.#deviceOf(own, device);
    if (found === undefined) return;
    for (const said of receipts) {
      const { conversation: id, delivered, read } = said, conversation = this.#conversations.get(id);
      const stay = conversation?.stays.get(found.user);
      if (conversation === undefined || stay === undefined || delivered > (stay.until ?? conversation.head)) continue;
      if (stay.until !== undefined) {
        found.cursors.set(id, Math.max(found.cursors.get(id) ?? 0, delivered));
        continue;
      }
      const { delivered: last, read: lastRead } = conversation.receipts.get(device) ?? NO_RECEIPT;
      if (delivered < last || (delivered === last && read <= lastRead)) continue;
      const receipt = { ...said, user, device };
      conversation.receipts.set(device, receipt);
      found.cursors.set(id, Math.max(found.cursors.get(id) ?? 0, delivered));
      moved.push({ receipt, members: hearersOf(conversation, receipt, { last, lastRead }) });
    }
    if (moved.length > 0) this.#listener?.receipts(moved);
  }

  // deno-lint-ignore require-await
  async receipts(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Promise<Receipt[]> {
    this.#open();
    return conversations.flatMap((id, at) => {
      const conversation = this.#conversations.get(id);
      if (!conversation?.isMember(this.#users.get(user))) return [];
      return [...conversation.receipts.values()]
        .filter(({ device }) => at > 0 || after === undefined || device > after)
        .sort((a, b) => a.device < b.device ? -1 : 1);
    }).slice(0, limit);
  }

  // deno-lint-ignore require-await
  async trim(limits: TrimLimits): Promise<number> {
    this.#open();
    const aged = function* (records: readonly Record[]): Generator<Aged> {
      for (const { timeMs, body } of records) yield { timeMs, bytes: body.length };
    };
    const bytes = this.#records.reduce((sum, { body }) => sum + body.length + RECORD_BYTES, 0);
    const removed = this.#records.splice(0, countToTrim(aged(this.#records), limits, bytes));
    for (const { conversation: id, device, messageId, seq } of removed) {
      const conversation = this.#conversations.get(id)!;
      conversation.log.shift();
      conversation.numbers.delete(`${device}/${messageId}`);
      conversation.begins = seq;
    }
    return removed.length;
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
      if (!this.#users.has(name)) throw new RangeError(`Cannot keep an archive's key: there is no user ${name}`);
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

  #append(record: StoreAppend, stale: StaleSenders, committed: Committed[]): AppendResult {
    const conversation = this.#conversations.get(record.conversation);
    const sender = this.#devices.get(record.device);
    if (conversation === undefined || sender === undefined) return NOT_MEMBER;
    if (sender.user.name !== record.user || !conversation.isMember(sender.user)) return NOT_MEMBER;
    const number = `${record.device}/${record.messageId}`;
    const first = conversation.numbers.get(number);
    if (first !== undefined) return { status: "stored", seq: first.seq, timeMs: first.timeMs, duplicate: true };
    const { epoch } = conversation;
    if (record.expectedEpoch !== epoch || stale.has(record)) {
      stale.add(record, epoch);
      return { status: "stale-epoch", epoch };
    }
    const stored: Record = {
      conversation: record.conversation,
      seq: conversation.head + 1,
      timeMs: record.nowMs,
      sender: record.user,
      device: record.device,
      messageId: record.messageId,
      body: record.body,
    };
    conversation.append(stored);
    this.#records.push(stored);
    committed.push({ record: stored, members: conversation.members });
    return { status: "stored", seq: stored.seq, timeMs: stored.timeMs, duplicate: false };
  }

  #addDevice(user: User, { id, certificate }: NewDevice): Device {
    const device: Device = {
      id,
      certificate,
      user,
      cursors: new Map(),
      approved: false,
      ended: undefined,
      named: undefined,
    };
    user.devices.push(device);
    this.#devices.set(id, device);
    return device;
  }

  /** The user's devices are others than before: whoever shares a conversation with them hears of it. */
  #devicesMoved(user: User): void {
    user.revision++;
    const conversations = [...user.conversations].filter(({ kind }) => kind === ConversationKind.Direct).toSorted(byId)
      .map(({ id, epoch, members }) => ({ id, epoch, members }));
    // Of a group that they are out of they may still read, and are nobody's acquaintance.
    const groups = [...user.conversations].filter(({ kind }) => kind === ConversationKind.Group)
      .map(({ members }) => [...members]).filter((members) => members.includes(user.name));
    const names = new Set(groups.flat());
    names.delete(user.name);
    this.#listener?.devicesChanged({
      user: user.name,
      conversations,
      keyLogLength: this.#keyLog.length,
      ...(names.size > 0 && { acquainted: [...names].sort().slice(0, ACQUAINTED_MAX) }),
    });
  }

  #end(device: Device, how: NonNullable<Device["ended"]>): void {
    device.ended = how;
    this.#keyPackages.forget(device.id);
    this.#groups.forget(device.id);
    this.#history.forget(device.id);
  }

  #deviceOf(user: User, id: DeviceId | undefined): Device | undefined {
    const device = id === undefined ? undefined : this.#devices.get(id);
    return device?.user === user ? device : undefined;
  }

  #open(): void {
    if (this.#closed) throw new StoreUnavailableError("Cannot use the store: it is closed");
  }
}

interface User extends MemoryUser {
  stretching: Account["stretching"];
  passwordHash: Uint8Array;
  identityKey: Uint8Array;
  backup: Uint8Array;
  /** Whether devices wait until another one approves them. */
  approval: boolean;
  recovery: StoredCredentials["recovery"];
  password: StoredCredentials["password"];
  readonly devices: Device[];
  generation: number;
}

interface Device extends MemoryDevice {
  certificate: Uint8Array;
  approved: boolean;
  ended: "revoked" | "superseded" | undefined;
  named: Pick<DeviceName, "name" | "signature"> | undefined;
  readonly user: User;
}

/** Of a group: the device's own person, and those whose records it is about. */
function hearersOf(
  conversation: MemoryConversation,
  { user, delivered, read }: Receipt,
  { last, lastRead }: { last: number; lastRead: number },
): readonly UserName[] {
  if (conversation.kind === ConversationKind.Direct) return conversation.members;
  const upto = delivered > last ? delivered : read;
  const after = Math.min(delivered > last ? last : upto, read > lastRead ? lastRead : upto);
  const about = conversation.log.filter(({ seq }) => seq > Math.max(after, upto - RECEIPT_RECORDS_MAX) && seq <= upto);
  const hearers = new Set([user, ...about.map(({ sender }) => sender)]);
  return conversation.members.filter((name) => hearers.has(name));
}

/** Whether one of a user's devices is there and approved. */
function hasApproved({ devices }: User): boolean {
  return devices.some(({ ended, approved }) => ended === undefined && approved);
}

/** Whether a device is its user's now: neither ended nor waiting to be approved. */
function isLive({ ended, approved, user }: Device): boolean {
  return ended === undefined && (approved || !user.approval);
}

/** It begins at the heads of now: nothing earlier was sealed for it. */
function moveCursors({ user, cursors }: Device): void {
  for (const { id, stays, head } of user.conversations) cursors.set(id, stays.get(user)?.until ?? head);
}

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : 1;
}

const NO_RECEIPT = { delivered: -1, read: 0 };
const NOT_MEMBER: AppendResult = { status: "not-member" };
