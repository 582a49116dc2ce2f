import assert from "node:assert/strict";
import { PresenceWatch } from "../../../client/talk/presence.ts";
import { WATCH_NAMES_MAX } from "../../../shared/limits.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { settle, TestTimers } from "../live_timers.ts";

const [ALICE, BOB] = ["alice", "bob"] as UserName[] as [UserName, UserName];
const TTL_MS = 60_000;

/** A watch, and a server whose answers are in our hands. */
class World {
  readonly timers = new TestTimers();
  readonly asked: (readonly UserName[])[] = [];
  readonly changes: [string, boolean | undefined][] = [];
  online = new Set<UserName>();
  isSilent = false;
  /** Answers wait for it where it is set. */
  gate: Promise<void> | undefined;
  readonly watch = new PresenceWatch({
    ask: async (names) => {
      this.asked.push(names);
      const online = [...this.online];
      await this.gate;
      if (this.isSilent) throw new Error("No answer");
      return { online, ttlMs: TTL_MS };
    },
    onChange: (name, online) => this.changes.push([name, online]),
    timers: this.timers,
  });

  take(): [string, boolean | undefined][] {
    return this.changes.splice(0);
  }
}

Deno.test("PresenceWatch asks once there is a connection, tells who is here, and asks again well before the end", async () => {
  const { watch, timers, asked, online, ...world } = new World();
  watch.watch([ALICE, BOB, ALICE]);
  await timers.pass(TTL_MS);
  assert.deepEqual(asked, []);
  online.add(ALICE);
  watch.connected();
  await settle();
  assert.deepEqual(world.changes.splice(0), [["alice", true], ["bob", false]]);
  assert.deepEqual([watch.of(ALICE), watch.of(BOB), watch.of("carol" as UserName)], [true, false, undefined]);
  await timers.pass(10 * TTL_MS);
  assert(asked.length >= 30, "two of three questions may get lost");
  assert.deepEqual(world.changes, [], "what stays as it is is not told again");
});

Deno.test("PresenceWatch forgets what is not confirmed: unknown, never online", async () => {
  const world = new World(), { watch, timers } = world;
  world.online.add(ALICE);
  watch.watch([ALICE]);
  watch.connected();
  await settle();
  world.take();
  world.isSilent = true;
  await timers.pass(TTL_MS - 1);
  assert.deepEqual(world.take(), []);
  await timers.pass(1);
  assert.deepEqual(world.take(), [["alice", undefined]]);
  assert.equal(watch.of(ALICE), undefined);
  world.isSilent = false;
  await timers.pass(TTL_MS);
  assert.deepEqual(world.take(), [["alice", true]]);
});

Deno.test("PresenceWatch.heard() changes what is known of those it watches, for as long as was said", async () => {
  const world = new World(), { watch, timers } = world;
  watch.watch([ALICE]);
  watch.connected();
  await settle();
  world.take();
  watch.heard(ALICE, true, 5_000);
  watch.heard(BOB, true, 5_000);
  assert.deepEqual(world.take(), [["alice", true]]);
  world.isSilent = true;
  await timers.pass(5_000);
  assert.deepEqual(world.take(), [["alice", undefined]]);
  watch.heard(ALICE, true, 2 ** 52);
  await timers.pass(300_000);
  assert.deepEqual(world.take(), [["alice", true], ["alice", undefined]], "for ever is not believed");
});

Deno.test("PresenceWatch: a hint that comes after the question is newer than its answer", async () => {
  const world = new World(), { watch } = world, gate = Promise.withResolvers<void>();
  world.gate = gate.promise;
  watch.watch([ALICE]);
  watch.connected();
  watch.heard(ALICE, true, TTL_MS);
  gate.resolve();
  await settle();
  assert.deepEqual(world.take(), [["alice", true]]);
  await world.timers.pass(TTL_MS / 2);
  assert.deepEqual(world.take(), [["alice", false]], "the next answer is newer still");
});

Deno.test("PresenceWatch: the answer of a server that is gone does not count, and a new one is asked at once", async () => {
  const world = new World(), { watch, asked } = world, gate = Promise.withResolvers<void>();
  world.online.add(ALICE);
  world.gate = gate.promise;
  watch.watch([ALICE]);
  watch.connected();
  world.gate = undefined;
  world.online.clear();
  watch.connected();
  await settle();
  assert.equal(asked.length, 2);
  assert.deepEqual(world.take(), [["alice", false]]);
  gate.resolve();
  await settle();
  assert.deepEqual(world.take(), []);
});

Deno.test("PresenceWatch.watch() asks when the people change, at most for so many, and nothing for nobody", async () => {
  const world = new World(), { watch, asked, timers } = world;
  watch.connected();
  await timers.pass(TTL_MS);
  assert.equal(asked.length, 0);
  watch.watch(Array.from({ length: WATCH_NAMES_MAX + 5 }, (_, i) => `n${i}` as UserName));
  assert.equal(asked[0]!.length, WATCH_NAMES_MAX);
  watch.watch([BOB]);
  watch.watch([BOB]);
  await settle();
  assert.deepEqual(asked.slice(1), [[BOB]]);
  watch.watch([]);
  await timers.pass(10 * TTL_MS);
  assert.deepEqual(asked.slice(2), [[]], "the server hears that it may stop, once");
  assert.equal(watch.of(BOB), undefined);
  watch.close();
  assert.equal(timers.waiting, 0);
});
