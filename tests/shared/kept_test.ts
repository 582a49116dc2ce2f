import assert from "node:assert/strict";
import fc from "fast-check";
import { kept, keptDoubles, keptWords } from "../../shared/kept.ts";

Deno.test("kept() copies, and its copies share a piece of memory", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const [one, other] = [kept(bytes), kept(bytes)];
  bytes.fill(9);
  assert.deepEqual(one, Uint8Array.of(1, 2, 3));
  assert.deepEqual(other, one);
  const buffers = new Set(Array.from({ length: 100 }, () => kept(bytes).buffer));
  assert.ok(buffers.size <= 2, `${buffers.size} pieces for 800 bytes`);
});

Deno.test("kept() takes what is larger than a piece", () => {
  const large = new Uint8Array(10_000).fill(7);
  assert.deepEqual(kept(large), large);
  assert.equal(kept(new Uint8Array(0)).length, 0);
});

Deno.test("kept(), keptWords() and keptDoubles() never overlap, and begin with zeros", () => {
  const kinds = [
    (length: number) => kept(new Uint8Array(length)),
    (length: number) => keptWords(length),
    (length: number) => keptDoubles(length),
  ];
  const asked = fc.array(fc.tuple(fc.nat({ max: 2 }), fc.integer({ min: 0, max: 200 })), { maxLength: 60 });
  fc.assert(fc.property(asked, (asked) => {
    const arrays = asked.map(([kind, length]) => kinds[kind]!(length));
    for (const [mark, array] of arrays.entries()) {
      assert.ok(array.every((value) => value === 0));
      array.fill(mark + 1);
    }
    for (const [mark, array] of arrays.entries()) assert.ok(array.every((value) => value === mark + 1));
  }));
});
