import assert from "node:assert/strict";
import fc from "fast-check";
import { Turns } from "../../../client/talk/turns.ts";

Deno.test("Turns.take() gives everything where nobody else is catching up", async () => {
  const turns = new Turns();
  assert.equal(await turns.take("a", [3, 4, 5]), 3);
  turns.enter("a");
  assert.equal(await turns.take("a", [3, 4, 5]), 3);
});

Deno.test("Turns.take() waits for older rows of others, and no longer than they are there", async () => {
  const turns = new Turns(1_000_000);
  turns.enter("a");
  turns.enter("b");
  const order: string[] = [];
  const a = turns.take("a", [2, 5]).then((count) => {
    order.push(`a${count}`);
    turns.passed("a", 5);
  });
  const b = turns.take("b", [1, 4]).then((count) => {
    order.push(`b${count}`);
    turns.passed("b", 4);
  });
  await Promise.all([a, b]);
  assert.deepEqual(order, ["b1", "a1"]);
  const stranger = turns.take("c", [9]).then((count) => order.push(`c${count}`));
  turns.leave("a");
  turns.leave("b");
  await stranger;
  assert.deepEqual(order, ["b1", "a1", "c1"]);
});

Deno.test("Turns.take() passes whoever keeps everybody waiting", async () => {
  const turns = new Turns(0);
  turns.enter("a");
  turns.enter("b");
  assert.equal(await turns.take("a", [7, 8]), 1);
});

Deno.test("Turns brings any number of conversations into one order", async () => {
  const lists = fc.array(fc.array(fc.nat(50), { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(lists, async (conversations) => {
      const turns = new Turns(1_000_000), applied: number[] = [];
      for (const [who] of conversations.entries()) turns.enter(who);
      await Promise.all(conversations.map(async (unsorted, who) => {
        const times = unsorted.toSorted((a, b) => a - b);
        for (let at = 0; at < times.length;) {
          const count = await turns.take(who, times.slice(at));
          for (const end = at + count; at < end; at++) {
            applied.push(times[at]!);
            turns.passed(who, times[at + 1]);
          }
        }
        turns.leave(who);
      }));
      assert.deepEqual(applied, conversations.flat().sort((a, b) => a - b));
    }),
    { numRuns: 200 },
  );
});
