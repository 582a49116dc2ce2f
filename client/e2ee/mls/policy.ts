/**
 * Who may change a group (SECURITY M5, M6, M9): one pure function of the group before, the committer and the change, so that
 * every member comes to the same answer whenever it reads the commit. No clock, no pins, no server's word.
 */
import type { Holder } from "./credential.ts";
import { type GroupInfo, Kind, Role, type RoleEntry, roleOf } from "./group_info.ts";

/**
 * Devices of one group, and leaves of a tree that anybody takes. What fits the server's bounds is far below; but a tree of blanks costs
 * nothing to make, and for each of its leaves whoever is handed it derives some keys.
 */
export const DEVICES_MAX = 8_192;

/** A device in a group. */
export interface Member extends Omit<Holder, "leafKey"> {
  readonly leaf: number;
}

/** A group as the policy sees it. */
export interface Roster {
  readonly members: readonly Member[];
  readonly info: GroupInfo;
}

/** What a commit would do, besides giving its author new keys. */
export interface Change {
  /** A member's commit, or an external one, by which a device adds itself. */
  readonly by: "member" | "itself";
  readonly added: readonly Omit<Member, "leaf">[];
  /** Leaf indices in the old tree. */
  readonly removed: readonly number[];
  /** The new description, where the commit carries one. */
  readonly info?: GroupInfo;
}

/**
 * Why a device may be removed by anybody: its revocation is in the key log, or its user's signed leave notice is in the
 * conversation, both before the commit and cited by it, so that every member finds the same.
 */
export type Grounds = (member: Member) => boolean;

/**
 * The identity by which a person goes at the place of the commit, for one by which they went: the key log shows how each has
 * signed the next. Whoever replaces theirs stays who they are, with their leaves and their role.
 */
export type IdentityOf = (user: string, identity: string) => string;

/**
 * Whether a device that has no leaf may come in by itself, at the place of the commit: the key log counts it, and it waits for no
 * other device's approval. Nobody else has looked at it, as who adds a device does.
 */
export type MayComeIn = (user: string, device: string) => boolean;

export type PolicyFault =
  | "not a member"
  | "adds a device twice"
  | "has too many devices"
  | "adds a name under another identity"
  | "may not add users"
  | "direct conversations have two users"
  | "removes nobody"
  | "removes a device twice"
  | "removes itself"
  | "may not remove"
  | "may not change the description"
  | "may not change roles"
  | "gives a role to somebody who is not there"
  | "leaves the group headless"
  | "changes the kind"
  | "adds more than itself"
  | "is not let in by its own user"
  | "removes more than its own old leaf";

/**
 * Whether `committer` may make `change` to `old`; the fault where not.
 *
 * @param committer The leaf that wrote the commit; for a device that adds itself, the device.
 */
export function allowed(
  old: Roster,
  committer: Omit<Member, "leaf">,
  change: Change,
  grounds: Grounds = () => false,
  identityOf: IdentityOf = (_, identity) => identity,
  mayComeIn: MayComeIn = () => true,
): PolicyFault | undefined {
  const now = <T extends Person>(who: T): T => ({ ...who, identity: identityOf(who.user, who.identity) });
  const described = (info: GroupInfo): GroupInfo => ({ ...info, roles: info.roles.map(now) });
  const fault = judge(
    { members: old.members.map(now), info: described(old.info) },
    now(committer),
    { ...change, added: change.added.map(now), ...(change.info && { info: described(change.info) }) },
    grounds,
  );
  if (fault !== undefined) return fault;
  const isNew = change.by === "itself" && change.removed.length === 0;
  return isNew && !mayComeIn(committer.user, committer.device) ? "is not let in by its own user" : undefined;
}

function judge(
  old: Roster,
  committer: Omit<Member, "leaf">,
  change: Change,
  grounds: Grounds,
): PolicyFault | undefined {
  const removed: Member[] = [];
  for (const leaf of change.removed) {
    const member = old.members.find((other) => other.leaf === leaf);
    if (member === undefined) return "removes nobody";
    if (removed.includes(member)) return "removes a device twice";
    removed.push(member);
  }
  const staying = old.members.filter((member) => !removed.includes(member));
  const next = { members: [...staying, ...change.added], info: change.info ?? old.info };
  const fault = change.by === "itself"
    ? selfJoinFault(old, committer, change, removed)
    : memberFault(old, committer, removed, (member) => grounds(member) || isReplaced(old.info, change, member));
  return fault ?? addFault(old, staying, committer, change) ?? infoFault(old, next, committer) ?? rolesFault(old, next);
}

/** An external commit: this one device, of a user who is there, in place of its own old leaf at most. */
function selfJoinFault(
  { members }: Roster,
  committer: Omit<Member, "leaf">,
  { added, info }: Change,
  removed: readonly Member[],
): PolicyFault | undefined {
  if (added.length !== 1 || !sameDevice(added[0]!, committer)) return "adds more than itself";
  if (info !== undefined) return "may not change the description";
  if (!members.some((member) => sameUser(member, committer))) return "not a member";
  return removed.every((member) => sameDevice(member, committer)) ? undefined : "removes more than its own old leaf";
}

