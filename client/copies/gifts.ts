/**
 * What this home is to hand to new devices and has not yet: table `gifts`, a row for each conversation and device. A row is there
 * from the transaction that says that the device is in until the server has the whole bundle, so nothing is forgotten whatever dies.
 */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import type { Database, Row } from "../home/database.ts";

/** A bundle that is due, or will be. */
export interface Gift {
  readonly conversation: ConversationId;
  /** For whom. */
  readonly user: UserName;
  readonly device: DeviceId;
  readonly bundle: MessageId;
  /** Not before this; milliseconds since 1970. */
  readonly dueMs: number;
  readonly madeMs: number;
  /** What a person asked for goes back to here, and is given whatever others gave; else the group says how far back, and one bundle is enough. */
  readonly sinceMs: number | undefined;
  /** Nothing from behind this place: the device has that itself. */
  readonly upTo: number;
  /** Parts that the server has. */
  readonly sent: number;
}

export class Gifts {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** To be given: in place of one for the same device that is on its way. Runs inside the caller's transaction. */
  plan(gift: Omit<Gift, "sent">): void {
    this.#db.run(
      `INSERT OR REPLACE INTO gifts (conversation, user, device, bundle, due_ms, made_ms, since_ms, up_to, sent)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)`,
      gift.conversation,
      gift.user,
      gift.device,
      gift.bundle,
      gift.dueMs,
      gift.madeMs,
      gift.sinceMs ?? null,
      gift.upTo,
    );
  }

  /** In the order in which they are due. */
  all(): Gift[] {
    return this.#db.all("SELECT * FROM gifts ORDER BY due_ms, conversation").map(toGift);
  }

  /** Whether something is still to be given to a device. */
  has(device: DeviceId): boolean {
    return this.#db.get("SELECT 1 FROM gifts WHERE device = ?", device) !== undefined;
  }

  /** The server has so many parts of it. */
  sent(gift: Gift, sent: number): void {
    this.#change(() => this.#db.run("UPDATE gifts SET sent = ? WHERE device = ? AND bundle = ?", sent, ...keyOf(gift)));
  }

  /** Not before then. */
  postpone(gift: Gift, dueMs: number): void {
    this.#change(() =>
      this.#db.run("UPDATE gifts SET due_ms = ? WHERE device = ? AND bundle = ?", dueMs, ...keyOf(gift))
    );
  }

  /** Given, or not to be given. */
  drop(gift: Gift): void {
    this.#change(() => this.#db.run("DELETE FROM gifts WHERE device = ? AND bundle = ?", ...keyOf(gift)));
  }

  /** Those of so long ago that nobody waits for them. */
  forget(beforeMs: number): void {
    if (this.#db.get("SELECT 1 FROM gifts WHERE made_ms < ?", beforeMs) === undefined) return;
    this.#change(() => this.#db.run("DELETE FROM gifts WHERE made_ms < ?", beforeMs));
  }

  #change(run: () => void): void {
    if (this.#db.isTransaction) run();
    else this.#db.transaction(run);
  }
}

function keyOf({ device, bundle }: Gift): [DeviceId, MessageId] {
  return [device, bundle];
}

function toGift(row: Row): Gift {
  return {
    conversation: row["conversation"] as ConversationId,
    user: row["user"] as UserName,
    device: row["device"] as DeviceId,
    bundle: row["bundle"] as MessageId,
    dueMs: row["due_ms"] as number,
    madeMs: row["made_ms"] as number,
    sinceMs: row["since_ms"] as number | null ?? undefined,
    upTo: row["up_to"] as number,
    sent: row["sent"] as number,
  };
}
