/**
 * Whom the person at a chat talks to: somebody, a group, or nobody yet; what of the others is unread, who types, and what the
 * prompt says of it. Addresses are what one types: `bob`, `#dev`.
 */
import { NAME_RULE, parseUserName } from "../../shared/protocol/mod.ts";
import type { ChatClient } from "../chat_client.ts";
import { UsageError } from "../errors.ts";
import type { LogEvent, TypingEvent } from "../events.ts";
import type { Group } from "../talk/groups.ts";
import { paint } from "../output.ts";
import { groupSign, groupTitle, type GroupTrust, groupTrust, groupWords, memberRows } from "./group_view.ts";
import { trustSign } from "./marks.ts";
import { SLASH_COMMANDS } from "./slash.ts";
import { trustLine } from "./trust_lines.ts";
import { quoteWord } from "../words.ts";

export class Talk {
  readonly #chat: ChatClient;
  #to: string | undefined;
  /** Of the group that `#to` was the address of: it may be called something else the next moment. */
  #group: Group["conversation"] | undefined;
  /** Messages since each was last looked at, of those one does not talk to. */
  readonly #unread = new Map<string, number>();
  readonly #names = new Set<string>();
  /** Who is typing: to this person by name, in a group by its conversation. */
  readonly #typing = new Map<string, Set<string>>();

  constructor(chat: ChatClient, to: string | undefined) {
    this.#chat = chat;
    this.turnTo(to);
  }

  get to(): string | undefined {
    return this.#here()?.address ?? this.#to;
  }

  get isGroup(): boolean {
    return this.#group !== undefined;
  }

  get unread(): ReadonlyMap<string, number> {
    return this.#unread;
  }

  turnTo(to: string | undefined): void {
    this.#to = to;
    this.#group = to?.startsWith("#") ? this.#chat.group(to).conversation : undefined;
    if (to !== undefined) this.looked(to);
  }

  looked(at: string): void {
    this.#unread.delete(at);
  }

  /** A name to complete from now on. */
  met(name: string): void {
    this.#names.add(name);
  }

  /** Something was shown: who talked to nobody before talks to whoever that is from now on. */
  heard(event: LogEvent): void {
    if (event.type !== "message") return;
    const at = event.group === undefined ? event.from : event.to;
    this.met(event.from);
    if (this.#to === undefined) this.turnTo(at);
    else if (at !== this.to) this.#unread.set(at, (this.#unread.get(at) ?? 0) + 1);
  }

  typed({ name, group, conversation, typing }: TypingEvent): void {
    const at = group === undefined ? name : conversation, names = this.#typing.get(at) ?? new Set();
    if (typing) names.add(name);
    else names.delete(name);
    if (names.size > 0) this.#typing.set(at, names);
    else this.#typing.delete(at);
  }

  /** At the end of the input line. */
  status(): string {
    const names = [...this.#typing.get(this.#group ?? this.#to ?? "") ?? []];
    if (names.length === 0) return "";
    return `typing: ${names.slice(0, TYPING_SHOWN).join(", ")}${names.length > TYPING_SHOWN ? ", …" : ""}`;
  }

  prompt(): string {
    const to = this.#to, group = this.#here();
    if (to === undefined) return paint("dim", "[-]");
    if (group !== undefined) return paint("dim", `[${groupSign(this.#trustIn(group))}${groupWords(group.address)}]`);
    return paint("dim", `[${to}${trustSign(this.#chat.trustOf(to).trust)}]`);
  }

  /** What somebody who turns to whoever it is should know; empty where there is nothing to tell. */
  title(at: string): string {
    if (!at.startsWith("#")) return trustLine(this.#chat.trustOf(at));
    const group = this.#chat.group(at);
    return groupTitle(group, this.#trustIn(group));
  }

  /** Behind a group's name in a list. */
  groupMark(at: string): string {
    const sign = groupSign(this.#trustIn(this.#chat.group(at))).trimEnd();
    return sign === "" ? "" : `  ${sign}`;
  }

  /** Who is in a group, a row for each. */
  memberRows(at: string): string[] {
    const group = this.#chat.group(at);
    return memberRows(group, this.#chat.trustsOf(group.members.map(({ name }) => name)));
  }

  /** The address that somebody typed, as it is written. @throws UsageError */
  parse(word: string): string {
    return word.startsWith("#") ? this.#chat.group(word).address : this.parseName(word);
  }

  parseName(word: string): string {
    const name = parseUserName(word.replace(/^@/, ""));
    if (name === undefined) {
      throw new UsageError(
        `${JSON.stringify(word)} cannot be a name: a name is ${NAME_RULE}, and a group is written #name`,
      );
    }
    return name;
  }

  /** What may stand where the last word of `before` stands. */
  complete(before: string): readonly string[] {
    const word = before.slice(before.lastIndexOf(" ") + 1), isFirst = word === before;
    if (isFirst && /^[/\\]/.test(word)) {
      return SLASH_COMMANDS.map(({ name }) => word[0] + name).filter((candidate) => candidate.startsWith(word));
    }
    if (word.startsWith("#")) return this.#completeGroup(word);
    const at = word.startsWith("@") ? "@" : "";
    if (word === "" || (isFirst && at === "")) return [];
    return [...this.#names].map((name) => at + name).filter((candidate) => candidate.startsWith(word)).sort();
  }

  /** Those with spaces go into quotes, which several candidates do not agree on: then only the others are offered. */
  #completeGroup(word: string): readonly string[] {
    const wanted = word.toLowerCase();
    const found = this.#chat.groups().map(({ address }) => address).filter((at) => at.toLowerCase().startsWith(wanted));
    return found.length === 1
      ? found.map(quoteWord)
      : found.filter((at) => quoteWord(at) === at && at.startsWith(word));
  }

  /** The group that one talks to, as it is now. */
  #here(): Group | undefined {
    return this.#group && this.#chat.groupBy(this.#group);
  }

  #trustIn({ members }: Group): GroupTrust {
    return groupTrust(this.#chat.trustsOf(members.map(({ name }) => name)));
  }
}

const TYPING_SHOWN = 3;
