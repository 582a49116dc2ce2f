/** `send`, `recv`, `listen`, `history`. */
import { TEXT_BYTES_MAX } from "../../shared/limits.ts";
import type { ChatClient } from "../chat_client.ts";
import type { Options } from "../options.ts";
import { UsageError } from "../errors.ts";
import type { ChatEvent } from "../events.ts";
import { eventJson } from "../faces/json.ts";
import { eventLine, historyLine } from "../faces/lines.ts";
import { fitted } from "../faces/terminal.ts";
import { printError, printLine } from "../output.ts";
import { checkText } from "../text.ts";
import { parseName } from "./account.ts";
import { listenManually } from "./acks.ts";
import { timeoutMs, untilInterrupted, withClient, withHome } from "./open.ts";

export async function send(words: readonly string[], options: Options): Promise<void> {
  // A group's name is looked up in the home, a person's can be wrong before there is one.
  const to = words[0]!.startsWith("#") ? words[0]! : parseName(words[0]!);
  const text = words[1] === "-" ? await readStandardInput() : words[1]!;
  checkText(text);
  await withClient(options, async (chat) => {
    const sent = await chat.send(to, text, { timeoutMs: timeoutMs(options) });
    printLine(options.json ? JSON.stringify({ type: "sent", to, ...sent }) : sent.id);
  });
}

export async function recv(_words: readonly string[], options: Options): Promise<void> {
  await withClient(options, async (chat) => {
    if (await showUnshown(chat, options)) return;
    if (options.wait === undefined) return;
    await chat.waitForUnshown(options.wait * 1000);
    await showUnshown(chat, options);
  });
}

export async function listen(_words: readonly string[], options: Options): Promise<void> {
  checkAck(options);
  const { signal, dispose } = untilInterrupted();
  try {
    await withClient(options, async (chat) => {
      const notices = showNotices(chat, options, signal);
      if (options.ack === "manual") await listenManually(chat, options, signal);
      while (!signal.aborted) {
        await showUnshown(chat, options);
        await chat.waitForUnshown(POLL_MS, signal);
      }
      await chat.close();
      await notices;
    }, { tellsNotices: true });
  } finally {
    dispose();
  }
}

export function history(words: readonly string[], options: Options): Promise<void> {
  return withHome(options, (chat) => {
    const events = chat.talk(words[0]!, options.limit ?? HISTORY_DEFAULT), at = words[0]!;
    for (const event of events) printEvent(event, options, historyLine(event, chat.name));
    // A name with a slip in it looks the same otherwise.
    if (events.length === 0 && !options.json) {
      printError(`fastchat: Nothing yet ${at.startsWith("#") ? `in ${at}` : `between you and ${at}`}`);
    }
  });
}

function checkAck({ ack, ackAfter, window, json }: Options): void {
  if (ack === undefined && ackAfter === undefined && window === undefined) return;
  if (ack === undefined) throw new UsageError("--ack-after and --window belong to --ack manual");
  if (!json) throw new UsageError("--ack manual needs --json: the lines for people have no ids");
}

function printEvent(event: ChatEvent, { json }: Options, text: string): void {
  if (json) printLine(eventJson(event));
  else printLine(Deno.stdout.isTerminal() ? fitted(text) : text);
}

/** Prints everything not yet shown; each counts as shown only after it was written. */
function showUnshown(chat: ChatClient, options: Options): Promise<boolean> {
  return chat.show((event) => printEvent(event, options, eventLine(event, chat.name)));
}

/** Connection changes and notices go to standard error as text; with --json they are lines of the stream. */
async function showNotices(chat: ChatClient, options: Options, signal: AbortSignal): Promise<void> {
  for await (const event of chat.events({ presence: options.presence })) {
    // People are told of what failed only; what got through is in the history.
    if (event.type === "state" && !options.json && event.state !== "failed") continue;
    // Messages come by way of the cursor, and leaving needs no comment.
    if (event.type === "message" || event.type === "refused" || event.type === "change" || signal.aborted) continue;
    if (options.json) printLine(eventJson(event));
    else printError(eventLine(event, chat.name));
  }
}

async function readStandardInput(): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of Deno.stdin.readable) {
    pieces.push(piece);
    bytes += piece.length;
    // One newline may follow the longest text; whatever is more need not be read to be refused.
    if (bytes > TEXT_BYTES_MAX + 1) break;
  }
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  if (bytes > TEXT_BYTES_MAX + 1) {
    throw new UsageError(`The text is longer than ${TEXT_BYTES_MAX} bytes, the most a message holds`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(all).replace(/\r?\n$/, "");
  } catch {
    throw new UsageError("Standard input is not UTF-8 text");
  }
}

const HISTORY_DEFAULT = 50;
const POLL_MS = 60_000;
