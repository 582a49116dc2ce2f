/**
 * All SQL. Synchronous: every method is one or a few statements on the one connection that the leader owns.
 *
 * Methods that change something must run inside a transaction, which {@linkcode GroupWriter} makes for many of them at
 * once. They judge everything before their first change, so a refusal ({@linkcode RefusedError}) leaves nothing behind.
 *
 * Ids are 16 random bytes outside and small integers inside; both directions, heads and epochs are cached, and whatever
 * is undone empties the caches ({@linkcode SqliteDatabase.rollback}).
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { assert } from "../../shared/assert.ts";
import { DEVICES_PER_USER_MAX, READ_BYTES_MAX } from "../../shared/limits.ts";
import type {
  ConversationHead,
  ConversationId,
  DeviceId,
  DirectoryEntry,
  MessageId,
  Record,
  UserName,
} from "../../shared/protocol/mod.ts";
import type { DevicesChanged } from "../bus/bus.ts";
import { sameBytes } from "./bytes.ts";
import { migrate } from "./migrations.ts";
import type { Notices } from "./notices.ts";
import { StaleSenders } from "./stale_senders.ts";
import type { Account, AppendResult, LiveSession, NewDevice, NewUser, Session, StoreAppend } from "./store.ts";

/** A call that cannot be granted; it changed nothing, so the transaction around it goes on. */
export class RefusedError extends RangeError {
  override readonly name = "RangeError";
}

/** A newer leadership has written to this database: we are not the leader, whatever we believe (SECURITY P12). */
export class SupersededError extends Error {
  override readonly name = "SupersededError";
}

export interface SqliteOptions {
  /** Largest size of the database file, in pages of 4 KiB; beyond it the disk counts as full. */
  readonly pagesMax?: number;
}

export class SqliteDatabase {
  /** Rises by one with every opening. */
  readonly leadership: number;
  readonly #database: DatabaseSync;
  readonly #sql: Statements;
  readonly #conversations = new Cache<ConversationId, Conversation>();
  readonly #devices = new Cache<DeviceId, Device>();
  /** The latest time anybody told us: what sessions expire by. */
  #nowMs = 0;

