/** Records of the store in memory: the plain twin of `sqlite/log.ts`. */
import { READ_BYTES_MAX } from "../../../shared/limits.ts";
import type { ConversationId, Record, UserName } from "../../../shared/protocol/mod.ts";
import type { Committed } from "../../bus/bus.ts";
import { type Aged, countToTrim, RECORD_BYTES } from "../retention.ts";
import { StaleSenders } from "../stale_senders.ts";
import type { AppendResult, LogPage, StoreAppend, TrimLimits } from "../store.ts";
import type { MemoryTables } from "./rows.ts";

export class MemoryLog {
  readonly #tables: MemoryTables;

  constructor(tables: MemoryTables) {
    this.#tables = tables;
  }

  append(records: readonly StoreAppend[]): AppendResult[] {
    const stale = new StaleSenders(), committed: Committed[] = [];
    const results = records.map((record) => this.#append(record, stale, committed));
    if (committed.length > 0) this.#tables.listener?.committed(committed);
    return results;
  }

  read(user: UserName, conversation: ConversationId, after: number, limit: number): LogPage | undefined {
    const found = this.#tables.conversations.get(conversation);
    const own = this.#tables.users.get(user), stay = own && found?.stays.get(own);
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

  trim(limits: TrimLimits): number {
    const { records, conversations } = this.#tables;
    const aged = function* (): Generator<Aged> {
      for (const { timeMs, body } of records) yield { timeMs, bytes: body.length };
    };
    const bytes = records.reduce((sum, { body }) => sum + body.length + RECORD_BYTES, 0);
    const removed = records.splice(0, countToTrim(aged(), limits, bytes));
    for (const { conversation: id, device, messageId, seq } of removed) {
      const conversation = conversations.get(id)!;
      conversation.log.shift();
      conversation.numbers.delete(`${device}/${messageId}`);
      conversation.begins = seq;
    }
    return removed.length;
  }

  #append(record: StoreAppend, stale: StaleSenders, committed: Committed[]): AppendResult {
    const conversation = this.#tables.conversations.get(record.conversation);
    const sender = this.#tables.devices.get(record.device);
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
    this.#tables.records.push(stored);
    committed.push({ record: stored, members: conversation.members });
    return { status: "stored", seq: stored.seq, timeMs: stored.timeMs, duplicate: false };
  }
}

const NOT_MEMBER: AppendResult = { status: "not-member" };
