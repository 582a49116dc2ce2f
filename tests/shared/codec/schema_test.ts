import assert from "node:assert/strict";
import fc from "fast-check";
import {
  array,
  bool,
  bytes,
  decode,
  DecodeError,
  encode,
  fixedBytes,
  hex,
  optional,
  read,
  Reader,
  type Schema,
  struct,
  text,
  u16,
  u32,
  u48,
  u8,
  union,
  unknownTag,
  varint,
} from "../../../shared/codec/mod.ts";

/** A random schema and a random value of it. */
interface Sample {
  readonly schema: Schema<unknown>;
  readonly value: unknown;
}

const integer = (schema: Schema<number>, max: number) =>
  fc.integer({ min: 0, max }).map((value) => ({ schema, value }));
const leaves = fc.oneof(
  integer(u8, 0xff),
  integer(u16, 0xffff),
  integer(u32, 0xffff_ffff),
  integer(u48, 2 ** 48 - 1),
  integer(varint, Number.MAX_SAFE_INTEGER),
  fc.boolean().map((value) => ({ schema: bool, value })),
  fc.uint8Array({ maxLength: 40 }).map((value) => ({ schema: fixedBytes(value.length), value })),
  fc.uint8Array({ maxLength: 200 }).map((value) => ({ schema: bytes(200), value })),
  fc.uint8Array({ maxLength: 20 }).map((value) => ({ schema: hex(value.length), value: value.toHex() })),
  fc.string({ unit: "grapheme", maxLength: 20 }).map((value) => ({ schema: text(400), value })),
) as fc.Arbitrary<Sample>;

const { sample } = fc.letrec<{ sample: Sample }>((tie) => ({
  sample: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaves,
    tie("sample").map(({ schema, value }) => ({ schema: optional(schema), value })),
    tie("sample").map(({ schema }) => ({ schema: optional(schema), value: undefined })),
    fc.tuple(tie("sample"), fc.integer({ min: 0, max: 4 })).map(([{ schema, value }, count]) => ({
      schema: array(schema, 4),
      value: new Array(count).fill(value),
    })),
    fc.array(tie("sample"), { minLength: 1, maxLength: 4 }).map(structOf),
    fc.tuple(tie("sample"), fc.nat(100_000)).map(([{ schema, value }, tag]) => ({
      schema: union({ other: [tag + 1, struct({})], one: [tag, struct({ field: schema })] }),
      value: { type: "one", field: value },
    })),
  ),
}));

function structOf(samples: Sample[]): Sample {
  const entries = samples.map(({ schema, value }, index) => [`field${index}`, schema, value] as const);
  return {
    schema: struct(Object.fromEntries(entries.map(([name, schema]) => [name, schema]))) as Schema<unknown>,
    value: Object.fromEntries(entries.map(([name, , value]) => [name, value])),
  };
}

Deno.test("encode() and decode() round-trip every kind of schema", () => {
  fc.assert(
    fc.property(sample, ({ schema, value }) => {
      const encoded = encode(schema, value);
      assert.deepEqual(decode(schema, encoded), value);
      assert.deepEqual(encode(schema, decode(schema, encoded)), encoded);
    }),
    { numRuns: 500 },
  );
});

Deno.test("decode() refuses every truncation and every trailing byte with a DecodeError", () => {
  fc.assert(fc.property(sample, ({ schema, value }) => {
    const encoded = encode(schema, value);
    for (let end = 0; end < encoded.length; end++) {
      assert.throws(() => decode(schema, encoded.subarray(0, end)), DecodeError);
    }
    assert.throws(() => decode(schema, new Uint8Array([...encoded, 0])), DecodeError);
  }));
});

