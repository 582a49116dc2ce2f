/**
 * What people do with groups: one table for `fastchat group VERB …` and the chat's slash commands, their help and their completion.
 * What an act says of itself afterwards is a sentence; where it changed something, the change is in the conversation too.
 */
import { NAME_RULE, parseUserName, type UserName } from "../shared/protocol/mod.ts";
import { checkGroupName } from "./addresses.ts";
import type { GroupChange } from "./e2ee/engine.ts";
import { UsageError } from "./errors.ts";
import type { Group, GroupDetails, Role } from "./talk/groups.ts";
import { timeText } from "./time.ts";
import { nearest } from "../shared/suggest.ts";
import { quoteWord } from "./words.ts";

/** What acts ask for: `ChatClient` has it. */
export interface GroupClient {
  readonly name: UserName;
  /** @throws UsageError where there is no such group here. */
  group(address: string): Group;
  /** @returns Its address. */
  createGroup(name: string): Promise<string>;
  changeGroup(address: string, change: GroupChange): Promise<void>;
  leaveGroup(address: string): Promise<void>;
  groupLink(address: string, options: { readonly revoke: boolean }): Promise<string>;
  joinGroup(link: string): Promise<unknown>;
  /** What only the group's own state tells. */
  groupDetails(address: string): Promise<Pick<GroupDetails, "historySinceMs">>;
}

export interface ActOutcome {
  /** Lines for people; the first one says what was done. */
  readonly said: readonly string[];
  /** The group to go on with, where that is another one, or none. */
  readonly turnTo?: string | null;
  /** For programs, beside what is said of every group. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

export interface GroupAct {
  /** Behind `fastchat group`. */
  readonly verb: string;
  /** In the chat, with the ancestor's names among them; the first one is shown. */
  readonly slash: readonly [string, ...string[]];
  /** What stands behind the group's name, or in its place. */
  readonly words: string;
  /** "existing": a group of this home comes first. "new": a name that is to be one. "none": no group comes first. */
  readonly group: "existing" | "new" | "none";
  readonly summary: string;
  /** How many words may follow the group. */
  readonly counts: readonly [number, number];
  /** The last word is a text, with its spaces. */
  readonly isText?: boolean;
  /** Cannot be taken back: the chat wants the group named, a command asks once more. */
  readonly isFinal?: boolean;
  run(chat: GroupClient, group: string, words: readonly string[]): Promise<ActOutcome>;
}

const PEOPLE_MAX = 1_000;

