import assert from "node:assert/strict";
import { KILLS, makePlan } from "./plan.ts";

const OPTIONS = { messages: 2_000, people: 8, kinds: KILLS, killsEach: 4 };

Deno.test("makePlan() is decided by its seed", () => {
  assert.deepEqual(makePlan({ ...OPTIONS, seed: 7 }), makePlan({ ...OPTIONS, seed: 7 }));
  assert.notDeepEqual(makePlan({ ...OPTIONS, seed: 7 }).kills, makePlan({ ...OPTIONS, seed: 8 }).kills);
});

Deno.test("makePlan() gives as many lines as asked, numbered without gaps from one person to another, and everybody has some", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { lines, names } = makePlan({ ...OPTIONS, seed }), last = new Map<string, number>();
    assert.equal(lines.length, OPTIONS.messages);
    for (const { key, from, to, n, text } of lines) {
      assert.equal(n, (last.get(`${from}>${to}`) ?? 0) + 1);
      last.set(`${from}>${to}`, n);
      assert.equal(key, `${from}>${to}#${n}`);
      assert.ok(text.startsWith(`${key} `) && text.isWellFormed());
    }
    for (const name of names) assert.ok(lines.some(({ from }) => from === name), `${name} is silent under ${seed}`);
  }
});

Deno.test("makePlan() kills as often as asked, of each kind asked for, while people talk", () => {
  const { kills } = makePlan({ ...OPTIONS, kinds: ["leader", "client"], seed: 3 });
  assert.deepEqual(
    kills.map(({ afterTyped }) => afterTyped),
    kills.map(({ afterTyped }) => afterTyped).sort((a, b) => a - b),
  );
  for (const kind of KILLS) {
    assert.equal(kills.filter((kill) => kill.kind === kind).length, kind === "leader" || kind === "client" ? 4 : 0);
  }
  assert.ok(kills.every(({ afterTyped }) => afterTyped >= 60 && afterTyped < 1_800));
});

Deno.test("makePlan() has names for 2 to 16 people", () => {
  assert.equal(makePlan({ ...OPTIONS, people: 16, seed: 1 }).names.length, 16);
  assert.throws(() => makePlan({ ...OPTIONS, people: 17, seed: 1 }), RangeError);
  assert.throws(() => makePlan({ ...OPTIONS, people: 1, seed: 1 }), RangeError);
});
