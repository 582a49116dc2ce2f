/** Groups for people: a title, who is in it, how many of them are verified. Also what `--json` prints of one. */
import { aRole } from "../group_acts.ts";
import type { Group } from "../talk/groups.ts";
import type { PeerTrust } from "../trust/people.ts";
import { paint, paintName } from "../output.ts";
import { LOCK, trustMark } from "./marks.ts";
import { textWidth } from "./width.ts";

/** The others of a group: how many of how many are verified, and whose key changed. */
export interface GroupTrust {
  readonly verified: number;
  readonly others: number;
  readonly changed: readonly string[];
}

/** @param trusts Of all members. */
export function groupTrust(trusts: readonly PeerTrust[]): GroupTrust {
  const others = trusts.filter(({ trust }) => trust !== "self");
  return {
    verified: others.filter(({ trust }) => trust === "verified").length,
    others: others.length,
    changed: others.filter(({ trust }) => trust === "changed").map(({ name }) => name),
  };
}

/** In front of the group's name where there is room for no more. */
export function groupSign({ verified, others, changed }: GroupTrust): string {
  if (changed.length > 0) return "! ";
  return verified === 0 ? "" : `${LOCK} ${verified}/${others} `;
}

/** A group's name or topic: others chose it, so it cannot hold what only this program may say. */
export function groupWords(text: string): string {
  return text.replaceAll(LOCK, "·");
}

/** What whoever turns to a group should know. What this program says stands in front of what others have written. */
export function groupTitle({ address, topic, ended }: Group, { verified, others, changed }: GroupTrust): string {
  const name = groupWords(address);
  if (ended) return paint("dim", `* you are no longer in ${name}; what was said can still be read`);
  const known = others === 0 ? "nobody but you" : `${LOCK} ${verified}/${others} verified`;
  const title = `* ${paint(verified > 0 ? "green" : "dim", known)}  ${name}${
    topic === "" ? "" : `: ${groupWords(topic)}`
  }`;
  if (changed.length === 0) return title;
  const names = changed.map((name) => `/verify ${name}`).join(", ");
  const warning = `* KEY CHANGED: ${changed.join(", ")}. Nothing is sent here until it is compared: ${names}`;
  return `${title}\n${paint(["bold", "red"], warning)}`;
}

/** One row for each member, heads first. @param trusts Of the members, in their order. */
export function memberRows({ members }: Group, trusts: readonly PeerTrust[]): string[] {
  const rank = { owner: 0, admin: 1, member: 2 };
  const columns = Math.max(0, ...members.map(({ name }) => textWidth(name)));
  return members
    .map(({ name, role }, i) => ({ name, role, trust: trusts[i]!.trust }))
    .sort((a, b) => rank[a.role] - rank[b.role] || (a.name < b.name ? -1 : 1))
    .map(({ name, role, trust }) => {
      const padding = " ".repeat(columns - textWidth(name));
      return `  ${paintName(name)}${padding}  ${role.padEnd(6)}  ${trust === "self" ? "(you)" : trustMark(trust)}`
        .trimEnd();
    });
}

/** One row for each group of a list. */
export function groupRows(groups: readonly { readonly view: Group; readonly trust: GroupTrust }[]): string[] {
  const columns = Math.max(0, ...groups.map(({ view }) => textWidth(groupWords(view.address))));
  return groups.map(({ view, trust }) => {
    const { address, members, role, topic, ended } = view;
    const padded = groupWords(address) + " ".repeat(columns - textWidth(groupWords(address)));
    if (ended) return `${padded}  ${paint("dim", "no longer in it")}`;
    const count = `${members.length} member${members.length === 1 ? "" : "s"}`.padEnd(12);
    const verified = (trust.others === 0 ? "" : `${LOCK} ${trust.verified}/${trust.others}`).padEnd(8);
    return `${padded}  ${count}  ${verified}  ${role === undefined ? "" : `you are ${aRole(role)}`.padEnd(16)}  ${
      paint("dim", groupWords(topic))
    }`
      .trimEnd();
  });
}

/** A group as `--json` prints it. */
export function groupJson(view: Group, trusts: readonly PeerTrust[]): object {
  const { address, members, ...facts } = view, { verified, others } = groupTrust(trusts);
  return {
    group: address,
    ...facts,
    members: members.map((member, i) => ({ ...member, trust: trusts[i]!.trust })),
    verified,
    others,
  };
}
