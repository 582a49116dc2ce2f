/** One seed is one run: most are the life of a whole cluster, some of a single pair of connections with odd limits. */
import { Life } from "./life.ts";
import { Prng } from "./prng.ts";
import { runScenario, type ScenarioResult } from "./scenario.ts";
import type { Hooks } from "./world.ts";

export interface RunOptions {
  readonly hooks?: Hooks | undefined;
  readonly trace?: ((line: string) => void) | undefined;
}

export function runSeed(seed: number, options: RunOptions = {}): ScenarioResult {
  if (new Prng(seed ^ 0x5eed).chance(PAIRS)) return runScenario(seed, options);
  try {
    return new Life({ seed, ...options }).run();
  } catch (error) {
    throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
  }
}

/** The share of seeds that are pairs. */
const PAIRS = 0.3;
