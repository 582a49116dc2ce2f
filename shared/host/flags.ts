/** Words of a command line, for the programs of the server box: every mistake is answered with what was wanted. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { nearest } from "../suggest.ts";

/** A command line that cannot be meant; the message is for its author. Exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What was given: an option's text, `true` for one without, nothing for one that is absent. */
export type FlagValues = Readonly<Record<string, string | boolean | undefined>>;

/**
 * Reads options in any place. One leading `--` is dropped: `deno task PROGRAM -- --data DIR` brings it along.
 *
 * @throws UsageError for an option that is unknown, lacks its text, or is a negative number.
 */
export function parseFlags(
  args: readonly string[],
  options: NonNullable<ParseArgsConfig["options"]>,
): { values: FlagValues; positionals: string[] } {
  const words = args[0] === "--" ? args.slice(1) : [...args];
  // To the parser -3 is an option.
  const negative = words.find((word) => /^-\d/.test(word));
  if (negative !== undefined) throw new UsageError(`'${negative}' cannot be meant: nothing here is a negative number`);
  try {
    const { values, positionals } = parseArgs({ args: words, options, allowPositionals: true });
    return { values: values as FlagValues, positionals };
  } catch (error) {
    // "Unknown option '--x'. To specify a positional argument ..." is node's advice; its first sentence is ours.
    const message = (error as Error).message.split(/\. |\n/)[0]!,
      unknown = /Unknown option '--([^']+)'/.exec(message)?.[1];
    const guess = unknown && nearest(unknown, Object.keys(options));
    throw new UsageError(guess ? `${message}; did you mean --${guess}?` : message);
  }
}

export function textFlag(values: FlagValues, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" ? value : undefined;
}

/** A whole number within bounds, `preset` where the option is absent. @throws UsageError */
export function numberFlag(values: FlagValues, name: string, preset: number, min: number, max: number): number {
  const word = textFlag(values, name);
  if (word === undefined) return preset;
  const value = /^\d{1,9}$/.test(word) ? Number(word) : NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`--${name} takes a number from ${min} to ${max}, not '${word}'`);
}

/** The first choice is the default. @throws UsageError */
export function choiceFlag<T extends string>(values: FlagValues, name: string, choices: readonly [T, ...T[]]): T {
  const word = textFlag(values, name) ?? choices[0];
  const choice = choices.find((known) => known === word);
  if (choice !== undefined) return choice;
  throw new UsageError(`--${name} takes ${choices.join(" or ")}, not '${word}'`);
}

/** An address or a host name; `[::1]`, as an address is written beside a port, is `::1`. @throws UsageError */
export function hostFlag(values: FlagValues, name: string): string | undefined {
  const value = textFlag(values, name);
  if (value !== undefined && !/^[\x21-\x7e]{1,255}$/.test(value)) {
    throw new UsageError(`--${name} needs an address or a host name`);
  }
  return value?.replace(/^\[(.*)\]$/, "$1");
}

/** @throws UsageError for an option that means nothing to this command. */
export function allowOnly(values: FlagValues, names: readonly string[], what: string): void {
  const other = Object.keys(values).find((name) => !names.includes(name));
  if (other !== undefined) throw new UsageError(`--${other} is not an option of ${what}`);
}
