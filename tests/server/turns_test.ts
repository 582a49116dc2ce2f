import assert from "node:assert/strict";
import { type Held, Turns } from "../../server/turns.ts";

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
