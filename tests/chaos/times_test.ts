import assert from "node:assert/strict";
import { percentile } from "./table.ts";
import { Times } from "./times.ts";

const killed = (killedMs: number, connected = 1) => ({ killedMs, goneMs: killedMs + 2, connected });

Deno.test("Times.takeovers end with the first message that was handed in after the kill and is stored", () => {
  const times = new Times();
  times.leaderKilled(killed(1_000));
  // Stored by the old leader, told late; the last of them before the signal reached it.
  times.acknowledged(999, 1_050);
  times.acknowledged(1_002, 1_060);
  assert.equal(times.takeovers[0]!.heardMs, undefined);
  assert.equal(times.acknowledged(1_150, 1_400), "the store goes on after 400 ms");
  // Handed in earlier, heard of later.
  assert.equal(times.acknowledged(1_100, 1_450), undefined);
  assert.deepEqual(times.takeovers, [{ ...killed(1_000), heardMs: 400, askedMs: 150 }]);
});

Deno.test("Times.takeovers of two leaders killed one after the other are each one's own", () => {
  const times = new Times();
  times.leaderKilled(killed(1_000));
  times.leaderKilled(killed(1_200));
  times.acknowledged(1_100, 1_300);
  times.acknowledged(1_250, 1_900);
  assert.deepEqual(times.takeovers.map(({ heardMs }) => heardMs), [300, 700]);
});

Deno.test("Times.reconnects count from the kill of the server, not for those who died themselves", () => {
  const times = new Times();
  times.serverKilled(["alice", "bob", "carol"], 3, 1_000);
  times.connected("alice", 990);
  assert.deepEqual(times.reconnects, []);
  times.connected("alice", 1_500);
  times.clientKilled("bob");
  times.connected("bob", 1_600);
  // The server that takes her in dies before she is served: she has waited since the first.
  times.serverKilled(["carol"], 2, 1_200);
  times.connected("carol", 2_000);
  times.connected("carol", 3_000);
  assert.deepEqual(times.reconnects, [{ ms: 500, isDisturbed: false }, { ms: 1_000, isDisturbed: true }]);
});

Deno.test("Times.reconnects are disturbed where another server died meanwhile, or there was none", () => {
  const times = new Times();
  times.serverKilled(["alice"], 2, 1_000);
  times.serverKilled([], 1, 1_100);
  times.connected("alice", 1_400);
  times.serverKilled(["bob"], 0, 2_000);
  times.connected("bob", 2_900);
  times.serverKilled(["carol"], 1, 3_000);
  times.connected("carol", 3_300);
  assert.deepEqual(times.reconnects.map(({ isDisturbed }) => isDisturbed), [true, true, false]);
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
