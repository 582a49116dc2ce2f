/**
 * What became of the messages that this person sent: tables `receipts` (how far the members' devices say that they have come,
 * each word of theirs verified before it gets here) and `states` (every change, in order, until a program has been told).
 *
 * A state is not stored but follows: a member has a message where one of the devices that it was sealed for says so.
 */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { groupAddress } from "../addresses.ts";
import type { Database, Row } from "../home/database.ts";
import type { MessageState, StateEvent } from "../events.ts";
import { timeText } from "../time.ts";
import { type Counts, type Step, Tallies } from "./tallies.ts";

export type { Counts } from "./tallies.ts";

/** What one device says. */
export interface Progress {
  readonly delivered: number;
  readonly read: number;
}

/** Methods that change something run inside the caller's transaction. */
export class States {
  readonly #db: Database;
  readonly #tallies: Tallies;

  constructor(database: Database) {
    this.#db = database;
    this.#tallies = new Tallies(database);
  }

  /** A message of this home has its place. @param devices Those that it was sealed for; of a group, the roster says it. */
  stored(
    { id, conversation, seq, to, timeMs, devices }: {
      id: MessageId;
      conversation: ConversationId;
      seq: number;
      to: string;
      timeMs: number;
      devices: readonly DeviceId[];
    },
  ): void {
    this.said(conversation, seq, devices);
    const counts = this.counts(conversation, seq);
    const none = { ...counts, delivered: 0, read: 0 };
    this.#append({ id, conversation, to, state: "stored", ...none, timeMs });
    // Who has it may have been quicker than the answer.
    const state = stateOf(counts);
    if (counts.delivered > 0) this.#append({ id, conversation, to, state, ...counts, timeMs });
  }

  /**
   * A message of this person, of whichever device, has that place.
   *
   * @param devices Those that it was sealed for: from here on their word counts. Of a group, the roster says it.
   */
  said(conversation: ConversationId, seq: number, devices: readonly DeviceId[]): void {
    if (this.#isGroup(conversation)) return this.#tallies.begin(conversation, seq);
    for (const device of devices) {
      this.#db.run(
        `INSERT INTO receipts (conversation, device, since) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET since = excluded.since WHERE since IS NULL OR excluded.since < since`,
        conversation,
        device,
        seq,
      );
    }
  }

