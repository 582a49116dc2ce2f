/** The command `fastchat`: words → command → exit code. No logic of its own. */
import "./environment.ts";
import { COMMANDS, overview } from "./commands.ts";
import { parseCommandLine } from "./config.ts";
import { FastChatError } from "./errors.ts";
import { BrokenPipeError, printError, printLine } from "./output.ts";
import { VERSION } from "../shared/version.ts";

/** Runs one command and answers its exit code; never throws. */
async function main(args: readonly string[]): Promise<number> {
  try {
    const { command, words, options } = parseCommandLine(args);
    if (options.version) printLine(`fastchat ${VERSION}`);
    else if (options.help) printLine(command === COMMANDS.chat ? overview() : `${command.usage}\n\n${command.help}`);
    else return await command.run(words, options) ?? 0;
    return 0;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof BrokenPipeError) return 0;
  if (error instanceof FastChatError) {
    printError(`fastchat: ${error.message}`);
    return error.exitCode;
  }
  if (error instanceof Error && error.name === "NoAnswerError") return 2;
  printError(`fastchat: internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}`);
  return 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
