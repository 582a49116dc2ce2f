/** Long lines broken at words, by columns; what goes on is indented, so that no text can pose as another line. */
import { graphemes, graphemeWidth } from "./width.ts";

/**
 * Breaks each line of `text` at `columns`.
 *
 * @param text May hold styles (SGR sequences): they count no columns and are never broken. Tabs become spaces: how far one
 * goes is the terminal's to say.
 * @param indent Columns of white space before every row but the first; fewer where they would leave less than ten.
 */
export function wrap(text: string, columns: number, indent = 6): string {
  const room = Math.max(columns, COLUMNS_MIN), inset = room < indent + 10 ? Math.floor(room / 4) : indent;
  return text.replaceAll("\t", TAB).split("\n").map((line, i) =>
    wrapLine(line, room, inset, i === 0 ? 0 : Math.max(0, inset - leadingSpaces(line)))
  ).join("\n");
}

function leadingSpaces(line: string): number {
  return line.length - line.trimStart().length;
}

function wrapLine(line: string, columns: number, indent: number, firstIndent: number): string {
  const rows: string[] = [];
  let row = " ".repeat(firstIndent), used = firstIndent;
  for (const word of line.match(WORDS) ?? []) {
    const width = visibleWidth(word);
    if (used + width <= columns) {
      row += word;
      used += width;
      continue;
    }
    // White space at the edge is where the break goes.
    if (word.trim() === "") {
      rows.push(row);
      row = " ".repeat(indent);
      used = indent;
      continue;
    }
    if (used > indent && width <= columns - indent) {
      rows.push(row.trimEnd());
      row = " ".repeat(indent) + word;
      used = indent + width;
      continue;
    }
    for (const piece of pieces(word)) {
      const pieceWidth = widthAtMost(piece);
      if (used + pieceWidth > columns) {
        rows.push(row);
        row = " ".repeat(indent);
        used = indent;
      }
      row += piece;
      used += pieceWidth;
    }
  }
  rows.push(row);
  return rows.join("\n");
}

/** Styles whole, everything else by grapheme. */
function pieces(word: string): string[] {
  return word.split(STYLES).flatMap((part) => part.startsWith("\x1b[") ? [part] : graphemes(part));
}

function visibleWidth(word: string): number {
  return pieces(word).reduce((sum, piece) => sum + widthAtMost(piece), 0);
}

/** What terminals join to one character, others show side by side: a row that is too short is better than one too long. */
function widthAtMost(piece: string): number {
  if (piece.startsWith("\x1b")) return 0;
  return piece.split("\u200d").reduce((sum, part) => sum + (part === "" ? 0 : graphemeWidth(part)), 0);
}

// deno-lint-ignore no-control-regex
const STYLES = /(\x1b\[[0-9;]*m)/;
/** Two wide characters and what indents them. */
const COLUMNS_MIN = 6;
const TAB = "    ";
const WORDS = /\s+|[^\s]+/g;
