import assert from "node:assert/strict";
import fc from "fast-check";
import { encode } from "../../../shared/codec/mod.ts";
import { HINT_BYTES_MAX } from "../../../shared/limits.ts";
import {
  type ConversationId,
  type HintDown,
  hintDown,
  type HintUp,
  hintUp,
  readHint,
  type UserName,
} from "../../../shared/protocol/mod.ts";

const conversation = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => bytes.toHex() as ConversationId);
const name = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,31}$/).map((text) => text as UserName);
const ttlMs = fc.nat({ max: 2 ** 31 - 1 });
const ups: fc.Arbitrary<HintUp> = fc.record({
  type: fc.constant("typing" as const),
  conversation,
  active: fc.boolean(),
}, { noNullPrototype: true });
const downs: fc.Arbitrary<HintDown> = fc.oneof(
  fc.record({ type: fc.constant("typing" as const), conversation, name, ttlMs }, { noNullPrototype: true }),
  fc.record({ type: fc.constant("presence" as const), name, online: fc.boolean(), ttlMs }, { noNullPrototype: true }),
);

Deno.test("readHint() gives back what was written, and nothing for less or more of it", () => {
  fc.assert(fc.property(ups, downs, (up, down) => {
    const upBytes = encode(hintUp, up), downBytes = encode(hintDown, down);
    assert.deepEqual(readHint(hintUp, upBytes), up);
    assert.deepEqual(readHint(hintDown, downBytes), down);
    assert(Math.max(upBytes.length, downBytes.length) <= HINT_BYTES_MAX);
    for (const bytes of [upBytes, downBytes]) {
      const schema = bytes === upBytes ? hintUp : hintDown;
      for (let length = 0; length < bytes.length; length++) {
        assert.equal(readHint<HintUp | HintDown>(schema, bytes.subarray(0, length)), undefined);
      }
      assert.equal(readHint<HintUp | HintDown>(schema, Uint8Array.of(...bytes, 0)), undefined);
    }
  }));
});

Deno.test("readHint() survives any bytes, and takes no name in another spelling", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      readHint(hintUp, bytes);
      const down = readHint(hintDown, bytes);
      if (down !== undefined) assert.match(down.name, /^[a-z0-9][a-z0-9._-]{0,31}$/);
    }),
    { numRuns: 2_000 },
  );
  const bytes = encode(hintDown, { type: "presence", name: "bob" as UserName, online: true, ttlMs: 1 });
  const at = bytes.indexOf("b".charCodeAt(0));
  for (const letter of "B\x1b ") {
    bytes[at] = letter.charCodeAt(0);
    assert.equal(readHint(hintDown, bytes), undefined);
  }
});
