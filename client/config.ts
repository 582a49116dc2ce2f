/** The command line → one typed value, or a UsageError that says what would have been right. No effects. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { DATAGRAM_BYTES, DATAGRAM_BYTES_MAX } from "../shared/limits.ts";
import { COMMANDS, findCommand } from "./commands.ts";
import type { Command } from "./commands/table/command.ts";
import { UsageError } from "./errors.ts";
import type { Options } from "./options.ts";
import { parseServerAddress } from "./network/server_address.ts";
import { nearest } from "../shared/suggest.ts";

/** What the words of the command line mean. */
export interface Invocation {
  readonly command: Command;
  /** Whether its name was given; without one it is a chat. */
  readonly isNamed: boolean;
  /** Words behind the command (for chat: HOST and PORT, or none). */
  readonly words: readonly string[];
  readonly options: Options;
}

/** @param args As the operating system gave them; one leading `--` is dropped. */
export function parseCommandLine(args: readonly string[]): Invocation {
  const { values, positionals } = parseWords(args[0] === "--" ? args.slice(1) : [...args]);
  const options = toOptions(values);
  const [first, ...rest] = positionals;
  if (first === "help") return { ...helpOn(rest), options: { ...options, help: true } };
  if (first === "version" && rest.length === 0) {
    return { command: COMMANDS.chat, isNamed: false, words: [], options: { ...options, version: true } };
  }
  const command = first === undefined ? undefined : findCommand(first);
  if (command !== undefined) {
    checkOptions(command, values);
    if (!options.help) checkCount(command, rest);
    return { command, isNamed: true, words: rest, options };
  }
  checkOptions(COMMANDS.chat, values);
  if (first !== undefined && !options.help) checkChat(positionals);
  return { command: COMMANDS.chat, isNamed: false, words: positionals, options };
}

/** `fastchat help`, or of a command: what people type who have not read that it is `--help`. */
function helpOn(words: readonly string[]): Omit<Invocation, "options"> {
  const [name] = words;
  if (name === undefined) return { command: COMMANDS.chat, isNamed: false, words };
  const command = findCommand(name);
  if (command === undefined) throw noCommand(name);
  return { command, isNamed: true, words };
}

type Values = Partial<Record<string, string | boolean>>;

function parseWords(args: string[]): { values: Values; positionals: string[] } {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true, strict: true });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const valueless = /^Option '(?:-\w, )?(--[\w-]+)/.exec(message)?.[1];
    if (valueless !== undefined) {
      const takesValue = OPTIONS[valueless.slice(2) as keyof typeof OPTIONS]?.type === "string";
      throw new UsageError(takesValue ? `${valueless} needs a value behind it` : `${valueless} takes no value`);
    }
    const unknown = /Unknown option '(-[^']*)'/.exec(message)?.[1];
    if (unknown === undefined) throw new UsageError(message);
    const guess = nearest(unknown.replace(/^-+/, ""), Object.keys(OPTIONS));
    throw new UsageError(
      `There is no option ${unknown}` + (guess ? `; did you mean --${guess}?` : "") +
        ` (a text that begins with a dash goes behind --: fastchat send NAME -- -text)`,
    );
  }
}

function toOptions(values: Values): Options {
  const text = (name: string) => values[name] as string | undefined;
  const wait = number("wait", text("wait"), 0, 1_000_000);
  const timeout = number("timeout", text("timeout"), 0.1, 1_000_000);
  const limit = whole("limit", number("limit", text("limit"), 1, 1_000_000));
  const datagramBytes = number("datagram-bytes", text("datagram-bytes"), DATAGRAM_BYTES, DATAGRAM_BYTES_MAX);
  if (datagramBytes !== undefined && !Number.isInteger(datagramBytes)) {
    throw new UsageError("--datagram-bytes takes a whole number");
  }
  return {
    ...given("home", text("home")),
    ...given("user", text("user")),
    ...given("server", text("server")),
    ...given("passwordFile", text("password-file")),
    ...given("tokenFile", text("token-file")),
    agent: values["no-agent"] !== true,
    foreground: values["foreground"] === true,
    stdin: values["stdin"] === true,
    ...given("wait", wait),
    ...given("limit", limit),
    ...given("timeout", timeout),
    ...given("datagramBytes", datagramBytes),
    ...given("ack", manual(text("ack"))),
    ...given("ackAfter", number("ack-after", text("ack-after"), 0.1, 1_000_000)),
    ...given("window", whole("window", number("window", text("window"), 1, 10_000))),
    ...given("number", text("number")),
    ...given("since", text("since")),
    withHistory: values["with-history"] === true,
    compare: values["compare"] === true,
    ...given("deviceName", text("device-name")),
    yes: values["yes"] === true,
    unverify: values["unverify"] === true,
    noQr: values["no-qr"] === true,
    json: values["json"] === true,
    presence: values["presence"] === true,
    serverBackup: values["no-server-backup"] !== true,
    ...given("recoveryFile", text("recovery-file")),
    signOutOthers: values["sign-out-others"] === true,
    archive: values["archive"] === true,
    newRecoveryKey: values["new-recovery-key"] === true,
    delete: values["delete"] === true,
    help: values["help"] === true,
    version: values["version"] === true,
  };
}

