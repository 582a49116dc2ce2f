/** `deno task fuzz [--datagrams N] [--seed N] [--servers N]`: exits 1 where anything went wrong. */
import { parseArgs } from "node:util";
import { fuzz } from "./fuzz.ts";

const text = { type: "string" } as const;
const { values } = parseArgs({
  args: Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args,
  options: { datagrams: { ...text, default: "100000" }, seed: text, servers: { ...text, default: "2" } },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const datagrams = Number(values.datagrams), servers = Number(values.servers);
if (![seed, datagrams, servers].every((value) => Number.isSafeInteger(value) && value >= 0)) {
  console.error("Usage: deno task fuzz [--datagrams N] [--seed N] [--servers N]");
  Deno.exit(2);
}
console.log(`deno task fuzz --datagrams ${datagrams} --seed ${seed} --servers ${servers}`);
const result = await fuzz({ datagrams, seed, servers, report: console.log });
const { sent, delivered, seconds, answers, messages, problems } = result;
console.log(`${sent} datagrams in ${seconds.toFixed(1)} s, ${delivered} of them delivered; ${answers} answers`);
console.log(`${result.askedAnswered} answers to ${result.asked} sent one at a time were compared with their questions`);
console.log(`mutations: ${[...result.byMutation].map(([name, count]) => `${name} ${count}`).join(", ")}`);
for (const [i, before] of result.memoryBefore.entries()) {
  console.log(
    `server ${i}: ${(before / 1024).toFixed(0)} MiB before, ${(result.memoryAfter[i]! / 1024).toFixed(0)} after`,
  );
}
console.log(`${messages} messages heard by two clients meanwhile`);
for (const problem of problems) console.error(`PROBLEM ${problem}`);
console.log(problems.length === 0 ? "Nothing went wrong" : `${problems.length} problems`);
Deno.exit(problems.length === 0 ? 0 : 1);
