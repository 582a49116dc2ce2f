/** Runs random scenarios: `--seeds N` for N new ones, `--seed S` to replay one. Exits 1 at the first that fails. */
import { runScenario } from "./scenario.ts";

const seeds = numberAfter("--seeds"), seed = numberAfter("--seed");
const first = seed ?? Math.floor(Math.random() * 2 ** 31), count = seed === undefined ? seeds ?? 1000 : 1;
const startMs = performance.now();
let datagrams = 0, virtualUs = 0;
for (let current = first; current < first + count; current++) {
  try {
    const result = runScenario(current);
    datagrams += result.datagrams;
    virtualUs += result.virtualUs;
  } catch (error) {
    console.error(error);
    console.error(`Replay it: deno task sim --seed ${current}`);
    Deno.exit(1);
  }
}
const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
console.log(
  `${count} scenarios from seed ${first}: ${datagrams} datagrams, ${
    Math.round(virtualUs / 1e6)
  } s of virtual time in ${seconds} s`,
);

function numberAfter(flag: string): number | undefined {
  const at = Deno.args.indexOf(flag);
  if (at < 0) return undefined;
  const value = Number(Deno.args[at + 1]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`${flag} needs a number`);
  Deno.exit(2);
}
