import assert from "node:assert/strict";
import { retryMs } from "../../../server/store/retry.ts";

Deno.test("retryMs() is short while a leader is about to be there, and long afterwards", () => {
  const pauses: number[] = [];
  let sinceMs = 0;
  for (; sinceMs < 60; sinceMs += pauses.at(-1)!) pauses.push(retryMs(sinceMs));
  assert.deepEqual(pauses.slice(0, 4), [2, 2, 4, 5]);
  assert.ok(pauses.slice(4).every((pause) => pause === 5), `${pauses}`);
  assert.equal(retryMs(999), 5);
  assert.equal(retryMs(1_000), 50);
  assert.equal(retryMs(100_000), 50);
});