  /**
   * Opens or makes the database at `path` and begins a leadership. Only for the holder of the store's lock.
   *
   * @throws StoreVersionError, or what SQLite says of the file.
   */
  constructor(path: string, options: SqliteOptions = {}) {
    createPrivately(path);
    this.#database = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    try {
      configure(this.#database, options);
      this.#database.exec("BEGIN IMMEDIATE");
      migrate(this.#database, path);
      this.#database.exec("UPDATE leadership SET number = number + 1");
      this.#sql = prepare(this.#database);
      this.leadership = this.#sql.leadership.get()!["number"] as number;
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** Begins a write transaction. @throws SupersededError */
  begin(): void {
    this.#sql.begin.run();
    const number = this.#sql.leadership.get()!["number"] as number;
    if (number === this.leadership) return;
    this.rollback();
    throw new SupersededError(`Cannot write as leader ${this.leadership}: leader ${number} has taken over`);
  }

  /** Everything since {@linkcode begin} is on the disk when this returns. */
  commit(): void {
    this.#sql.commit.run();
  }

  /** Undoes everything since {@linkcode begin}; fine where SQLite has done it already. */
  rollback(): void {
    this.#forget();
    if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
  }

  /** Runs `change` so that its failure undoes it alone. */
  guarded<T>(change: () => T): T {
    this.#database.exec("SAVEPOINT guarded");
    try {
      const result = change();
      this.#database.exec("RELEASE guarded");
      return result;
    } catch (error) {
      this.#forget();
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK TO guarded; RELEASE guarded");
      throw error;
    }
  }

  /** Writes everything back into the database file and closes. */
  close(): void {
    try {
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } finally {
      this.#database.close();
    }
  }

  // Accounts.

  createUser(user: NewUser): "created" | "name-taken" {
    const known = this.#sql.userByName.get(user.name);
    const device = this.#sql.deviceByKey.get(Uint8Array.fromHex(user.device.id));
    if (known !== undefined) {
      const retried = device?.["user"] === known["id"] &&
        sameBytes(device?.["certificate"] as Uint8Array, user.device.certificate) &&
        sameBytes(known["identity_key"] as Uint8Array, user.identityKey);
      return retried ? "created" : "name-taken";
    }
    if (device !== undefined) return "name-taken";
    this.#nowMs = Math.max(this.#nowMs, user.nowMs);
    const { lastInsertRowid } = this.#sql.insertUser.run(
      user.name,
      user.stretching.salt,
      user.stretching.log2N,
      user.passwordHash,
      user.identityKey,
      user.backup,
      user.nowMs,
    );
    this.#sql.insertDevice.run(Uint8Array.fromHex(user.device.id), lastInsertRowid, user.device.certificate);
    return "created";
  }

  account(name: UserName): Account | undefined {
    const user = this.#sql.userByName.get(name);
    if (user === undefined) return undefined;
    const devices = this.#sql.devicesOfUser.all(user["id"]!).map((row) => ({
      id: (row["key"] as Uint8Array).toHex() as DeviceId,
      certificate: row["certificate"] as Uint8Array,
    }));
    return {
      name,
      stretching: { salt: user["salt"] as Uint8Array, log2N: user["log2_n"] as number },
      passwordHash: user["password_hash"] as Uint8Array,
      identityKey: user["identity_key"] as Uint8Array,
      backup: user["backup"] as Uint8Array,
      devices,
    };
  }

  addDevice(name: UserName, device: NewDevice, notices: Notices): "added" | "limit" | "id-taken" {
    const user = this.#sql.userByName.get(name)?.["id"] as number | undefined;
    if (user === undefined) throw new RefusedError(`Cannot add a device: there is no user ${name}`);
    const key = Uint8Array.fromHex(device.id);
    const known = this.#sql.deviceByKey.get(key);
    if (known !== undefined) {
      const same = known["user"] === user && sameBytes(known["certificate"] as Uint8Array, device.certificate);
      return same ? "added" : "id-taken";
    }
    if (this.#sql.countDevices.get(user)!["count"] as number >= DEVICES_PER_USER_MAX) return "limit";
    const { lastInsertRowid } = this.#sql.insertDevice.run(key, user, device.certificate);
    this.#sql.raiseRevision.run(user);
    this.#sql.raiseEpochs.run(user);
    this.#sql.beginCursors.run(lastInsertRowid, user);
    // The cached epochs are the old ones now.
    this.#conversations.clear();
    notices.devicesChanged({ user: name, conversations: this.#epochsOf(user) });
    return "added";
  }

  createSession(session: Session): number {
    const device = this.#device(session.device);
    if (device?.user !== session.user) {
      throw new RefusedError(`Cannot keep a session: ${session.user} has no device ${session.device}`);
    }
    this.#sql.forgetSessions.run(this.#nowMs - EXPIRED_KEPT_MS);
    this.#sql.insertSession.run(session.tokenHash, device.id, session.expiresMs);
    return this.#sql.userByName.get(session.user)!["generation"] as number;
  }

  session(tokenHash: Uint8Array, nowMs: number): LiveSession | undefined {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    const row = this.#sql.session.get(tokenHash, nowMs);
    return row && {
      tokenHash: row["token_hash"] as Uint8Array,
      user: row["name"] as UserName,
      device: (row["key"] as Uint8Array).toHex() as DeviceId,
      expiresMs: row["expires_ms"] as number,
      generation: row["generation"] as number,
    };
  }

  deleteSession(tokenHash: Uint8Array): void {
    this.#sql.deleteSession.run(tokenHash);
  }

  raiseGeneration(name: UserName, keep: Uint8Array | undefined, notices: Notices): number {
    const user = this.#sql.userByName.get(name);
    if (user === undefined) throw new RefusedError(`Cannot end sessions: there is no user ${name}`);
    const generation = user["generation"] as number + 1;
    this.#sql.setGeneration.run(generation, user["id"]!);
    this.#sql.endSessions.run(user["id"]!, keep ?? new Uint8Array());
    notices.sessionsEnded({ user: name, generation, keep });
    return generation;
  }

  users(after: string, limit: number): UserName[] {
    return this.#sql.users.all(after, limit).map((row) => row["name"] as UserName);
  }

  directory(names: readonly UserName[]): DirectoryEntry[] {
    return names.flatMap((name) => {
      const user = this.#sql.userByName.get(name);
      if (user === undefined) return [];
      return [{
        name,
        identityKey: user["identity_key"] as Uint8Array,
        deviceRevision: user["device_revision"] as number,
        certificates: this.#sql.devicesOfUser.all(user["id"]!).map((row) => row["certificate"] as Uint8Array),
      }];
    });
  }

  // Conversations.

  /** Whether {@linkcode openDirect} would change nothing, so that it need not wait for a transaction. */
  isOpen(id: ConversationId): boolean {
    return this.#conversation(id) !== undefined;
  }

  openDirect(
    id: ConversationId,
    user: UserName,
    peer: UserName,
    device: DeviceId | undefined,
  ): ConversationHead | undefined {
    const own = this.#sql.userByName.get(user), other = this.#sql.userByName.get(peer);
    if (own === undefined || other === undefined) return undefined;
    if (this.#conversation(id) === undefined) this.#insertDirect(id, [...new Set([own, other])]);
    const conversation = this.#conversation(id)!;
    if (!conversation.members.includes(user)) return undefined;
    return {
      conversation: id,
      kind: KIND_DIRECT,
      members: [...conversation.members],
      head: conversation.head,
      cursor: this.#cursor(user, device, conversation),
      epoch: conversation.epoch,
    };
  }

  conversations(
    user: UserName,
    device: DeviceId,
    after: ConversationId | undefined,
    limit: number,
  ): ConversationHead[] {
    const found = this.#device(device);
    const own = found?.user === user ? found.id : NO_ROW;
    const behind = after === undefined ? new Uint8Array() : Uint8Array.fromHex(after);
    return this.#sql.heads.all(own, user, behind, limit).map((row) => ({
      conversation: (row["key"] as Uint8Array).toHex() as ConversationId,
      kind: row["kind"] as number,
      members: membersOf(row["members"]),
      head: row["head"] as number,
      cursor: row["cursor"] as number,
      epoch: row["epoch"] as number,
    }));
  }

  // The log.

  append(records: readonly StoreAppend[], notices: Notices): AppendResult[] {
    const stale = new StaleSenders(), results: AppendResult[] = [];
    this.#nowMs = Math.max(this.#nowMs, records[0]?.nowMs ?? 0);
    for (const record of records) results.push(this.#append(record, stale, notices));
    return results;
  }

  read(user: UserName, id: ConversationId, after: number, limit: number): Record[] | undefined {
    const conversation = this.#conversation(id);
    if (!conversation?.members.includes(user)) return undefined;
    const records: Record[] = [];
    let bytes = 0;
    // Row by row: a page's worth of the largest bodies at once would not fit in memory.
    for (const row of this.#sql.read.iterate(conversation.id, after, limit)) {
      const body = row["body"] as Uint8Array;
      bytes += body.length;
      if (bytes > READ_BYTES_MAX && records.length > 0) break;
      records.push({
        conversation: id,
        seq: row["seq"] as number,
        timeMs: row["time_ms"] as number,
        sender: row["name"] as UserName,
        device: (row["key"] as Uint8Array).toHex() as DeviceId,
        messageId: (row["message_id"] as Uint8Array).toHex() as MessageId,
        body,
      });
    }
    return records;
  }

  setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): void {
    const found = this.#device(device);
    if (found?.user !== user) return;
    for (const { conversation: id, seq } of cursors) {
      const conversation = this.#conversation(id);
      if (!conversation?.members.includes(user)) continue;
      this.#sql.setCursor.run(found.id, conversation.id, Math.min(seq, conversation.head));
    }
  }

  #append(record: StoreAppend, stale: StaleSenders, notices: Notices): AppendResult {
    const conversation = this.#conversation(record.conversation), device = this.#device(record.device);
    if (conversation === undefined || device === undefined) return NOT_MEMBER;
    if (device.user !== record.user || !conversation.members.includes(record.user)) return NOT_MEMBER;
    const messageId = Uint8Array.fromHex(record.messageId);
    if (record.expectedEpoch !== conversation.epoch || stale.has(record)) {
      const first = this.#sql.number.get(conversation.id, device.id, messageId);
      if (first !== undefined) return duplicateOf(first);
      stale.add(record, conversation.epoch);
      return { status: "stale-epoch", epoch: conversation.epoch };
    }
    const seq = conversation.head + 1;
    const { changes } = this.#sql.append.run(
      conversation.id,
      seq,
      device.id,
      messageId,
      record.nowMs,
      record.body,
    );
    if (changes === 0) {
      const first = this.#sql.number.get(conversation.id, device.id, messageId);
      assert(first !== undefined, "A row that is not new is a repeat");
      return duplicateOf(first);
    }
    conversation.head = seq;
    const { user: sender, nowMs: timeMs } = record;
    notices.committed({
      record: {
        conversation: record.conversation,
        seq,
        timeMs,
        sender,
        device: record.device,
        messageId: record.messageId,
        body: record.body,
      },
      members: conversation.members,
    });
    return { status: "stored", seq, timeMs, duplicate: false };
  }

  #insertDirect(id: ConversationId, members: readonly { [column: string]: unknown }[]): void {
    const distinct = members.filter((row, at) => members.findIndex((other) => other["id"] === row["id"]) === at);
    const epoch = distinct.reduce((sum, row) => sum + (row["device_revision"] as number), 0);
    const key = Uint8Array.fromHex(id);
    const { lastInsertRowid } = this.#sql.insertConversation.run(key, KIND_DIRECT, epoch);
    for (const row of distinct) this.#sql.insertMember.run(row["id"] as number, key, lastInsertRowid);
  }

  #epochsOf(user: number): DevicesChanged["conversations"][number][] {
    return this.#sql.epochs.all(user).map((row) => ({
      id: (row["key"] as Uint8Array).toHex() as ConversationId,
      epoch: row["epoch"] as number,
      members: membersOf(row["members"]),
    }));
  }

  #cursor(user: UserName, key: DeviceId | undefined, conversation: Conversation): number {
    const device = key === undefined ? undefined : this.#device(key);
    if (device?.user !== user) return 0;
    return this.#sql.cursor.get(device.id, conversation.id)?.["seq"] as number ?? 0;
  }

  #conversation(key: ConversationId): Conversation | undefined {
    const cached = this.#conversations.get(key);
    if (cached !== undefined) return cached;
    const row = this.#sql.conversation.get(Uint8Array.fromHex(key));
    if (row === undefined) return undefined;
    return this.#conversations.set(key, {
      id: row["id"] as number,
      epoch: row["epoch"] as number,
      head: row["head"] as number,
      members: membersOf(row["members"]),
    });
  }

  #device(key: DeviceId): Device | undefined {
    const cached = this.#devices.get(key);
    if (cached !== undefined) return cached;
    const row = this.#sql.deviceByKey.get(Uint8Array.fromHex(key));
    if (row === undefined) return undefined;
    return this.#devices.set(key, { id: row["id"] as number, user: row["name"] as UserName });
  }

  #forget(): void {
    this.#conversations.clear();
    this.#devices.clear();
  }
}

