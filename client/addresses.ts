/**
 * Whom one writes to, as people type it: a name, or a group as `#name`, case-insensitive; where two groups of a home have one
 * name, `#name~abcd` with the first hex digits of the id. The one place that reads and writes such addresses.
 */
import type { ConversationId, UserName } from "../shared/protocol/mod.ts";
import { NAME_RULE, parseUserName } from "../shared/protocol/mod.ts";
import type { Database } from "./home/database.ts";
import { UsageError } from "./errors.ts";
import { sanitizeText } from "./sanitize.ts";
import { nearest } from "../shared/suggest.ts";

export type Address =
  | { readonly kind: "person"; readonly name: UserName }
  | { readonly kind: "group"; readonly conversation: ConversationId };

/** What tells groups apart. */
export interface NamedGroup {
  readonly id: ConversationId;
  readonly name: string;
}

/** @throws UsageError where it is no name, or names no group of this home or several. */
export function parseAddress(input: string, groups: readonly NamedGroup[]): Address {
  if (input.startsWith(GROUP_SIGN)) return { kind: "group", conversation: findGroup(input, groups) };
  const name = parseUserName(input);
  if (name !== undefined) return { kind: "person", name };
  throw new UsageError(
    `${JSON.stringify(input)} cannot be a name: a name is ${NAME_RULE}, and a group is written ${GROUP_SIGN}name`,
  );
}

/**
 * The group that somebody means.
 *
 * @param input With or without the sign in front.
 * @throws UsageError where there is none, or several.
 */
export function findGroup(input: string, groups: readonly NamedGroup[]): ConversationId {
  const wanted = folded(input.startsWith(GROUP_SIGN) ? input.slice(1) : input);
  const named = groups.filter(({ name }) => folded(name) === wanted);
  if (named.length === 1) return named[0]!.id;
  const match = /^(.*)~([0-9a-f]{1,32})$/s.exec(wanted);
  const meant = match ? groups.filter(({ id, name }) => folded(name) === match[1] && id.startsWith(match[2]!)) : [];
  if (meant.length === 1) return meant[0]!.id;
  const several = named.length > 1 ? named : meant;
  if (several.length === 0) {
    const guess = nearest(wanted, groups.map(({ name }) => folded(name)));
    const meantOne = guess === undefined ? undefined : groups.find(({ name }) => folded(name) === guess);
    const hint = meantOne ? `; did you mean ${addressOf(meantOne, groups)}?` : "";
    throw new UsageError(`You are in no group called ${GROUP_SIGN}${wanted}${hint}`);
  }
  const addresses = several.map((group) => addressOf(group, groups)).sort();
  throw new UsageError(`Several groups have that name: ${addresses.join(", ")}`);
}

/** What one types to mean that group. */
export function addressOf(group: NamedGroup, groups: readonly NamedGroup[]): string {
  const others = groups.filter(({ id, name }) => id !== group.id && folded(name) === folded(group.name));
  if (others.length === 0) return `${GROUP_SIGN}${group.name}`;
  let digits = DIGITS_MIN;
  while (others.some(({ id }) => id.startsWith(group.id.slice(0, digits)))) digits++;
  return `${GROUP_SIGN}${group.name}~${group.id.slice(0, digits)}`;
}

/**
 * A group's name as it may be given.
 *
 * @throws UsageError where it is empty, too long or has control characters in it.
 */
export function checkGroupName(input: string): string {
  const name = input.startsWith(GROUP_SIGN) ? input.slice(1) : input;
  const length = [...name].length;
  // deno-lint-ignore no-control-regex
  if (length < 1 || length > NAME_CHARACTERS_MAX || /[\u0000-\u001f\u007f-\u009f]/.test(name) || name.trim() !== name) {
    throw new UsageError(
      `${
        JSON.stringify(input)
      } cannot be a group's name: that is 1 to ${NAME_CHARACTERS_MAX} characters, with no control characters and no space at its ends`,
    );
  }
  if (sanitizeText(name) !== name) throw new UsageError("A group's name has no characters that turn text around");
  return name;
}

/** The groups that this home has joined, ended ones among them: their history can still be read. */
export function groupsOf(database: Database): NamedGroup[] {
  return database.all("SELECT id, name FROM conversations WHERE kind = 2 AND name <> ''")
    .map((row) => ({ id: row["id"] as ConversationId, name: row["name"] as string }));
}

/** {@linkcode addressOf} for a group by its id. */
export function groupAddress(database: Database, id: ConversationId): string {
  const groups = groupsOf(database), group = groups.find((group) => group.id === id);
  return group ? addressOf(group, groups) : `${GROUP_SIGN}~${id.slice(0, DIGITS_MIN)}`;
}

function folded(name: string): string {
  return name.normalize("NFC").toLowerCase();
}

/** A name cannot begin with it. */
const GROUP_SIGN = "#";
const DIGITS_MIN = 4;
const NAME_CHARACTERS_MAX = 64;
