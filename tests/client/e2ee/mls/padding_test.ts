import assert from "node:assert/strict";
import fc from "fast-check";
import { pad, paddedBytes, unpad } from "../../../../client/e2ee/mls/padding.ts";
import { DecodeError } from "../../../../shared/codec/mod.ts";

Deno.test("paddedBytes() steps through its classes, then Padmé", () => {
  const steps = [[0, 256], [252, 256], [253, 512], [508, 512], [1020, 1024], [2044, 2048], [2045, 4096], [4092, 4096]];
  // Padmé of 4,097 to 4,352 keeps five bits: units of 256. Of 1,000,004: units of 32,768.
  for (const [content, padded] of [...steps, [4093, 4352], [4349, 4608], [1_000_000, 1_015_808]]) {
    assert.equal(paddedBytes(content!), padded, `${content}`);
  }
});

Deno.test("pad() and unpad() agree; padding costs at most 12 % beyond 4 kB", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 9000 }), (content) => {
    const padded = pad(content);
    assert.deepEqual(unpad(padded), content);
    assert.equal(padded.length, paddedBytes(content.length));
    if (content.length > 4096) assert(padded.length <= 1.12 * (content.length + 4));
  }));
});

Deno.test("unpad() refuses what pad() does not write", () => {
  const padded = pad(Uint8Array.of(1, 2, 3));
  for (let at = 0; at < padded.length; at++) {
    if (at >= 4 && at < 7) continue;
    // Another length is only good if what it takes or leaves is what it must be.
    assert.throws(() => unpad(padded.with(at, padded[at]! ^ 1)), DecodeError, `byte ${at}`);
  }
  for (const length of [0, 3, 255]) assert.throws(() => unpad(padded.slice(0, length)), DecodeError);
  assert.throws(() => unpad(new Uint8Array([...padded, 0])), DecodeError);
  assert.throws(() => unpad(new Uint8Array([...padded, ...new Uint8Array(256)])), DecodeError);
});
