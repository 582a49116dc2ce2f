/**
 * What became of a group while this device could not follow it, for people. The rows that said so were not for it, and whoever lets
 * it in again shows it a group that it cannot hold against anything but the one it knew: so every difference is told. Pure.
 */
import type { UserName } from "../../../shared/protocol/mod.ts";
import type { IdentityOf, Roster } from "../mls/mod.ts";
import { ROLES } from "./lines.ts";

/** One clause for each kind of difference; empty where people and roles are the same. */
export function changedMeanwhile(before: Roster, after: Roster, identityOf: IdentityOf): string {
  const were = peopleOf(before, identityOf), are = peopleOf(after, identityOf);
  const added = [...are].filter(([key]) => !were.has(key)).map(([, name]) => name);
  const gone = [...were].filter(([key]) => !are.has(key)).map(([, name]) => name);
  const roles = [...new Set(are.values())].flatMap((name) => {
    const was = roleIn(before, name), is = roleIn(after, name);
    return was === is ? [] : [`${name} is ${ROLES[is] ?? "member"}`];
  });
  const clauses = [
    ...(added.length === 0 ? [] : [`in it now: ${listed(added)}`]),
    ...(gone.length === 0 ? [] : [`no longer in it: ${listed(gone)}`]),
    ...(roles.length === 0 ? [] : [listed(roles)]),
  ];
  return clauses.join("; ");
}

/** By name and identity: another one of the same name is somebody else. */
function peopleOf({ members }: Roster, identityOf: IdentityOf): ReadonlyMap<string, UserName> {
  return new Map(members.map(({ user, identity }) => [`${user} ${identityOf(user, identity)}`, user]));
}

function roleIn({ info: { roles } }: Roster, name: UserName): number {
  return roles.find(({ user }) => user === name)?.role ?? 0;
}

function listed(items: readonly string[]): string {
  const more = items.length - LISTED;
  return items.slice(0, LISTED).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

const LISTED = 20;
