import assert from "node:assert/strict";
import { RateTable, TokenBucket } from "../../../shared/transport/rate_limit.ts";

const count = (take: () => boolean, tries: number) => Array.from({ length: tries }, take).filter(Boolean).length;

Deno.test("TokenBucket.take() gives the burst at once and the rate from then on", () => {
  const bucket = new TokenBucket({ perSecond: 3, burst: 5 }, 0);
  assert.equal(count(() => bucket.take(0), 20), 5);
  assert.equal(count(() => bucket.take(1_000_000), 20), 3);
  assert.equal(count(() => bucket.take(1_100_000), 20), 0);
  assert.equal(count(() => bucket.take(100_000_000), 20), 5);
});

Deno.test("RateTable.take() counts each key for itself and stays within its bound", () => {
  const table = new RateTable({ perSecond: 1, burst: 2 }, 100);
  assert.equal(count(() => table.take("a", 0), 5), 2);
  assert.equal(count(() => table.take("b", 0), 5), 2);
  for (let i = 0; i < 10_000; i++) table.take(`flood ${i}`, 0);
  assert.equal(table.size, 100);
});

Deno.test("RateTable forgets what was asked for longest ago first", () => {
  const table = new RateTable({ perSecond: 0, burst: 1 }, 2);
  table.take("a", 0), table.take("b", 0);
  assert.equal(table.take("a", 0), false);
  table.take("c", 0);
  assert.equal(table.take("a", 0), false, "Asked for lately");
  assert.equal(table.take("b", 0), true, "Forgotten, so it starts anew");
});
