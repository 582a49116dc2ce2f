import assert from "node:assert/strict";
import fc from "fast-check";
import { textWidth } from "../../../client/faces/width.ts";
import { wrap } from "../../../client/faces/wrap.ts";

Deno.test("wrap() breaks at words and indents what goes on", () => {
  assert.equal(wrap("10:41 bob: one two three four five", 20, 6), "10:41 bob: one two\n      three four\n      five");
  assert.equal(wrap("short", 20), "short");
  assert.equal(wrap("a\nb", 20, 6), "a\n      b");
  assert.equal(wrap("a\n      b", 20, 6), "a\n      b", "indented already");
  assert.equal(wrap("x".repeat(25), 20, 6), "x".repeat(20) + "\n      xxxxx");
});

Deno.test("wrap() counts no columns for styles and never breaks them", () => {
  const styled = "\x1b[1mbold\x1b[0m";
  assert.equal(
    wrap(`${styled} ${styled} ${styled} ${styled}`, 16, 6),
    `${styled} ${styled} ${styled}\n      ${styled}`,
  );
});

Deno.test("wrap() counts for the terminal that shows most: no tab, and joined emoji side by side", () => {
  assert.equal(wrap("a\tb", 20), "a    b");
  const family = "👨‍👩‍👧‍👦";
  assert.equal(wrap(family.repeat(4), 20, 4), `${family}${family}\n    ${family}${family}`);
});

Deno.test("wrap() never passes its columns and loses nothing but white space", () => {
  const text = fc.array(fc.constantFrom("a", "日本", "👨‍👩‍👧", "é", " ", "long-word", "\n"), { maxLength: 80 });
  fc.assert(fc.property(text, fc.integer({ min: 20, max: 60 }), (parts, columns) => {
    const input = parts.join("");
    const rows = wrap(input, columns, 4);
    for (const row of rows.split("\n")) assert(textWidth(row) <= columns, row);
    assert.equal(rows.replace(/\s/g, ""), input.replace(/\s/g, ""));
  }));
});

Deno.test("wrap() keeps every character within a very narrow terminal, and what goes on indented", () => {
  const text = "17:05 me → bob: hello there 日本語日本語 my friend";
  for (const columns of [6, 8, 12, 16, 20, 23]) {
    const rows = wrap(text, columns).split("\n");
    assert.equal(rows.join("").replaceAll(" ", ""), text.replaceAll(" ", ""), `${columns}`);
    for (const [i, row] of rows.entries()) {
      assert(textWidth(row) <= columns, `${columns}: ${row}`);
      assert(i === 0 || row.startsWith(" "), `${columns}: ${row}`);
    }
  }
});
