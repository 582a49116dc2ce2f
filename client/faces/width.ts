/** Columns that text takes on a terminal, measured by grapheme: what a person sees as one character moves as one. */
import { eastAsianWidth } from "get-east-asian-width";

/** The graphemes of `text`, in order. */
export function graphemes(text: string): string[] {
  return Array.from(SEGMENTER.segment(text), (part) => part.segment);
}

/** Columns of one grapheme: 0 for marks that stand alone, 2 for wide characters and emoji, 1 for the rest. */
export function graphemeWidth(grapheme: string): number {
  if (/^\p{Mark}+$/u.test(grapheme)) return 0;
  if (/\p{Extended_Pictographic}\uFE0F|\p{Regional_Indicator}{2}/u.test(grapheme)) return 2;
  return eastAsianWidth(grapheme.codePointAt(0)!);
}

/** Columns of a whole line. */
export function textWidth(text: string): number {
  return graphemes(text).reduce((columns, grapheme) => columns + graphemeWidth(grapheme), 0);
}

const SEGMENTER = new Intl.Segmenter(undefined, { granularity: "grapheme" });