/** A conversation's row, its head and its members' names in order. */
interface Conversation {
  readonly id: number;
  readonly members: readonly UserName[];
  readonly epoch: number;
  head: number;
}

interface Device {
  readonly id: number;
  readonly user: UserName;
}

/** Rows by key, a bounded number: the oldest goes first, and can be read again at any time. */
class Cache<K, V> {
  readonly #entries = new Map<K, V>();

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  set(key: K, value: V): V {
    if (this.#entries.size >= CACHE_ENTRIES_MAX) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(key, value);
    return value;
  }

  clear(): void {
    this.#entries.clear();
  }
}

type Statements = ReturnType<typeof prepare>;

/** Makes the file for nobody but its owner; SQLite gives the files beside it the same mode. Not while it is open: closing it drops SQLite's own locks. */
function createPrivately(path: string): void {
  Deno.openSync(path, { create: true, write: true, mode: 0o600 }).close();
}

function configure(database: DatabaseSync, { pagesMax }: SqliteOptions): void {
  database.exec(`
    PRAGMA busy_timeout = 2000;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
    PRAGMA journal_size_limit = ${WAL_BYTES_MAX};
    PRAGMA cache_size = -${CACHE_KIB};
  `);
  // Elsewhere fsync reaches the disk itself; on macOS only this does.
  if (Deno.build.os === "darwin") database.exec("PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON");
  if (pagesMax !== undefined) database.exec(`PRAGMA max_page_count = ${pagesMax}`);
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    begin: sql("BEGIN IMMEDIATE"),
    commit: sql("COMMIT"),
    leadership: sql("SELECT number FROM leadership"),
    userByName: sql("SELECT * FROM users WHERE name = ?"),
    insertUser: sql(
      `INSERT INTO users (name, salt, log2_n, password_hash, identity_key, backup, device_revision, created_ms)
       VALUES (?, ?, ?, ?, ?, ?, 1, ?)`,
    ),
    users: sql("SELECT name FROM users WHERE name > ? ORDER BY name LIMIT ?"),
    raiseRevision: sql("UPDATE users SET device_revision = device_revision + 1 WHERE id = ?"),
    deviceByKey: sql(
      `SELECT devices.id, devices.user, devices.certificate, users.name
       FROM devices JOIN users ON users.id = devices.user WHERE devices.key = ?`,
    ),
    devicesOfUser: sql("SELECT key, certificate FROM devices WHERE user = ? ORDER BY id"),
    countDevices: sql("SELECT count(*) AS count FROM devices WHERE user = ?"),
    insertDevice: sql("INSERT INTO devices (key, user, certificate) VALUES (?, ?, ?)"),
    insertSession: sql("INSERT OR REPLACE INTO sessions (token_hash, device, expires_ms) VALUES (?, ?, ?)"),
    session: sql(
      `SELECT sessions.token_hash, sessions.expires_ms, devices.key, users.name, users.generation
       FROM sessions JOIN devices ON devices.id = sessions.device JOIN users ON users.id = devices.user
       WHERE token_hash = ? AND expires_ms > ?`,
    ),
    setGeneration: sql("UPDATE users SET generation = ? WHERE id = ?"),
    endSessions: sql(
      "DELETE FROM sessions WHERE device IN (SELECT id FROM devices WHERE user = ?) AND token_hash <> ?",
    ),
    deleteSession: sql("DELETE FROM sessions WHERE token_hash = ?"),
    forgetSessions: sql("DELETE FROM sessions WHERE expires_ms <= ?"),
    conversation: sql(
      `SELECT id, epoch, ${HEAD} AS head, ${MEMBERS} AS members FROM conversations WHERE key = ?`,
    ),
    insertConversation: sql("INSERT INTO conversations (key, kind, epoch) VALUES (?, ?, ?)"),
    insertMember: sql("INSERT INTO members (user, conversation_key, conversation) VALUES (?, ?, ?)"),
    raiseEpochs: sql(
      `UPDATE conversations SET epoch = epoch + 1
       WHERE id IN (SELECT conversation FROM members WHERE user = ?)`,
    ),
    epochs: sql(
      `SELECT key, epoch, ${MEMBERS} AS members
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = ? ORDER BY own.conversation_key`,
    ),
    heads: sql(
      `SELECT key, kind, epoch, ${HEAD} AS head, ${MEMBERS} AS members,
         coalesce((SELECT seq FROM cursors WHERE device = ? AND cursors.conversation = conversations.id), 0) AS cursor
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = (SELECT id FROM users WHERE name = ?) AND own.conversation_key > ?
       ORDER BY own.conversation_key LIMIT ?`,
    ),
    append: sql(
      `INSERT INTO log (conversation, seq, device, message_id, time_ms, body) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (conversation, device, message_id) DO NOTHING`,
    ),
    number: sql("SELECT seq, time_ms FROM log WHERE conversation = ? AND device = ? AND message_id = ?"),
    read: sql(
      `SELECT log.seq, log.time_ms, log.message_id, log.body, devices.key, users.name
       FROM log JOIN devices ON devices.id = log.device JOIN users ON users.id = devices.user
       WHERE log.conversation = ? AND log.seq > ? ORDER BY log.seq LIMIT ?`,
    ),
    cursor: sql("SELECT seq FROM cursors WHERE device = ? AND conversation = ?"),
    setCursor: sql(
      `INSERT INTO cursors (device, conversation, seq) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq`,
    ),
    beginCursors: sql(
      `INSERT INTO cursors (device, conversation, seq)
       SELECT ?, conversations.id, ${HEAD} AS head
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = ? AND head > 0`,
    ),
  };
}