function given<K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: T };
}

function number(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && value >= min && value <= max) return value;
  throw new UsageError(`--${name} takes a number from ${min} to ${max}, not ${JSON.stringify(text)}`);
}

function manual(text: string | undefined): "manual" | undefined {
  if (text === undefined || text === "manual") return text;
  throw new UsageError(`--ack takes "manual", not ${JSON.stringify(text)}`);
}

function whole(name: string, value: number | undefined): number | undefined {
  if (value === undefined || Number.isInteger(value)) return value;
  throw new UsageError(`--${name} takes a whole number`);
}

function checkOptions(command: Command, values: Values): void {
  for (const name of Object.keys(values)) {
    if (COMMON_OPTIONS.includes(name) || command.options.includes(name)) continue;
    throw new UsageError(`fastchat ${command.name} takes no --${name}. Usage: ${command.usage}`);
  }
}

function checkCount(command: Command, words: readonly string[]): void {
  const [min, max] = command.words;
  if (words.length < min) throw new UsageError(`Something is missing. Usage: ${command.usage}`);
  if (words.length > max) {
    throw new UsageError(`${JSON.stringify(words[max])} is one word too many. Usage: ${command.usage}`);
  }
}

/** A chat is HOST and PORT, or both in one; anything else in first place is a mistyped command. */
function checkChat(words: readonly string[]): void {
  const [first, second] = words as [string, string?];
  if (words.length === 2 && /^\d+$/.test(second!)) {
    const port = Number(second);
    if (port >= 1 && port <= 65535) return;
    throw new UsageError(`A port is a number from 1 to 65535, not ${second}`);
  }
  if (words.length === 1 && ADDRESS.test(first)) return void parseServerAddress(first);
  if (words.length === 1 && /^\d+$/.test(first)) {
    throw new UsageError(`A host is missing in front of the port: fastchat HOST ${first}`);
  }
  if (HOST.test(first) && nearest(first, Object.keys(COMMANDS)) === undefined) {
    if (second === undefined) throw new UsageError(`A port is missing: fastchat ${first} PORT`);
    if (words.length === 2) throw new UsageError(`A port is a number from 1 to 65535, not ${JSON.stringify(second)}`);
    throw new UsageError(`${JSON.stringify(words[2])} is one word too many. Usage: ${COMMANDS.chat.usage}`);
  }
  throw noCommand(first);
}

function noCommand(word: string): UsageError {
  const guess = nearest(word, Object.keys(COMMANDS));
  return new UsageError(
    `There is no command ${JSON.stringify(word)}${guess ? `; did you mean "fastchat ${guess}"?` : "."} ` +
      "A chat is: fastchat HOST PORT. All commands: fastchat --help",
  );
}

/** An address in one word: with its port, and its fingerprint where it has one. */
const ADDRESS = /#|:\d+$/;
/** What can only be meant as a host: no command has a dot, a colon or a digit. */
const HOST = /^localhost$|[.:\d]/i;

const OPTIONS = {
  home: { type: "string" },
  user: { type: "string", short: "u" },
  server: { type: "string" },
  "password-file": { type: "string" },
  "token-file": { type: "string" },
  "no-agent": { type: "boolean" },
  foreground: { type: "boolean" },
  stdin: { type: "boolean" },
  json: { type: "boolean" },
  wait: { type: "string" },
  limit: { type: "string" },
  since: { type: "string" },
  "with-history": { type: "boolean" },
  compare: { type: "boolean" },
  timeout: { type: "string" },
  "datagram-bytes": { type: "string" },
  ack: { type: "string" },
  "ack-after": { type: "string" },
  window: { type: "string" },
  presence: { type: "boolean" },
  number: { type: "string" },
  yes: { type: "boolean" },
  unverify: { type: "boolean" },
  "no-qr": { type: "boolean" },
  "no-server-backup": { type: "boolean" },
  "recovery-file": { type: "string" },
  "sign-out-others": { type: "boolean" },
  "archive": { type: "boolean" },
  "new-recovery-key": { type: "boolean" },
  "delete": { type: "boolean" },
  "device-name": { type: "string" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "V" },
} satisfies ParseArgsConfig["options"];

/** Taken by every command. */
const COMMON_OPTIONS = [
  "home",
  "user",
  "password-file",
  "token-file",
  "no-agent",
  "timeout",
  "datagram-bytes",
  "help",
  "version",
];
