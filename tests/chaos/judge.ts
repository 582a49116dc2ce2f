/**
 * Judges a run by its evidence alone. PURE.
 *
 * Putting out a line and knowing that it was put out are two steps, and a kill can come between: the next process then puts
 * the same row out again, at the same position, as the client's contract says (`markShown`). Only that is a repeat
 * that does not count; it is reported as redrawn.
 */
import type { Acknowledged, Evidence, Shown, Typed } from "./evidence.ts";

/** What must be zero, in the order of the table. */
export const ZEROS = {
  lost: "typed, and not shown to its receiver or not in a history",
  duplicated: "shown, stored or kept more than once",
  outOfOrder: "shown, stored or kept before an earlier one of the same sender",
  acknowledgedMissing: "acknowledged as stored, and not in the store at that place",
  shownMissing: "shown, and not in the store at that place",
  changed: "shown or kept with another text than was typed, or typed by nobody",
  seqGaps: "numbers left out in the store's log",
  complaints: "refused rows, gaps and failures that a client told of",
  deaths: "processes that ended though nobody killed them",
} as const;

export type Zero = keyof typeof ZEROS;

export interface Verdict {
  readonly counts: Readonly<Record<Zero, number>>;
  /** Put out again after a kill, at the same position, before the client knew of the first time. */
  readonly redrawn: number;
  /** The first few that were found of each, in words. */
  readonly problems: readonly string[];
  readonly ok: boolean;
}

export function judge(evidence: Evidence): Verdict {
  return new Judge(evidence).verdict();
}

class Judge {
  readonly #evidence: Evidence;
  readonly #typed: ReadonlyMap<string, Typed>;
  /** `CONVERSATION/SEQ` → message id, as the store has it. */
  readonly #places = new Map<string, string>();
  readonly #counts = Object.fromEntries(Object.keys(ZEROS).map((zero) => [zero, 0])) as Record<Zero, number>;
  readonly #problems: string[] = [];
  /** Missing in several places is still lost once. */
  readonly #lost = new Set<string>();
  #redrawn = 0;

  constructor(evidence: Evidence) {
    this.#evidence = evidence;
    this.#typed = new Map(evidence.typed.map((typed) => [typed.key, typed]));
  }

  verdict(): Verdict {
    const { complaints, deaths } = this.#evidence;
    this.#judgeStore();
    this.#judgeAcknowledged();
    this.#judgeShown();
    this.#judgeKept();
    for (const complaint of complaints) this.#found("complaints", complaint);
    for (const death of deaths) this.#found("deaths", death);
    return {
      counts: this.#counts,
      redrawn: this.#redrawn,
      problems: this.#problems,
      ok: Object.values(this.#counts).every((count) => count === 0),
    };
  }

  #judgeStore(): void {
    const places = new Map<string, string>();
    for (const { conversation, rows } of this.#evidence.stored) {
      let next = 1;
      for (const { seq, id } of rows) {
        if (seq > next) {
          this.#found("seqGaps", `The log of ${conversation} goes from ${next - 1} to ${seq}`, seq - next);
        }
        if (seq < next) this.#found("outOfOrder", `The log of ${conversation} has ${seq} behind ${next - 1}`);
        next = Math.max(next, seq + 1);
        const place = `${conversation}/${seq}`, before = places.get(id);
        if (before !== undefined) this.#found("duplicated", `The store has ${id} at ${before} and at ${place}`);
        places.set(id, place);
        this.#places.set(place, id);
      }
    }
  }

