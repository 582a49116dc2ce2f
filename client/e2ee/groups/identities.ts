/**
 * Members' identities under the pins (SECURITY M8). A changed one never stops the group: it is told, and nothing is sent until a
 * person accepts it.
 */
import type { UserName } from "../../../shared/protocol/mod.ts";
import type { Warning } from "../engine.ts";
import type { GroupInfo, IdentityOf } from "../mls/mod.ts";
import type { Context } from "./context.ts";
import type { Library } from "./library.ts";
import { keyChanged } from "./reasons.ts";

interface Somebody {
  readonly user: UserName;
  /** Fingerprint as hex. */
  readonly identity: string;
}

/** Whose identity is not the pinned one. Who is not pinned yet is looked up before the next message is sealed for them. */
export function identityWarnings(context: Context, members: readonly Somebody[]): Warning[] {
  return [...new Set(changed(context, members).map(({ user }) => user))].map(keyChanged);
}

/** @throws KeyChangedError where somebody's identity is not the pinned one; asks the directory for who is not pinned. */
export async function requireIdentities(context: Context, members: readonly Somebody[]): Promise<void> {
  const { people } = context.options;
  const strangers = [...new Set(members.map(({ user }) => user))].filter((name) => people.pinned(name) === undefined);
  for (let at = 0; at < strangers.length; at += NAMES_AT_ONCE * REQUESTS_AT_ONCE) {
    const batches = Array.from({ length: REQUESTS_AT_ONCE }, (_, batch) => {
      const from = at + batch * NAMES_AT_ONCE;
      return strangers.slice(from, from + NAMES_AT_ONCE);
    });
    await Promise.all(batches.filter(({ length }) => length > 0).map((names) => people.fetch(names)));
  }
  for (const { user, identity } of changed(context, members)) {
    const offered = Uint8Array.fromHex(identity);
    // Noted as what the person was warned of, and may accept.
    people.check(user, offered);
    throw people.changed(user, offered);
  }
  for (const { user, identity } of members) {
    // The directory does not know them: then the group is where they were seen first.
    if (people.pinned(user) === undefined) people.check(user, Uint8Array.fromHex(identity));
  }
}

/** {@linkcode IdentityOf} as far as this home has read the key log. */
export function currentIdentity({ options: { keyLog } }: Context): IdentityOf {
  return (user, identity) => keyLog.identityOf(user as UserName, identity);
}

/** Somebody's role, also where it was given to an identity that they have replaced since. */
export function rankOf(context: Context, lib: Library, info: GroupInfo, who: Somebody): number {
  const identityOf = currentIdentity(context);
  const now = <T extends Somebody>(one: T): T => ({ ...one, identity: identityOf(one.user, one.identity) });
  return lib.roleOf({ ...info, roles: info.roles.map(now) }, now(who));
}

/** With the identities by which they go now: a leaf by one that gave way to the pinned one is the same person's (§16). */
function changed(context: Context, members: readonly Somebody[]): Somebody[] {
  const { people } = context.options, identityOf = currentIdentity(context);
  const pinned = new Map<UserName, string | undefined>();
  return members.map(({ user, identity }) => ({ user, identity: identityOf(user, identity) }))
    .filter(({ user, identity }) => {
      if (!pinned.has(user)) pinned.set(user, people.pinned(user)?.toHex());
      const known = pinned.get(user);
      return known !== undefined && known !== identity;
    });
}

const NAMES_AT_ONCE = 16;
const REQUESTS_AT_ONCE = 8;
