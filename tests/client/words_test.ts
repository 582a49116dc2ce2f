import assert from "node:assert/strict";
import fc from "fast-check";
import { quoteWord, splitWords, takeWord } from "../../client/words.ts";

Deno.test("splitWords() keeps what is in quotes together", () => {
  const lines: [string, string[]][] = [
    ["", []],
    ["  ", []],
    ["a  b", ["a", "b"]],
    ['"release week" alice', ["release week", "alice"]],
    ['#"release week" alice', ["#release week", "alice"]],
    ['"#release week" alice bob', ["#release week", "alice", "bob"]],
    ["'it is' so", ["it is", "so"]],
    ["it's so", ["it's", "so"]],
    ["'it's so' x", ["it's so", "x"]],
    ['"open end', ["open end"]],
    ['"" x', ["", "x"]],
  ];
  for (const [line, words] of lines) assert.deepEqual(splitWords(line), words, line);
});

Deno.test("takeWord() leaves the rest as it was written", () => {
  assert.deepEqual(takeWord(' "#a b"  two  spaces "stay"'), { word: "#a b", rest: 'two  spaces "stay"' });
  assert.deepEqual(takeWord("one"), { word: "one", rest: "" });
});

Deno.test("splitWords() reads back what quoteWord() wrote", () => {
  const word = fc.string({ maxLength: 12 }).filter((text) => !text.includes('"') && text.trim() === text);
  fc.assert(fc.property(fc.array(word, { maxLength: 5 }), (words) => {
    assert.deepEqual(splitWords(words.map(quoteWord).join(" ")), words);
  }));
});
