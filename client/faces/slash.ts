/**
 * The chat's own commands: one table for `/help`, completion and dispatch, with what people do with groups among them. A backslash
 * works like the slash.
 */
import { GROUP_ACTS, type GroupAct } from "../group_acts.ts";
import { slashUsage } from "./group_line.ts";
import { splitWords } from "../words.ts";

export interface SlashCommand {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly usage: string;
  readonly help: string;
}

/** Those that are not about groups. */
export type SlashName =
  | "to"
  | "msg"
  | "read"
  | "unread"
  | "online"
  | "all"
  | "chats"
  | "groups"
  | "verify"
  | "unverify"
  | "trust"
  | "status"
  | "whoami"
  | "help"
  | "quit";

interface OwnCommand extends SlashCommand {
  readonly name: SlashName;
}

const COMMANDS: readonly OwnCommand[] = [
  {
    name: "to",
    aliases: ["t"],
    usage: "/to NAME|#GROUP",
    help: "talk to NAME; @NAME TEXT does both at once",
  },
  {
    name: "msg",
    aliases: ["m"],
    usage: "/msg NAME|#GROUP TEXT",
    help: "one message to NAME; you go on where you are",
  },
  { name: "read", aliases: ["history"], usage: "/read [NAME] [N]", help: "the newest N messages (20) with NAME" },
  { name: "unread", aliases: [], usage: "/unread", help: "who wrote while you were talking to somebody else" },
  { name: "online", aliases: ["who"], usage: "/online", help: "who is online" },
  { name: "all", aliases: ["users"], usage: "/all", help: "everybody who has signed up" },
  { name: "chats", aliases: [], usage: "/chats", help: "whom you talk with, and who of them is verified" },
  { name: "groups", aliases: [], usage: "/groups", help: "the groups you are in; /help groups has the rest" },
  {
    name: "verify",
    aliases: [],
    usage: "/verify [NAME] [NUMBER]",
    help: "the safety number to compare with NAME (M-v too)",
  },
  { name: "unverify", aliases: [], usage: "/unverify [NAME]", help: "take that mark away" },
  { name: "trust", aliases: [], usage: "/trust NAME|#GROUP", help: "accept a changed key, or that views differ" },
  {
    name: "status",
    aliases: [],
    usage: "/status [NAME]",
    help: "how far your last messages have come; what is queued",
  },
  { name: "whoami", aliases: [], usage: "/whoami", help: "your name, server and keys" },
  { name: "help", aliases: ["h", "?"], usage: "/help [COMMAND]", help: "this list" },
  { name: "quit", aliases: ["q", "exit"], usage: "/quit", help: "leave (Ctrl-C and Ctrl-D too)" },
];

/** All of them, as `/help` has them: those about groups behind the list of groups. */
export const SLASH_COMMANDS: readonly SlashCommand[] = COMMANDS.flatMap((command) =>
  command.name === "groups" ? [command, ...GROUP_ACTS.map(groupCommand)] : [command]
);

function groupCommand(act: GroupAct): SlashCommand {
  const [name, ...aliases] = act.slash;
  return { name, aliases, usage: slashUsage(act), help: act.summary };
}

/** What a typed line asks for. */
export type Line =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "direct"; readonly name: string; readonly text: string }
  | { readonly type: "command"; readonly name: SlashName; readonly words: readonly string[]; readonly rest: string }
  | { readonly type: "group"; readonly act: GroupAct; readonly rest: string }
  | { readonly type: "unknown"; readonly word: string };

/** Reads a line. `//` at its start is a text that begins with one slash; so is `\\` with one backslash. */
export function parseLine(line: string): Line {
  if (/^(?:\/\/|\\\\)/.test(line)) return { type: "text", text: line.slice(1) };
  const direct = /^@(\S+)\s*([\s\S]*)$/.exec(line);
  if (direct) return { type: "direct", name: direct[1]!.replace(/[:,]$/, ""), text: direct[2]! };
  const match = /^[/\\](\S+)\s*([\s\S]*)$/.exec(line);
  if (!match) return { type: "text", text: line };
  const word = match[1]!.toLowerCase();
  const rest = match[2]!, command = COMMANDS.find(({ name, aliases }) => name === word || aliases.includes(word));
  if (command !== undefined) return { type: "command", name: command.name, words: splitWords(rest), rest };
  const act = GROUP_ACTS.find(({ slash }) => slash.includes(word));
  return act === undefined ? { type: "unknown", word } : { type: "group", act, rest };
}

/**
 * Rows of `/help`: without a topic everything but what is about groups, so that it fits a screen; `groups` for those; or the name of
 * a command, with its other names.
 */
export function helpRows(topic: string | undefined): { readonly usage: string; readonly help: string }[] {
  if (topic === undefined) return COMMANDS.map(({ usage, help }) => ({ usage, help }));
  const word = topic.replace(/^[/\\]/, "").toLowerCase();
  if (word === "groups" || word === "group") {
    return GROUP_ACTS.map(groupCommand).map(({ usage, help }) => ({ usage, help }));
  }
  const found = SLASH_COMMANDS.filter(({ name, aliases }) => name === word || aliases.includes(word));
  return found.map(({ usage, help, aliases }) => ({
    usage,
    help: aliases.length === 0 ? help : `${help} (also ${aliases.map((alias) => `/${alias}`).join(", ")})`,
  }));
}
