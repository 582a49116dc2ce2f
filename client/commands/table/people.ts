/** Whom one talks with: groups, people, and who they really are. */
import { GROUP_ACTS, type GroupAct } from "../../group_acts.ts";
import type { Command } from "./command.ts";

const people = () => import("../people.ts");

export const PEOPLE_COMMANDS = {
  group: {
    name: "group",
    usage: "fastchat group VERB NAME …",
    summary: "make a group, let people in and out",
    help: `Groups are encrypted like everything else: the server does not know what they
are called, nor what is said, nor can it let anybody in. Whoever is taken out
cannot read what comes afterwards. NAME may stand with or without its #; in a
shell, a word that begins with # goes into quotes.

${GROUP_ACTS.map(groupHelp).join("\n")}

  --yes     delete without asking
  --json    one object: the group as it is then

  fastchat group create dev alice bob
  fastchat send '#dev' "hello everybody"
  fastchat history '#dev'`,
    words: [1, 10_000],
    options: ["json", "yes"],
    run: async (words, options) => (await import("../groups.ts")).group(words, options),
  },
  groups: {
    name: "groups",
    usage: "fastchat groups [--json]",
    summary: "the groups you are in",
    help: `Lists your groups: how many are in each, how many of them you have verified,
your role, the topic. Works offline.

  fastchat groups`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await import("../groups.ts")).groups(options),
  },
  chats: {
    name: "chats",
    usage: "fastchat chats [--json]",
    summary: "whom you talk with, what is new, who is verified",
    help: `Lists your conversations, the newest first: when the last message came, how many
are new, and whether you have verified who it is (see "fastchat verify"). Works
offline.

  fastchat chats`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await people()).chats(options),
  },
  users: {
    name: "users",
    usage: "fastchat users [--json]",
    summary: "everybody on the server",
    help: `Lists everybody who has signed up, who of them is online, and whom you have
verified.`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await people()).users(options, false),
  },
  online: {
    name: "online",
    usage: "fastchat online [--json]",
    summary: "who is online",
    help: `Lists who is online now.`,
    words: [0, 0],
    options: ["json"],
    run: async (_words, options) => (await people()).users(options, true),
  },
  verify: {
    name: "verify",
    usage: "fastchat verify NAME [--number DIGITS | --yes | --unverify]",
    summary: "compare safety numbers: is it really NAME?",
    help: `Shows the safety number of NAME and you: 60 digits, the same on both screens
unless somebody is in between. Compare them in person or by phone, or scan the
code with something that reads text. Then NAME is marked as verified, until
their key changes.

  --number DIGITS   compare these, which NAME's screen shows, or the text of the
                    scanned code; white space does not matter. Where NAME's key
                    had changed, equal digits accept the new one. Others: exit
                    code 6, and nothing is marked
  --yes             you have compared them: mark NAME without asking
  --unverify        take the mark away
  --no-qr           no code; without a terminal there is none anyway
  --json            one object; it asks nothing, and marks only by the above

  fastchat verify bob
  fastchat verify bob --number "12345 67890 …"`,
    words: [1, 1],
    options: ["number", "yes", "unverify", "no-qr", "json"],
    run: async (words, options) => (await import("../verify.ts")).verify(words, options),
  },
} as const satisfies Record<string, Command>;

function groupHelp({ verb, group, words, summary }: GroupAct): string {
  const usage = [verb, group === "none" ? "" : "NAME", words].filter((part) => part !== "").join(" ");
  return `  ${usage.padEnd(24)}${summary}`;
}
