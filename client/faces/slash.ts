/** The chat's own commands: one table for `/help`, completion and dispatch. A backslash works like the slash. */

export interface SlashCommand {
  readonly name: SlashName;
  readonly aliases: readonly string[];
  readonly usage: string;
  readonly help: string;
}

export type SlashName =
  | "to"
  | "msg"
  | "read"
  | "unread"
  | "online"
  | "all"
  | "chats"
  | "verify"
  | "unverify"
  | "trust"
  | "status"
  | "whoami"
  | "help"
  | "quit";

export const SLASH_COMMANDS: readonly SlashCommand[] = [
  { name: "to", aliases: ["t"], usage: "/to NAME", help: "talk to NAME; @NAME TEXT does both at once" },
  {
    name: "msg",
    aliases: ["m"],
    usage: "/msg NAME TEXT",
    help: "one message to NAME, without changing whom you talk to",
  },
  { name: "read", aliases: ["history"], usage: "/read [NAME] [N]", help: "the newest N messages (20) with NAME" },
  { name: "unread", aliases: [], usage: "/unread", help: "who wrote while you were talking to somebody else" },
  { name: "online", aliases: ["who"], usage: "/online", help: "who is online" },
  { name: "all", aliases: ["users"], usage: "/all", help: "everybody who has signed up" },
  { name: "chats", aliases: [], usage: "/chats", help: "whom you talk with, and whom of them you have verified" },
  {
    name: "verify",
    aliases: [],
    usage: "/verify [NAME] [NUMBER]",
    help: "the safety number to compare with NAME (M-v too)",
  },
  { name: "unverify", aliases: [], usage: "/unverify [NAME]", help: "take that mark away" },
  { name: "trust", aliases: [], usage: "/trust NAME", help: "accept NAME's changed key, after you compared it" },
  {
    name: "status",
    aliases: [],
    usage: "/status [NAME]",
    help: "how far your last messages have come; what is queued",
  },
  { name: "whoami", aliases: [], usage: "/whoami", help: "your name, server and keys" },
  { name: "help", aliases: ["h", "?"], usage: "/help", help: "this list" },
  { name: "quit", aliases: ["q", "exit"], usage: "/quit", help: "leave (Ctrl-C and Ctrl-D too)" },
];

/** What a typed line asks for. */
export type Line =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "direct"; readonly name: string; readonly text: string }
  | { readonly type: "command"; readonly name: SlashName; readonly words: readonly string[]; readonly rest: string }
  | { readonly type: "unknown"; readonly word: string };

/** Reads a line. `//` at its start is a text that begins with one slash; so is `\\` with one backslash. */
export function parseLine(line: string): Line {
  if (/^(?:\/\/|\\\\)/.test(line)) return { type: "text", text: line.slice(1) };
  const direct = /^@(\S+)\s*([\s\S]*)$/.exec(line);
  if (direct) return { type: "direct", name: direct[1]!.replace(/[:,]$/, ""), text: direct[2]! };
  const match = /^[/\\](\S+)\s*([\s\S]*)$/.exec(line);
  if (!match) return { type: "text", text: line };
  const word = match[1]!.toLowerCase();
  const command = SLASH_COMMANDS.find(({ name, aliases }) => name === word || aliases.includes(word));
  if (command === undefined) return { type: "unknown", word };
  const rest = match[2]!;
  return { type: "command", name: command.name, words: rest.split(/\s+/).filter((part) => part !== ""), rest };
}
