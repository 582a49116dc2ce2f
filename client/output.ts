/** Standard output for commands: whole writes, colour only where wanted, and a reader that went away ends us quietly. */
import { styleText } from "node:util";
import { FastChatError } from "./errors.ts";

/** Whoever read our output has gone: the command ends with exit code 0 and says nothing. */
export class BrokenPipeError extends Error {
  override readonly name = "BrokenPipeError";
}

/** Writes one line. @throws BrokenPipeError, or FastChatError where it cannot be written for another reason. */
export function printLine(line: string): void {
  writeAll(Deno.stdout, line + "\n");
}

/** Writes one line to standard error; nobody reading it is nobody's loss. */
export function printError(line: string): void {
  try {
    writeAll(Deno.stderr, line + "\n");
  } catch {
    // There is nowhere left to say it.
  }
}

export type Style = Parameters<typeof styleText>[0];

/** Colours `text` where standard output is a terminal that wants it (NO_COLOR is respected). */
export function paint(style: Style, text: string): string {
  return Deno.noColor || !Deno.stdout.isTerminal() ? text : styleText(style, text, { validateStream: false });
}

/** A colour that is always the same for one name, so that people tell each other apart. */
export function paintName(name: string): string {
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)!) >>> 0;
  return paint(["bold", NAME_COLOURS[hash % NAME_COLOURS.length]!], name);
}

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let sent = 0; sent < bytes.length;) sent += stream.writeSync(bytes.subarray(sent));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw new BrokenPipeError();
    throw new FastChatError(`Cannot write the output: ${(error as Error).message}`, { cause: error });
  }
}

const NAME_COLOURS = [
  "cyan",
  "green",
  "yellow",
  "magenta",
  "blue",
  "cyanBright",
  "greenBright",
  "magentaBright",
] as const;
