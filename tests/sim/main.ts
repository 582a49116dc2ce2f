/**
 * `deno task sim`: random lives of a cluster on bad networks, in virtual time.
 *
 *   --seeds N     N of them (1,000), from a first seed that is printed, on every core
 *   --seconds T   as many as fit
 *   --from S      the first seed
 *   --seed S      replays one; with --trace it tells everything that happens
 *   --faults      lists the planted faults
 *   --fault NAME  runs with that fault planted, which has to be found: exits 1 at the first seed that finds it
 *
 * Exits 1 at the first that fails.
 */
import { parseArgs } from "node:util";
import { FAULTS, findFault } from "./planted.ts";
import { REGRESSIONS } from "./regressions.ts";
import { runSeed } from "./run_seed.ts";
import type { Batch, Outcome } from "./worker.ts";

const text = { type: "string" } as const, flag = { type: "boolean" } as const;
const { values } = parse();

/** @returns The exit code; likewise below. */
async function main(): Promise<number> {
  if (values.fault !== undefined) return plant(values.fault);
  if (values.seed !== undefined) return replay(number("seed")!);
  if (!values.faults) return await explore();
  for (const { name, about } of FAULTS) console.log(`${name.padEnd(24)}${about}`);
  return 0;
}

function plant(name: string): number {
  const fault = FAULTS.find((fault) => fault.name === name);
  if (fault === undefined) {
    console.error(`No planted fault is called '${name}': --faults lists them`);
    return 2;
  }
  const seed = number("seed"), first = seed ?? 1, count = seed === undefined ? number("seeds") ?? SEEDS_TO_FIND : 1;
  const found = findFault(fault, { first, count, trace: values.trace ? console.log : undefined });
  if (found === undefined) {
    console.log(`${name}: not found in ${count} seeds from ${first}. The simulator is blind to it`);
    return 0;
  }
  console.error(`${name}: found at seed ${found.seed}, the ${ordinal(found.seed - first + 1)} of ${count}`);
  console.error(found.message);
  console.error(`deno task sim --fault ${name} --seed ${found.seed}`);
  return 1;
}

function replay(seed: number): number {
  const startMs = performance.now();
  try {
    const result = runSeed(seed, { trace: values.trace ? console.log : undefined });
    report(1, seed, result, startMs);
    return 0;
  } catch (error) {
    return fail(seed, `${(error as Error).message}\n${((error as Error).cause as Error | undefined)?.stack ?? ""}`);
  }
}

/** Batches of seeds, on all cores. */
async function explore(): Promise<number> {
  const seconds = number("seconds"), first = number("from") ?? Math.floor(Math.random() * 2 ** 31);
  const countMax = number("seeds") ?? (seconds === undefined ? SEEDS : Infinity);
  const startMs = performance.now(), endMs = seconds === undefined ? Infinity : startMs + seconds * 1000;
  if (values.regressions) { for (const { seed } of REGRESSIONS) if (replay(seed) !== 0) return 1; }
  const sum = { datagrams: 0, virtualUs: 0 };
  let begun = 0, done = 0, failed: Outcome["failed"];
  const work = async () => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    await answer(worker);
    while (begun < countMax && performance.now() < endMs && failed === undefined) {
      const count = Math.min(BATCH, countMax - begun);
      const batch: Batch = { first: first + begun, count };
      begun += count;
      worker.postMessage(batch);
      const outcome = await answer(worker);
      done += outcome.done;
      sum.datagrams += outcome.datagrams;
      sum.virtualUs += outcome.virtualUs;
      failed ??= outcome.failed;
      if (values.progress && done % 1000 < BATCH) console.error(`${done} done`);
    }
    worker.terminate();
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, work));
  if (failed !== undefined) return fail(failed.seed, failed.text);
  report(done, first, sum, startMs);
  return 0;
}

function answer(worker: Worker): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
  });
}

function report(count: number, first: number, sum: { datagrams: number; virtualUs: number }, startMs: number): void {
  const seconds = (performance.now() - startMs) / 1000;
  const what = count === 1 ? `1 seed, ${first}` : `${count} seeds from ${first}`;
  const virtual = Math.round(sum.virtualUs / 1e6), rate = (count / seconds).toFixed(0);
  console.log(
    `${what}: ${sum.datagrams} datagrams, ${virtual} s of virtual time in ${seconds.toFixed(1)} s, ${rate} seeds/s`,
  );
}

function fail(seed: number, text: string): number {
  console.error(text.trimEnd());
  console.error(`deno task sim --seed ${seed}`);
  return 1;
}

function ordinal(n: number): string {
  const ending = n % 100 >= 11 && n % 100 <= 13 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th";
  return `${n}${ending}`;
}

function parse() {
  try {
    return parseArgs({
      args: Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args,
      options: {
        seeds: text,
        seconds: text,
        from: text,
        seed: text,
        fault: text,
        faults: flag,
        trace: flag,
        progress: flag,
        regressions: { ...flag, default: true },
      },
      allowNegative: true,
    });
  } catch (error) {
    console.error((error as Error).message.split(/\. |\n/)[0]);
    Deno.exit(2);
  }
}

function number(name: "seeds" | "seconds" | "from" | "seed"): number | undefined {
  const value = values[name];
  if (value === undefined) return undefined;
  if (/^\d{1,10}$/.test(value)) return Number(value);
  console.error(`--${name} needs a number`);
  Deno.exit(2);
}

const SEEDS = 1000;
/** Planted faults must be found within so many. */
const SEEDS_TO_FIND = 300;
const BATCH = 20;

Deno.exit(await main());
