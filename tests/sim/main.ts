/**
 * Runs random scenarios: `--seeds N` for N new ones, `--seconds T` for as many as fit, `--seed S` to replay one.
 * Exits 1 at the first that fails.
 */
import { runScenario } from "./scenario.ts";

const seed = numberAfter("--seed"), seeds = numberAfter("--seeds"), seconds = numberAfter("--seconds");
const first = seed ?? Math.floor(Math.random() * 2 ** 31);
const countMax = seed !== undefined ? 1 : seeds ?? (seconds === undefined ? 1000 : Infinity);
const startMs = performance.now(), endMs = seconds === undefined ? Infinity : startMs + seconds * 1000;

let count = 0, datagrams = 0, virtualUs = 0;
for (; count < countMax && performance.now() < endMs; count++) {
  try {
    const result = runScenario(first + count);
    datagrams += result.datagrams;
    virtualUs += result.virtualUs;
  } catch (error) {
    console.error(error);
    console.error(`Replay it: deno task sim --seed ${first + count}`);
    Deno.exit(1);
  }
}
const took = ((performance.now() - startMs) / 1000).toFixed(1);
const virtual = Math.round(virtualUs / 1e6);
console.log(`${count} scenarios from seed ${first}: ${datagrams} datagrams, ${virtual} s of virtual time in ${took} s`);

function numberAfter(flag: string): number | undefined {
  const at = Deno.args.indexOf(flag);
  if (at < 0) return undefined;
  const value = Number(Deno.args[at + 1]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`${flag} needs a number`);
  Deno.exit(2);
}