export const GROUP_ACTS: readonly GroupAct[] = [
  {
    verb: "create",
    slash: ["create"],
    group: "new",
    words: "[PERSON…]",
    summary: "make a group with these people; you own it",
    counts: [0, PEOPLE_MAX],
    async run(chat, name, words) {
      const names = people(words, chat.name), address = await chat.createGroup(checkGroupName(name));
      if (names.length > 0) {
        try {
          await chat.changeGroup(address, { do: "add", names });
        } catch (error) {
          throw withHint(error, `${address} is made, with nobody but you in it: add them when that is settled`);
        }
      }
      const said = names.length === 0
        ? `Made ${address}; nobody but you is in it yet`
        : `Made ${address} with ${listed(names)}`;
      return { said: [said], turnTo: address };
    },
  },
  {
    verb: "add",
    slash: ["add", "invite"],
    group: "existing",
    words: "PERSON…",
    summary: "let people in: they read what comes from then on",
    counts: [1, PEOPLE_MAX],
    async run(chat, group, words) {
      const names = people(words, chat.name), { members } = chat.group(group);
      const there = names.filter((name) => members.some((member) => member.name === name));
      const missing = names.filter((name) => !there.includes(name));
      if (missing.length === 0) return { said: [`${listed(there)} ${are(there)} in ${group} already`] };
      await chat.changeGroup(group, { do: "add", names: missing });
      const also = there.length > 0 ? ` (${listed(there)} ${are(there)} in it already)` : "";
      return { said: [`Added ${listed(missing)} to ${group}${also}`] };
    },
  },
  {
    verb: "remove",
    slash: ["kick", "remove"],
    group: "existing",
    words: "PERSON…",
    summary: "take people out: they cannot read what comes",
    counts: [1, PEOPLE_MAX],
    async run(chat, group, words) {
      if (words.some((word) => parseUserName(word.replace(/^@/, "")) === chat.name)) {
        throw new UsageError(`That is you: to go, leave the group (fastchat group leave '${group}', or /leave)`);
      }
      const names = words.map((word) => memberOf(chat.group(group), word));
      await chat.changeGroup(group, { do: "remove", names });
      return { said: [`Removed ${listed(names)} from ${group}`] };
    },
  },
  {
    verb: "promote",
    slash: ["make_admin", "promote"],
    group: "existing",
    words: "PERSON",
    summary: "make an admin: they let people in and out",
    counts: [1, 1],
    run: (chat, group, [word]) => giveRole(chat, group, word!, "admin"),
  },
  {
    verb: "demote",
    slash: ["demote"],
    group: "existing",
    words: "PERSON",
    summary: "make an admin a member again",
    counts: [1, 1],
    run: (chat, group, [word]) => giveRole(chat, group, word!, "member"),
  },
  {
    verb: "leave",
    slash: ["leave"],
    group: "existing",
    words: "",
    summary: "go; what you have read stays with you",
    counts: [0, 0],
    async run(chat, group) {
      const { members, role } = chat.group(group), others = members.filter(({ name }) => name !== chat.name);
      const isLast = role !== "member" && others.length > 0 && others.every((member) => member.role === "member");
      if (isLast) {
        throw new UsageError(
          `You are the last admin of ${group}: without one nobody could let anybody in or out. First make somebody else one ` +
            `(fastchat group promote '${group}' ${others[0]!.name}, or /make_admin ${
              others[0]!.name
            }), or delete the group ` +
            `(fastchat group delete '${group}', or /delgrp ${quoteWord(group)})`,
        );
      }
      await chat.leaveGroup(group);
      return { said: [`You have left ${group}`], turnTo: null };
    },
  },
  {
    verb: "rename",
    slash: ["rename"],
    group: "existing",
    words: "NEW-NAME",
    summary: "call the group something else",
    counts: [1, 1],
    isText: true,
    async run(chat, group, [word]) {
      const name = checkGroupName(word!);
      await chat.changeGroup(group, { do: "rename", name });
      return { said: [`${group} is called #${name} now`], turnTo: `#${name}` };
    },
  },
  {
    verb: "topic",
    slash: ["topic"],
    group: "existing",
    words: "[TEXT]",
    summary: 'what it is about; "" for nothing any more',
    counts: [0, 1],
    isText: true,
    async run(chat, group, [text]) {
      if (text === undefined) {
        const { topic } = chat.group(group);
        return { said: [topic === "" ? `${group} has no topic` : `${group}: ${topic}`] };
      }
      const topic = text.trim();
      if ([...topic].length > TOPIC_MAX) throw new UsageError(`A topic has at most ${TOPIC_MAX} characters`);
      await chat.changeGroup(group, { do: "topic", topic });
      return { said: [topic === "" ? `${group} has no topic any more` : `${group}: ${topic}`] };
    },
  },
  {
    verb: "members",
    slash: ["members"],
    group: "existing",
    words: "",
    summary: "who is in it, and whom of them you verified",
    counts: [0, 0],
    async run(chat, group) {
      // Who is in it is known here; the rest its state has to tell, which may not be had now.
      const details = await chat.groupDetails(group).catch(() => undefined);
      if (details === undefined) return { said: [] };
      const { historySinceMs } = details;
      return {
        said: historySinceMs === 0 ? [] : [sharing(group, historySinceMs)],
        facts: sharingFacts(historySinceMs),
      };
    },
  },
  {
    verb: "history",
    slash: ["share", "share_history"],
    group: "existing",
    words: "[on|off]",
    summary: "whether newcomers are given what was said",
    counts: [0, 1],
    async run(chat, group, [word]) {
      if (word !== undefined && word !== "on" && word !== "off") {
        throw new UsageError(`Behind a group's name comes "on", "off" or nothing, not ${JSON.stringify(word)}`);
      }
      if (word !== undefined) await chat.changeGroup(group, { do: "settings", sharedHistory: word === "on" });
      const { historySinceMs } = await chat.groupDetails(group);
      return { said: [sharing(group, historySinceMs)], facts: sharingFacts(historySinceMs) };
    },
  },
  {
    verb: "link",
    slash: ["link"],
    group: "existing",
    words: "[close]",
    summary: "a link to ask to come in by; close ends all",
    counts: [0, 1],
    async run(chat, group, [word]) {
      if (word !== undefined && word !== "close") {
        throw new UsageError(
          `Behind a group's name comes nothing, for the link, or "close", not ${JSON.stringify(word)}`,
        );
      }
      const link = await chat.groupLink(group, { revoke: word === "close" });
      if (word === "close") return { said: [`Nobody comes into ${group} by a link any more`] };
      return { said: [link] };
    },
  },
  {
    verb: "join",
    slash: ["join"],
    group: "none",
    words: "LINK",
    summary: "ask to be let into a group by its link",
    // One that was copied off a screen may have white space where it went on in the next row.
    counts: [1, PEOPLE_MAX],
    async run(chat, _, words) {
      await chat.joinGroup(words.join(""));
      return {
        said: ["Asked to be let in. The group appears here as soon as a device of one of its admins is online"],
      };
    },
  },
  {
    verb: "delete",
    slash: ["delgrp", "delete"],
    group: "existing",
    words: "",
    summary: "end the group, for everybody",
    counts: [0, 0],
    isFinal: true,
    async run(chat, group) {
      await chat.changeGroup(group, { do: "delete" });
      return { said: [`${group} is deleted: nobody can write to it any more`], turnTo: null };
    },
  },
];

