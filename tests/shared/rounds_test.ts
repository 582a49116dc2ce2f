import assert from "node:assert/strict";
import fc from "fast-check";
import { Rounds } from "../../shared/rounds.ts";

Deno.test("Rounds.run() does the work once for many who ask at once, and once more for who asks meanwhile", async () => {
  let rounds = 0;
  const gates: (() => void)[] = [];
  const work = new Rounds(() => {
    rounds++;
    return new Promise((resolve) => gates.push(resolve));
  });
  const first = [work.run(), work.run()];
  assert.equal(rounds, 1);
  gates.shift()!();
  await Promise.resolve();
  // The second asked before the first round had begun to wait: it is answered by a round of its own.
  while (gates.length === 0) await Promise.resolve();
  const late = work.run();
  gates.shift()!();
  while (gates.length === 0) await Promise.resolve();
  gates.shift()!();
  await Promise.all([...first, late]);
  assert.equal(rounds, 3);
  await work.idle();
});

Deno.test("Rounds: whoever asks at any moment is answered by a round that begins later", async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.nat(8), { maxLength: 30 }), fc.nat(4), async (pauses, length) => {
    let news = 0, seen = 0;
    const work = new Rounds(async () => {
      seen = news;
      for (let turn = 0; turn < length; turn++) await Promise.resolve();
    });
    for (const turns of pauses) {
      news++;
      work.run().catch(() => {});
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    }
    await work.idle();
    assert.equal(seen, news);
  }));
});

Deno.test("Rounds.run() rejects with what a round failed with, and begins anew", async () => {
  let fails = true;
  const work = new Rounds(() => fails ? Promise.reject(new Error("no")) : Promise.resolve());
  await assert.rejects(work.run(), /no/);
  fails = false;
  await work.run();
});
