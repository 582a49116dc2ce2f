/**
 * How many members of a group have each message of this person: table `tallies`, a row a message, moved on by what a receipt newly
 * covers. Counting a message's members anew for each receipt would cost a group of a thousand the square of that for each message.
 *
 * A row whose `members` is negative is out of date: who is in the group changed behind its back. It is counted anew before it is
 * moved, and meanwhile not believed. Methods run inside the caller's transaction.
 */
import type { ConversationId, DeviceId, UserName } from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";

/** How many members have a message, and how many say that they have read it; of how many. */
export interface Counts {
  readonly delivered: number;
  readonly read: number;
  /** Members but oneself. */
  readonly members: number;
}

/** How far a device of a member has come. */
export interface Step {
  readonly device: DeviceId;
  readonly member: UserName;
  readonly delivered: number;
  readonly read: number;
}

export class Tallies {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** A message of this person has that place. */
  begin(conversation: ConversationId, seq: number): void {
    this.#db.run("INSERT OR IGNORE INTO tallies (conversation, seq) VALUES (?, ?)", conversation, seq);
    this.#count(conversation, seq);
  }

  /** What is known of a message; `undefined` where nothing is, or not any more. */
  get(conversation: ConversationId, seq: number): Counts | undefined {
    const row = this.#db.get(
      "SELECT delivered, read, members FROM tallies WHERE conversation = ? AND seq = ? AND members >= 0",
      conversation,
      seq,
    );
    return row && {
      delivered: row["delivered"] as number,
      read: row["read"] as number,
      members: row["members"] as number,
    };
  }

  /** Who is counted for messages from that place on has changed. */
  outdate(conversation: ConversationId, from: number): void {
    this.#db.run("UPDATE tallies SET members = -1 WHERE conversation = ? AND seq >= ?", conversation, from);
  }

  /** How far a device has come, and no tally with it; never back. */
  keep(conversation: ConversationId, { device, member, delivered, read }: Step): void {
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
  }

  /**
   * Devices have come further; never back. Writes `receipts` too.
   *
   * @returns Places of messages that more members have now than before, in order.
   */
  moved(conversation: ConversationId, steps: readonly Step[]): number[] {
    const isNew = this.#newSteps(conversation, farthest(steps));
    if (isNew.length === 0) return [];
    let first = Infinity, last = 0;
    for (const { before, delivered, read } of isNew) {
      first = Math.min(first, delivered > before.delivered ? before.delivered : before.read);
      first = Math.min(first, read > before.read ? before.read : first);
      last = Math.max(last, delivered, read);
    }
    for (const row of this.#outdated(conversation, first, last)) this.#count(conversation, row);
    const touched = new Set<number>();
    for (const { before, device, member, delivered, read, since, until } of isNew) {
      this.keep(conversation, { device, member, delivered, read });
      if (since === null) continue;
      const range = { conversation, device, member, from: since, before: until ?? Number.MAX_SAFE_INTEGER };
      this.#add("delivered", { ...range, after: before.delivered, upTo: delivered }, touched);
      this.#add("read", { ...range, after: before.read, upTo: read }, touched);
    }
    return [...touched].sort((a, b) => a - b);
  }

  /** Counts a message anew, from what each device said. */
  counted(conversation: ConversationId, seq: number): Counts {
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
      members: row["members"] as number,
    };
  }

  /** Steps that lead further, with what was known of their devices. */
  #newSteps(conversation: ConversationId, steps: Iterable<Step>) {
    return [...steps].flatMap((step) => {
      const row = this.#db.get(
        "SELECT member, since, until, delivered, read FROM receipts WHERE conversation = ? AND device = ?",
        conversation,
        step.device,
      );
      const since = row?.["since"] as number | null ?? null, until = row?.["until"] as number | null ?? null;
      // Whose device it is was not known yet: from now on it counts.
      if (since !== null && row!["member"] !== step.member) {
        const { member, device } = step;
        this.#db.run(
          "UPDATE receipts SET member = ? WHERE conversation = ? AND device = ?",
          member,
          conversation,
          device,
        );
        this.outdate(conversation, since);
      }
      const before = { delivered: row?.["delivered"] as number ?? 0, read: row?.["read"] as number ?? 0 };
      const isNew = row === undefined || row["member"] === null || step.delivered > before.delivered ||
        step.read > before.read;
      return isNew ? [{ ...step, before, since, until }] : [];
    });
  }

  /** One more for each message of a stretch that the member has by no other device. */
  #add(
    what: "delivered" | "read",
    { conversation, device, member, after, upTo, from, before }: {
      readonly conversation: ConversationId;
      readonly device: DeviceId;
      readonly member: UserName;
      readonly after: number;
      readonly upTo: number;
      readonly from: number;
      readonly before: number;
    },
    touched: Set<number>,
  ): void {
    if (upTo <= after) return;
    const rows = this.#db.all(
      `UPDATE tallies SET ${what} = ${what} + 1
       WHERE conversation = ?1 AND seq > ?2 AND seq <= ?3 AND seq >= ?4 AND seq < ?5 AND members >= 0 AND NOT EXISTS (
         SELECT 1 FROM receipts INDEXED BY receipts_member WHERE conversation = ?1 AND member = ?6 AND device <> ?7 AND receipts.${what} >= tallies.seq
         AND since <= tallies.seq AND (until IS NULL OR until > tallies.seq))
       RETURNING seq`,
      conversation,
      after,
      upTo,
      from,
      before,
      member,
      device,
    );
    for (const row of rows) touched.add(row["seq"] as number);
  }

  #outdated(conversation: ConversationId, after: number, upTo: number): number[] {
    return this.#db.all(
      "SELECT seq FROM tallies WHERE conversation = ? AND seq > ? AND seq <= ? AND members < 0",
      conversation,
      after,
      upTo,
    ).map((row) => row["seq"] as number);
  }

  #count(conversation: ConversationId, seq: number): void {
    const { delivered, read, members } = this.counted(conversation, seq);
    this.#db.run(
      "UPDATE tallies SET delivered = ?, read = ?, members = ? WHERE conversation = ? AND seq = ?",
      delivered,
      read,
      members,
      conversation,
      seq,
    );
  }
}

/** One step a device. */
function farthest(steps: readonly Step[]): Iterable<Step> {
  const byDevice = new Map<DeviceId, Step>();
  for (const step of steps) {
    const { device } = step, other = byDevice.get(device);
    const delivered = Math.max(step.delivered, other?.delivered ?? 0), read = Math.max(step.read, other?.read ?? 0);
    byDevice.set(device, { ...step, delivered, read });
  }
  return byDevice.values();
}
