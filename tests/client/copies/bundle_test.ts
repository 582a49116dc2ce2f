import assert from "node:assert/strict";
import fc from "fast-check";
import { type BundlePart, decodePart, encodePart, splitEntries } from "../../../client/copies/bundle.ts";
import { type CopiedMessage, COPIES_MAX } from "../../../client/copies/copied_message.ts";
import { DecodeError } from "../../../shared/codec/mod.ts";
import { HISTORY_PART_BYTES, HISTORY_PARTS_MAX } from "../../../shared/limits.ts";
import { BOB, BOBS_DEVICE, idOf } from "../homes.ts";

function entry(seq: number, textBytes = 10): CopiedMessage {
  return { seq, id: idOf(seq), sender: BOB, device: BOBS_DEVICE, timeMs: seq, text: "x".repeat(textBytes) };
}

function part(changes: Partial<BundlePart> = {}): BundlePart {
  return { bundle: idOf(1), part: 0, parts: 2, sinceMs: 5, isCut: true, entries: [entry(1), entry(4)], ...changes };
}

Deno.test("decodePart() gives back what encodePart() was given, whose length tells only about how much it is", () => {
  const bytes = encodePart(part());
  assert.deepEqual(decodePart(bytes), part());
  assert.equal(encodePart(part({ entries: [entry(1), entry(4, 30)] })).length, bytes.length);
});

Deno.test("decodePart() refuses every truncation, every flipped byte that changes the form, and what stands behind the end", () => {
  const bytes = encodePart(part());
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodePart(bytes.subarray(0, length)), DecodeError, `${length} bytes`);
  }
  assert.throws(() => decodePart(new Uint8Array([...bytes, 0])), DecodeError);
  for (let at = 0; at < bytes.length; at++) {
    const flipped = new Uint8Array(bytes);
    flipped[at]! ^= 0x80;
    try {
      assert.deepEqual(encodePart(decodePart(flipped)), flipped, `byte ${at}: one value has one form`);
    } catch (error) {
      assert(error instanceof DecodeError, `byte ${at}: ${error}`);
    }
  }
});

Deno.test("decodePart() refuses a part that is not one of so many, and one with nothing in it", () => {
  for (const changes of [{ part: 2 }, { parts: 0 }, { parts: HISTORY_PARTS_MAX + 1 }, { entries: [] }]) {
    assert.throws(() => decodePart(encodePart(part(changes))), DecodeError, JSON.stringify(changes));
  }
  assert.equal(decodePart(encodePart(part({ part: HISTORY_PARTS_MAX - 1, parts: HISTORY_PARTS_MAX }))).parts, 256);
});

Deno.test("splitEntries() loses nothing and keeps the order, the newest first and no part too large", () => {
  const lengths = fc.array(fc.oneof(fc.integer({ min: 0, max: 2_000 }), fc.integer({ min: 0, max: 400_000 })), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(lengths, (lengths) => {
      const entries = lengths.map((length, at) => entry(at + 1, length)), parts = splitEntries(entries);
      assert.deepEqual(parts.toReversed().flat(), entries);
      for (const some of parts) {
        const bytes = some.reduce((sum, { text }) => sum + text.length, 0);
        assert(some.length === 1 || bytes <= HISTORY_PART_BYTES);
      }
    }),
    { numRuns: 50 },
  );
  const many = Array.from({ length: COPIES_MAX + 1 }, (_, at) => entry(at + 1, 0));
  assert(splitEntries(many).every(({ length }) => length <= COPIES_MAX));
});
