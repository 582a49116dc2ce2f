/**
 * How evenly does each strategy spread 1,000 clients over 4 and over 16 servers?
 *
 * Not a measurement but a simulation in virtual time of what the balancer knows: servers report once a second, each at its own
 * moment; a client shows up in a report only once it has arrived, 20 to 700 ms after it was sent; one question in twenty is asked
 * twice. Clients come in a burst (all within 0.3 s, as after a restart) or steadily (50 a second, each staying 10 s on average).
 * `reports only` is the same strategy without counting whom the balancer itself has sent. Means over 20 seeds.
 */
import { createStrategy, Load, STRATEGY_NAMES, type StrategyName } from "../balancer/strategy.ts";
import type { RandomSource } from "../shared/primitives.ts";
import { report, type Row } from "./report.ts";

const CLIENTS = 1000;
const SEEDS = 20;
const REPORT_MS = 1000;
const ASKED_TWICE = 0.05;

interface Arrivals {
  readonly name: string;
  /** When clients come, from the first to the last. */
  readonly windowMs: number;
  /** How long they stay on average; for ever where it is infinite. */
  readonly stayMs: number;
}

const BURST: Arrivals = { name: "burst", windowMs: 300, stayMs: Infinity };
const STEADY: Arrivals = { name: "steady", windowMs: 20_000, stayMs: 10_000 };

function average(strategy: StrategyName, servers: number, arrivals: Arrivals, counting: boolean): Row {
  let min = 0, max = 0, stdev = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const counts = simulate(strategy, servers, arrivals, counting, new SeededRandom(seed));
    const mean = counts.reduce((sum, count) => sum + count, 0) / servers;
    min += Math.min(...counts) / SEEDS;
    max += Math.max(...counts) / SEEDS;
    stdev += Math.sqrt(counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / servers) / SEEDS;
  }
  const subject = counting ? strategy : `${strategy}, reports only`;
  return { bench: "balance", subject, servers, arrivals: arrivals.name, min, max, stdev };
}

/** @returns Connections of each server when the last client has arrived. */
function simulate(
  name: StrategyName,
  servers: number,
  { windowMs, stayMs }: Arrivals,
  counting: boolean,
  random: SeededRandom,
): number[] {
  const choose = createStrategy(name, random);
  const loads = Array.from({ length: servers }, () => new Load());
  const counts = new Array<number>(servers).fill(0);
  const events: { atMs: number; happen: () => void }[] = [];
  const at = (atMs: number, happen: () => void): void => {
    events.push({ atMs, happen });
  };
  const endMs = windowMs + 1000;
  for (let number = 0; number < servers; number++) {
    for (let atMs = random.fraction() * REPORT_MS; atMs < endMs; atMs += REPORT_MS) {
      at(atMs, () => loads[number]!.report(counts[number]!));
    }
  }
  for (let client = 0; client < CLIENTS; client++) {
    const askMs = random.fraction() * windowMs, travelMs = 20 + random.fraction() * 680;
    const stays = stayMs === Infinity ? Infinity : -Math.log(1 - random.fraction()) * stayMs;
    const asked = random.fraction() < ASKED_TWICE ? 2 : 1;
    at(askMs, () => {
      let number = 0;
      for (let question = 0; question < asked; question++) {
        number = choose(loads.map((load, index) => ({ number: index, load: load.connections }))).number;
        if (counting) loads[number]!.sent();
      }
      insert(events, askMs + travelMs, () => counts[number]!++);
      if (stays !== Infinity) insert(events, askMs + travelMs + stays, () => counts[number]!--);
    });
  }
  // Latest first, so that the next event is popped from the end.
  events.sort((a, b) => b.atMs - a.atMs);
  for (let next = events.pop(); next !== undefined && next.atMs < endMs; next = events.pop()) next.happen();
  return counts;
}

function insert(events: { atMs: number; happen: () => void }[], atMs: number, happen: () => void): void {
  let low = 0, high = events.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (events[middle]!.atMs > atMs) low = middle + 1;
    else high = middle;
  }
  events.splice(low, 0, { atMs, happen });
}

/** Mulberry32: repeatable, and good enough to draw clients with. */
class SeededRandom implements RandomSource {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed, 0x9e3779b9) >>> 0;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#next() >>> 24);
  }

  fraction(): number {
    return this.#next() / 2 ** 32;
  }

  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}

if (import.meta.main) {
  const rows: Row[] = [];
  for (const servers of [4, 16]) {
    for (const arrivals of [BURST, STEADY]) {
      for (const strategy of STRATEGY_NAMES) {
        rows.push(average(strategy, servers, arrivals, true));
        if (strategy === "two-choices" || strategy === "least-connections") {
          rows.push(average(strategy, servers, arrivals, false));
        }
      }
    }
  }
  report(rows);
}
