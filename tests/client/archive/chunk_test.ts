import assert from "node:assert/strict";
import fc from "fast-check";
import { type ChunkContent, decodeChunk, encodeChunk } from "../../../client/archive/chunk.ts";
import { paddedBytes } from "../../../client/e2ee/mls/padding.ts";
import { DecodeError } from "../../../shared/codec/mod.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../../shared/protocol/mod.ts";

const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => bytes.toHex());
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
const entries = fc.array(
  fc.record({
    id: id as fc.Arbitrary<MessageId>,
    sender: fc.constantFrom("alice" as UserName, "bob" as UserName),
    device: id as fc.Arbitrary<DeviceId>,
    timeMs: fc.nat(),
    text: fc.string({ unit: "grapheme", maxLength: 200 }),
  }),
  { maxLength: 8 },
).map((all) => all.map((entry, at) => ({ seq: 3 * at + 1, ...entry })));
const chunk: fc.Arbitrary<ChunkContent> = fc.record({
  previous: hash,
  messages: fc.nat(),
  others: fc.array(
    fc.record({ stream: fc.uint8Array({ minLength: 16, maxLength: 16 }), chunks: fc.nat(), head: hash }),
    { maxLength: 3 },
  ),
  parts: fc.array(
    fc.record({
      conversation: id as fc.Arbitrary<ConversationId>,
      kind: fc.constantFrom(1, 2),
      name: fc.string({ maxLength: 40 }),
      entries,
    }),
    { maxLength: 3 },
  ),
});

Deno.test("decodeChunk() gives back what encodeChunk() was given, and sizes are padded", () => {
  fc.assert(fc.property(chunk, (content) => {
    const encoded = encodeChunk(content);
    assert.deepEqual(structuredClone(decodeChunk(encoded)), structuredClone(content));
    assert.equal(paddedBytes(encoded.length - 4), encoded.length, "a class of padding");
  }));
});

Deno.test("decodeChunk() refuses every truncation, and a length that is not a class of padding", () => {
  fc.assert(fc.property(chunk, fc.nat(), (content, cut) => {
    const encoded = encodeChunk(content);
    assert.throws(() => decodeChunk(encoded.subarray(0, cut % encoded.length)), DecodeError);
    assert.throws(() => decodeChunk(new Uint8Array([...encoded, 0])), DecodeError);
  }));
});

Deno.test("decodeChunk() refuses another version", () => {
  const encoded = encodeChunk({ previous: new Uint8Array(32), messages: 0, others: [], parts: [] });
  assert.equal(encoded[4], 1, "the version stands behind the length");
  assert.throws(() => decodeChunk(encoded.with(4, 2)), /version 2/);
});