function duplicateOf(row: { [column: string]: unknown }): AppendResult {
  return { status: "stored", seq: row["seq"] as number, timeMs: row["time_ms"] as number, duplicate: true };
}

/** Names hold no comma. */
function membersOf(names: unknown): UserName[] {
  return (names as string).split(",") as UserName[];
}

/** The newest sequence number of a row of `conversations`; one step in the index. */
const HEAD = "coalesce((SELECT max(seq) FROM log WHERE log.conversation = conversations.id), 0)";
/** The names of a row of `conversations`, in order. */
const MEMBERS = `(SELECT group_concat(users.name, ',' ORDER BY users.name)
  FROM members JOIN users ON users.id = members.user WHERE members.conversation = conversations.id)`;

const KIND_DIRECT = 1;
const NO_ROW = -1;
const NOT_MEMBER: AppendResult = { status: "not-member" };
/** Conversations and devices kept by key; about 300 bytes each. */
const CACHE_ENTRIES_MAX = 65_536;
const CACHE_KIB = 16 << 10;
/**
 * Pages in the WAL at which a commit also writes them back. Large on purpose: the hot pages of the indexes are then written
 * once per 64 MiB of log instead of every few commits, and the pause falls on fewer than one commit in a hundred.
 */
const CHECKPOINT_PAGES = 16_384;
/** The WAL's file is cut back to this after a burst; what is within is overwritten, which is cheaper than growing again. */
const WAL_BYTES_MAX = 72 << 20;
/** Kept a while after they expired, so that clocks that differ do no harm. */
const EXPIRED_KEPT_MS = 24 * 3600 * 1000;
