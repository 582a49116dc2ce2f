/** The command `fastchat`: words → command → exit code. No logic of its own. */
import "./environment.ts";
import { parseCommandLine } from "./config.ts";
import { FastChatError } from "./errors.ts";
import { BrokenPipeError, printError, printLine } from "./output.ts";
import { overview } from "./overview.ts";
import { VERSION } from "../shared/version.ts";

/** Runs one command and answers its exit code; never throws. */
async function main(args: readonly string[]): Promise<number> {
  try {
    const { command, isNamed, words, options } = parseCommandLine(args);
    if (options.version) printLine(`fastchat ${VERSION}`);
    else if (options.help) printLine(isNamed ? `${command.usage}\n\n${command.help}` : overview());
    else return await command.run(words, options) ?? 0;
    return 0;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof BrokenPipeError) return 0;
  if (error instanceof FastChatError) {
    if (error.message !== "") printError(`fastchat: ${error.message}`);
    return error.exitCode;
  }
  printError(`fastchat: internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}`);
  return 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
