import assert from "node:assert/strict";
import fc from "fast-check";
import { sanitizeLine, sanitizeText } from "../../client/sanitize.ts";

Deno.test("sanitizeText() keeps what people write", () => {
  for (const text of ["hi", "two\nlines\tand a tab", "naïve 日本語 العربية עברית", "👩‍👩‍👧‍👦 ok", "e\u0301"]) {
    assert.equal(sanitizeText(text), text);
  }
});

Deno.test("sanitizeText() takes away what a terminal would obey", () => {
  assert.equal(sanitizeText("\x1b[31mred\x1b[0m"), "[31mred[0m");
  assert.equal(sanitizeText("\x9b2J\x90\x9d"), "2J");
  assert.equal(sanitizeText("a\rb\x07\x08\x7f\0c"), "abc");
  assert.equal(sanitizeText("\x1b]0;title\x07"), "]0;title");
});

Deno.test("sanitizeText() takes away what turns text round or hides it", () => {
  assert.equal(sanitizeText("abc\u202Etxt.exe\u202C"), "abctxt.exe");
  assert.equal(sanitizeText("\u2066a\u2069\u061c\u200e\u200f\ufeff"), "a");
  assert.equal(sanitizeText("x\u{e0041}\u{e007f}y"), "xy");
  assert.equal(sanitizeText("a\u2028b\u2029c"), "a\nb\nc");
});

Deno.test("sanitizeText() lets no control or bidi character through, whatever comes", () => {
  // deno-lint-ignore no-control-regex
  const bad = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    const clean = sanitizeText(text);
    assert(!bad.test(clean));
    assert(clean.isWellFormed());
    assert.equal(sanitizeText(clean), clean);
  }));
});

Deno.test("sanitizeLine() leaves one line of bounded length", () => {
  assert.equal(sanitizeLine("a\n\nb\tc"), "a b c");
  assert.equal(sanitizeLine("x".repeat(10), 4), "xxxx…");
  assert.equal(sanitizeLine("x😀", 2), "x\ufffd…");
});
