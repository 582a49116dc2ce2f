/**
 * The one server that owns the database: it holds the lock in the data directory, serves the others over the local socket
 * and tells them what was committed.
 */
import { join } from "node:path";
import { DecodeError, read, type Reader, write, type Writer } from "../../shared/codec/mod.ts";
import { bool } from "../../shared/codec/mod.ts";
import { removeMigration, writeMigration } from "../../shared/cluster/mod.ts";
import {
  ensurePrivateDirectory,
  FileLock,
  listenLocal,
  type LocalListener,
  removeStaleSocket,
} from "../../shared/host/mod.ts";
import type { Logger } from "../../shared/log.ts";
import { monotonicClock } from "../../shared/net/mod.ts";
import { type UserName, userName } from "../../shared/protocol/mod.ts";
import type { Committed, DevicesChanged, GroupNews } from "../bus/bus.ts";
import type { ReceiptMoved, SessionsEnded, TypingHint } from "../bus/bus.ts";
import { Hub, type HubPort } from "../bus/hub.ts";
import { Checkpointer, CheckpointWorker } from "./checkpointer.ts";
import { frameEnd, writeCommitted } from "./committed_frame.ts";
import { AnswerStatus, FrameKind, Link, LINK_VERSION } from "./link.ts";
import {
  devicesChangedSchema,
  groupNewsSchema,
  operationByTag,
  receiptMovedSchema,
  type Served,
  sessionsEndedSchema,
  typingSchema,
} from "./operations.ts";
import { SqliteDatabase } from "./sqlite/database.ts";
import { RefusedError } from "./sqlite/errors.ts";
import { SqliteStore } from "./sqlite_store.ts";
import { Retention, type RetentionSettings } from "./retention.ts";
import { FileReserve, type Reserve, Space } from "./space.ts";
import { Sweeper } from "./sweeper.ts";
import { StoreFullError, StoreUnavailableError } from "./store.ts";
import { storeError } from "./writer.ts";

/** Where things lie in the data directory. */
export const storePaths = (dataDir: string) => ({
  lock: join(dataDir, "store.lock"),
  database: join(dataDir, "store.db"),
  reserve: join(dataDir, "store.reserve"),
  run: join(dataDir, "run"),
  socket: join(dataDir, "run", "store.sock"),
});

export interface LeaderOptions {
  readonly dataDir: string;
  readonly logger: Logger;
  /** Everything is kept where it is not given. */
  readonly retention?: RetentionSettings | undefined;
}

export class Leader implements Served {
  readonly store: SqliteStore;
  readonly hub: Hub;
  /** Rises with every leader of this data directory. */
  readonly leadership: number;
  /** How long it took from the lock until the others could come, in milliseconds. */
  readonly openMs: number;
  /** Resolves when a newer leader was found in the database: close, and follow. */
  readonly superseded: Promise<void>;
  readonly #lock: FileLock;
  readonly #listener: LocalListener;
  readonly #logger: Logger;
  readonly #followers = new Set<FollowerPort>();
  readonly #retention: Retention;
  readonly #sweeper: Sweeper;
  readonly #ticking: ReturnType<typeof setInterval>;
  #closing: Promise<void> | undefined;

  private constructor(
    lock: FileLock,
    listener: LocalListener,
    database: SqliteDatabase,
    path: string,
    reserve: Reserve,
    lockedMs: number,
    { logger, retention = KEEP_ALL }: LeaderOptions,
  ) {
    const superseded = Promise.withResolvers<void>();
    this.#lock = lock;
    this.#listener = listener;
    this.#logger = logger;
    this.hub = new Hub();
    this.leadership = database.leadership;
    this.superseded = superseded.promise;
    const space = new Space({ reserves: [reserve, database.reserve], makeRoom: () => database.makeRoom(), logger });
    const onFull = () => space.exhausted();
    this.store = new SqliteStore(database, {
      listener: this.hub,
      logger,
      onSuperseded: superseded.resolve,
      checkpointer: new Checkpointer({ startThread: () => new CheckpointWorker(path), logger, onFull }),
      space,
    });
    this.#retention = new Retention({ store: this.store, settings: retention, nowMs: Date.now, logger });
    this.#retention.start();
    this.#sweeper = new Sweeper({ store: this.store, nowMs: Date.now, logger });
    this.#sweeper.start();
    this.#ticking = setInterval(() => this.hub.presence.tick(monotonicClock.nowUs()), PRESENCE_TICK_MS);
    this.#accept();
    this.openMs = Math.round(performance.now() - lockedMs);
  }