Deno.test("decode() of flipped bytes gives a value that encodes again, or a DecodeError; nothing else", () => {
  fc.assert(
    fc.property(sample, fc.nat(), fc.integer({ min: 1, max: 255 }), ({ schema, value }, at, mask) => {
      const encoded = encode(schema, value);
      if (encoded.length === 0) return;
      encoded[at % encoded.length]! ^= mask;
      survives(schema, encoded);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("decode() of random bytes gives a value that encodes again, or a DecodeError; nothing else", () => {
  fc.assert(
    fc.property(sample, fc.uint8Array({ maxLength: 60 }), ({ schema }, input) => survives(schema, input)),
    { numRuns: 1000 },
  );
});

/** The value may be another, and varints may have been longer than needed; it must still be one of its schema's. */
function survives(schema: Schema<unknown>, input: Uint8Array): void {
  let value: unknown;
  try {
    value = decode(schema, input);
  } catch (error) {
    assert.ok(error instanceof DecodeError, String(error));
    return;
  }
  assert.deepEqual(decode(schema, encode(schema, value)), value);
}

Deno.test("unknownTag() names a tag that the union does not have, and only that", () => {
  const schema = union({ one: [1, struct({ field: u8 })], many: [300, struct({})] });
  for (const message of [[1, 7], [1], [1, 7, 7], [0x41, 0x2c]]) {
    assert.equal(unknownTag(schema, new Uint8Array(message)), undefined);
  }
  for (const none of [[], [0x40], new Array(8).fill(0xff)]) {
    assert.equal(unknownTag(schema, new Uint8Array(none)), undefined);
  }
  assert.equal(unknownTag(schema, new Uint8Array([2])), 2);
  assert.equal(unknownTag(schema, new Uint8Array([0x41, 0x2d, 9, 9])), 301);
});

Deno.test("bounds: one over is refused, by an assertion when written and a DecodeError when read", () => {
  const cases: readonly [Schema<unknown>, Schema<unknown>, unknown][] = [
    [bytes(3), bytes(4), new Uint8Array(4)],
    [text(3), text(4), "éé"],
    [array(u8, 3), array(u8, 4), [1, 2, 3, 4]],
  ];
  for (const [tight, wide, value] of cases) {
    assert.deepEqual(decode(wide, encode(wide, value)), value);
    assert.throws(() => encode(tight, value), /at most 3/);
    assert.throws(() => decode(tight, encode(wide, value)), DecodeError);
  }
  assert.throws(() => encode(fixedBytes(3), new Uint8Array(4)), /4, not 3/);
  assert.throws(() => encode(hex(3), "00"), /1 bytes, not 3/);
});

Deno.test("decode() refuses a second encoding of bools and options, unknown tags, and text that is not UTF-8", () => {
  assert.throws(() => decode(bool, new Uint8Array([2])), DecodeError);
  assert.throws(() => decode(optional(u8), new Uint8Array([2, 0])), DecodeError);
  assert.throws(() => decode(union({ one: [1, struct({})] }), new Uint8Array([2])), DecodeError);
  assert.throws(() => decode(text(9), new Uint8Array([1, 0xff])), DecodeError);
  assert.throws(() => decode(text(9), new Uint8Array([3, 0xed, 0xa0, 0x80])), DecodeError, "a lone surrogate");
});

Deno.test("text keeps a byte order mark and every other character as it was", () => {
  for (const value of ["\ufeffhello", "\0", "👩‍👩‍👧", "a\u0301"]) {
    assert.equal(decode(text(40), encode(text(40), value)), value);
  }
});

Deno.test("decode() allocates no more than the input justifies", () => {
  // A length of a gigabyte in front of nothing: refused by the input's end, before anything of that size is made.
  const input = new Uint8Array([0xc0, 0, 0, 0, 0x40, 0, 0, 0]);
  for (const schema of [bytes(2 ** 40), text(2 ** 40), array(u8, 2 ** 40)] as Schema<unknown>[]) {
    assert.throws(() => decode(schema, input), DecodeError);
  }
});

Deno.test("union() tells variants apart by tag, refuses two with one tag, and unknown names when writing", () => {
  const shape = union({ point: [7, struct({ x: u8 })], none: [300, struct({})] });
  assert.deepEqual(encode(shape, { type: "point", x: 5 }), new Uint8Array([7, 5]));
  assert.deepEqual(encode(shape, { type: "none" }), new Uint8Array([0x41, 0x2c]));
  assert.deepEqual(decode(shape, new Uint8Array([0x41, 0x2c])), { type: "none" });
  assert.throws(() => union({ a: [1, struct({})], b: [1, struct({})] }), /Tags/);
  assert.throws(() => encode(shape, { type: "other" } as never), /no other/);
});

Deno.test("read() takes one value and leaves the rest", () => {
  const reader = new Reader(new Uint8Array([0, 1, 9]));
  assert.equal(read(u16, reader), 1);
  assert.equal(reader.remaining, 1);
});
