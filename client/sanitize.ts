/**
 * Where remote text enters: nothing that a terminal would obey, or that would show text in another order than it has, gets
 * past here. Done once, when a row is stored, so that every face and every later one is safe.
 */

/**
 * Text of a message without control characters (newline and tab stay), bidirectional overrides and isolates.
 *
 * An escape sequence loses its introducer and stays visible as the harmless characters behind it: removing whole sequences
 * would need a parser for every terminal there is, and one that guesses wrong swallows text.
 */
export function sanitizeText(text: string): string {
  return text.replace(UNSAFE, "").replace(SEPARATORS, "\n").toWellFormed();
}

/** The same on one line: for names, reasons and other words of a server in the middle of ours. */
export function sanitizeLine(text: string, charsMax = 300): string {
  const line = sanitizeText(text).replace(/[\n\t]+/g, " ");
  return line.length <= charsMax ? line : line.slice(0, charsMax).toWellFormed() + "…";
}

/**
 * C0 without \n and \t, DEL, C1 (U+009B introduces sequences as ESC [ does), bidirectional marks, embeddings, overrides and
 * isolates (U+061C, U+200E, U+200F, U+202A..E, U+2066..9), invisible operators and deprecated format characters
 * (U+206A..F), the byte order mark, interlinear annotations, and tag characters, which hide ASCII.
 */
const UNSAFE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;
/** Line and paragraph separator: some terminals and log readers break lines there, others do not. */
const SEPARATORS = /[\u2028\u2029]/g;
