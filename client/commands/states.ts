/** `status`, `outbox`, `settings`. */
import { ChatClient } from "../chat_client.ts";
import { CannotReachError, TimedOutError, UsageError } from "../errors.ts";
import { eventJson } from "../faces/json.ts";
import { clock, CONTINUED } from "../faces/lines.ts";
import { mark, stateLine } from "../faces/marks.ts";
import { timeText } from "../time.ts";
import { chooseHome } from "../homes.ts";
import type { LocalHome } from "../local_home.ts";
import type { Options } from "../options.ts";
import { printError, printLine } from "../output.ts";
import { withClient, withHome } from "./open.ts";

/** Asks the server what is new first; where it cannot be reached, what the home knows has to do. */
export async function status(words: readonly string[], options: Options): Promise<void> {
  const id = words[0]!;
  // What is wrong with the id should be said at once.
  atHome(options, (home) => home.status(id));
  try {
    await withClient({ ...options, timeout: options.timeout ?? ASK_SECONDS }, () => Promise.resolve());
  } catch (error) {
    if (!(error instanceof CannotReachError || error instanceof TimedOutError)) throw error;
    printError("fastchat: the server cannot be reached: this is what was known before");
  }
  const state = atHome(options, (home) => home.status(id));
  printLine(options.json ? eventJson(state) : stateLine(state));
}

export function outbox(words: readonly string[], options: Options): Promise<void> {
  const [verb, id] = words;
  if (verb !== undefined && (verb !== "drop" || id === undefined)) {
    throw new UsageError("Usage: fastchat outbox [--json] | fastchat outbox drop ID");
  }
  // Nothing has to be read to throw it away.
  if (id !== undefined) {
    atHome(options, (home) => home.drop(id));
    return Promise.resolve();
  }
  return withHome(options, (home) => {
    for (const { id, to, text, timeMs, reason } of home.outbox()) {
      const state = reason === undefined ? "queued" : "failed", time = timeText(timeMs);
      if (options.json) printLine(JSON.stringify({ type: "outbox", id, to, text, state, time, reason }));
      else {
        const why = reason === undefined ? "" : ` (${reason})`;
        printLine(`${clock(time)} ${id} ${mark(state)} → ${to}: ${text.replaceAll("\n", CONTINUED)}${why}`);
      }
    }
  });
}

export function settings(words: readonly string[], options: Options): Promise<void> {
  const [name, value] = words, chosen = SETTINGS.find((setting) => setting.name === name);
  if (name !== undefined && chosen === undefined) {
    const names = SETTINGS.map((setting) => setting.name).join(" and ");
    throw new UsageError(`There is no setting ${JSON.stringify(name)}: there are ${names}`);
  }
  if (value !== undefined && value !== "on" && value !== "off") throw new UsageError(`${name} is on or off`);
  atHome(options, (home) => {
    if (value !== undefined) home[chosen!.field] = value === "on";
    const state = Object.fromEntries(SETTINGS.map(({ json, field }) => [json, home[field]]));
    if (options.json) return printLine(JSON.stringify({ type: "settings", ...state }));
    for (const setting of chosen === undefined ? SETTINGS : [chosen]) {
      printLine(`${setting.name} ${home[setting.field] ? "on" : "off"}`);
    }
  });
  return Promise.resolve();
}

/** For what needs no secret: a locked home stays locked. */
function atHome<T>(options: Options, use: (home: LocalHome) => T): T {
  const home = ChatClient.offline({ home: chooseHome(options) });
  try {
    return use(home);
  } finally {
    home.close();
  }
}

/** What can be set: its name for people, in JSON, and in the library. */
const SETTINGS = [
  { name: "read-receipts", json: "readReceipts", field: "readReceipts" },
  { name: "typing", json: "typing", field: "sendsTyping" },
] as const;
/** Nobody waits long for a question that has half an answer already. */
const ASK_SECONDS = 5;
