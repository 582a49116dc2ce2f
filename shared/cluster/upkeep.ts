/**
 * What an operator may ask of a data directory: `backup`, `restore`, `check`. The balancer's program takes the words and the
 * server's does the work, since only servers know the database; both read them here.
 */
import { resolve } from "node:path";
import { allowOnly, parseFlags, textFlag, UsageError } from "../host/mod.ts";

export type Upkeep =
  | {
    readonly type: "backup";
    /** Absolute, like every path here. */
    readonly file: string;
    readonly dataDir: string | undefined;
    readonly withKeys: boolean;
    readonly force: boolean;
  }
  /** Without `dataDir` the file is only looked at. */
  | {
    readonly type: "restore";
    readonly file: string;
    readonly dataDir: string | undefined;
    readonly verify: boolean;
    readonly endSessions: boolean;
  }
  | { readonly type: "check"; readonly dataDir: string | undefined; readonly json: boolean };

/** @returns `undefined` where the words are about something else. @throws UsageError */
export function parseUpkeep(args: readonly string[]): Upkeep | undefined {
  const [first] = args[0] === "--" ? args.slice(1) : args;
  if (first !== "backup" && first !== "restore" && first !== "check") return undefined;
  const { values, positionals } = parseFlags(args, OPTIONS);
  if (values["help"]) return undefined;
  const [type, file, ...more] = positionals;
  const data = textFlag(values, "data");
  if (data === "") throw new UsageError("--data needs a directory");
  const dataDir = data === undefined ? undefined : resolve(data);
  if (type === "check") {
    allowOnly(values, ["data", "json"], type);
    if (file !== undefined) throw new UsageError(`'${type}' takes no further words, only --data DIR`);
    return { type, dataDir, json: values["json"] === true };
  }
  if (!file || more.length > 0) throw new UsageError(`'${type}' takes one file: fastchat-balancer ${type} FILE`);
  if (type === "backup") {
    allowOnly(values, ["data", "with-keys", "force"], type);
    const withKeys = values["with-keys"] === true, force = values["force"] === true;
    return { type, file: resolve(file), dataDir, withKeys, force };
  }
  allowOnly(values, ["data", "verify", "end-sessions"], first);
  const verify = values["verify"] === true, endSessions = values["end-sessions"] === true;
  if (dataDir === undefined && !verify) {
    throw new UsageError("Say where to: restore FILE --data DIR, or look at the file alone: restore FILE --verify");
  }
  if (dataDir === undefined && endSessions) {
    throw new UsageError("Say where to: restore FILE --data DIR --end-sessions");
  }
  return { type: "restore", file: resolve(file), dataDir, verify, endSessions };
}

/** The words that {@linkcode parseUpkeep} reads as this. */
export function upkeepWords(upkeep: Upkeep): string[] {
  const words: string[] = [upkeep.type];
  if (upkeep.type !== "check") words.push(upkeep.file);
  if (upkeep.dataDir !== undefined) words.push("--data", upkeep.dataDir);
  if (upkeep.type === "backup" && upkeep.withKeys) words.push("--with-keys");
  if (upkeep.type === "backup" && upkeep.force) words.push("--force");
  if (upkeep.type === "restore" && upkeep.verify) words.push("--verify");
  if (upkeep.type === "restore" && upkeep.endSessions) words.push("--end-sessions");
  if (upkeep.type === "check" && upkeep.json) words.push("--json");
  return words;
}

/** Exit code of all three where data is damaged: it was found, and nothing was made of it. */
export const EXIT_DAMAGED = 4;

const OPTIONS = {
  "data": { type: "string" },
  "with-keys": { type: "boolean" },
  "force": { type: "boolean" },
  "verify": { type: "boolean" },
  "end-sessions": { type: "boolean" },
  "json": { type: "boolean" },
  "help": { type: "boolean", short: "h" },
} as const;
