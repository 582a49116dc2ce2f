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
 * Who arrived since the last report is no longer expected, those who were sent first being taken to arrive first. Who has not
 * come after {@linkcode REPORTS_AWAITED} reports asked twice, went elsewhere or never came.
 */
export class Load {
  #reported = 0;
  /** Sent and not yet arrived, by the number of reports since: the newest first. */
  readonly #expected = new Array<number>(REPORTS_AWAITED).fill(0);

  get connections(): number {
    let sum = this.#reported;
    for (const count of this.#expected) sum += count;
    return sum;
  }

  /** A client was told to go there. */
  sent(): void {
    this.#expected[0]!++;
  }

  /** The server said how many connections it has; once a second. */
  report(connections: number): void {
    let arrived = Math.max(0, connections - this.#reported);
    for (let age = REPORTS_AWAITED - 1; age >= 0 && arrived > 0; age--) {
      const here = Math.min(arrived, this.#expected[age]!);
      this.#expected[age]! -= here;
      arrived -= here;
    }
    this.#expected.pop();
    this.#expected.unshift(0);
    this.#reported = connections;
  }

  /** The process is gone, and its connections with it. */
  clear(): void {
    this.#reported = 0;
    this.#expected.fill(0);
  }
}

/** 0 to count - 1; the bias of the remainder is below count / 2^32. */
function drawIndex(random: RandomSource, count: number): number {
  const bytes = random.bytes(4);
  const value = ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0;
  return value % count;
}

/** A full handshake behind a queue of others takes its time; a second is what one takes with nobody before it. */
const REPORTS_AWAITED = 4;
