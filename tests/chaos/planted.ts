/**
 * Faults planted into the evidence of a run that was clean: the judge has to find each of them, or its zeros mean nothing. PURE.
 */
import type { Evidence } from "./evidence.ts";
import { judge, type Zero } from "./judge.ts";

export interface PlantedEvidence {
  readonly name: string;
  /** What the judge has to count. */
  readonly expect: Zero;
  /** @returns `undefined` where the evidence has no room for it. */
  plant(evidence: Evidence): Evidence | undefined;
}

export const PLANTED: readonly PlantedEvidence[] = [
  {
    name: "a message is not shown",
    expect: "lost",
    plant: (evidence) => ({ ...evidence, shown: without(evidence.shown, middle(evidence.shown)) }),
  },
  {
    name: "a message is shown twice",
    expect: "duplicated",
    plant(evidence) {
      const row = evidence.shown[middle(evidence.shown)]!;
      return { ...evidence, shown: [...evidence.shown, { ...row, position: END }] };
    },
  },
  {
    name: "a message is shown again by a process that knew",
    expect: "duplicated",
    plant(evidence) {
      const row = evidence.shown[middle(evidence.shown)]!, { by, life, position } = row;
      return {
        ...evidence,
        shown: [...evidence.shown, { ...row, life: life + END }],
        marked: [...evidence.marked, { by, life, position }],
      };
    },
  },
  {
    name: "two messages of one sender change places",
    expect: "outOfOrder",
    plant(evidence) {
      const { shown } = evidence, laneOf = (at: number) => shown[at]!.key.split("#")[0];
      for (let at = middle(shown); at < shown.length; at++) {
        const next = shown.findIndex((_, other) => other > at && laneOf(other) === laneOf(at));
        if (next < 0 || shown[next]!.key === shown[at]!.key) continue;
        return { ...evidence, shown: shown.with(at, shown[next]!).with(next, shown[at]!) };
      }
    },
  },
  {
    name: "an acknowledged message is not in the store",
    expect: "acknowledgedMissing",
    plant: (evidence) => inFirstLog(evidence, (rows) => rows.slice(0, -1)),
  },
  {
    name: "a message was shown and is not in the store",
    expect: "shownMissing",
    plant: (evidence) => inFirstLog({ ...evidence, acknowledged: [] }, (rows) => rows.slice(0, -1)),
  },
  {
    name: "the store has a message twice",
    expect: "duplicated",
    plant: (evidence) => inFirstLog(evidence, (rows) => [...rows, { seq: rows.length + 1, id: rows[0]!.id }]),
  },
  {
    name: "the store left a number out",
    expect: "seqGaps",
    plant: (evidence) =>
      inFirstLog(evidence, (rows) => [...rows.slice(0, -1), { ...rows.at(-1)!, seq: rows.length + 1 }]),
  },
  {
    name: "a text is not what was typed",
    expect: "changed",
    plant(evidence) {
      const at = middle(evidence.shown);
      return { ...evidence, shown: evidence.shown.with(at, { ...evidence.shown[at]!, hash: "another" }) };
    },
  },
  {
    name: "a history lacks a message",
    expect: "lost",
    plant(evidence) {
      const at = evidence.kept.findIndex(({ rows }) => rows.length > 0), kept = evidence.kept[at];
      return kept && { ...evidence, kept: evidence.kept.with(at, { ...kept, rows: kept.rows.slice(1) }) };
    },
  },
];

/** @returns The names of those that the judge is blind to. */
export function blindTo(evidence: Evidence): string[] {
  return PLANTED.filter(({ plant, expect }) => {
    const planted = plant(evidence);
    return planted !== undefined && judge(planted).counts[expect] === 0;
  }).map(({ name }) => name);
}

function inFirstLog(
  evidence: Evidence,
  change: (rows: Evidence["stored"][number]["rows"]) => Evidence["stored"][number]["rows"],
): Evidence | undefined {
  const at = evidence.stored.findIndex(({ rows }) => rows.length > 1), log = evidence.stored[at];
  return log && { ...evidence, stored: evidence.stored.with(at, { ...log, rows: change(log.rows) }) };
}

function middle(list: readonly unknown[]): number {
  return list.length >> 1;
}

function without<T>(list: readonly T[], at: number): T[] {
  return list.filter((_, other) => other !== at);
}

const END = 1_000_000_000;
