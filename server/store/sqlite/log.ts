/** What was said: table `log`, a row a message whatever the number of members. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import { assert } from "../../../shared/assert.ts";
import { READ_BYTES_MAX } from "../../../shared/limits.ts";
import type { ConversationId, DeviceId, MessageId, Record, UserName } from "../../../shared/protocol/mod.ts";
import type { Notices } from "../notices.ts";
import { type Aged, countToTrim } from "../retention.ts";
import { StaleSenders } from "../stale_senders.ts";
import type { AppendResult, LogPage, StoreAppend, TrimLimits } from "../store.ts";
import type { StoreClock } from "./clock.ts";
import { Leaps } from "./leaps.ts";
import { type Conversation, type Device, isMember, type Rows } from "./rows.ts";

export class Log {
  readonly #rows: Rows;
  readonly #clock: StoreClock;
  readonly #leaps: Leaps;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows, clock: StoreClock) {
    this.#rows = rows;
    this.#clock = clock;
    this.#leaps = new Leaps(database);
    this.#sql = prepare(database);
  }

  append(records: readonly StoreAppend[], notices: Notices): AppendResult[] {
    const stale = new StaleSenders(), results: AppendResult[] = [];
    this.#clock.heard(records[0]?.nowMs ?? 0);
    for (const record of records) results.push(this.#append(record, stale, notices));
    return results;
  }

  /**
   * One record that nothing speaks against, outside of any transaction: a single statement, which is on the disk when this returns.
   * Five statements take half as much processor again as the write itself.
   *
   * @param leadership Nothing is written where the database tells of another.
   * @returns `undefined` where nothing was done: let {@linkcode append} see what it is.
   */
  appendAlone(records: readonly StoreAppend[], leadership: number, notices: Notices): AppendResult[] | undefined {
    const record = records[0];
    if (record === undefined || records.length > 1 || !this.#rows.mayStayBehind(1)) return undefined;
    const conversation = this.#rows.conversation(record.conversation), device = this.#rows.device(record.device);
    if (conversation === undefined || device === undefined || record.expectedEpoch !== conversation.epoch) {
      return undefined;
    }
    if (device.user !== record.user || !isMember(conversation, record.user)) return undefined;
    this.#clock.heard(record.nowMs);
    const { changes } = this.#sql.appendAlone.run(
      conversation.id,
      conversation.head + 1,
      device.id,
      fromHex(record.messageId),
      record.nowMs,
      record.body,
      leadership,
    );
    return changes === 0 ? undefined : [this.#appended(record, conversation, notices)];
  }

  read(user: UserName, id: ConversationId, after: number, limit: number): LogPage | undefined {
    const conversation = this.#rows.conversation(id);
    const stay = conversation && this.#rows.stay(conversation, user);
    if (conversation === undefined || stay === undefined) return undefined;
    const begins = Math.max(conversation.begins, stay.since - 1), { until = Infinity } = stay;
    const leap = this.#leaps.next(conversation.id, Math.max(after, stay.since - 1));
    if (leap !== undefined && after >= leap.kept && leap.kept < until) {
      const { upto: begins, ...restored } = leap;
      return { records: [], begins, restored };
    }
    const records: Record[] = [];
    let bytes = 0;
    // Row by row: a page's worth of the largest bodies at once would not fit in memory.
    for (const row of this.#sql.read.iterate(conversation.id, Math.max(after, begins), limit)) {
      const body = row["body"] as Uint8Array;
      if (row["seq"] as number > until) break;
      if (leap !== undefined && row["seq"] as number > leap.kept) break;
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
    return { records, begins: Math.min(begins, leap?.kept ?? Infinity) };
  }

  trim(limits: TrimLimits): number {
    const oldest = this.#sql.oldest.all(limits.recordsMax) as unknown as OldRow[];
    const count = countToTrim(oldest, limits, this.#storedBytes());
    if (count === 0) return 0;
    const begins = new Map<number, OldRow>();
    for (const row of oldest.slice(0, count)) begins.set(row.conversation, row);
    this.#sql.remove.run(oldest[count - 1]!.id);
    for (const { conversation, key, seq } of begins.values()) {
      this.#rows.setBegins(conversation, key.toHex() as ConversationId, seq);
    }
    return count;
  }

  /** The numbers of a record that came earlier, if it did. */
  first(conversation: Conversation, device: Device, messageId: MessageId): Stored | undefined {
    const row = this.#sql.number.get(conversation.id, device.id, fromHex(messageId));
    return row && duplicateOf(row);
  }

  /** One that is not there yet, from somebody who may. */
  add(
    conversation: Conversation,
    device: Device,
    entry: Pick<StoreAppend, "conversation" | "device" | "messageId" | "body" | "nowMs">,
  ): Record {
    const { conversation: id, device: key, messageId, body, nowMs: timeMs } = entry, seq = conversation.head + 1;
    this.#clock.heard(timeMs);
    this.#sql.append.run(conversation.id, seq, device.id, fromHex(messageId), timeMs, body);
    this.#rows.setHead(conversation, seq);
    return { conversation: id, seq, timeMs, sender: device.user, device: key, messageId, body };
  }

  /** Pages in use: next to the log nothing in the database takes much. */
  #storedBytes(): number {
    const [pages, free, pageBytes] = [this.#sql.pages, this.#sql.freePages, this.#sql.pageBytes].map((statement) =>
      Object.values(statement.get()!)[0] as number
    ) as [number, number, number];
    // Nobody's messages go for what somebody archives.
    const { bytes, chunks } = this.#sql.archived.get()!;
    return (pages - free) * pageBytes - (bytes as number) - (chunks as number) * pageBytes / 2;
  }

  #append(record: StoreAppend, stale: StaleSenders, notices: Notices): AppendResult {
    const conversation = this.#rows.conversation(record.conversation), device = this.#rows.device(record.device);
    if (conversation === undefined || device === undefined) return NOT_MEMBER;
    if (device.user !== record.user || !isMember(conversation, record.user)) return NOT_MEMBER;
    const messageId = fromHex(record.messageId);
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
    return this.#appended(record, conversation, notices);
  }

  #appended(record: StoreAppend, conversation: Conversation, notices: Notices): AppendResult {
    const { conversation: id, user: sender, device, messageId, body, nowMs: timeMs } = record;
    const seq = conversation.head + 1;
    this.#rows.setHead(conversation, seq);
    notices.committed({
      record: { conversation: id, seq, timeMs, sender, device, messageId, body },
      members: conversation.members,
    });
    return { status: "stored", seq, timeMs, duplicate: false };
  }
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    append: sql(
      `INSERT INTO log (conversation, seq, device, message_id, time_ms, body) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (conversation, device, message_id) DO NOTHING`,
    ),
    appendAlone: sql(
      `INSERT INTO log (conversation, seq, device, message_id, time_ms, body)
       SELECT ?, ?, ?, ?, ?, ? WHERE (SELECT number FROM leadership) = ?
       ON CONFLICT (conversation, device, message_id) DO NOTHING`,
    ),
    oldest: sql(
      `SELECT log.rowid AS id, conversation, conversations.key, seq, time_ms AS timeMs, length(body) AS bytes
       FROM log JOIN conversations ON conversations.id = log.conversation ORDER BY log.rowid LIMIT ?`,
    ),
    remove: sql("DELETE FROM log WHERE rowid <= ?"),
    pages: sql("PRAGMA page_count"),
    freePages: sql("PRAGMA freelist_count"),
    archived: sql(
      "SELECT coalesce(sum(bytes), 0) AS bytes, coalesce(sum(chunks), 0) AS chunks FROM archive_streams",
    ),
    pageBytes: sql("PRAGMA page_size"),
    number: sql("SELECT seq, time_ms FROM log WHERE conversation = ? AND device = ? AND message_id = ?"),
    read: sql(
      `SELECT log.seq, log.time_ms, log.message_id, log.body, devices.key, users.name
       FROM log JOIN devices ON devices.id = log.device JOIN users ON users.id = devices.user
       WHERE log.conversation = ? AND log.seq > ? ORDER BY log.seq LIMIT ?`,
    ),
  };
}

type Stored = AppendResult & { readonly status: "stored" };

function duplicateOf(row: { [column: string]: unknown }): Stored {
  return { status: "stored", seq: row["seq"] as number, timeMs: row["time_ms"] as number, duplicate: true };
}

/** Rows are numbered in the order in which they were inserted. */
interface OldRow extends Aged {
  readonly id: number;
  readonly conversation: number;
  readonly key: Uint8Array;
  readonly seq: number;
}

const NOT_MEMBER: AppendResult = { status: "not-member" };
