import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type CopiedMessage,
  COPIES_MAX,
  COPY_OVERHEAD_BYTES,
  decodeCopies,
  encodeCopies,
} from "../../../client/copies/copied_message.ts";
import { AssertionError } from "../../../shared/assert.ts";
import { DecodeError } from "../../../shared/codec/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { BOBS_DEVICE, idOf } from "../homes.ts";

const copy = (seq: number, text = `text ${seq}`): CopiedMessage => ({
  seq,
  id: idOf(seq),
  sender: "bob" as UserName,
  device: BOBS_DEVICE,
  timeMs: 1_000 * seq,
  text,
});

/** Lists in the order of their places, each of them once. */
const lists = fc.uniqueArray(
  fc.record({
    seq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    sender: fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,31}$/),
    id: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => bytes.toHex()),
    device: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => bytes.toHex()),
    timeMs: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
    text: fc.string({ unit: "grapheme", maxLength: 50 }),
  }, { noNullPrototype: true }),
  { selector: ({ seq }) => seq, maxLength: 12 },
).map((list) => list.sort((one, other) => one.seq - other.seq) as unknown as CopiedMessage[]);

Deno.test("decodeCopies() gives back what encodeCopies() was given, and each takes no more than it is said to", () => {
  fc.assert(fc.property(lists, (list) => {
    const bytes = encodeCopies(list);
    assert.deepEqual(decodeCopies(bytes), list);
    const texts = list.reduce((sum, { text }) => sum + new TextEncoder().encode(text).length, 0);
    assert(bytes.length <= texts + list.length * COPY_OVERHEAD_BYTES + 2);
  }));
});

Deno.test("decodeCopies() refuses every truncation and whatever stands behind the end", () => {
  const bytes = encodeCopies([copy(1), copy(2), copy(7, "größer")]);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodeCopies(bytes.subarray(0, length)), DecodeError, `${length} bytes`);
  }
  assert.throws(() => decodeCopies(new Uint8Array([...bytes, 0])), DecodeError);
});

Deno.test("decodeCopies() takes any bytes for a list or says that they are none", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    let list: CopiedMessage[];
    try {
      list = decodeCopies(bytes);
    } catch (error) {
      return assert(error instanceof DecodeError);
    }
    assert.deepEqual(encodeCopies(list), bytes, "one value has one encoding");
  }));
});

Deno.test("decodeCopies() refuses places out of order, twice, and place 0", () => {
  for (const seqs of [[2, 1], [1, 1], [0], [3, 5, 4]]) {
    assert.throws(() => decodeCopies(encodeCopies(seqs.map((seq) => copy(seq)))), DecodeError, String(seqs));
  }
});

Deno.test("encodeCopies() takes as many as a list may have and no more", () => {
  const list = Array.from({ length: COPIES_MAX }, (_, at) => copy(at + 1, ""));
  assert.equal(decodeCopies(encodeCopies(list)).length, COPIES_MAX);
  assert.throws(() => encodeCopies([...list, copy(COPIES_MAX + 1, "")]), AssertionError);
});
