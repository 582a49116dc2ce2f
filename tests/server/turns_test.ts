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
  const unfetched = new Unfetched(), weight = 4 * MIB, fits = UNFETCHED_BYTES_MAX / MIB;
  const channels = Array.from({ length: fits + 2 }, () => ({ bufferedBytes: 0 }));
  const turnsOf = channels.map((channel) => new Turns(channel, new Set(), unfetched));
  const answer = (at: number, bytes: number) => {
    assert.ok(turnsOf[at]!.isFreeFor(weight));
    turnsOf[at]!.begin(weight);
    channels[at]!.bufferedBytes = bytes;
    turnsOf[at]!.done(weight);
  };
  for (let at = 0; at < fits; at++) answer(at, MIB);
  assert.ok(turnsOf[fits]!.isFreeFor(weight), "one beyond it");
  turnsOf[fits]!.begin(weight);
  const last = turnsOf[fits + 1]!;
  assert.ok(!last.isFreeFor(weight));
  assert.ok(last.isFreeFor(1000));
  unfetched.tick();
  assert.ok(last.isFreeFor(weight), "one in each tick");
  last.begin(weight);
  assert.ok(!turnsOf[fits]!.isFreeFor(weight));
  turnsOf[fits]!.done(weight);
  last.done(weight);
  // Some have fetched it, others are gone.
  for (const [at, turns] of turnsOf.entries()) at % 2 === 0 ? turns.close() : channels[at]!.bufferedBytes = 0;
  unfetched.tick();
  answer(1, MIB);
  // As many at once as would fit if all were as large as that one was.
  let begun = 0;
  for (; unfetched.isFreeFor(weight) && begun < 2 * fits; begun++) unfetched.begin(weight);
  assert.equal(begun, fits - 1 + 1);
});

Deno.test("Unfetched lets as many as come be answered at once where answers are small, whatever they might have been", () => {
  const unfetched = new Unfetched(), channel = { bufferedBytes: 0 };
  unfetched.begin(4 * MIB);
  channel.bufferedBytes = 4 * MIB;
  unfetched.done(4 * MIB, channel);
  channel.bufferedBytes = 1_000;
  unfetched.tick();
  for (let time = 0; time < 50; time++) {
    unfetched.begin(4 * MIB);
    unfetched.done(4 * MIB, channel);
  }
  for (let at = 0; at < 1_000; at++) {
    assert.ok(unfetched.isFreeFor(4 * MIB));
    unfetched.begin(4 * MIB);
  }
});
