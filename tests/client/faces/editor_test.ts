import assert from "node:assert/strict";
import fc from "fast-check";
import { Editor } from "../../../client/faces/editor.ts";
import { KeyReader } from "../../../client/faces/keys.ts";
import { textWidth } from "../../../client/faces/width.ts";

function typed(editor: Editor, bytes: string): string[] {
  const submitted: string[] = [];
  for (const key of new KeyReader().push(new TextEncoder().encode(bytes))) {
    const action = editor.press(key);
    if (action.type === "submit") submitted.push(action.line);
  }
  return submitted;
}

Deno.test("Editor.press() edits in the middle of a line", () => {
  const editor = new Editor();
  assert.deepEqual(typed(editor, "hllo\x01\x1b[Ce\r"), ["hello"]);
  assert.deepEqual(typed(editor, "one two three\x17\x17four\r"), ["one four"]);
  assert.deepEqual(typed(editor, "abc\x15x\x19y\r"), ["xabcy"], "Ctrl-U cuts, Ctrl-Y brings back");
  assert.deepEqual(typed(editor, "ab\x1b[D\x0b\r"), ["a"]);
  assert.deepEqual(typed(editor, "one two\x1bb\x1bb\x1bf!\r"), ["one! two"]);
});

Deno.test("Editor.press() takes a grapheme as one", () => {
  assert.deepEqual(typed(new Editor(), "👨‍👩‍👧é\x7f\x7fx\r"), ["x"]);
});

Deno.test("Editor.press() recalls earlier lines and keeps the draft", () => {
  const editor = new Editor();
  typed(editor, "first\rsecond\r");
  assert.deepEqual(typed(editor, "draft\x1b[A\x1b[A\r"), ["first"]);
  typed(editor, "draft\x1b[A");
  assert.equal(editor.line, "first");
  typed(editor, "\x1b[B");
  assert.equal(editor.line, "draft");
});

Deno.test("Editor.press() leaves by Ctrl-C and Ctrl-D only on an empty line", () => {
  const editor = new Editor();
  typed(editor, "text");
  assert.equal(editor.press({ name: "ctrl-c" }).type, "redraw");
  assert.equal(editor.line, "");
  assert.equal(editor.press({ name: "ctrl-c" }).type, "leave");
  assert.equal(editor.press({ name: "ctrl-d" }).type, "leave");
});

Deno.test("Editor.press() completes one candidate whole and several as far as they agree", () => {
  const names = ["alice", "alan"];
  const editor = new Editor({ complete: (before) => names.filter((n) => n.startsWith(before.split(" ").at(-1)!)) });
  typed(editor, "hi al\t");
  assert.equal(editor.line, "hi al");
  typed(editor, "i\t");
  assert.equal(editor.line, "hi alice ");
});

Deno.test("Editor.view() always holds the cursor and never more than its columns", () => {
  const words = fc.array(fc.constantFrom("a", "日", "👨‍👩‍👧", "é", " ", "\x1b[D", "\x1b[C", "\x01", "\x7f"), {
    maxLength: 60,
  });
  fc.assert(fc.property(words, fc.integer({ min: 4, max: 40 }), (input, columns) => {
    const editor = new Editor();
    typed(editor, input.join(""));
    const { text, column } = editor.view(columns);
    assert(column <= columns - 1 && textWidth(text) <= columns - 1, `${column} of ${columns}: ${JSON.stringify(text)}`);
  }));
});

Deno.test("KeyReader.push() reads the same keys however the bytes are cut", () => {
  const input = new TextEncoder().encode("aé日\x1b[A\x1b[1;5C\x1bb\x03\r\x1b[200~x\ny\x1b[31m\x1b[201~z");
  const whole = new KeyReader().push(input);
  assert.deepEqual(merge(whole), [
    { text: "aé日" },
    { name: "up" },
    { name: "ctrl-right" },
    { name: "alt-b" },
    { name: "ctrl-c" },
    { name: "enter" },
    { text: "x\ny[31mz" },
  ]);
  for (let cut = 1; cut < input.length; cut++) {
    const reader = new KeyReader();
    const keys = [...reader.push(input.subarray(0, cut)), ...reader.push(input.subarray(cut))];
    assert.deepEqual(merge(keys), merge(whole), `cut at ${cut}`);
  }
});

function merge(keys: readonly ({ text: string } | { name: string })[]): unknown[] {
  const merged: ({ text: string } | { name: string })[] = [];
  for (const key of keys) {
    const last = merged.at(-1);
    if ("text" in key && last !== undefined && "text" in last) {
      merged[merged.length - 1] = { text: last.text + key.text };
    } else merged.push(key);
  }
  return merged;
}

Deno.test("KeyReader.decide() takes an Escape that nothing followed for the key", () => {
  const bytes = (text: string) => new TextEncoder().encode(text), reader = new KeyReader();
  assert.deepEqual(reader.push(bytes("a\x1b")), [{ text: "a" }]);
  assert(reader.isUndecided);
  assert.deepEqual(reader.decide(), [{ name: "escape" }]);
  assert(!reader.isUndecided);
  assert.deepEqual(reader.decide(), []);
  assert.deepEqual(reader.push(bytes("\x1b")), []);
  assert.deepEqual(reader.push(bytes("v")), [{ name: "alt-v" }], "something followed in time");
  assert.deepEqual(reader.push(bytes("\x1b[200~pasted\x1b")), []);
  assert(!reader.isUndecided, "inside a paste it is no key");
});
