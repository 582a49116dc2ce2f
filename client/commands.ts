/**
 * The table of commands: name, usage, words, options, help, handler. It feeds the command line, `--help` and suggestions. In
 * the order in which the overview shows them.
 */
import { ACCOUNT_COMMANDS } from "./commands/table/account.ts";
import type { Command } from "./commands/table/command.ts";
import { DEVICE_COMMANDS } from "./commands/table/devices.ts";
import { MESSAGE_COMMANDS } from "./commands/table/messages.ts";
import { PEOPLE_COMMANDS } from "./commands/table/people.ts";

export const COMMANDS = {
  ...ACCOUNT_COMMANDS,
  ...MESSAGE_COMMANDS,
  ...PEOPLE_COMMANDS,
  ...DEVICE_COMMANDS,
} as const satisfies Record<string, Command>;

/** The command of that name. */
export function findCommand(name: string): Command | undefined {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name as keyof typeof COMMANDS] : undefined;
}
