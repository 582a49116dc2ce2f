import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, encode, fromHex, text } from "../../../shared/codec/mod.ts";

Deno.test("fromHex() reads what toHex() writes, in either case", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
    assert.deepEqual(fromHex(bytes.toHex()), bytes);
    assert.deepEqual(fromHex(bytes.toHex().toUpperCase()), bytes);
  }));
});

Deno.test("fromHex() refuses what the platform refuses", () => {
  const almost = fc.string({
    unit: fc.constantFrom("0", "9", "a", "F", "g", " ", "/", ":", "@", "`", "é", "İ", "\u0130", "😀"),
  });
  fc.assert(fc.property(fc.oneof(almost, fc.string({ unit: "binary" })), (text) => {
    let expected: Uint8Array | undefined;
    try {
      expected = Uint8Array.fromHex(text);
    } catch {
      return void assert.throws(() => fromHex(text), SyntaxError);
    }
    assert.deepEqual(fromHex(text), expected);
  }));
});

Deno.test("text() writes UTF-8 behind its length, however long and whatever is in it", () => {
  const schema = text(1000);
  const any = fc.oneof(fc.string({ unit: "grapheme", maxLength: 90 }), fc.string({ maxLength: 90 }));
  fc.assert(fc.property(any, (value) => {
    const bytes = encode(schema, value), utf8 = new TextEncoder().encode(value);
    assert.deepEqual(bytes.subarray(utf8.length < 64 ? 1 : 2), utf8);
    assert.equal(decode(schema, bytes), value);
  }));
  // A name that begins as ASCII and does not go on so leaves nothing of the first attempt behind.
  assert.deepEqual(encode(schema, "abcé"), Uint8Array.of(5, 0x61, 0x62, 0x63, 0xc3, 0xa9));
});
