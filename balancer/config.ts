/** The command line, parsed once into a typed value. Every mistake is answered with what was wanted. */
import { join, resolve } from "node:path";
import { checkServerFlags, SERVER_FLAGS } from "../shared/cluster/mod.ts";
import {
  allowOnly,
  type FlagValues,
  hostFlag,
  numberFlag,
  parseFlags,
  textFlag,
  UsageError,
  userDataDirectory,
} from "../shared/host/mod.ts";
import { SERVERS_MAX } from "../shared/limits.ts";
import { nearest } from "../shared/suggest.ts";
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
  /** Seconds without an answer after which a server is killed and replaced. */
  readonly hungAfterS: number;
  /** Passed on to every server as they are. */
  readonly serverArguments: readonly string[];
}

/** @throws UsageError */
export function parseCommand(args: readonly string[]): Command {
  const { values, positionals } = parseFlags(args, OPTIONS);
  if (values["help"]) return { type: "help", asked: true };
  if (values["version"]) return { type: "version" };
  const dataDir = textFlag(values, "data");
  if (dataDir === "") throw new UsageError("--data needs a directory");
  const absolute = dataDir === undefined ? undefined : resolve(dataDir);
  const [word] = positionals;
  if (word === "help") return { type: "help", asked: true };
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

function parseRun(values: FlagValues, positionals: readonly string[], dataDir: string | undefined): BalancerConfig {
  allowOnly(values, Object.keys(OPTIONS).filter((name) => name !== "json"), "a balancer");
  const [servers, port, ...more] = positionals;
  if (!/^[+-]?[\d.]+$/.test(servers!) && port === undefined) {
    const guess = nearest(servers!, COMMANDS), hint = guess ? `; did you mean '${guess}'?` : ":";
    throw new UsageError(
      `'${servers}' is no command${hint} give a number of servers and a port, or one of ${COMMANDS.join(", ")}`,
    );
  }
  checkServerFlags(values);
  if (more.length > 0) throw new UsageError(`'${more[0]}' is one word too many: give a number of servers and a port`);
  return {
    servers: count(servers, "the number of servers", 1, SERVERS_MAX),
    port: count(port, "the port", 0, 65_535, "1..65535 (or 0 for a free one)"),
    host: hostFlag(values, "host") ?? "0.0.0.0",
    advertise: hostFlag(values, "advertise") ?? "",
    dataDir,
    strategy: strategy(textFlag(values, "strategy") ?? "two-choices"),
    hungAfterS: numberFlag(values, "hung-after", HUNG_AFTER_S, 2, 3600),
    serverArguments: serverArguments(values),
  };
}

function count(word: string | undefined, what: string, min: number, max: number, range = `${min}..${max}`): number {
  if (word === undefined) throw new UsageError(`${capital(what)} is missing: it is in ${range}`);
  const value = /^\d{1,9}$/.test(word) ? Number(word) : NaN;
  if (!(value >= min && value <= max)) throw new UsageError(`'${word}' cannot be ${what}: it is in ${range}`);
  return value;
}

function strategy(value: string): StrategyName {
  const name = STRATEGY_NAMES.find((known) => known === value);
  if (name === undefined) throw new UsageError(`'${value}' is no strategy: choose ${STRATEGY_NAMES.join(", ")}`);
  return name;
}

function serverArguments(values: FlagValues): string[] {
  return Object.keys(SERVER_FLAGS).flatMap((name) => {
    const value = values[name];
    if (value === undefined) return [];
    return typeof value === "string" ? [`--${name}`, value] : value ? [`--${name}`] : [];
  });
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** Beside running: the last three are for a server's program, which knows the database. */
const COMMANDS = ["stop", "status", "backup", "restore", "check"];

/** A server that only works hard answers within one. */
export const HUNG_AFTER_S = 5;

const OPTIONS = {
  "host": { type: "string" },
  "advertise": { type: "string" },
  "data": { type: "string" },
  "strategy": { type: "string" },
  "hung-after": { type: "string" },
  "json": { type: "boolean" },
  "help": { type: "boolean", short: "h" },
  "version": { type: "boolean", short: "V" },
  ...SERVER_FLAGS,
} as const;

export const HELP = `FastChat's balancer starts chat servers, keeps them alive and tells clients which one to use.

Usage
  fastchat-balancer <num_servers> <port> [options]     run; Ctrl-C stops everything
  fastchat-balancer stop   [--data DIR]                stop a running balancer and its servers
  fastchat-balancer status [--data DIR] [--json]       what runs, where, with how many connections
  fastchat-balancer backup FILE [--data DIR] [--with-keys] [--force]
                                                       a copy of all data in one file, while everything runs
  fastchat-balancer restore FILE --data DIR [--verify] [--end-sessions]
                                                       a backup becomes a new data directory; without --data, --verify
                                                       only looks whether FILE is whole
  fastchat-balancer check  [--data DIR] [--json]       whether all data is whole, while everything runs

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
  --hung-after S    seconds without an answer after which a server is killed and started anew (default 5)
  --registration R  who may sign up, handed on to the servers: open (default) or closed; so are how long
                    messages are kept (--retention-days, --retention-mib), what archives may take (--archive-mib) and the
                    limits that fastchat-server --help lists (--login-rate, --handshake-rate and others)
  -h, --help        this text
  -V, --version     the version

It needs UDP <port> and the <num_servers> ports that follow it (the next free ones where some are taken): open them in your
firewall. Once every server answers it prints one line:

  ready HOST:PORT servers=N data=DIR key=FINGERPRINT

Give people HOST:PORT#FINGERPRINT, and they cannot be sent to somebody else's server.

If the balancer is killed, its servers and all conversations go on; start it again with the same --data and it takes them
back. One balancer per DIR; logs are in DIR/log.

Exit codes: 0 stopped as asked, 1 failed, 2 usage, 3 port or directory taken by another program, 4 data is damaged.
`;
