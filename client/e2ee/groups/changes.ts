/**
 * What people want changed in a group, as intentions: looked at anew after each lost race, until nothing of it is left to do
 * (SECURITY M5, M9). Whether it is allowed, the policy says, for us as for whoever reads the commit.
 */
import { equalBytes, fingerprint } from "../../../shared/crypto/mod.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import type { ConversationId, UserName } from "../../../shared/protocol/mod.ts";
import { RefusedError, UsageError } from "../../errors.ts";
import type { GroupChange } from "../engine.ts";
import type { GroupInfo, Roster } from "../mls/mod.ts";
import type { Intention } from "./committer.ts";
import type { Context } from "./context.ts";
import { currentIdentity } from "./identities.ts";
import type { Library, Loaded } from "./library.ts";
import { ROLES } from "./lines.ts";
import { DEVICES_AT_ONCE, type Newcomer, type Newcomers } from "./newcomers.ts";

export class Changes {
  readonly #context: Context;
  readonly #lib: Library;
  readonly #newcomers: Newcomers;

  constructor(context: Context, { lib }: Loaded, newcomers: Newcomers) {
    this.#context = context;
    this.#lib = lib;
    this.#newcomers = newcomers;
  }

  /** @throws UsageError, RefusedError, KeyChangedError where it cannot be wanted at all. */
  async intention(id: ConversationId, change: Exclude<GroupChange, { do: "delete" }>): Promise<Intention> {
    switch (change.do) {
      case "add":
        return await this.#adding(id, change.names);
      case "remove":
        return this.#removing(change.names);
      case "role":
        return this.#role(change.name, ROLES.indexOf(change.role));
      case "rename":
        return this.#describing((info) => ({ ...info, name: groupName(change.name) }));
      case "topic":
        return this.#describing((info) => ({ ...info, topic: change.topic }));
      case "settings": {
        const { membersMayAdd, sharedHistory } = change, { nowMs } = this.#context.options;
        return this.#describing((info) => ({
          ...info,
          membersAdd: membersMayAdd ?? info.membersAdd,
          historySinceMs: sharedHistory === undefined
            ? info.historySinceMs
            : sharedHistory
            ? info.historySinceMs || nowMs()
            : 0,
        }));
      }
    }
  }

  /** Everybody but this user: what comes before a group ends. */
  everybodyElse(): Intention {
    return (_, roster) => {
      const { name } = this.#context.options.self;
      const others = roster.members.filter(({ user }) => user !== name);
      return Promise.resolve(others.length === 0 ? undefined : this.#without(roster, others.map(({ leaf }) => leaf)));
    };
  }

  /** A change of the description; nothing is left to do where it is as wanted. */
  #describing(changed: (info: GroupInfo, roster: Roster) => GroupInfo): Intention {
    return (_, roster) => {
      const info = changed(roster.info, roster);
      return Promise.resolve(isSame(this.#lib, info, roster.info) ? undefined : { info });
    };
  }

  describing(changed: (info: GroupInfo) => GroupInfo): Intention {
    return this.#describing(changed);
  }

  async #adding(id: ConversationId, names: readonly UserName[]): Promise<Intention> {
    const wanted = new Map<UserName, Newcomer>();
    const { people } = this.#context.options;
    for (let at = 0; at < names.length; at += NAMES_AT_ONCE) await people.fetch(names.slice(at, at + NAMES_AT_ONCE));
    for (const name of names) {
      const entry = people.entry(name), pinned = people.pinned(name);
      if (entry === undefined || pinned === undefined) {
        throw new RefusedError(`There is nobody called ${name}`, ErrorCode.unknownName);
      }
      const shown = fingerprint(entry.identityKey);
      if (!equalBytes(shown, pinned)) throw people.changed(name, shown);
      wanted.set(name, { name, identity: pinned.toHex() });
    }
    const identityOf = currentIdentity(this.#context);
    return async (_, roster) => {
      const { members, info } = roster;
      if (info.kind !== this.#lib.Kind.group) throw new UsageError("A direct conversation has two people");
      // Who was there once and was removed meanwhile is not brought back. Who is there under another identity is not there.
      for (const { user, identity } of members) {
        if (wanted.get(user)?.identity === identityOf(user, identity)) wanted.delete(user);
      }
      const missing = [...wanted.values()].slice(0, USERS_AT_ONCE);
      if (missing.length === 0) {
        const there = new Set(members.map(({ user }) => user));
        const serve = await this.#unserved(id, names.filter((name) => there.has(name)));
        return serve.length === 0 ? undefined : { serve };
      }
      const add = await this.#newcomers.packages(id, missing, () => true);
      let count = 0;
      const found = Map.groupBy(add, ({ holder }) => holder.user);
      const now = missing.filter(({ name }) => {
        const devices = found.get(name)?.length ?? 0;
        if (devices === 0) {
          throw new RefusedError(`${name} has left no keys yet: they must have been online once`, ErrorCode.notFound);
        }
        return (count += devices) <= DEVICES_AT_ONCE;
      });
      const coming = new Set(now.map(({ name }) => name)), isComing = (user: UserName) => coming.has(user);
      const former = members.filter(({ user }) => isComing(user)).map(({ leaf }) => leaf);
      return {
        add: add.filter(({ holder }) => isComing(holder.user)),
        ...(former.length === 0 ? {} : this.#without(roster, former)),
      };
    };
  }

  /**
   * Who of these is in the group and has nothing of it delivered. The server does as any commit says, also where that is none that
   * counts: so a member may have done it, and any member undoes it with new keys of their own.
   */
  async #unserved(id: ConversationId, names: readonly UserName[]): Promise<UserName[]> {
    const unserved = new Set(names);
    for (let after = "", more = unserved.size > 0; more && unserved.size > 0;) {
      const page = await this.#context.options.ask<"members">({ type: "members", conversation: id, after });
      for (const { name } of page.users) unserved.delete(name);
      after = page.users.at(-1)?.name ?? "";
      more = page.more && after !== "";
    }
    return [...unserved].slice(0, USERS_AT_ONCE);
  }

  #removing(names: readonly UserName[]): Intention {
    if (names.includes(this.#context.options.self.name)) throw new UsageError("To go yourself, leave the group");
    const going = new Set(names);
    return (_, roster) => {
      const remove = roster.members.filter(({ user }) => going.has(user)).map(({ leaf }) => leaf);
      return Promise.resolve(remove.length === 0 ? undefined : this.#without(roster, remove));
    };
  }

  /** Invite links end with it: every member has them, and who was put out would be let in again by the first admin's device. */
  #without(roster: Roster, remove: readonly number[]) {
    const gone = new Set(remove), staying = roster.members.filter(({ leaf }) => !gone.has(leaf));
    const present = this.#lib.withoutAbsent(roster.info, staying, currentIdentity(this.#context));
    const info = present.invites.length === 0 ? present : { ...present, invites: [] };
    return { remove, ...(info === roster.info ? {} : { info }) };
  }

  #role(name: UserName, role: number): Intention {
    return this.#describing((info, { members }) => {
      const member = members.find(({ user }) => user === name);
      if (member === undefined) throw new RefusedError(`${name} is not in this group`, ErrorCode.notFound);
      const others = info.roles.filter(({ user }) => user !== name);
      const roles = role === 0 ? others : [...others, { user: name, identity: member.identity, role }];
      return { ...info, roles };
    });
  }
}

