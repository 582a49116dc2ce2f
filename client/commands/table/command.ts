/** What there is to know of a command. */
import type { Options } from "../../options.ts";

/** A line of the table. Its handler is loaded when it is called, so that `--help` and mistakes answer at once. */
export interface Command {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  /** A screen of help: what it does, then an example. */
  readonly help: string;
  /** How many words may follow: at least and at most. */
  readonly words: readonly [number, number];
  /** Options beside the common ones. */
  readonly options: readonly string[];
  /** @returns An exit code where it told of failures itself. */
  run(words: readonly string[], options: Options): Promise<number | void>;
}
