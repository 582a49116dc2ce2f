/** What changed in a group, as a sentence for people. */
import type { ChangeLine } from "../e2ee/engine.ts";
import type { ChangeEvent } from "../events.ts";
import { aRole } from "../group_acts.ts";

/** One sentence for each line of a change, for a reader called `me`. */
export function changeTexts({ by, changes }: Pick<ChangeEvent, "by" | "changes">, me: string): string[] {
  const name = (who: string | undefined) => who === undefined ? "somebody" : who === me ? "you" : who;
  const texts: string[] = [];
  for (let at = 0; at < changes.length; at++) {
    const line = changes[at]!, { what } = line;
    let end = at + 1;
    while ((what === "added" || what === "removed") && changes[end]?.what === what) end++;
    const many = changes.slice(at, end).map(({ who }) => name(who));
    if (many.length < MANY) texts.push(changeText(name(by), line, name));
    else {
      texts.push(`${name(by)} ${what} ${someOf(many)}`);
      at = end - 1;
    }
  }
  return texts;
}

/** Oneself and a few others by name, of the rest how many. */
function someOf(names: readonly string[]): string {
  const named = [...names.filter((name) => name === "you"), ...names.filter((name) => name !== "you")].slice(0, NAMED);
  return `${named.join(", ")} and ${names.length - named.length} more`;
}

/** Of so many who come or go with one change not each has a sentence. */
const MANY = 9;
const NAMED = 3;

function changeText(by: string, { what, who, value }: ChangeLine, name: (who?: string) => string): string {
  switch (what) {
    case "created":
      return `${by} made the group`;
    case "added":
      return `${by} added ${name(who)}`;
    case "removed":
      return `${by} removed ${name(who)}`;
    case "left":
      return `${name(who)} left`;
    case "joined":
      return `${name(who)} joined by a link`;
    case "renamed":
      return `${by} renamed the group to ${value ?? ""}`;
    case "topic":
      return value ? `${by} set the topic: ${value}` : `${by} took the topic away`;
    case "role": {
      const role = aRole(value === "member" || value === "admin" ? value : "owner"), whose = name(who);
      return whose === by ? `${by} ${by === "you" ? "are" : "is"} ${role} now` : `${by} made ${whose} ${role}`;
    }
    case "settings":
      return `${by} changed the group's settings${value ? `: ${value}` : ""}`;
    case "history":
      return value === "on"
        ? `${by} switched on that newcomers are given what is said from now on`
        : `${by} switched off that newcomers are given what was said before`;
    case "device-added":
      return `${name(who)} added a device`;
    case "device-removed":
      return `a device of ${name(who)} was removed`;
    case "ended":
      return `${by} deleted the group`;
  }
}