  #judgeAcknowledged(): void {
    const first = new Map<string, Acknowledged>();
    for (const told of this.#evidence.acknowledged) {
      const { key, id, conversation, seq } = told;
      const before = first.get(key);
      if (before === undefined) first.set(key, told);
      // Told again, by the history as by the answer, is fine as long as both say the same.
      else if (before.id === id && before.conversation === conversation && before.seq === seq) continue;
      if (this.#places.get(`${conversation}/${seq}`) === id) {
        if (before === undefined) continue;
        this.#found("duplicated", `${key} was acknowledged at ${before.seq} and at ${seq}`);
      } else this.#found("acknowledgedMissing", `${key} was acknowledged as ${id} at ${seq} of ${conversation}`);
    }
    this.#judgeOrder([...first.values()].sort((a, b) => a.seq - b.seq), "stored");
  }

  #judgeShown(): void {
    const { shown, typed } = this.#evidence, seen = new Set<string>(), once: Shown[] = [];
    const isRedrawn = this.#redraws();
    for (const [at, row] of shown.entries()) {
      if (isRedrawn(at)) {
        this.#redrawn++;
        continue;
      }
      const { by, key, id, conversation, seq, hash } = row;
      this.#judgeText(by, key, hash, "shown");
      if (this.#places.get(`${conversation}/${seq}`) !== id) {
        this.#found("shownMissing", `${by} was shown ${key} as ${id} at ${seq} of ${conversation}`);
      }
      if (seen.has(key)) this.#found("duplicated", `${by} was shown ${key} again, at ${seq}`);
      else once.push(row);
      seen.add(key);
    }
    for (const { key, to } of typed) if (!seen.has(key)) this.#foundLost(key, `${to} was never shown ${key}`);
    this.#judgeOrder(once, "shown");
    const last = new Map<string, number>();
    for (const { by, key, conversation, seq } of once) {
      const lane = `${by}/${conversation}`;
      if (seq < (last.get(lane) ?? 0)) {
        this.#found("outOfOrder", `${by} was shown ${key} at ${seq} behind ${last.get(lane)}`);
      }
      last.set(lane, Math.max(seq, last.get(lane) ?? 0));
    }
  }

  /** Whether the row at an index was put out before, by a process that died before it knew. */
  #redraws(): (at: number) => boolean {
    const { shown, marked } = this.#evidence, first = new Map<string, Shown>(), redrawn = new Set<number>();
    for (const [at, row] of shown.entries()) {
      const place = `${row.by}/${row.position}`, before = first.get(place);
      if (before === undefined) {
        first.set(place, row);
        continue;
      }
      const isSame = before.id === row.id && before.key === row.key && before.hash === row.hash &&
        before.seq === row.seq;
      const wasKnown = marked.some(({ by, life, position }) =>
        by === row.by && life < row.life && position >= row.position
      );
      if (isSame && before.life < row.life && !wasKnown) redrawn.add(at);
    }
    return (at) => redrawn.has(at);
  }

  /** Both ends of a conversation have the store's log, row by row. */
  #judgeKept(): void {
    const logs = new Map(this.#evidence.stored.map(({ conversation, rows }) => [conversation, rows]));
    const kept = new Map<string, Set<string>>();
    const { acknowledged, shown } = this.#evidence, known = this.#evidence.kept.flatMap(({ rows }) => rows);
    const keys = new Map([...acknowledged, ...shown, ...known].map(({ id, key }) => [id, key]));
    for (const { by, conversation, rows } of this.#evidence.kept) {
      const seen = new Set<string>(), seqs = new Map(rows.map(({ seq, id }) => [seq, id]));
      for (const { key, hash } of rows) {
        this.#judgeText(by, key, hash, "kept");
        if (seen.has(key)) this.#found("duplicated", `The history of ${by} has ${key} twice`);
        seen.add(key);
      }
      for (const { seq, id, isCommit = false } of logs.get(conversation) ?? []) {
        if (!isCommit && seqs.get(seq) !== id) {
          this.#foundLost(keys.get(id) ?? id, `The history of ${by} has not ${id} at ${seq} of ${conversation}`);
        }
      }
      this.#judgeOrder(rows.map((row) => ({ ...row, by })), "kept");
      kept.set(by, new Set([...kept.get(by) ?? [], ...seen]));
    }
    for (const { key, from, to } of this.#evidence.typed) {
      for (const name of [from, to]) {
        if (!kept.get(name)?.has(key)) this.#foundLost(key, `The history of ${name} has not ${key}`);
      }
    }
  }

  #judgeText(by: string, key: string, hash: string, what: string): void {
    const typed = this.#typed.get(key);
    if (typed === undefined) this.#found("changed", `${by} was ${what} ${key}, which nobody typed`);
    else if (typed.hash !== hash) this.#found("changed", `${by} was ${what} ${key} with another text`);
  }

  /** What one person says to another keeps its order. */
  #judgeOrder(rows: readonly { readonly by: string; readonly key: string }[], what: string): void {
    const last = new Map<string, number>();
    for (const { by, key } of rows) {
      const typed = this.#typed.get(key);
      if (typed === undefined) continue;
      const lane = `${by}: ${typed.from}>${typed.to}`, before = last.get(lane) ?? 0;
      if (typed.n < before) this.#found("outOfOrder", `${by}: ${key} is ${what} behind number ${before}`);
      last.set(lane, Math.max(before, typed.n));
    }
  }

  #foundLost(key: string, problem: string): void {
    if (!this.#lost.has(key)) this.#found("lost", problem);
    this.#lost.add(key);
  }

  #found(zero: Zero, problem: string, count = 1): void {
    const before = this.#counts[zero];
    this.#counts[zero] = before + count;
    if (before < PROBLEMS_TOLD_MAX) this.#problems.push(`${zero}: ${problem}`);
  }
}

/** Of each kind. */
const PROBLEMS_TOLD_MAX = 5;
