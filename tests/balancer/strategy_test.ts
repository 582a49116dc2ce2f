import assert from "node:assert/strict";
import fc from "fast-check";
import { type Candidate, createStrategy, Load, STRATEGY_NAMES, type StrategyName } from "../../balancer/strategy.ts";
import type { RandomSource } from "../../shared/primitives.ts";

Deno.test("createStrategy() chooses one of the candidates, whatever they are", () => {
  const candidates = fc.uniqueArray(fc.record({ number: fc.nat(127), load: fc.nat(1000) }), {
    minLength: 1,
    maxLength: 16,
    selector: (candidate) => candidate.number,
  });
  fc.assert(fc.property(candidates, fc.constantFrom(...STRATEGY_NAMES), fc.nat(), (list, name, seed) => {
    list.sort((a, b) => a.number - b.number);
    const choose = createStrategy(name, seeded(seed));
    for (let round = 0; round < 20; round++) assert.ok(list.includes(choose(list)));
  }));
});

Deno.test("random gives each of 4 servers its share of 8,000 clients", () => {
  const counts = spread("random", 4, 8000);
  // Five standard deviations of a binomial distribution: sqrt(8000 × 1/4 × 3/4) is 38.7.
  for (const count of counts) assert.ok(Math.abs(count - 2000) < 194, `${counts}`);
});

Deno.test("round-robin is even to within one, also when a server is missing for a while", () => {
  const counts = spread("round-robin", 4, 1002);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, `${counts}`);
  const choose = createStrategy("round-robin", seeded(1));
  const [zero, one, two] = [0, 1, 2].map((number) => ({ number, load: 0 })) as [Candidate, Candidate, Candidate];
  const order = [[zero, one, two], [zero, two], [zero, one, two], [one], [zero, one, two], [zero, one]];
  assert.deepEqual(order.map((list) => choose(list).number), [0, 2, 0, 1, 2, 0]);
});

Deno.test("least-connections takes the emptiest, and any of several equally empty", () => {
  const choose = createStrategy("least-connections", seeded(7));
  const list = [5, 2, 9, 2].map((load, number) => ({ number, load }));
  const chosen = new Set(Array.from({ length: 50 }, () => choose(list).number));
  assert.deepEqual([...chosen].sort(), [1, 3]);
});

Deno.test("two-choices never takes the fullest of servers that differ, and is far more even than random", () => {
  const choose = createStrategy("two-choices", seeded(3));
  const list = [3, 1, 2, 9].map((load, number) => ({ number, load }));
  for (let round = 0; round < 200; round++) assert.notEqual(choose(list).number, 3);
  const counts = spread("two-choices", 16, 1600);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 6, `${counts}`);
});

Deno.test("two-choices with one server takes it", () => {
  assert.equal(createStrategy("two-choices", seeded(1))([{ number: 5, load: 9 }]).number, 5);
});

Deno.test("Load counts who was sent until the server does", () => {
  const load = new Load();
  load.report(10);
  for (let count = 0; count < 6; count++) load.sent();
  assert.equal(load.connections, 16);
  // Four arrived; two are still expected, and given up at the fourth report.
  load.report(14);
  assert.equal(load.connections, 16);
  load.sent();
  for (let report = 0; report < 2; report++) load.report(14);
  assert.equal(load.connections, 17);
  load.report(14);
  assert.equal(load.connections, 15);
  load.report(3);
  assert.equal(load.connections, 3);
  for (let count = 0; count < 3; count++) load.sent();
  load.clear();
  assert.equal(load.connections, 0);
});

Deno.test("Load forgets those who never came, and is never below what was reported", () => {
  const step = fc.oneof(fc.constant("sent" as const), fc.nat(500));
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const load = new Load();
    let reported = 0, sent = 0;
    for (const next of steps) {
      if (next === "sent") {
        load.sent();
        sent++;
      } else load.report(reported = next);
      assert.ok(load.connections >= reported && load.connections <= reported + sent);
    }
    for (let count = 0; count < 12; count++) load.report(reported);
    assert.equal(load.connections, reported);
  }));
});

/** Clients per server after that many came, each counted at once. */
function spread(name: StrategyName, servers: number, clients: number): number[] {
  const choose = createStrategy(name, seeded(42));
  const counts = new Array<number>(servers).fill(0);
  for (let client = 0; client < clients; client++) {
    counts[choose(counts.map((load, number) => ({ number, load }))).number]!++;
  }
  return counts;
}

/** Mulberry32: small, and good enough to draw servers with. */
function seeded(seed: number): RandomSource {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 24;
  };
  return { bytes: (length) => Uint8Array.from({ length }, next) };
}
