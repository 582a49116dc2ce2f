/** Pure: which group a typed line is about, and what it wants of it. */
import { actWords, type GroupAct } from "../group_acts.ts";
import { UsageError } from "../errors.ts";
import { quoteWord, splitWords, takeWord } from "../words.ts";

/** As it stands in `/help`. */
export function slashUsage({ slash, group, words }: GroupAct): string {
  const first = { existing: "[#GROUP]", new: "NAME", none: "" }[group];
  return ["/" + slash[0], first, words].filter((part) => part !== "").join(" ");
}

/**
 * Reads what stands behind a slash command. Without a group in front it is the one that the person talks to.
 *
 * @param current Whom they talk to: a name, `#group`, or nobody.
 * @throws UsageError
 */
export function parseGroupLine(
  act: GroupAct,
  rest: string,
  current: string | undefined,
): { readonly group: string; readonly words: readonly string[] } {
  const usage = slashUsage(act), first = takeWord(rest);
  if (act.group === "none") return { group: "", words: actWords(act, splitWords(rest), usage) };
  if (act.group === "new") {
    if (first.word === "") throw new UsageError(`Something is missing. Usage: ${usage}`);
    return { group: first.word, words: actWords(act, splitWords(first.rest), usage) };
  }
  const isNamed = first.word.startsWith("#"), behind = isNamed ? first.rest : rest.trim();
  const group = isNamed ? first.word : current;
  if (act.isFinal && !isNamed) {
    const which = group?.startsWith("#") ? quoteWord(group) : "#GROUP";
    throw new UsageError(`That cannot be taken back, so say which: /${act.slash[0]} ${which}`);
  }
  if (group === undefined || !group.startsWith("#")) {
    throw new UsageError(
      `Which group? Talk to it first (/to #GROUP), or name it: ${usage.replace("[#GROUP]", "#GROUP")}`,
    );
  }
  return { group, words: actWords(act, act.isText ? textWord(behind) : splitWords(behind), usage) };
}

/** A text as it stands, or without the quotes round all of it. */
function textWord(text: string): readonly string[] {
  if (text === "") return [];
  const { word, rest } = takeWord(text);
  return [rest === "" && /^["']/.test(text) ? word : text];
}
