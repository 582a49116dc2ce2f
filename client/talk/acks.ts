/**
 * At-least-once delivery to scripts: what was handed to one is handed out again until it is acknowledged. Table `deliveries`.
 *
 * A row is there from the first handing out until the acknowledgement, so the table is as long as what is under way. It is a
 * lease: one listener has a message at a time, and gives it back by acknowledgement, by ending, or by letting its time pass.
 * Apart from where it begins this has nothing to do with what people were shown ({@linkcode History.shown}).
 */
import type { ConversationId, MessageId } from "../../shared/protocol/mod.ts";
import type { Database, Row } from "../home/database.ts";
import type { Shown } from "./shown.ts";
import { type Positioned, toPositioned } from "./message_row.ts";

/** A message handed out. */
export interface Delivery extends Positioned {
  /** How often it was handed out, this time included. At 1 nobody can have seen it before. */
  readonly attempt: number;
}

/** What is acknowledged: an id names one message, unless somebody used it twice. */
export interface AckTarget {
  readonly id: MessageId;
  /** Where it stands, for whoever has the whole event: that is never ambiguous. */
  readonly place?: { readonly conversation: ConversationId; readonly seq: number };
}

/**
 * What became of an acknowledgement. `already`: it was acknowledged before, which is no mistake. `waiting`: it is here, and was
 * not handed out yet. `ambiguous`: several messages under way have this id; their place tells them apart.
 */
export type AckState = "acknowledged" | "already" | "waiting" | "ambiguous" | "unknown";

export interface TakeOptions {
  /** The listener's number (listener_slot.ts). */
  readonly holder: number;
  /** How long it may have it before it is handed out again. */
  readonly leaseMs: number;
  /** Messages that one listener may have at a time. */
  readonly window: number;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

export class Acks {
  readonly #db: Database;
  readonly #shown: Shown;

  constructor(database: Database, shown: Shown) {
    this.#db = database;
    this.#shown = shown;
  }

  /** A script listens: at the very first time everything from now on is for it, behind what was shown in this home before. */
  begin(): void {
    if (this.#db.meta(HANDED) !== undefined) return;
    this.#db.transaction(() => {
      if (this.#db.meta(HANDED) === undefined) this.#setHanded(this.#shown.upTo());
    });
  }

  /**
   * Hands out the oldest message that nobody has: one whose lease is over, else the next one that was never handed out.
   *
   * @returns `undefined` where there is none, or this listener has as many as it may.
   */
  take(options: TakeOptions): Delivery | undefined {
    // Asked often and mostly in vain: that should write nothing and wake nobody.
    if (this.#next(options) === undefined) return undefined;
    return this.#db.transaction(() => {
      const row = this.#next(options);
      if (row === undefined) return undefined;
      const { holder, leaseMs, nowMs } = options, position = row["position"] as number;
      this.#db.run(
        `INSERT INTO deliveries (position, attempts, holder, until_ms) VALUES (?, 1, ?, ?)
         ON CONFLICT DO UPDATE SET attempts = attempts + 1, holder = excluded.holder, until_ms = excluded.until_ms`,
        position,
        holder,
        nowMs + leaseMs,
      );
      if (position > this.#handed()) this.#setHanded(position);
      return { ...toPositioned(row, this.#db), attempt: (row["attempts"] as number | null ?? 0) + 1 };
    });
  }

  /** Whoever has them is done with them; all in one transaction, answered in their order. */
  acknowledge(targets: readonly AckTarget[]): AckState[] {
    if (targets.length === 0) return [];
    return this.#db.transaction(() => targets.map((target) => this.#acknowledge(target)));
  }

  /** {@linkcode acknowledge} for what has no id: a refused row, which was put out. */
  settle(position: number): void {
    this.#db.transaction(() => this.#db.run("DELETE FROM deliveries WHERE position = ?", position));
  }

  /** A listener has ended: what it had is free for the next one, now. */
  release(holder: number): void {
    if (this.#db.closed) return;
    if (this.#db.get("SELECT 1 FROM deliveries WHERE holder = ?", holder) === undefined) return;
    this.#db.transaction(() =>
      this.#db.run("UPDATE deliveries SET holder = NULL, until_ms = NULL WHERE holder = ?", holder)
    );
  }

  /** Listeners that have something, dead ones among them. */
  holders(): number[] {
    return this.#db.all("SELECT DISTINCT holder FROM deliveries WHERE holder IS NOT NULL ORDER BY holder")
      .map((row) => row["holder"] as number);
  }

  /** When the next lease ends; milliseconds since 1970. */
  nextFreeMs(): number | undefined {
    return this.#db.get("SELECT min(until_ms) AS until FROM deliveries")!["until"] as number | null ?? undefined;
  }

  #next({ holder, window, nowMs }: TakeOptions): Row | undefined {
    const held = this.#db.get(
      "SELECT count(*) AS count FROM deliveries WHERE holder = ? AND until_ms > ?",
      holder,
      nowMs,
    )!["count"] as number;
    if (held >= window) return undefined;
    return this.#db.get(
      `SELECT m.*, d.attempts FROM deliveries d JOIN messages m ON m.position = d.position
       WHERE d.until_ms IS NULL OR d.until_ms <= ? ORDER BY d.position LIMIT 1`,
      nowMs,
    ) ?? this.#db.get(
      "SELECT *, NULL AS attempts FROM messages WHERE position > ? AND own = 0 ORDER BY position LIMIT 1",
      this.#handed(),
    );
  }

  #acknowledge({ id, place }: AckTarget): AckState {
    // A refused row's id is only a claim: it must not take the acknowledgement of a message that was shown.
    const rows = this.#db.all(
      `SELECT m.position, m.conversation, m.seq, d.position IS NOT NULL AS open FROM messages m
       LEFT JOIN deliveries d ON d.position = m.position WHERE m.id = ? AND m.own = 0 AND m.text IS NOT NULL AND m.kind = 1`,
      id,
    ).filter((row) => !place || (row["conversation"] === place.conversation && row["seq"] === place.seq));
    const open = rows.filter((row) => row["open"] === 1);
    if (open.length > 1) return "ambiguous";
    if (open.length === 1) {
      this.#db.run("DELETE FROM deliveries WHERE position = ?", open[0]!["position"] as number);
      return "acknowledged";
    }
    if (rows.length === 0) return "unknown";
    return rows.some((row) => (row["position"] as number) <= this.#handed()) ? "already" : "waiting";
  }

  /** Every position up to here was handed out, or was shown before any script asked. */
  #handed(): number {
    return Number(this.#db.meta(HANDED) ?? 0);
  }

  #setHanded(position: number): void {
    this.#db.setMeta(HANDED, String(position));
  }
}

const HANDED = "handed";
