/** Pure: what popups have in common. */
import { paint } from "../output.ts";
import { textWidth } from "./width.ts";

/** Exactly `rows` rows: the content, cut or filled up, and in the last one the keys. */
export function popupRows(content: readonly string[], keys: string, columns: number, rows: number): string[] {
  const above = content.slice(0, rows - 1);
  while (above.length < rows - 1) above.push("");
  return [...above, paint("inverse", fill(` ${keys}`, columns))];
}

function fill(text: string, columns: number): string {
  const cut = [...text].slice(0, columns).join("");
  return cut + " ".repeat(Math.max(0, columns - textWidth(cut)));
}
