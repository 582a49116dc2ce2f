/**
 * What became of the messages that this person sent: tables `receipts` (how far the members' devices say that they have come,
 * each word of theirs verified before it gets here) and `states` (every change, in order, until a program has been told).
 *
 * A state is not stored but follows: a member has a message where one of the devices that it was sealed for says so.
 */
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import { groupAddress } from "./addresses.ts";
import type { Database, Row } from "./database.ts";
import type { MessageState, StateEvent } from "./events.ts";
import { timeText } from "./history.ts";

/** How many members have a message, and how many say that they have read it; of how many. */
export interface Counts {
  readonly delivered: number;
  readonly read: number;
  /** Members but oneself. */
  readonly members: number;
}

/** What one device says. */
export interface Progress {
  readonly delivered: number;
  readonly read: number;
}

/** Methods that change something run inside the caller's transaction. */
export class States {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** A message of this home has its place. @param devices Those that it was sealed for. */
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
    this.sealedFor(conversation, seq, devices);
    const counts = this.counts(conversation, seq);
    const none = { ...counts, delivered: 0, read: 0 };
    this.#append({ id, conversation, to, state: "stored", ...none, timeMs });
    // Who has it may have been quicker than the answer.
    const state = stateOf(counts);
    if (counts.delivered > 0) this.#append({ id, conversation, to, state, ...counts, timeMs });
  }

  /** A message of this person was sealed for those devices: from here on their word counts. */
  sealedFor(conversation: ConversationId, seq: number, devices: readonly DeviceId[]): void {
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
    const there = new Set(devices.map(({ device }) => device));
    const known = new Map(
      this.#db.all(
        "SELECT device FROM receipts WHERE conversation = ? AND member IS NOT NULL AND since IS NOT NULL AND until IS NULL",
        conversation,
      ).map((row) => [row["device"] as DeviceId, row]),
    );
    for (const { user, device } of devices) {
      if (known.has(device)) continue;
      // Whoever comes back has what was sealed before, and not what was sealed meanwhile: that is not worth a second row.
      this.#db.run(
        `INSERT INTO receipts (conversation, device, member, since) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET member = excluded.member, since = coalesce(since, excluded.since), until = NULL`,
        conversation,
        device,
        user,
        seq,
      );
    }
    for (const device of known.keys()) {
      if (there.has(device)) continue;
      this.#db.run("UPDATE receipts SET until = ? WHERE conversation = ? AND device = ?", seq, conversation, device);
    }
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

  /** A device of a member has come further; never back. */
  moved(
    conversation: ConversationId,
    { device, member, delivered, read, timeMs }: Progress & { device: DeviceId; member: UserName; timeMs: number },
  ): void {
    const before = this.progress(conversation, device) ?? { delivered: 0, read: 0 };
    const first = Math.min(
      delivered > before.delivered ? before.delivered : Infinity,
      read > before.read ? before.read : Infinity,
    );
    const sent = first === Infinity ? [] : this.#db.all(
      `SELECT id, seq, recipient FROM messages
       WHERE conversation = ? AND seq > ? AND seq <= ? AND own = 1 AND text IS NOT NULL
         AND kind = 1 AND id NOT IN (SELECT id FROM outbox) ORDER BY seq`,
      conversation,
      first,
      Math.max(delivered, read),
    ).map((row) => ({ row, was: this.counts(conversation, row["seq"] as number) }));
    this.#db.run(
      `INSERT INTO receipts (conversation, device, member, delivered, read) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET member = excluded.member, delivered = max(delivered, excluded.delivered),
         read = max(read, excluded.read)`,
      conversation,
      device,
      member,
      delivered,
      read,
    );
    for (const { row, was } of sent) {
      const now = this.counts(conversation, row["seq"] as number);
      if (now.delivered === was.delivered && now.read === was.read) continue;
      this.#append({
        id: row["id"] as MessageId,
        conversation,
        to: this.#addressOf(conversation, row),
        state: stateOf(now),
        ...now,
        timeMs,
      });
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
    const row = this.#db.get(
      `SELECT coalesce(sum(has), 0) AS delivered, coalesce(sum(knows), 0) AS read, count(*) AS members FROM (
         SELECT max(delivered >= ?) AS has, max(read >= ?) AS knows FROM receipts
         WHERE conversation = ? AND member IS NOT NULL AND since <= ? AND (until IS NULL OR until > ?) GROUP BY member)`,
      seq,
      seq,
      conversation,
      seq,
      seq,
    )!;
    return {
      delivered: row["delivered"] as number,
      read: row["read"] as number,
      members: this.#isGroup(conversation) ? row["members"] as number : OTHERS,
    };
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