  /**
   * Leads if nobody does.
   *
   * @returns `undefined` while another process holds the lock.
   * @throws StoreVersionError, or what the system says of the files.
   */
  static async tryLead(options: LeaderOptions): Promise<Leader | undefined> {
    const paths = storePaths(options.dataDir);
    const lock = await FileLock.tryAcquire(paths.lock);
    if (lock === undefined) return undefined;
    const lockedMs = performance.now();
    let database: SqliteDatabase | undefined;
    try {
      await ensurePrivateDirectory(paths.run);
      const reserve = new FileReserve(paths.reserve);
      const onMigrating = (from: number, to: number) => {
        options.logger.log("warn", "store.migrating", { from, to });
        // Every log may be read late; who sits in front of it waits now.
        console.error(
          `Bringing the database from version ${from} to ${to}. This may take minutes; nobody is served until then`,
        );
        writeMigration(options.dataDir, { pid: Deno.pid, from, to });
      };
      try {
        database = openWith(reserve, paths.database, onMigrating);
      } finally {
        await removeMigration(options.dataDir);
      }
      // A killed leader's socket stays behind; holding the lock, we know that nobody listens on it.
      await removeStaleSocket(paths.socket);
      const listener = await listenLocal(paths.socket);
      return new Leader(lock, listener, database, paths.database, reserve, lockedMs, options);
    } catch (error) {
      database?.close();
      lock.release();
      throw error;
    }
  }

  /** Answers everything that arrived, writes the database back, and lets the next one lead. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    clearInterval(this.#ticking);
    const unheard = this.#listener.close();
    // What followers have not been answered they ask again, of the next leader.
    const left = Promise.all([...this.#followers].map((follower) => follower.leave()));
    try {
      await Promise.all([this.#retention.stop(), this.#sweeper.stop()]);
      await this.store.close();
      // A follower that reads no more must not keep us.
      await withinMs(LEAVE_MS_MAX, left);
      await unheard;
    } finally {
      for (const follower of [...this.#followers]) follower.close();
      this.#lock.release();
    }
  }

  async #accept(): Promise<void> {
    while (this.#closing === undefined) {
      let stream: Deno.Conn;
      try {
        stream = await this.#listener.accept();
      } catch (error) {
        if (this.#closing !== undefined) return;
        this.#logger.log("error", "store.accept", { error });
        await pause(ACCEPT_RETRY_MS);
        continue;
      }
      if (this.#closing !== undefined) return stream.close();
      const follower = new FollowerPort(stream, this, this.#logger, () => this.#followers.delete(follower));
      this.#followers.add(follower);
    }
  }
}

/** One other server, as the leader sees it. */
class FollowerPort implements HubPort {
  readonly #link: Link;
  readonly #leader: Leader;
  readonly #logger: Logger;
  #server: number | undefined;
  #openBytes = 0;
  #open = 0;
  /** Until the follower has taken what was answered. */
  #isWaiting = false;
  #leaving: PromiseWithResolvers<void> | undefined;

  constructor(stream: Deno.Conn, leader: Leader, logger: Logger, onClosed: () => void) {
    this.#leader = leader;
    this.#logger = logger;
    this.#link = new Link(stream, {
      onFrame: (kind, reader, bytes) => this.#receive(kind, reader, bytes),
      onClosed: (reason) => {
        leader.hub.remove(this);
        this.#leaving?.resolve();
        onClosed();
        logger.log(reason === undefined ? "info" : "warn", "store.follower-left", { server: this.#server, reason });
      },
    });
    this.#link.start();
  }

