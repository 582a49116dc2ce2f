/** What a commit changed, as lines for people; none where only keys did. Pure. */
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import type { ChangeLine } from "../engine.ts";
import type { Change, GroupInfo, IdentityOf, Member, Roster } from "../mls/mod.ts";

export const ROLES = ["member", "admin", "owner"] as const;

export interface Changed {
  readonly before: Roster;
  readonly after: Roster;
  readonly change: Change;
  /** Users whose leave notice the commit acts on. */
  readonly left: readonly UserName[];
  /** Whoever has replaced theirs is still who they were. */
  readonly identityOf?: IdentityOf;
}

export function linesOf(
  { before, after, change, left, identityOf = (_, identity) => identity }: Changed,
): ChangeLine[] {
  const lines: ChangeLine[] = [];
  const people = new Set(before.members.map(({ user, identity }) => `${user} ${identityOf(user, identity)}`));
  const were = usersOf(before.members), are = usersOf(after.members);
  // A name under an identity that has nothing to do with the former one: for all that one can know, somebody else.
  const others = after.members.filter(({ user, identity }) =>
    were.has(user) && !people.has(`${user} ${identityOf(user, identity)}`)
  );
  const replaced = usersOf(others), isSame = ({ user }: { readonly user: UserName }) => !replaced.has(user);
  for (const user of replaced) lines.push({ what: "removed", who: user }, { what: "added", who: user });
  for (const user of are) if (!were.has(user)) lines.push({ what: "added", who: user });
  for (const user of were) {
    // Who left was told of when the notice came.
    if (!are.has(user) && !left.includes(user)) lines.push({ what: "removed", who: user });
  }
  const former = devicesOf(before.members), present = devicesOf(after.members);
  for (const { user, device } of change.added) {
    if (were.has(user) && !former.has(device) && isSame({ user })) {
      lines.push({ what: "device-added", who: user, value: device });
    }
  }
  for (const member of before.members) {
    if (!present.has(member.device) && are.has(member.user) && isSame(member)) {
      lines.push({ what: "device-removed", who: member.user, value: member.device });
    }
  }
  return change.info === undefined ? lines : [...lines, ...infoLines(before.info, after.info, are)];
}

function infoLines(before: GroupInfo, after: GroupInfo, users: ReadonlySet<UserName>): ChangeLine[] {
  const lines: ChangeLine[] = [];
  if (before.name !== after.name) lines.push({ what: "renamed", value: after.name });
  if (before.topic !== after.topic) lines.push({ what: "topic", value: after.topic });
  if (before.membersAdd !== after.membersAdd) lines.push({ what: "settings" });
  if (before.historySinceMs !== after.historySinceMs) {
    lines.push({ what: "history", value: after.historySinceMs === 0 ? "off" : "on" });
  }
  for (const user of users) {
    const was = roleIn(before, user), is = roleIn(after, user);
    if (was !== is) lines.push({ what: "role", who: user, value: ROLES[is] ?? "member" });
  }
  return lines;
}

function roleIn({ roles }: GroupInfo, name: UserName): number {
  return roles.find(({ user }) => user === name)?.role ?? 0;
}

function devicesOf(members: readonly Member[]): ReadonlySet<DeviceId> {
  return new Set(members.map(({ device }) => device));
}

function usersOf(members: readonly Member[]): ReadonlySet<UserName> {
  return new Set(members.map(({ user }) => user));
}
