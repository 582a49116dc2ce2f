/**
 * What a restored database leaves out: tables `restores` and `leaps`.
 *
 * A backup is older than what its clients have seen. Were the numbers behind it given out again, a device that had read them would
 * take new messages for old ones. So every conversation leaps: its numbers go on behind a base that no restore before or after this
 * one uses, and whoever reads at the edge is told of it. Conversations made later begin behind the base too (a trigger sees to it),
 * for devices may remember one of which the backup knows nothing.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Restored } from "../store.ts";

/** When the copy was made and when it became the database again: milliseconds since 1970. */
export interface Restore {
  readonly madeMs: number;
  readonly restoredMs: number;
}

/**
 * Makes every conversation leap. Once for each restore, by the holder of a write transaction, before anybody serves.
 *
 * @returns The base: the first number given out is the one behind it.
 */
export function leap(database: DatabaseSync, { madeMs, restoredMs }: Restore): number {
  const highest = numberOf(
    database,
    "SELECT max(coalesce((SELECT max(head) FROM conversations), 0), coalesce((SELECT max(base) FROM restores), 0))",
  );
  // By the clock, for what else knows of numbers that another restore of the same copy gave out? A clock that was set back leaps too.
  const byClock = restoredMs * NUMBERS_PER_MS, base = byClock > highest ? byClock : highest + CLOCK_BACK_NUMBERS;
  database.prepare("INSERT INTO restores VALUES (?, ?, ?)").run(base, madeMs, restoredMs);
  // Where nothing was said since the last leap, both are one.
  database.prepare("UPDATE leaps SET upto = ? WHERE upto = (SELECT head FROM conversations WHERE id = conversation)")
    .run(base);
  database.prepare(
    `INSERT INTO leaps SELECT id, head, ? FROM conversations
     WHERE NOT EXISTS (SELECT 1 FROM leaps WHERE conversation = id AND upto = ?)`,
  ).run(base, base);
  database.prepare("UPDATE conversations SET head = ?").run(base);
  return base;
}

/** The leap that a reader meets first behind a number. */
export interface LeapAhead extends Restored {
  /** The last number that was left out. */
  readonly upto: number;
}

export class Leaps {
  readonly #next: StatementSync;

  constructor(database: DatabaseSync) {
    this.#next = database.prepare(
      `SELECT after, upto, made_ms, restored_ms FROM leaps JOIN restores ON base = upto
       WHERE conversation = ? AND upto > ? ORDER BY after LIMIT 1`,
    );
  }

  /** @param conversation Its row's id. */
  next(conversation: number, behind: number): LeapAhead | undefined {
    const row = this.#next.get(conversation, behind);
    return row && {
      kept: row["after"] as number,
      upto: row["upto"] as number,
      madeMs: row["made_ms"] as number,
      restoredMs: row["restored_ms"] as number,
    };
  }
}

function numberOf(database: DatabaseSync, query: string): number {
  return Object.values(database.prepare(query).get()!)[0] as number;
}

/** Faster than any conversation; a base takes less than 48 bits until 2059, and less than a safe integer for long after. */
const NUMBERS_PER_MS = 100;
/** Where the clock is behind what it was: nearly three hours of it. */
const CLOCK_BACK_NUMBERS = 1_000_000_000;