  committed(committed: readonly Committed[]): void {
    for (let at = 0; at < committed.length;) {
      const from = at, end = frameEnd(committed, from);
      this.#link.send(FrameKind.Committed, (writer) => writeCommitted(writer, committed, from, end));
      at = end;
    }
  }

  receipts(moved: readonly ReceiptMoved[]): void {
    for (let at = 0; at < moved.length;) {
      const from = at;
      for (let names = 0; at < moved.length && at - from < NOTICE_RECEIPTS_MAX && names < NOTICE_NAMES_MAX; at++) {
        names += moved[at]!.members.length;
      }
      const part = moved.slice(from, at);
      this.#link.send(FrameKind.Receipts, (writer) => {
        writer.varint(part.length);
        for (const item of part) write(receiptMovedSchema, writer, item);
      });
    }
  }

  devicesChanged({ user, conversations, keyLogLength, acquainted = [] }: DevicesChanged): void {
    let at = 0;
    do {
      // Who is acquainted is told once.
      const names = at === 0 ? acquainted : [], part = conversations.slice(at, at += NOTICE_CONVERSATIONS_MAX);
      this.#link.send(
        FrameKind.DevicesChanged,
        (writer) => write(devicesChangedSchema, writer, { user, conversations: part, keyLogLength, acquainted: names }),
      );
    } while (at < conversations.length);
  }

  sessionsEnded(ended: SessionsEnded): void {
    this.#link.send(FrameKind.SessionsEnded, (writer) => write(sessionsEndedSchema, writer, ended));
  }

  groupNews(news: GroupNews): void {
    this.#link.send(FrameKind.GroupNews, (writer) => write(groupNewsSchema, writer, news));
  }

  presence(user: UserName, online: boolean): void {
    this.#link.send(FrameKind.Presence, (writer) => {
      write(userName, writer, user);
      write(bool, writer, online);
    });
  }

  typing(hint: TypingHint): void {
    this.#link.send(FrameKind.Typing, (writer) => write(typingSchema, writer, hint));
  }

  /** Takes no more requests; resolves when those that were taken are answered and the answers have left. */
  leave(): Promise<void> {
    this.#link.pause();
    this.#leaving = Promise.withResolvers<void>();
    if (this.#open === 0) this.#leaving.resolve();
    return this.#leaving.promise.then(() => this.#link.flushed());
  }

  close(): void {
    this.#link.close();
  }

  /** @throws DecodeError, which closes the link. */
  #receive(kind: FrameKind, reader: Reader, bytes: number): void {
    if (kind === FrameKind.Hello) return this.#hello(reader);
    if (this.#server === undefined) throw new DecodeError("The first frame is not a hello");
    switch (kind) {
      case FrameKind.Request:
        return this.#request(reader, bytes);
      case FrameKind.Announce: {
        const user = read(userName, reader), online = read(bool, reader);
        reader.finish();
        return this.#leader.hub.announce(this, user, online);
      }
      case FrameKind.Watch: {
        const user = read(userName, reader), on = read(bool, reader);
        reader.finish();
        return this.#leader.hub.presence.watch(this, user, on);
      }
      case FrameKind.Typing: {
        const hint = read(typingSchema, reader);
        reader.finish();
        return this.#leader.hub.typing(hint);
      }
      default:
        throw new DecodeError(`A server sent frame kind ${kind}`);
    }
  }

  #hello(reader: Reader): void {
    const version = reader.u16();
    this.#server = reader.u8();
    reader.finish();
    if (version !== LINK_VERSION) throw new DecodeError(`Link version is ${version}, needs ${LINK_VERSION}`);
    this.#leader.hub.add(this);
    this.#link.send(FrameKind.Welcome, (writer) => {
      writer.u16(LINK_VERSION);
      writer.varint(this.#leader.leadership);
    });
    this.#logger.log("info", "store.follower", { server: this.#server, leadership: this.#leader.leadership });
  }

  #request(reader: Reader, bytes: number): void {
    const id = reader.varint(), tag = reader.u8();
    const operation = operationByTag(tag);
    if (operation === undefined) throw new DecodeError(`Unknown operation ${tag}`);
    const args = read(operation.args, reader);
    reader.finish();
    const weight = bytes + (operation.resultBytesMax ?? 0);
    this.#open++;
    if ((this.#openBytes += weight) > OPEN_BYTES_MAX) this.#link.pause();
    operation.perform(this.#leader, args).then(
      (result) => this.#answer(id, AnswerStatus.Ok, (writer) => operation.writeResult(writer, result), weight),
      (error) => this.#fail(id, error, weight),
    );
  }

  #fail(id: number, error: unknown, bytes: number): void {
    // While we leave, what the store no longer takes is for the next leader: unanswered, it will be asked again.
    const unavailable = error instanceof StoreUnavailableError;
    if (unavailable && this.#leaving !== undefined) return this.#done(bytes);
    const status = unavailable
      ? AnswerStatus.Unavailable
      : error instanceof StoreFullError
      ? AnswerStatus.Full
      : error instanceof RefusedError
      ? AnswerStatus.Refused
      : AnswerStatus.Failed;
    if (status === AnswerStatus.Failed) this.#logger.log("error", "store.operation", { server: this.#server, error });
    const reason = new TextEncoder().encode(error instanceof Error ? error.message : String(error));
    this.#answer(id, status, (writer) => writer.bytes(reason.subarray(0, REASON_BYTES_MAX)), bytes);
  }

  #answer(id: number, status: AnswerStatus, content: (writer: Writer) => void, bytes: number): void {
    try {
      this.#link.send(FrameKind.Answer, (writer) => {
        writer.varint(id);
        writer.u8(status);
        content(writer);
      });
      this.#done(bytes);
    } catch (error) {
      // A result that does not fit its schema is our bug; the caller hears of it.
      this.#fail(id, error, bytes);
    }
  }

  /** Large results are answered faster than the follower reads them. */
  async #whenTaken(): Promise<void> {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#link.pause();
    while (!this.#link.closed && this.#link.bufferedBytes >= OPEN_BYTES_MAX / 2) await pause(TAKEN_LOOK_MS);
    this.#isWaiting = false;
    if (this.#leaving === undefined && this.#openBytes < OPEN_BYTES_MAX / 2) this.#link.resume();
  }

  #done(bytes: number): void {
    this.#open--;
    this.#openBytes -= bytes;
    if (this.#leaving !== undefined) {
      if (this.#open === 0) this.#leaving.resolve();
    } else if (this.#openBytes < OPEN_BYTES_MAX / 2) {
      if (this.#link.bufferedBytes >= OPEN_BYTES_MAX / 2) void this.#whenTaken();
      else if (!this.#isWaiting) this.#link.resume();
    }
  }
}

/** Beginning to lead is a change too: on a full disk it takes the room that is held back. */
function openWith(
  reserve: Reserve,
  path: string,
  onMigrating: (from: number, to: number) => void,
): SqliteDatabase {
  const open = () => new SqliteDatabase(path, { walBytes: WAL_BYTES, onMigrating });
  try {
    // Before the WAL takes its room.
    reserve.take();
    return open();
  } catch (error) {
    if (!(storeError(error) instanceof StoreFullError)) throw error;
    reserve.release();
    return open();
  }
}

/** Waits for `work`, but not longer. */
async function withinMs(ms: number, work: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, ms);
  await Promise.race([work, late.promise]);
  clearTimeout(timer);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Twice what a checkpoint begins at, so that a WAL in use seldom grows. */
const WAL_BYTES = 32 << 20;
const KEEP_ALL: RetentionSettings = { days: 0, mebibytes: 0 };
/** Bytes of one server's requests in work, and of what answers to them may hold; beyond it the leader reads no more of them. */
const OPEN_BYTES_MAX = 32 << 20;
const NOTICE_CONVERSATIONS_MAX = 4096;
const NOTICE_RECEIPTS_MAX = 4096;
const NOTICE_NAMES_MAX = 100_000;
const REASON_BYTES_MAX = 1024;
const LEAVE_MS_MAX = 2000;
const TAKEN_LOOK_MS = 5;
const ACCEPT_RETRY_MS = 50;
const PRESENCE_TICK_MS = 250;
