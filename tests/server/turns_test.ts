import assert from "node:assert/strict";
import { type Held, Turns } from "../../server/turns.ts";
import { Unfetched, UNFETCHED_BYTES_MAX } from "../../server/unfetched.ts";

const MIB = 1 << 20;

Deno.test("Turns gives no turn beyond what answers may hold together, and any to whoever is alone", () => {
  const turns = new Turns({ bufferedBytes: 0 }, new Set());
  assert.ok(turns.isFreeFor(100 * MIB));
  turns.begin(10 * MIB);
  assert.ok(turns.isFreeFor(6 * MIB));
  assert.ok(!turns.isFreeFor(6 * MIB + 1));
  assert.ok(turns.isFreeFor(0));
  turns.done(10 * MIB);
  assert.ok(turns.isFreeFor(100 * MIB));
});

Deno.test("Turns gives no more than sixteen at once, however little they weigh", () => {
  const turns = new Turns({ bufferedBytes: 0 }, new Set());
  for (let turn = 0; turn < 16; turn++) turns.begin(0);
  assert.ok(!turns.isFreeFor(0));
  turns.done(0);
  assert.ok(turns.isFreeFor(0));
});

Deno.test("Turns resumes those that wait as soon as there is room, in their order, and keeps who asks to wait on", () => {
  const waiting = new Set<Turns>(), turns = new Turns({ bufferedBytes: 0 }, waiting), resumed: string[] = [];
  const held = (name: string, bytes: number): Held => ({
    resume() {
      if (!turns.isFreeFor(bytes)) return turns.hold(this);
      turns.begin(bytes);
      resumed.push(name);
    },
  });
  turns.begin(8 * MIB);
  turns.begin(8 * MIB);
  for (const [name, bytes] of [["large", 12 * MIB], ["small", MIB]] as const) turns.hold(held(name, bytes));
  assert.deepEqual([...waiting], [turns]);
  turns.done(8 * MIB);
  assert.deepEqual(resumed, ["small"]);
  turns.done(8 * MIB);
  assert.deepEqual(resumed, ["small", "large"]);
  assert.equal(waiting.size, 0);
});

Deno.test("Turns gives none to whoever has not fetched what was answered", () => {
  const channel = { bufferedBytes: 3 * MIB }, turns = new Turns(channel, new Set());
  assert.ok(turns.isBehind);
  assert.ok(!turns.isFreeFor(0));
  channel.bufferedBytes = 2 * MIB;
  assert.ok(turns.isFreeFor(0));
});

Deno.test("Unfetched lets large answers of all connections wait for one another, one a tick beyond the bound, and small ones never", () => {
  const unfetched = new Unfetched(), large = 4 * MIB, fits = UNFETCHED_BYTES_MAX / large;
  const channels = Array.from({ length: fits + 2 }, () => ({ bufferedBytes: 0 }));
  const turnsOf = channels.map((channel) => new Turns(channel, new Set(), unfetched));
  for (const turns of turnsOf.slice(0, fits)) {
    assert.ok(turns.isFreeFor(large));
    turns.begin(large);
  }
  const [spare, last] = turnsOf.slice(fits) as [Turns, Turns];
  assert.ok(spare.isFreeFor(large), "one beyond it");
  spare.begin(large);
  assert.ok(!last.isFreeFor(large));
  assert.ok(last.isFreeFor(1000));
  // Answered, and not fetched: as much as is really there.
  for (const [at, turns] of turnsOf.slice(0, fits + 1).entries()) {
    channels[at]!.bufferedBytes = MIB;
    turns.done(large);
  }
  assert.ok(last.isFreeFor(large));
  for (const channel of channels.slice(0, -1)) channel.bufferedBytes = large;
  unfetched.tick();
  assert.ok(last.isFreeFor(large), "one in each tick");
  last.begin(large);
  assert.ok(!last.isFreeFor(large));
  last.done(large);
  unfetched.tick();
  // Fetched, or gone.
  for (const [at, turns] of turnsOf.entries()) at % 2 === 0 ? turns.close() : channels[at]!.bufferedBytes = 0;
  unfetched.tick();
  for (let at = 0; at < fits; at++) {
    assert.ok(unfetched.isFreeFor(large));
    unfetched.begin(large);
  }
});
