/** The command line, parsed once into a typed value. Every mistake is answered with what was wanted. */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { userDataDirectory } from "../shared/host/mod.ts";
import { SERVERS_MAX } from "../shared/limits.ts";
import { STRATEGY_NAMES, type StrategyName } from "./strategy.ts";

export type Command =
  | { readonly type: "run"; readonly config: BalancerConfig }
  /** Without `dataDir`: the one balancer of this user that runs. */
  | { readonly type: "stop"; readonly dataDir: string | undefined }
  | { readonly type: "status"; readonly dataDir: string | undefined; readonly json: boolean }
  /** Not `asked`: there was nothing on the command line. */
  | { readonly type: "help"; readonly asked: boolean }
  | { readonly type: "version" };

export interface BalancerConfig {
  readonly servers: number;
  /** 0 takes a free one. */
  readonly port: number;
  readonly host: string;
  /** What clients are told to connect to, or "" for the host that they reached. */
  readonly advertise: string;
  /** Absolute; `undefined` is the default for the port that is given in the end. */
  readonly dataDir: string | undefined;
  readonly strategy: StrategyName;
  /** Passed on to every server as they are. */
  readonly serverArguments: readonly string[];
}

/** A command line that cannot be meant; the message is for its author. Exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** @throws UsageError */
export function parseCommand(args: readonly string[]): Command {
  // `deno task fastchat-balancer -- 4 9000` brings its own separator along.
  const { values, positionals } = parse(args[0] === "--" ? args.slice(1) : args);
  if (values["help"]) return { type: "help", asked: true };
  if (values["version"]) return { type: "version" };
  const dataDir = text(values, "data");
  if (dataDir === "") throw new UsageError("--data needs a directory");
  const absolute = dataDir === undefined ? undefined : resolve(dataDir);
  const [word] = positionals;
  if (word === undefined) return { type: "help", asked: false };
  if (word === "stop" || word === "status") {
    allowOnly(values, word === "stop" ? ["data"] : ["data", "json"], word);
    if (positionals.length > 1) throw new UsageError(`'${word}' takes no further words, only --data DIR`);
    return word === "stop"
      ? { type: "stop", dataDir: absolute }
      : { type: "status", dataDir: absolute, json: values["json"] === true };
  }
  return { type: "run", config: parseRun(values, positionals, absolute) };
}

/** Where a balancer on that port keeps its data when it is not told. */
export function defaultDataDir(port: number): string {
  return join(userDataDirectory(), "fastchat", `balancer_${port}`);
}

type Values = Readonly<Record<string, string | boolean | undefined>>;

function parse(args: readonly string[]): { values: Values; positionals: string[] } {
  // To the parser -3 is an option.
  const negative = args.find((word) => /^-\d/.test(word));
  if (negative !== undefined) throw new UsageError(`'${negative}' cannot be a number of servers or a port`);
  try {
    const { values, positionals } = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
    return { values: values as Values, positionals };
  } catch (error) {
    // "Unknown option '--x'. To specify a positional argument ..." is node's advice; its first sentence is ours.
    throw new UsageError((error as Error).message.split(/\. |\n/)[0]!);
  }
}

function parseRun(values: Values, positionals: readonly string[], dataDir: string | undefined): BalancerConfig {
  allowOnly(values, Object.keys(OPTIONS).filter((name) => name !== "json"), "a balancer");
  const [servers, port, ...more] = positionals;
  if (!/^[+-]?[\d.]+$/.test(servers!) && port === undefined) {
    throw new UsageError(`'${servers}' is no command: give a number of servers and a port, or 'stop' or 'status'`);
  }
  if (more.length > 0) throw new UsageError(`'${more[0]}' is one word too many: give a number of servers and a port`);
  return {
    servers: count(servers, "the number of servers", 1, SERVERS_MAX),
    port: count(port, "the port", 0, 65_535, "1..65535 (or 0 for a free one)"),
    host: host(values, "host") ?? "0.0.0.0",
    advertise: host(values, "advertise") ?? "",
    dataDir,
    strategy: strategy(text(values, "strategy") ?? "two-choices"),
    serverArguments: serverArguments(values),
  };
}

function count(word: string | undefined, what: string, min: number, max: number, range = `${min}..${max}`): number {
  if (word === undefined) throw new UsageError(`${capital(what)} is missing: it is in ${range}`);
  const value = /^\d{1,9}$/.test(word) ? Number(word) : NaN;
  if (!(value >= min && value <= max)) throw new UsageError(`'${word}' cannot be ${what}: it is in ${range}`);
  return value;
}

