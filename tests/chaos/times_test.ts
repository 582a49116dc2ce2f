import assert from "node:assert/strict";
import { percentile } from "./table.ts";
import { Times } from "./times.ts";

Deno.test("Times.takeoverMs ends with the first message that was handed in after the kill and is stored", () => {
  const times = new Times();
  times.leaderKilled(1_000);
  // Stored by the old leader, told late.
  times.acknowledged(999, 1_050);
  assert.deepEqual(times.takeoverMs, []);
  times.acknowledged(1_100, 1_400);
  times.acknowledged(1_150, 1_450);
  assert.deepEqual(times.takeoverMs, [400]);
});

Deno.test("Times.takeoverMs of two leaders killed one after the other is each one's own", () => {
  const times = new Times();
  times.leaderKilled(1_000);
  times.leaderKilled(1_200);
  times.acknowledged(1_100, 1_300);
  times.acknowledged(1_250, 1_900);
  assert.deepEqual(times.takeoverMs, [300, 700]);
});

Deno.test("Times.reconnectMs counts from the kill of the server, not for those who died themselves", () => {
  const times = new Times();
  times.serverKilled(["alice", "bob", "carol"], 1_000);
  times.connected("alice", 990);
  assert.deepEqual(times.reconnectMs, []);
  times.connected("alice", 1_500);
  times.clientKilled("bob");
  times.connected("bob", 1_600);
  // The server that took her in dies before she is served: she has waited since the first.
  times.serverKilled(["carol"], 1_200);
  times.connected("carol", 2_000);
  times.connected("carol", 3_000);
  assert.deepEqual(times.reconnectMs, [500, 1_000]);
});

Deno.test("Times.clientStartMs counts from the start of the process", () => {
  const times = new Times();
  times.clientStarted("alice", 100);
  times.connected("alice", 400);
  times.connected("alice", 900);
  assert.deepEqual(times.clientStartMs, [300]);
});

Deno.test("percentile() takes the value at the share", () => {
  assert.equal(percentile([3, 1, 2], 0.5), 2);
  assert.equal(percentile([3, 1, 2], 1), 3);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});
