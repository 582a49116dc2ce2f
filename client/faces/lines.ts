/** Events as lines of text for people. Colour where standard output wants it. */
import type { ChangeEvent, ChatEvent, MessageEvent, RefusedEvent } from "../events.ts";
import { paint, paintName } from "../output.ts";
import { changeTexts } from "./change_text.ts";
import { mark, stateLine } from "./marks.ts";

/** What a reader of `me` sees of an event. */
export function eventLine(event: ChatEvent, me: string): string {
  switch (event.type) {
    case "message":
      return messageLine(event, me);
    case "refused":
      return `${clock(event.time)} ${refusedText(event)}`;
    case "change":
      return `${clock(event.time)} ${paint("dim", `${event.to}: ${changeTexts(event, me).join("; ")}`)}`;
    case "state":
      return paint("dim", `* ${stateLine(event)}`);
    case "connection":
      return paint("dim", connectionText(event));
    case "presence": {
      const how = event.online === null ? "may be here or not" : event.online ? "is here" : "has gone";
      return paint("dim", `* ${event.name} ${how}`);
    }
    case "typing":
      return paint("dim", `* ${event.name} ${event.typing ? "is typing" : "has stopped typing"}`);
    case "notice":
      return paint(event.code === "key-changed" ? ["bold", "red"] : "yellow", `* ${event.text}`);
  }
}

function refusedText({ to, group, claimedFrom, reason }: RefusedEvent): string {
  if (claimedFrom === undefined) return paint("yellow", `[${to}: ${reason}]`);
  const where = group === undefined ? "" : ` in ${to}`;
  return paint("red", `[not shown${where}: ${reason}; the server says it is from ${claimedFrom}]`);
}

/** A message or a change of the past, with its day. */
export function historyLine(event: MessageEvent | ChangeEvent, me: string): string {
  return `${paint("dim", localDay(event.time))} ${eventLine(event, me)}`;
}

function messageLine(event: MessageEvent, me: string): string {
  const who = event.from === me ? paint("bold", "me") : paintName(event.from);
  const from = event.from === me || event.group !== undefined ? `${who} → ${event.to}` : who;
  const { delivered = 0, read = 0, members = 1 } = event;
  const state = event.state === undefined ? "" : ` ${mark(event.state, { delivered, read, members })}`;
  const copied = event.copyFrom === undefined ? "" : paint("dim", ` (${copyWords(event.copyFrom)})`);
  return `${clock(event.time)} ${from}${copied}: ${event.text.replaceAll("\n", CONTINUED)}${state}`;
}

/** Where a message that did not come from the conversation's log came from. */
function copyWords(from: string): string {
  return from === "" ? "from your archive" : `from ${from}'s copy`;
}

function connectionText(event: Extract<ChatEvent, { type: "connection" }>): string {
  switch (event.state) {
    case "connected":
      return `* connected${event.server ? ` to ${event.server}` : ""}`;
    case "reconnecting":
      return `* reconnecting${event.reason ? `: ${event.reason}` : ""}`;
    case "closed":
      return `* closed${event.reason ? `: ${event.reason}` : ""}`;
  }
}

/** Continuation lines are indented, so that a text cannot pose as another's line. */
export const CONTINUED = "\n      ";

/** The time of day here. */
export function clock(time: string): string {
  const date = new Date(time);
  return paint("dim", `${two(date.getHours())}:${two(date.getMinutes())}`);
}

/** The day here. */
export function localDay(time: string): string {
  const date = new Date(time);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
