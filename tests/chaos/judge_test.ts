import assert from "node:assert/strict";
import type { Evidence, Shown } from "./evidence.ts";
import { judge, type Zero } from "./judge.ts";
import { blindTo, PLANTED } from "./planted.ts";

Deno.test("judge() counts nothing where everything is as it should be", () => {
  const verdict = judge(clean());
  assert.deepEqual(verdict.problems, []);
  assert.ok(verdict.ok);
  assert.ok(Object.values(verdict.counts).every((count) => count === 0));
});

for (const { name, expect, plant } of PLANTED) {
  Deno.test(`judge() finds what is planted: ${name}`, () => {
    const planted = plant(clean());
    assert.ok(planted);
    const verdict = judge(planted);
    assert.ok(verdict.counts[expect] > 0);
    assert.equal(verdict.ok, false);
    assert.ok(verdict.problems.some((problem) => problem.startsWith(expect)));
  });
}

Deno.test("blindTo() names what a judge would miss, and this one misses nothing", () => {
  assert.deepEqual(blindTo(clean()), []);
});

Deno.test("judge() counts one message that is missing everywhere as one that is lost", () => {
  const { kept, ...evidence } = clean();
  const missing = evidence.shown[3]!.key;
  counts({
    ...evidence,
    shown: evidence.shown.filter(({ key }) => key !== missing),
    kept: kept.map((one) => ({ ...one, rows: one.rows.filter(({ key }) => key !== missing) })),
  }, { lost: 1 });
});

Deno.test("judge() looks for no commit in histories, and for everything else", () => {
  const [log] = clean().stored, rows = [...log!.rows, { seq: 7, id: "m7" }];
  counts({ ...clean(), stored: [{ ...log!, rows: rows.with(6, { seq: 7, id: "m7", isCommit: true }) }] }, {});
  counts({ ...clean(), stored: [{ ...log!, rows }] }, { lost: 1 });
});

Deno.test("judge() lets a row be drawn again after a kill, at its place, until the client knew that it was out", () => {
  const evidence = clean(), row = evidence.shown[2]!, again: Shown = { ...row, life: 2 };
  const shown = [...evidence.shown.slice(0, 3), again, ...evidence.shown.slice(3)];
  const marked = evidence.marked.filter(({ by, position }) => by !== row.by || position < row.position);
  const verdict = judge({ ...evidence, shown, marked });
  assert.ok(verdict.ok, verdict.problems.join());
  assert.equal(verdict.redrawn, 1);
  counts({ ...evidence, shown }, { duplicated: 1 });
  // Another place, another text or the same process: none of them is drawing again.
  const but = (change: Partial<Shown>) => ({ ...evidence, shown: shown.with(3, { ...again, ...change }), marked });
  counts(but({ position: 99 }), { duplicated: 1 });
  counts(but({ life: 1 }), { duplicated: 1 });
  counts(but({ hash: "other" }), { duplicated: 1, changed: 1 });
});

Deno.test("judge() counts complaints, deaths, and what nobody typed", () => {
  counts({ ...clean(), complaints: ["bob: a row is refused"], deaths: ["Server 0 ended"] }, {
    complaints: 1,
    deaths: 1,
  });
  const evidence = clean(), { shown } = evidence;
  counts({ ...evidence, shown: shown.with(0, { ...shown[0]!, key: "mallory>bob#1" }) }, { changed: 1, lost: 1 });
});

Deno.test("judge() finds a message that was acknowledged at two places", () => {
  const evidence = clean(), told = evidence.acknowledged[0]!;
  counts({ ...evidence, acknowledged: [...evidence.acknowledged, told] }, {});
  counts({ ...evidence, acknowledged: [...evidence.acknowledged, { ...told, seq: told.seq + 1 }] }, {
    acknowledgedMissing: 1,
  });
  const second = evidence.acknowledged[1]!;
  counts({ ...evidence, acknowledged: [...evidence.acknowledged, { ...second, key: told.key }] }, { duplicated: 1 });
});

function counts(evidence: Evidence, expected: Partial<Record<Zero, number>>): void {
  const found = Object.entries(judge(evidence).counts).filter(([, count]) => count > 0);
  assert.deepEqual(Object.fromEntries(found), expected);
}

/** Alice and Bob, three messages each way, taking turns. */
function clean(): Evidence {
  const conversation = "c1";
  const rows = [1, 2, 3, 4, 5, 6].map((seq) => {
    const [from, to] = seq % 2 === 1 ? ["alice", "bob"] as const : ["bob", "alice"] as const, n = Math.ceil(seq / 2);
    return { seq, id: `m${seq}`, key: `${from}>${to}#${n}`, hash: `h${seq}`, from, to, n };
  });
  const kept = rows.map(({ seq, id, key, hash }) => ({ seq, id, key, hash }));
  return {
    typed: rows.map(({ key, from, to, n, hash }) => ({ key, from, to, n, hash })),
    acknowledged: rows.map(({ from, key, id, seq }) => ({ by: from, key, id, conversation, seq })),
    shown: rows.map(({ to, key, hash, id, seq }) => ({
      by: to,
      life: 1,
      position: seq,
      key,
      hash,
      id,
      conversation,
      seq,
    })),
    marked: rows.map(({ to, seq }) => ({ by: to, life: 1, position: seq })),
    kept: [{ by: "alice", conversation, rows: kept }, { by: "bob", conversation, rows: kept }],
    stored: [{ conversation, rows: rows.map(({ seq, id }) => ({ seq, id })) }],
    complaints: [],
    deaths: [],
  };
}
