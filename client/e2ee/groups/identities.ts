/**
 * Members' identities under the pins (SECURITY M8). A changed one never stops the group: it is told, and nothing is sent until a
 * person accepts it.
 */
import { DecodeError } from "../../../shared/codec/mod.ts";
import { type Certificate, decodeCertificate, equalBytes, fingerprint } from "../../../shared/crypto/mod.ts";
import type { DeviceId, DirectoryEntry, UserName } from "../../../shared/protocol/mod.ts";
import { NotReadyError, type Warning } from "../engine.ts";
import type { GroupInfo, IdentityOf, Roster } from "../mls/mod.ts";
import type { Context } from "./context.ts";
import type { Library } from "./library.ts";
import { formerKey, keyChanged, noKeys } from "./reasons.ts";

interface Somebody {
  readonly user: UserName;
  /** Fingerprint as hex. */
  readonly identity: string;
}

/** Whose identity is not the pinned one. Who is not pinned yet is looked up before the next message is sealed for them. */
export function identityWarnings(context: Context, members: readonly Somebody[]): Warning[] {
  return [...new Set(changed(context, members).map(({ user }) => user))].map(keyChanged);
}

/**
 * Between two people the group is where they meet, for a device that had no reason to ask the directory yet: whom it says to be
 * the other one is pinned. What a directory shows later is another one then, and takes a person's word.
 */
export function meet(context: Context, { members, info }: Roster, lib: Library): void {
  const { people } = context.options, identityOf = currentIdentity(context);
  if (info.kind !== lib.Kind.direct) return;
  for (const { user, identity } of members) {
    if (people.pinned(user) === undefined) people.check(user, Uint8Array.fromHex(identityOf(user, identity)));
  }
}

/**
 * Who is in a conversation under an identity that is not the pinned one, although the directory shows the pinned one: a person has
 * accepted it, or it always was. Between two people whoever sends next puts them out and the others in; in a group an admin does.
 * The directory is asked first: what this home remembers of it may be older than the group.
 */
export async function displaced(context: Context, members: readonly Somebody[]): Promise<Somebody[]> {
  const { people } = context.options, others = changed(context, members);
  if (others.length === 0) return [];
  await people.fetch([...new Set(others.map(({ user }) => user))].slice(0, NAMES_AT_ONCE));
  return others.filter(({ user }) => {
    const pinned = people.pinned(user), entry = people.entry(user);
    return pinned !== undefined && entry !== undefined && equalBytes(fingerprint(entry.identityKey), pinned);
  });
}

/**
 * Asks the directory for who is not pinned, and again for whose identity is not the pinned one.
 *
 * @throws KeyChangedError for the latter; NotReadyError where between two people only keys of the accepted one are missing.
 */
export async function requireIdentities(
  context: Context,
  { members, info }: Roster,
  lib: Library,
): Promise<void> {
  const { people, timers } = context.options;
  const strangers = [...new Set(members.map(({ user }) => user))].filter((name) => people.pinned(name) === undefined);
  for (let at = 0; at < strangers.length; at += NAMES_AT_ONCE * REQUESTS_AT_ONCE) {
    const batches = Array.from({ length: REQUESTS_AT_ONCE }, (_, batch) => {
      const from = at + batch * NAMES_AT_ONCE;
      return strangers.slice(from, from + NAMES_AT_ONCE);
    });
    await Promise.all(batches.filter(({ length }) => length > 0).map((names) => people.fetch(names)));
  }
  const [former] = await displaced(context, members);
  if (former !== undefined) {
    if (info.kind === lib.Kind.direct) {
      throw new NotReadyError(noKeys(former.user), new Promise((resolve) => timers.after(NO_KEYS_RETRY_MS, resolve)));
    }
    throw formerKey(former.user, people.pinned(former.user)!, Uint8Array.fromHex(former.identity));
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

/** Certified by that identity, as the directory has them. Whether a package of theirs is good is seen when it is there. */
export function certifiedDevices(entry: DirectoryEntry | undefined, name: UserName, identity: string): DeviceId[] {
  return (entry?.certificates ?? []).flatMap((bytes) => {
    const certificate = readCertificate(bytes);
    const isTheirs = certificate?.user === name && fingerprint(certificate.identityKey).toHex() === identity;
    return isTheirs ? [certificate.device] : [];
  });
}

/** `undefined` where it is none. Its signature is not looked at. */
export function readCertificate(bytes: Uint8Array): Certificate | undefined {
  try {
    return decodeCertificate(bytes);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
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
const NO_KEYS_RETRY_MS = 30_000;