function memberFault(
  { members, info }: Roster,
  committer: Omit<Member, "leaf">,
  removed: readonly Member[],
  grounds: Grounds,
): PolicyFault | undefined {
  if (!members.some((member) => sameDevice(member, committer))) return "not a member";
  const rank = roleOf(info, committer);
  for (const member of removed) {
    if (sameDevice(member, committer)) return "removes itself";
    const outranks = info.kind === Kind.group && rank >= Role.admin && roleOf(info, member) <= rank;
    if (!sameUser(member, committer) && !outranks && !grounds(member)) return "may not remove";
  }
  return undefined;
}

/**
 * Between two people each says whom they hold to be the other one (docs/PROTOCOL.md §15.4): devices under one identity go where
 * such of the same name come under another. That all of the former go, {@linkcode addFault} sees to.
 */
function isReplaced({ kind }: GroupInfo, { added }: Change, member: Member): boolean {
  return kind === Kind.direct &&
    added.some(({ user, identity }) => user === member.user && identity !== member.identity);
}

/** Devices of members by anybody; users by whoever has that right; a name never under a second identity. */
function addFault(
  { info, members }: Roster,
  staying: readonly Member[],
  committer: Omit<Member, "leaf">,
  { added }: Change,
): PolicyFault | undefined {
  const there: Omit<Member, "leaf">[] = [...staying];
  if (added.length > 0 && there.length + added.length > DEVICES_MAX) return "has too many devices";
  for (const device of added) {
    if (there.some((other) => other.device === device.device)) return "adds a device twice";
    if (there.some((other) => other.user === device.user && other.identity !== device.identity)) {
      return "adds a name under another identity";
    }
    const known = members.some((member) => sameUser(member, device));
    if (!known && info.kind === Kind.direct) {
      if (new Set([...there, device].map(({ user }) => user)).size > 2) return "direct conversations have two users";
    } else if (!known && !info.membersAdd && roleOf(info, committer) < Role.admin) return "may not add users";
    there.push(device);
  }
  return undefined;
}

/** The description: admins, and roles within their rank. */
function infoFault(old: Roster, next: RosterAfter, committer: Omit<Member, "leaf">): PolicyFault | undefined {
  const before = old.info, after = next.info;
  if (before === after) return undefined;
  if (before.kind !== after.kind) return "changes the kind";
  const rank = roleOf(before, committer);
  if (rank < Role.admin && !sameButRoles(before, after)) return "may not change the description";
  for (const { user, identity } of [...before.roles, ...after.roles]) {
    const who = { user, identity }, was = roleOf(before, who), becomes = roleOf(after, who);
    if (was === becomes) continue;
    // Whoever commits the removal of somebody with a role takes the role away too.
    if (becomes === Role.member && !next.members.some((member) => sameUser(member, who))) continue;
    if (before.kind === Kind.direct || rank < Role.admin) return "may not change roles";
    if (rank < Role.owner && Math.max(was, becomes) > rank) return "may not change roles";
  }
  return undefined;
}

/** A role is somebody's who is there, so nobody who comes back later finds an old one; and a group keeps an admin. */
function rolesFault(old: Roster, { members, info }: RosterAfter): PolicyFault | undefined {
  const present = (entry: RoleEntry) => members.some((member) => sameUser(member, entry));
  if (!info.roles.every(present)) return "gives a role to somebody who is not there";
  // An owner outranks an admin, so the highest that is left rules; without either nobody could.
  const headed = old.info.kind === Kind.direct || info.roles.length > 0 || members.length === 0;
  return headed ? undefined : "leaves the group headless";
}

interface RosterAfter {
  readonly members: readonly Omit<Member, "leaf">[];
  readonly info: GroupInfo;
}

function sameButRoles(a: GroupInfo, b: GroupInfo): boolean {
  return a.kind === b.kind && a.name === b.name && a.topic === b.topic && a.membersAdd === b.membersAdd &&
    a.historySinceMs === b.historySinceMs && a.invites.length === b.invites.length &&
    a.invites.every((invite, index) =>
      invite.id === b.invites[index]!.id && invite.secret.toHex() === b.invites[index]!.secret.toHex()
    );
}

interface Person {
  readonly user: string;
  readonly identity: string;
}

function sameUser(a: Person, b: Person): boolean {
  return a.user === b.user && a.identity === b.identity;
}

function sameDevice(a: Omit<Member, "leaf">, b: Omit<Member, "leaf">): boolean {
  return a.device === b.device && sameUser(a, b);
}

/** The description without the roles of users who would be gone: what a commit that removes them must carry along. */
export function withoutAbsent(
  info: GroupInfo,
  members: readonly Omit<Member, "leaf">[],
  identityOf: IdentityOf = (_, identity) => identity,
): GroupInfo {
  const present = new Set(members.map(({ user, identity }) => `${user} ${identityOf(user, identity)}`));
  const roles = info.roles.filter(({ user, identity }) => present.has(`${user} ${identityOf(user, identity)}`));
  return roles.length === info.roles.length ? info : { ...info, roles };
}
