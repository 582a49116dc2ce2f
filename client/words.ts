/** Words of a line, where one with spaces in it stands in quotes: a group may be called `#release week`. */

/** The first word, and what is behind it. An open quote ends with the line. */
export function takeWord(text: string): { readonly word: string; readonly rest: string } {
  const trimmed = text.trimStart();
  const quoted = /^(#?)(["'])([\s\S]*?)(?:\2(?=\s|$)|$)/.exec(trimmed);
  if (quoted) return { word: quoted[1]! + quoted[3]!, rest: trimmed.slice(quoted[0].length).trimStart() };
  const word = /^\S*/.exec(trimmed)![0];
  return { word, rest: trimmed.slice(word.length).trimStart() };
}

/** All words. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  for (let rest = text.trim(); rest !== "";) {
    const next = takeWord(rest);
    words.push(next.word);
    rest = next.rest.trimEnd();
  }
  return words;
}

/** A word as one types it. */
export function quoteWord(word: string): string {
  if (!/[\s"']/.test(word) && word !== "") return word;
  return word.includes('"') ? `'${word}'` : `"${word}"`;
}
