/** `group VERB …`, `groups`. What each verb does is in `group_acts.ts`. */
import type { ChatClient } from "../chat_client.ts";
import { UsageError } from "../errors.ts";
import { groupJson, groupRows, groupTitle, groupTrust, memberRows } from "../faces/group_view.ts";
import { type ActOutcome, actWords, type GroupAct, groupAct, type GroupClient } from "../group_acts.ts";
import type { Group } from "../talk/groups.ts";
import type { LocalHome } from "../local_home.ts";
import type { Options } from "../options.ts";
import { printError, printLine } from "../output.ts";
import { pause } from "../pause.ts";
import { ask, canAsk } from "../prompt.ts";
import { tellingProgress } from "./group_progress.ts";
import { withClient, withHome } from "./open.ts";

const PROGRESS_MS = 1_000;

export async function group(words: readonly string[], options: Options): Promise<void> {
  const [verb, ...behind] = words, act = groupAct(verb!), usage = groupUsage(act);
  const takesGroup = act.group !== "none";
  if (takesGroup && behind.length === 0) throw new UsageError(`Which group? Usage: ${usage}${QUOTE_HINT}`);
  const name = takesGroup ? behind[0]! : "", rest = actWords(act, takesGroup ? behind.slice(1) : behind, usage);
  if (act.isFinal && !options.yes) await confirm(act, name);
  await withClient(options, async (chat) => {
    // What is said of it is of the group that it is now, also when it has another name afterwards.
    const address = act.group === "existing" ? chat.group(name).address : name;
    const outcome = await act.run(within(chat, options), address, rest);
    if (options.json) return printLine(outcomeJson(chat, act, address, outcome));
    if (act.verb === "members") printMembers(chat, chat.group(address));
    for (const line of outcome.said) printLine(line);
  });
}

export function groups(options: Options): Promise<void> {
  return withHome(options, (home) => {
    const all = home.groups().map((view) => ({ view, trusts: trustsIn(home, view) }));
    if (options.json) {
      for (const { view, trusts } of all) printLine(JSON.stringify({ type: "group", ...groupJson(view, trusts) }));
      return;
    }
    for (const row of groupRows(all.map(({ view, trusts }) => ({ view, trust: groupTrust(trusts) })))) printLine(row);
  });
}

/** With the time that was given, where one was; the library has its own. What takes long says how far it is. */
function within(chat: ChatClient, { timeout }: Options): GroupClient {
  const limit = timeout === undefined ? {} : { timeoutMs: timeout * 1000 };
  return {
    name: chat.name,
    group: (address) => chat.group(address),
    createGroup: (name) => chat.createGroup(name, limit),
    changeGroup: (address, change) =>
      tellingProgress({
        names: change.do === "add" ? change.names : [],
        group: () => chat.group(address),
        say: printError,
        pause: () => pause(PROGRESS_MS),
      }, chat.changeGroup(address, change, limit)),
    leaveGroup: (address) => chat.leaveGroup(address, limit),
    groupLink: (address, { revoke }) => chat.groupLink(address, { revoke, ...limit }),
    joinGroup: (link) => chat.joinGroup(link, limit),
    groupDetails: (address) => chat.groupDetails(address, limit),
  };
}

/** As it stands in the help. */
export function groupUsage({ verb, group, words }: GroupAct): string {
  return ["fastchat group", verb, group === "none" ? "" : "NAME", words].filter((part) => part !== "").join(" ");
}

/** What cannot be taken back is asked for twice. */
async function confirm({ verb }: GroupAct, name: string): Promise<void> {
  const again = `To ${verb} a group for everybody, say so: fastchat group ${verb} '${name}' --yes`;
  if (!canAsk()) throw new UsageError(again);
  const answer = await ask(`${verb[0]!.toUpperCase()}${verb.slice(1)} ${name} for everybody in it? [y/N] `);
  if (!/^y(es)?$/i.test(answer.trim())) throw new UsageError("Nothing was changed");
}

function printMembers(home: LocalHome, view: Group): void {
  const trusts = trustsIn(home, view);
  printLine(groupTitle(view, groupTrust(trusts)).replace(/^\* /, ""));
  for (const row of memberRows(view, trusts)) printLine(row);
}

function outcomeJson(
  chat: ChatClient,
  { verb }: GroupAct,
  named: string,
  { said, turnTo, facts: more }: ActOutcome,
): string {
  const address = turnTo ?? named;
  if (verb === "link") return JSON.stringify({ type: "link", group: address, link: said[0] });
  if (verb === "join") return JSON.stringify({ type: "asked" });
  const view = chat.groups().find((group) => group.address === address);
  const facts = view === undefined ? { group: address, ended: true } : groupJson(view, trustsIn(chat, view));
  return JSON.stringify({ type: "group", act: verb, ...facts, ...more });
}

function trustsIn(home: LocalHome, { members }: Group) {
  return home.trustsOf(members.map(({ name }) => name));
}

/** A shell takes an unquoted # for the start of a comment. */
export const QUOTE_HINT = " (in a shell, a name with # stands in quotes: '#NAME')";
