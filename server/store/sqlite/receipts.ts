/** How far each device says, under its signature, that it has come: table `receipts`, one row a device and conversation. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import { SMALL_GROUP_USERS_MAX } from "../../../shared/limits.ts";
import type { ConversationId, DeviceId, OwnReceipt, Receipt, UserName } from "../../../shared/protocol/mod.ts";
import type { Notices } from "../notices.ts";
import { ConversationKind, RECEIPT_RECORDS_MAX } from "../groups.ts";
import { type Conversation, isMember, type Rows } from "./rows.ts";

export class Receipts {
  readonly #rows: Rows;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows) {
    this.#rows = rows;
    this.#sql = prepare(database);
  }

  /** Keeps what is newer, and moves the device's cursors with it. */
  set(user: UserName, key: DeviceId, receipts: readonly OwnReceipt[], notices: Notices): void {
    const device = this.#rows.device(key);
    if (device?.user !== user) return;
    for (const receipt of receipts) {
      const conversation = this.#rows.conversation(receipt.conversation);
      const stay = conversation && this.#rows.stay(conversation, user), { delivered, hash, read, signature } = receipt;
      if (conversation === undefined || stay === undefined || delivered > (stay.until ?? conversation.head)) continue;
      if (stay.until !== undefined) {
        this.#sql.setCursor.run(device.id, conversation.id, delivered);
        continue;
      }
      const isGroup = conversation.kind === ConversationKind.Group;
      const last = isGroup ? this.#sql.last.get(conversation.id, device.id) as Last | undefined : undefined;
      const { changes } = this.#sql.set.run(conversation.id, device.id, delivered, hash, read, signature);
      if (changes === 0) continue;
      this.#sql.setCursor.run(device.id, conversation.id, delivered);
      const members = isGroup ? this.#hearers(conversation, user, receipt, last) : conversation.members;
      notices.receipts({ receipt: { ...receipt, user, device: key }, members });
    }
  }

  /** Whether they are all of large groups: then they are many, and nobody waits for one of them. */
  areOfMany(receipts: readonly OwnReceipt[]): boolean {
    return receipts.every(({ conversation }) =>
      (this.#rows.conversation(conversation)?.members.length ?? 0) > SMALL_GROUP_USERS_MAX
    );
  }

  of(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Receipt[] {
    const receipts: Receipt[] = [];
    for (const [at, id] of conversations.entries()) {
      const conversation = this.#rows.conversation(id);
      if (conversation === undefined || !isMember(conversation, user)) continue;
      const behind = at === 0 && after !== undefined ? fromHex(after) : new Uint8Array();
      for (const row of this.#sql.of.iterate(conversation.id, behind, limit - receipts.length)) {
        receipts.push({
          conversation: id,
          user: row["name"] as UserName,
          device: (row["key"] as Uint8Array).toHex() as DeviceId,
          delivered: row["delivered"] as number,
          hash: row["hash"] as Uint8Array,
          read: row["read"] as number,
          signature: row["signature"] as Uint8Array,
        });
      }
      if (receipts.length >= limit) break;
    }
    return receipts;
  }

  /** In a group the device's own person, and those whose records it is about: were all told, each message would cost its members' square. */
  #hearers(
    conversation: Conversation,
    user: UserName,
    { delivered, read }: OwnReceipt,
    last: Last = { delivered: -1, read: 0 },
  ): UserName[] {
    const upto = delivered > last.delivered ? delivered : read;
    const after = Math.min(delivered > last.delivered ? last.delivered : upto, read > last.read ? last.read : upto);
    const rows = this.#sql.authors.all(conversation.id, Math.max(after, upto - RECEIPT_RECORDS_MAX), upto);
    const names = new Set([user, ...rows.map((row) => row["name"] as UserName)]);
    return [...names].filter((name) => isMember(conversation, name)).sort();
  }
}

type Last = Pick<OwnReceipt, "delivered" | "read">;

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    set: sql(
      `INSERT INTO receipts (conversation, device, delivered, hash, read, signature) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET
         delivered = excluded.delivered, hash = excluded.hash, read = excluded.read, signature = excluded.signature
       WHERE (excluded.delivered, excluded.read) > (delivered, read)`,
    ),
    last: sql("SELECT delivered, read FROM receipts WHERE conversation = ? AND device = ?"),
    authors: sql(
      `SELECT DISTINCT users.name FROM log
       JOIN devices ON devices.id = log.device JOIN users ON users.id = devices.user
       WHERE log.conversation = ? AND log.seq > ? AND log.seq <= ?`,
    ),
    setCursor: sql(
      `INSERT INTO cursors (device, conversation, seq) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq`,
    ),
    of: sql(
      `SELECT receipts.*, devices.key, users.name FROM receipts
       JOIN devices ON devices.id = receipts.device JOIN users ON users.id = devices.user
       WHERE receipts.conversation = ? AND devices.key > ? ORDER BY devices.key LIMIT ?`,
    ),
  };
}