/** @throws UsageError where it is not one. */
export function groupName(name: string): string {
  const trimmed = name.trim();
  // deno-lint-ignore no-control-regex
  if (trimmed.length === 0 || trimmed.length > 64 || /[\u0000-\u001f\u007f-\u009f]/.test(trimmed)) {
    throw new UsageError("A group's name has 1 to 64 characters, none of them a control character");
  }
  return trimmed;
}

function isSame(lib: Library, a: GroupInfo, b: GroupInfo): boolean {
  const sorted = (info: GroupInfo) => ({ ...info, roles: info.roles.toSorted((x, y) => x.user < y.user ? -1 : 1) });
  const bytes = (info: GroupInfo) => lib.groupInfoExtension(sorted(info)).extensionData;
  return equalBytes(bytes(a), bytes(b));
}

const NAMES_AT_ONCE = 16;
/** What is left comes with the next commit. */
const USERS_AT_ONCE = 200;

/** Runs a change; what the policy refuses is said in words. */
export async function readable(context: Context, work: () => Promise<void>): Promise<void> {
  const { lib } = await context.load();
  try {
    await work();
  } catch (error) {
    if (!(error instanceof lib.ChangeRefused)) throw error;
    throw new RefusedError(`This is not allowed: ${FAULTS[error.fault] ?? error.fault}`, ErrorCode.forbidden, {
      cause: error,
    });
  }
}

const FAULTS: Readonly<Record<string, string>> = {
  "not a member": "you are not in this group",
  "may not add users": "only admins may add people to this group",
  "may not remove": "only admins remove people, and nobody above themselves",
  "may not change the description": "only admins may change that",
  "may not change roles": "only owners and admins change roles, and none above their own",
  "leaves the group headless": "the group would be left without an admin",
  "adds a name under another identity": "they are in the group under another key: remove them first",
};