/** The act with that verb. @throws UsageError that names the nearest one. */
export function groupAct(verb: string): GroupAct {
  const act = GROUP_ACTS.find((act) => act.verb === verb || act.slash.includes(verb));
  if (act !== undefined) return act;
  const guess = nearest(verb, GROUP_ACTS.map(({ verb }) => verb));
  const hint = guess === undefined ? ":" : `; did you mean "fastchat group ${guess}"? There are:`;
  throw new UsageError(
    `There is no "fastchat group ${verb}"${hint} ${GROUP_ACTS.map(({ verb }) => verb).join(", ")}`,
  );
}

function sharing(group: string, sinceMs: number): string {
  if (sinceMs === 0) return `Who comes into ${group} is given nothing of what was said before`;
  const since = timeText(sinceMs).slice(0, 16).replace("T", " ");
  return `Who comes into ${group} is given what was said since ${since} UTC, as the copy of a member`;
}

function sharingFacts(sinceMs: number): { readonly historySince: string | null } {
  return { historySince: sinceMs === 0 ? null : timeText(sinceMs) };
}

async function giveRole(chat: GroupClient, group: string, word: string, role: "admin" | "member"): Promise<ActOutcome> {
  const view = chat.group(group), name = memberOf(view, word);
  const before = view.members.find((member) => member.name === name)!.role;
  const heads = view.members.filter((member) => member.role !== "member");
  if (role === "admin" && before !== "member") return { said: [`${name} is ${aRole(before)} of ${group} already`] };
  if (role === "member" && before === "member") return { said: [`${name} is a member of ${group}, no more`] };
  if (role === "member" && heads.length === 1) {
    throw new UsageError(
      `${name === chat.name ? "You are" : `${name} is`} the last admin of ${group}: make another one first`,
    );
  }
  await chat.changeGroup(group, { do: "role", name, role });
  return { said: [`${name} is ${aRole(role)} of ${group} now`] };
}

/** @throws UsageError for somebody who is not in it, naming whom one may have meant. */
function memberOf({ address, members }: Group, word: string): UserName {
  const name = personName(word);
  if (members.some((member) => member.name === name)) return name;
  const guess = nearest(name, members.map((member) => member.name));
  throw new UsageError(`${name} is not in ${address}${guess ? `; did you mean ${guess}?` : ""}`);
}

function people(words: readonly string[], self: UserName): UserName[] {
  const names = [...new Set(words.map(personName))];
  return names.filter((name) => name !== self);
}

function personName(word: string): UserName {
  const name = parseUserName(word.replace(/^@/, ""));
  if (name === undefined) throw new UsageError(`${JSON.stringify(word)} cannot be a name: a name is ${NAME_RULE}`);
  return name;
}

function withHint(error: unknown, hint: string): unknown {
  if (error instanceof Error) error.message += `. ${hint}`;
  return error;
}

/** How many words, and which, an act takes: what is behind the group in a command or a line. @throws UsageError */
export function actWords(act: GroupAct, words: readonly string[], usage: string): readonly string[] {
  const [min, max] = act.counts, given = act.isText && words.length > 0 ? [words.join(" ")] : words;
  if (given.length < min) throw new UsageError(`Something is missing. Usage: ${usage}`);
  if (given.length > max) {
    throw new UsageError(`${JSON.stringify(given[max])} is one word too many. Usage: ${usage}`);
  }
  return given;
}

/** "a", "a and b", "a, b and c"; of very many a few and how many more. */
export function listed(names: readonly string[]): string {
  if (names.length > LISTED_MAX) return `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

export function aRole(role: Role): string {
  return role === "member" ? "a member" : role === "admin" ? "an admin" : "an owner";
}

function are(names: readonly string[]): string {
  return names.length === 1 ? "is" : "are";
}

const TOPIC_MAX = 256;
const LISTED_MAX = 20;
