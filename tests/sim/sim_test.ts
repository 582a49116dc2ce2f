/** A slice of the simulation with fresh seeds, the seeds that failed once, and the proof that it finds what is planted. */
import assert from "node:assert/strict";
import { FAULTS, findFault } from "./planted.ts";
import { REGRESSIONS } from "./regressions.ts";
import { runSeed } from "./run_seed.ts";

Deno.test("simulation: a hundred fresh seeds", () => {
  const first = Math.floor(Math.random() * 2 ** 31);
  console.log(`deno task sim --seeds 100 --from ${first}`);
  for (let seed = first; seed < first + 100; seed++) runReplayable(seed);
});

Deno.test("simulation: the seeds that failed once", () => {
  for (const { seed } of REGRESSIONS) runReplayable(seed);
});

Deno.test("simulation: one seed is one life, however often it is lived", () => {
  const live = (seed: number) => {
    const lines: string[] = [];
    runSeed(seed, { trace: (line) => void lines.push(line) });
    return lines;
  };
  for (const seed of [1, 2, 3, 4]) {
    const first = live(seed);
    assert(first.length > 50);
    assert.deepEqual(live(seed), first);
  }
});

for (const fault of FAULTS) {
  Deno.test(`simulation: finds ${fault.name}`, () => {
    const found = findFault(fault, { first: 1, count: 300 });
    assert(found !== undefined, `Not found in 300 seeds: ${fault.about}`);
    // Without the fault there is nothing to find there: what it wrapped is unwrapped again.
    runReplayable(found.seed);
  });
}

function runReplayable(seed: number): void {
  try {
    runSeed(seed);
  } catch (error) {
    throw new Error(`${(error as Error).message}\ndeno task sim --seed ${seed}`, { cause: error });
  }
}
