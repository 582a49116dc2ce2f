/**
 * Screens as they are meant to look, in `tests/golden`. After a change that is meant:
 *
 *     FASTCHAT_GOLDEN=write deno test -A --no-check tests/client/faces
 */
import assert from "node:assert/strict";

/** Compares rows of a screen, without styles and white space at their ends, with the file of that name. */
export async function looksLike(name: string, rows: readonly string[]): Promise<void> {
  const path = new URL(`./golden/${name}.txt`, import.meta.url);
  const text = rows.map((row) => plain(row).trimEnd()).join("\n") + "\n";
  if (Deno.env.get("FASTCHAT_GOLDEN") === "write") {
    await Deno.mkdir(new URL(".", path), { recursive: true });
    await Deno.writeTextFile(path, text);
  }
  assert.equal(text, await Deno.readTextFile(path), name);
}

/** Without SGR sequences. */
export function plain(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}
