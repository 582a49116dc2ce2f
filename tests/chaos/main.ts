/**
 * `deno task chaos`: real processes, killed with SIGKILL while people talk through a bad network; then both ends and the store
 * are compared.
 *
 *   --messages N         how many are said in all (2,000)
 *   --loss P --dup P --reorder P     of the network, each way (0.05, 0.02, 0.05)
 *   --kill KINDS         any of server,leader,balancer,client, or none (all)
 *   --kills N            of each kind (by the number of messages)
 *   --people N --servers N           (8, 4)
 *   --seed S             decides who says what to whom, and who is killed when; printed where it is not given
 *   --trace              also where the time of each takeover went, by the servers' logs
 *   --json               one object on standard output, all else on standard error
 *   --keep               leaves the folder with data, logs and homes; a failure always does
 *
 * Exits 1 where anything but zero was counted, 2 for a wrong command line, 130 when interrupted.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type KillKind, KILLS } from "./plan.ts";
import { formatResult, formatTakeovers, resultJson } from "./table.ts";
import { chaos, type ChaosOptions, killsFor } from "./run.ts";

const text = { type: "string" } as const, flag = { type: "boolean" } as const;

async function main(): Promise<number> {
  const values = parse(), messages = count(values.messages, "messages", 1, 1_000_000);
  const say = values.json ? console.error : console.log;
  const stop = new AbortController();
  const directory = await Deno.makeTempDir({ prefix: "fastchat-chaos-" });
  const options: ChaosOptions = {
    seed: values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : count(values.seed, "seed", 0, 2 ** 32 - 1),
    messages,
    people: count(values.people, "people", 2, 16),
    servers: count(values.servers, "servers", 2, 32),
    kinds: kindsOf(values.kill),
    killsEach: values.kills === undefined ? killsFor(messages) : count(values.kills, "kills", 0, 1000),
    loss: rate(values.loss, "loss"),
    duplicate: rate(values.dup, "dup"),
    reorder: rate(values.reorder, "reorder"),
    directory,
    signal: stop.signal,
    report: say,
  };
  const replay = replayLine(options);
  say(replay);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort(new Error(`Interrupted by ${signal}`)));
  }
  let isClean = false;
  try {
    const result = await chaos(options);
    if (values.trace) { for (const line of formatTakeovers(result)) say(line); }
    isClean = result.verdict.ok && result.blindTo.length === 0;
    console.log(values.json ? JSON.stringify(resultJson(options, result)) : formatResult(result));
    if (!isClean) {
      await Deno.writeTextFile(join(directory, "evidence.json"), JSON.stringify(result.evidence));
      say(replay);
    }
    return isClean ? 0 : 1;
  } catch (error) {
    console.error(stop.signal.aborted ? (error as Error).message : (error as Error).stack);
    say(replay);
    return stop.signal.aborted ? 130 : 1;
  } finally {
    if (values.keep || (!isClean && !stop.signal.aborted)) say(`Data, logs and homes are in ${directory}`);
    else await Deno.remove(directory, { recursive: true });
  }
}

export function replayLine(options: ChaosOptions): string {
  const { messages, loss, duplicate, reorder, kinds, killsEach, people, servers, seed } = options;
  const kinds_ = kinds.length === 0 ? "none" : kinds.join(",");
  return `Replay: deno task chaos --messages ${messages} --loss ${loss} --dup ${duplicate} --reorder ${reorder} ` +
    `--kill ${kinds_} --kills ${killsEach} --people ${people} --servers ${servers} --seed ${seed}`;
}

function parse() {
  try {
    return parseArgs({
      args: Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args,
      options: {
        messages: { ...text, default: "2000" },
        loss: { ...text, default: ".05" },
        dup: { ...text, default: ".02" },
        reorder: { ...text, default: ".05" },
        kill: { ...text, default: KILLS.join(",") },
        kills: text,
        people: { ...text, default: "8" },
        servers: { ...text, default: "4" },
        seed: text,
        trace: flag,
        json: flag,
        keep: flag,
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message.split(/\. |\n/)[0]);
  }
}

function count(word: string, name: string, min: number, max: number): number {
  const value = /^\d{1,10}$/.test(word) ? Number(word) : NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`--${name} takes a number from ${min} to ${max}, not '${word}'`);
}

function rate(word: string, name: string): number {
  const value = /^\d*\.?\d+$/.test(word) ? Number(word) : NaN;
  if (value >= 0 && value < 1) return value;
  throw new UsageError(`--${name} takes a probability below 1, not '${word}'`);
}

function kindsOf(words: string): KillKind[] {
  if (words === "none" || words === "") return [];
  return words.split(",").map((word) => {
    const kind = KILLS.find((kind) => kind === word.trim());
    if (kind === undefined) throw new UsageError(`--kill takes ${KILLS.join(",")} or none, not '${word}'`);
    return kind;
  });
}

class UsageError extends Error {
  override readonly name = "UsageError";
}

if (import.meta.main) {
  let code: number;
  try {
    code = await main();
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    code = 2;
  }
  Deno.exit(code);
}
