/** `ack`, and the listening that it belongs to. */
import { TEXT_BYTES_MAX } from "../../shared/limits.ts";
import type { ConversationId, MessageId } from "../../shared/protocol/mod.ts";
import type { AckState, AckTarget } from "../talk/acks.ts";
import type { ChatClient } from "../chat_client.ts";
import { UsageError } from "../errors.ts";
import { deliveryJson } from "../faces/json.ts";
import { chooseHome } from "../homes.ts";
import { LocalHome } from "../local_home.ts";
import type { Options } from "../options.ts";
import { printError, printLine } from "../output.ts";

/** Prints what is handed out, a line each, until the signal aborts. */
export async function listenManually(chat: ChatClient, options: Options, signal: AbortSignal): Promise<void> {
  const { ackAfter, window } = options;
  const deliveries = chat.deliveries({
    signal,
    ...(ackAfter !== undefined && { ackAfterMs: ackAfter * 1000 }),
    ...(window !== undefined && { window }),
  });
  for await (const delivery of deliveries) printLine(deliveryJson(delivery));
}

/** @returns 2 where something could not be acknowledged; the rest was. */
export async function ack(words: readonly string[], options: Options): Promise<number> {
  const fromInput = words[0] === "-";
  if (words.includes("-") && words.length > 1) {
    throw new UsageError('"-" stands alone: ids come from standard input then');
  }
  const targets = fromInput ? [] : words.map(parseId);
  const home = LocalHome.openExisting(chooseHome(options));
  try {
    if (!fromInput) return acknowledge(home, targets, options);
    let code = 0;
    for await (const lines of inputLines()) {
      const parsed: AckTarget[] = [];
      for (const line of lines) {
        try {
          const target = parseLine(line);
          if (target !== undefined) parsed.push(target);
        } catch (error) {
          if (!(error instanceof UsageError)) throw error;
          code = error.exitCode;
          printError(`fastchat: ${error.message}`);
        }
      }
      code = acknowledge(home, parsed, options) || code;
    }
    return code;
  } finally {
    home.close();
  }
}

function acknowledge(home: LocalHome, targets: readonly AckTarget[], options: Options): number {
  let code = 0;
  for (const [index, state] of home.acknowledge(targets).entries()) {
    const { id } = targets[index]!;
    if (options.json) printLine(JSON.stringify({ type: "ack", id, state }));
    if (state === "acknowledged" || state === "already") continue;
    code = new UsageError("").exitCode;
    printError(`fastchat: Cannot acknowledge ${id}: ${WHY_NOT[state]}`);
  }
  return code;
}

const WHY_NOT: Readonly<Record<Exclude<AckState, "acknowledged" | "already">, string>> = {
  unknown: "no message of that id was received in this home",
  waiting: "no listener that acknowledges by hand was given it yet",
  ambiguous: "two messages have that id; give the whole line that listen printed",
};

/** An id, or the whole line that `listen` printed; nothing for a line that needs no acknowledgement. @throws UsageError */
function parseLine(line: string): AckTarget | undefined {
  const text = line.trim();
  if (text === "") return undefined;
  if (!text.startsWith("{")) return parseId(text);
  let event: Partial<Record<string, unknown>>;
  try {
    event = JSON.parse(text);
  } catch {
    throw new UsageError(`Cannot acknowledge ${shortened(text)}: it is neither an id nor a line of JSON`);
  }
  if (event["type"] !== "message") return undefined;
  const { id, conversation, seq } = event;
  if (!isId(id)) throw new UsageError(`Cannot acknowledge ${shortened(text)}: it has no id`);
  if (!isId(conversation) || !Number.isSafeInteger(seq)) return { id: id as MessageId };
  return { id: id as MessageId, place: { conversation: conversation as ConversationId, seq: seq as number } };
}

function parseId(word: string): AckTarget {
  if (!isId(word)) throw new UsageError(`Cannot acknowledge ${shortened(word)}: an id is 32 hex digits`);
  return { id: word as MessageId };
}

function isId(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
}

function shortened(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

/** Lines of standard input as they come, those of one read together. */
async function* inputLines(): AsyncGenerator<string[]> {
  let pending = "";
  for await (const piece of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + piece).split("\n");
    pending = lines.pop()!;
    if (pending.length > LINE_CHARS_MAX) throw new UsageError("A line of standard input is longer than any message");
    if (lines.length > 0) yield lines;
  }
  if (pending !== "") yield [pending];
}

/** JSON may write one byte as six characters. */
const LINE_CHARS_MAX = 6 * TEXT_BYTES_MAX + 4096;
