/** Questions to a person at the terminal. Questions go to standard error, so that output can be piped. */
import { ABANDONED_EXIT_CODE, AbandonedError } from "./errors.ts";
import type { Key } from "./faces/editor.ts";
import { KeyReader } from "./faces/keys.ts";

/** Whether somebody is there to ask. */
export function canAsk(): boolean {
  return Deno.stdin.isTerminal() && Deno.stderr.isTerminal();
}

/** Asks for a line. */
export function ask(question: string): Promise<string> {
  return readAnswer(question, (text) => text);
}

/** Asks for a line that is not shown while it is typed. */
export function askHidden(question: string): Promise<string> {
  return readAnswer(question, () => "");
}

/** One line to the person, beside the questions. */
export function printNotice(text: string): void {
  say(text + "\n");
}

async function readAnswer(question: string, echo: (text: string) => string): Promise<string> {
  let answer: string[] = [];
  say(question);
  Deno.stdin.setRaw(true);
  for (const signal of SIGNALS) Deno.addSignalListener(signal, abandon);
  try {
    for (;;) {
      const key = await nextKey();
      if (key === undefined) throw new AbandonedError();
      if ("text" in key) {
        answer.push(...key.text);
        say(echo(key.text));
      } else if (key.name === "enter") {
        return answer.join("");
      } else if (key.name === "ctrl-c" || (key.name === "ctrl-d" && answer.length === 0)) {
        throw new AbandonedError();
      } else if (key.name === "backspace" && answer.length > 0) {
        if (echo(answer.pop()!) !== "") say("\b \b");
      } else if (key.name === "ctrl-u") {
        if (echo("x") !== "") say("\b \b".repeat(answer.length));
        answer = [];
      }
    }
  } finally {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, abandon);
    leaveRaw();
  }
}

/** Ended from outside: the terminal must not stay as the question needed it. A read that waits cannot be called off. */
function abandon(): void {
  leaveRaw();
  Deno.exit(ABANDONED_EXIT_CODE);
}

function leaveRaw(): void {
  try {
    Deno.stdin.setRaw(false);
  } catch {
    // The terminal is gone: there is nothing left to restore.
  }
  say("\n");
}

/** The next key, or `undefined` at the end of input. What was typed ahead of a question answers the next one. */
async function nextKey(): Promise<Key | undefined> {
  const buffer = new Uint8Array(1024);
  while (ahead.length === 0) {
    const count = await Deno.stdin.read(buffer);
    if (count === null) return undefined;
    ahead.push(...reader.push(buffer.subarray(0, count)));
  }
  return ahead.shift();
}

function say(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch {
    // Nobody looks any more.
  }
}

const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM", "SIGHUP"];
const reader = new KeyReader();
const ahead: Key[] = [];
