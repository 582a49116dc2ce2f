/**
 * Which server for this client. PURE: randomness is handed in.
 *
 * What a server reports is up to a second old, and a client that was given a server needs a moment to get there. So a load is
 * what the server reported plus what this balancer has sent there since; without that, everybody who comes within one second
 * goes to yesterday's emptiest server (`bench balance` shows it).
 */
import type { RandomSource } from "../shared/primitives.ts";

/** A server as the strategies see it. */
export interface Candidate {
  readonly number: number;
  /** Connections reported and expected. */
  readonly load: number;
}

/** Chooses one of at least one candidate, which come in order of their numbers. */
export type Strategy = <C extends Candidate>(candidates: readonly C[]) => C;

export const STRATEGY_NAMES = ["two-choices", "random", "round-robin", "least-connections"] as const;
export type StrategyName = (typeof STRATEGY_NAMES)[number];

export function createStrategy(name: StrategyName, random: RandomSource): Strategy {
  switch (name) {
    case "two-choices":
      return twoChoices(random);
    case "random":
      return (candidates) => candidates[drawIndex(random, candidates.length)]!;
    case "round-robin":
      return roundRobin();
    case "least-connections":
      return leastConnections(random);
  }
}

/**
 * The emptier of two at random: nearly as even as the emptiest of all, and with several balancers or stale reports nobody runs
 * to one server together (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996).
 */
function twoChoices(random: RandomSource): Strategy {
  return (candidates) => {
    const first = drawIndex(random, candidates.length);
    if (candidates.length === 1) return candidates[first]!;
    // Drawn from the others, so that the two differ.
    const second = (first + 1 + drawIndex(random, candidates.length - 1)) % candidates.length;
    const [a, b] = [candidates[first]!, candidates[second]!];
    return b.load < a.load ? b : a;
  };
}

/** In turn by number, whoever is missing at the moment. */
function roundRobin(): Strategy {
  let last = -1;
  return (candidates) => {
    const next = candidates.find((candidate) => candidate.number > last) ?? candidates[0]!;
    last = next.number;
    return next;
  };
}

function leastConnections(random: RandomSource): Strategy {
  return (candidates) => {
    const least = Math.min(...candidates.map((candidate) => candidate.load));
    const emptiest = candidates.filter((candidate) => candidate.load === least);
    return emptiest[drawIndex(random, emptiest.length)]!;
  };
}

/**
 * What one server carries: its last report, and the clients sent there that it cannot have counted yet.
 *
 * With each report, those who arrived since are no longer expected, and of the rest half are given up: they asked twice, went
 * elsewhere or never came.
 */
export class Load {
  #reported = 0;
  #expected = 0;

  get connections(): number {
    return this.#reported + this.#expected;
  }

  /** A client was told to go there. */
  sent(): void {
    this.#expected++;
  }

  /** The server said how many connections it has. */
  report(connections: number): void {
    const arrived = Math.max(0, connections - this.#reported);
    this.#expected = Math.floor(Math.max(0, this.#expected - arrived) / 2);
    this.#reported = connections;
  }

  /** The process is gone, and its connections with it. */
  clear(): void {
    this.#reported = 0;
    this.#expected = 0;
  }
}

/** 0 to count - 1; the bias of the remainder is below count / 2^32. */
function drawIndex(random: RandomSource, count: number): number {
  const bytes = random.bytes(4);
  const value = ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0;
  return value % count;
}