  /**
   * Who is in a conversation from a row on: what is sealed behind it is for these devices and no others.
   *
   * @param devices Of everybody but this person.
   */
  setRoster(
    conversation: ConversationId,
    seq: number,
    devices: readonly { readonly user: UserName; readonly device: DeviceId }[],
  ): void {
    const known = new Map(
      this.#db.all("SELECT device, member, since, until FROM receipts WHERE conversation = ?", conversation)
        .map((row) => [row["device"] as DeviceId, row]),
    );
    const isThere = (row: Row | undefined) => row?.["member"] && row["since"] !== null && row["until"] === null;
    let changedFrom = Infinity;
    for (const { user, device } of devices) {
      const row = known.get(device);
      known.delete(device);
      if (isThere(row)) continue;
      // Whoever comes back has what was sealed before, and not what was sealed meanwhile: that is not worth a second row.
      this.#db.run(
        `INSERT INTO receipts (conversation, device, member, since) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET member = excluded.member, since = coalesce(since, excluded.since), until = NULL`,
        conversation,
        device,
        user,
        seq,
      );
      const from = row?.["member"] ? row["until"] : row?.["since"];
      changedFrom = Math.min(changedFrom, seq, from as number | null ?? seq);
    }
    for (const [device, row] of known) {
      if (!isThere(row)) continue;
      this.#db.run("UPDATE receipts SET until = ? WHERE conversation = ? AND device = ?", seq, conversation, device);
      changedFrom = Math.min(changedFrom, seq);
    }
    if (changedFrom < Infinity) this.#tallies.outdate(conversation, changedFrom);
  }

  /** A message will never be sent. */
  failed({ id, to, reason, timeMs }: { id: MessageId; to: string; reason: string; timeMs: number }): void {
    this.#append({ id, to, state: "failed", delivered: 0, read: 0, members: OTHERS, timeMs, reason });
  }

  /** What was stored is not any more, and waits once more. */
  again(
    { id, conversation, to, timeMs, reason }: {
      id: MessageId;
      conversation: ConversationId;
      to: string;
      timeMs: number;
      reason: string;
    },
  ): void {
    const none = { delivered: 0, read: 0, members: OTHERS };
    this.#append({ id, conversation, to, state: "queued", ...none, timeMs, reason });
  }

  /** Devices of members have come further; never back. What became of a message is one change, however many of them have it now. */
  moved(conversation: ConversationId, steps: readonly Step[], timeMs: number): void {
    const places = this.#isGroup(conversation)
      ? this.#tallies.moved(conversation, steps)
      : this.#movedBetweenTwo(conversation, steps);
    for (const seq of places) {
      const row = this.#db.get(
        `SELECT id, recipient FROM messages WHERE conversation = ? AND seq = ? AND own = 1 AND text IS NOT NULL AND kind = 1
         AND id NOT IN (SELECT id FROM outbox)`,
        conversation,
        seq,
      );
      if (row === undefined) continue;
      const counts = this.counts(conversation, seq), to = this.#addressOf(conversation, row);
      this.#append({ id: row["id"] as MessageId, conversation, to, state: stateOf(counts), ...counts, timeMs });
    }
  }

  /** What a device said last; `undefined` where it never did. */
  progress(conversation: ConversationId, device: DeviceId): Progress | undefined {
    const row = this.#db.get(
      "SELECT delivered, read FROM receipts WHERE conversation = ? AND device = ? AND member IS NOT NULL",
      conversation,
      device,
    );
    return row && { delivered: row["delivered"] as number, read: row["read"] as number };
  }

  /** Who has the message at a place of the log. */
  counts(conversation: ConversationId, seq: number): Counts {
    if (!this.#isGroup(conversation)) return { ...this.#tallies.counted(conversation, seq), members: OTHERS };
    return this.#tallies.get(conversation, seq) ?? this.#tallies.counted(conversation, seq);
  }

  /** Where a message of this person stands. `undefined` for an id that this home does not know as one. */
  status(id: MessageId): StateEvent | undefined {
    const waiting = this.#db.get("SELECT peer, target, created_ms, failure FROM outbox WHERE id = ?", id);
    const sent = this.#db.get(
      `SELECT conversation, seq, recipient, time_ms FROM messages
       WHERE id = ? AND own IN (1, 2) AND text IS NOT NULL AND kind = 1`,
      id,
    );
    // In both is what is being sent again.
    if (sent !== undefined && waiting === undefined) {
      const conversation = sent["conversation"] as ConversationId;
      const counts = this.counts(conversation, sent["seq"] as number);
      const timeMs = sent["time_ms"] as number, to = this.#addressOf(conversation, sent);
      return toEvent({ id, conversation, to, state: stateOf(counts), ...counts, timeMs });
    }
    if (waiting === undefined) return undefined;
    const failure = waiting["failure"] as string | null, target = waiting["target"] as ConversationId | null;
    return toEvent({
      id,
      to: target === null ? waiting["peer"] as UserName : groupAddress(this.#db, target),
      state: failure === null ? "queued" : "failed",
      delivered: 0,
      read: 0,
      members: this.#membersNow(target),
      timeMs: waiting["created_ms"] as number,
      ...(failure !== null && { reason: (JSON.parse(failure) as { message: string }).message }),
    });
  }

  /** Conversations in which something that this person sent is not read by everybody yet, as far as is known; newest first. */
  open(): ConversationId[] {
    return this.#db.all(
      `SELECT conversations.id AS conversation, seq FROM conversations JOIN messages ON position =
         (SELECT position FROM messages WHERE conversation = conversations.id AND own IN (1, 2) AND text IS NOT NULL AND kind = 1
          ORDER BY seq DESC LIMIT 1) ORDER BY position DESC`,
    ).filter((row) => {
      const { read, members } = this.counts(row["conversation"] as ConversationId, row["seq"] as number);
      return read < members;
    }).map((row) => row["conversation"] as ConversationId);
  }

  /** Changes behind a position, in order. */
  after(position: number, limit: number): { position: number; event: StateEvent }[] {
    return this.#db.all("SELECT * FROM states WHERE position > ? ORDER BY position LIMIT ?", position, limit)
      .map((row) => ({ position: row["position"] as number, event: fromRow(row) }));
  }

  /** Up to here some program has been told. */
  told(): number {
    return Number(this.#db.meta(TOLD) ?? 0);
  }

  /** Never back. Makes its own transaction. */
  markTold(position: number): void {
    if (this.#db.closed || position <= this.told()) return;
    this.#db.transaction(() => {
      if (position > this.told()) this.#db.setMeta(TOLD, String(position));
    });
  }

  /** Places of messages that the other one has by now. There are few devices to count. */
  #movedBetweenTwo(conversation: ConversationId, steps: readonly Step[]): number[] {
    let first = Infinity, last = 0;
    for (const { device, delivered, read } of steps) {
      const before = this.progress(conversation, device) ?? { delivered: 0, read: 0 };
      if (delivered > before.delivered) first = Math.min(first, before.delivered);
      if (read > before.read) first = Math.min(first, before.read);
      last = Math.max(last, delivered, read);
    }
    const sent = first === Infinity ? [] : this.#db.all(
      `SELECT seq FROM messages WHERE conversation = ? AND seq > ? AND seq <= ? AND own = 1 AND text IS NOT NULL AND kind = 1
       ORDER BY seq`,
      conversation,
      first,
      last,
    ).map((row) => row["seq"] as number).map((seq) => ({ seq, was: this.counts(conversation, seq) }));
    for (const step of steps) this.#tallies.keep(conversation, step);
    return sent.filter(({ seq, was }) => {
      const now = this.counts(conversation, seq);
      return now.delivered !== was.delivered || now.read !== was.read;
    }).map(({ seq }) => seq);
  }

  #isGroup(conversation: ConversationId): boolean {
    return this.#db.get("SELECT 1 FROM conversations WHERE id = ? AND kind = 2", conversation) !== undefined;
  }

  /** Members but oneself of a group, of two people where there is none. */
  #membersNow(group: ConversationId | null): number {
    if (group === null) return OTHERS;
    return this.#db.get(
      "SELECT count(DISTINCT member) AS members FROM receipts WHERE conversation = ? AND since IS NOT NULL AND until IS NULL",
      group,
    )!["members"] as number;
  }

  #addressOf(conversation: ConversationId, message: Row): string {
    const recipient = message["recipient"] as string;
    return recipient === "" ? groupAddress(this.#db, conversation) : recipient;
  }

  #append(change: Change): void {
    const { id, conversation, to, state, delivered, read, members, timeMs, reason } = change;
    this.#db.run(
      `INSERT INTO states (id, conversation, recipient, state, delivered, read, members, time_ms, reason)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      id,
      conversation ?? null,
      to,
      state,
      delivered,
      read,
      members,
      timeMs,
      reason ?? null,
    );
    this.#db.run("DELETE FROM states WHERE position <= (SELECT max(position) FROM states) - ?", STATES_KEPT);
  }
}

/** The one word for it: a state is reached when every member has reached it; where there is no other, nobody has. */
export function stateOf({ delivered, read, members }: Counts): "stored" | "delivered" | "read" {
  if (members === 0) return "stored";
  return read >= members ? "read" : delivered >= members ? "delivered" : "stored";
}

interface Change extends Counts {
  readonly id: MessageId;
  readonly conversation?: ConversationId;
  readonly to: string;
  readonly state: MessageState;
  readonly timeMs: number;
  readonly reason?: string;
}

function fromRow(row: Row): StateEvent {
  const conversation = row["conversation"] as ConversationId | null, reason = row["reason"] as string | null;
  return toEvent({
    id: row["id"] as MessageId,
    ...(conversation !== null && { conversation }),
    to: row["recipient"] as string,
    state: row["state"] as MessageState,
    delivered: row["delivered"] as number,
    read: row["read"] as number,
    members: row["members"] as number,
    timeMs: row["time_ms"] as number,
    ...(reason !== null && { reason }),
  });
}

function toEvent({ id, conversation, to, state, delivered, read, members, timeMs, reason }: Change): StateEvent {
  return {
    type: "state",
    id,
    ...(conversation !== undefined && { conversation }),
    to,
    state,
    delivered,
    read,
    members,
    time: timeText(timeMs),
    ...(reason !== undefined && { reason }),
  };
}

const TOLD = "states-told";
/** Of a direct conversation, whatever is known of its devices. */
const OTHERS = 1;
/** Changes kept for programs that are not running; older ones are forgotten, told or not. */
const STATES_KEPT = 10_000;
