/** What commands of the chat show at once: rows over what the home knows now. */
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import type { ChatClient } from "../chat_client.ts";
import { paint, paintName } from "../output.ts";
import type { Presence } from "../session.ts";
import { quoteWord } from "../words.ts";
import { groupRows, groupTrust } from "./group_view.ts";
import { CONTINUED, historyLine } from "./lines.ts";
import { mark } from "./marks.ts";
import { helpRows } from "./slash.ts";
import type { Talk } from "./talk.ts";
import { listMark } from "./trust_lines.ts";

/** What became of what was sent: to somebody, or of all that is queued. */
export function statusRows(chat: ChatClient, to: string | undefined): string[] {
  const queued = chat.outbox().filter((item) => to === undefined || item.to === to), rows: string[] = [];
  if (to !== undefined) {
    const own = chat.history(to, STATUS_LOOKED_AT).filter(({ state }) => state !== undefined);
    if (own.length === 0 && queued.length === 0) rows.push(`* nothing sent to ${to} yet`);
    rows.push(...own.slice(-STATUS_SHOWN).map((event) => historyLine(event, chat.name)));
  } else if (queued.length === 0) rows.push("* nothing is queued");
  for (const { to, text, reason } of queued) {
    const why = reason === undefined ? "" : ` (${reason})`;
    rows.push(
      `* ${mark(reason === undefined ? "queued" : "failed")} → ${to}: ${text.replaceAll("\n", CONTINUED)}${why}`,
    );
  }
  return rows;
}

/** The newest of what was said with somebody or in a group. */
export function talkRows(chat: ChatClient, at: string, count: number): string[] {
  const events = chat.talk(at, count);
  if (events.length === 0) return [`* nothing yet ${at.startsWith("#") ? `in ${at}` : `between you and ${at}`}`];
  return events.map((event) => historyLine(event, chat.name));
}

export function unreadRows({ unread }: Talk): string[] {
  if (unread.size === 0) return ["* nothing unread"];
  return [...unread].map(([at, count]) => {
    const word = quoteWord(at);
    return `* ${paintName(at)}: ${count} since you last looked; /read ${word}, or /to ${word}`;
  });
}

export function chatsRows(chat: ChatClient, talk: Talk): string[] {
  const chats = chat.conversations();
  if (chats.length === 0) return ["* nobody yet; /all shows who is here"];
  return chats.map(({ name, unread }) => {
    const trust = name.startsWith("#") ? talk.groupMark(name) : listMark(chat.trustOf(name));
    return `  ${paintName(name)}${trust}${unread > 0 ? `  ${unread} new` : ""}`;
  });
}

export function groupsRows(chat: ChatClient): string[] {
  const groups = chat.groups().map((view) => ({
    view,
    trust: groupTrust(chat.trustsOf(view.members.map(({ name }) => name))),
  }));
  if (groups.length === 0) return ["* no groups yet; /create NAME PERSON… makes one"];
  return groupRows(groups).map((row) => `  ${row}`);
}

export function peopleRows(chat: ChatClient, people: readonly Presence[]): string[] {
  if (people.length === 0) return ["* nobody"];
  const trusts = chat.trustsOf(people.map(({ name }) => name));
  return people.map(({ name, online }, at) => {
    const mark = name === chat.name ? " (you)" : listMark(trusts[at]!);
    return `  ${online ? paint("green", "●") : " "} ${paintName(name)}${mark}`;
  });
}

export function whoamiRows(chat: ChatClient): string[] {
  return [
    `* ${chat.name} on ${chat.server}, now at ${chat.connectedTo}`,
    `* your identity  ${formatFingerprint(chat.fingerprint)}`,
    `* server key     ${formatFingerprint(chat.serverFingerprint)}`,
    `* your things    ${chat.home}`,
  ];
}

/** @returns None for a topic that there is not. */
export function helpPage(topic: string | undefined): string[] {
  const rows = helpRows(topic), columns = Math.max(...rows.map(({ usage }) => usage.length)) + 2;
  return rows.map(({ usage, help }) => `  ${paint("bold", usage.padEnd(columns))}${help}`);
}

/** Messages among which /status looks for one's own, and how many of those it shows. */
const STATUS_LOOKED_AT = 50;
const STATUS_SHOWN = 5;