function host(values: Values, name: string): string | undefined {
  const value = text(values, name);
  if (value !== undefined && !/^[\x21-\x7e]{1,255}$/.test(value)) {
    throw new UsageError(`--${name} needs an address or a host name`);
  }
  // `[::1]` is how an address is written beside a port; alone it is `::1`.
  return value?.replace(/^\[(.*)\]$/, "$1");
}

function strategy(value: string): StrategyName {
  const name = STRATEGY_NAMES.find((known) => known === value);
  if (name === undefined) throw new UsageError(`'${value}' is no strategy: choose ${STRATEGY_NAMES.join(", ")}`);
  return name;
}

function serverArguments(values: Values): string[] {
  return Object.keys(SERVER_OPTIONS).flatMap((name) => {
    const value = values[name];
    if (value === undefined) return [];
    return typeof value === "string" ? [`--${name}`, value] : value ? [`--${name}`] : [];
  });
}

function allowOnly(values: Values, names: readonly string[], what: string): void {
  const other = Object.keys(values).find((name) => !names.includes(name));
  if (other !== undefined) throw new UsageError(`--${other} is not an option of ${what}`);
}

function text(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" ? value : undefined;
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** The server's own options that a balancer hands on; `fastchat-server --help` explains them and the server judges their values. */
const SERVER_OPTIONS = {
  "registration": { type: "string" },
  "session-days": { type: "string" },
  "signup-rate": { type: "string" },
  "login-rate": { type: "string" },
  "login-burst": { type: "string" },
  "wrong-passwords": { type: "string" },
  "wrong-passwords-account": { type: "string" },
  "request-rate": { type: "string" },
  "message-rate": { type: "string" },
  "handshake-rate": { type: "string" },
  "handshake-burst": { type: "string" },
  "handshake-rate-total": { type: "string" },
  "handshake-parallel": { type: "string" },
  "handshake-queue": { type: "string" },
  "connections": { type: "string" },
  "password-workers": { type: "string" },
  "password-queue": { type: "string" },
  "password-queue-address": { type: "string" },
  "log-level": { type: "string" },
} as const;

const OPTIONS = {
  "host": { type: "string" },
  "advertise": { type: "string" },
  "data": { type: "string" },
  "strategy": { type: "string" },
  "json": { type: "boolean" },
  "help": { type: "boolean", short: "h" },
  "version": { type: "boolean", short: "V" },
  ...SERVER_OPTIONS,
} as const;

export const HELP = `FastChat's balancer starts chat servers, keeps them alive and tells clients which one to use.

Usage
  fastchat-balancer <num_servers> <port> [options]     run; Ctrl-C stops everything
  fastchat-balancer stop   [--data DIR]                stop a running balancer and its servers
  fastchat-balancer status [--data DIR] [--json]       what runs, where, with how many connections

Try it
  fastchat-balancer 4 9000                             4 servers behind UDP port 9000
  fastchat 127.0.0.1 9000                              ... and chat, in another terminal

Options
  --host H          address to listen on (default 0.0.0.0, every IPv4 address; :: adds IPv6)
  --advertise H     host that clients are told to use, where it is not the one they reach (a proxy, port forwarding)
  --data DIR        keys, messages, logs (default: your data directory/fastchat/balancer_<port>)
  --strategy S      how a server is chosen for a client (default two-choices)
                      two-choices         the emptier of two at random: even, and steady when many come at once
                      random              any
                      round-robin         in turn
                      least-connections   the emptiest
  --registration R  who may sign up, handed on to the servers: open (default) or closed; so are the limits that
                    fastchat-server --help lists (--login-rate, --handshake-rate and others)
  -h, --help        this text
  -V, --version     the version

It needs UDP <port> and the <num_servers> ports that follow it (the next free ones where some are taken): open them in your
firewall. Once every server answers it prints one line:

  ready HOST:PORT servers=N data=DIR key=FINGERPRINT

Give people HOST:PORT#FINGERPRINT, and they cannot be sent to somebody else's server.

If the balancer is killed, its servers and all conversations go on; start it again with the same --data and it takes them
back. One balancer per DIR; logs are in DIR/log.

Exit codes: 0 stopped as asked, 1 failed, 2 usage, 3 port or directory taken by another program.
`;
