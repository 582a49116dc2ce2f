import assert from "node:assert/strict";
import fc from "fast-check";
import { DecodeError, Reader, VARINT_MAX, varintBytes, Writer, writeVarint } from "../../../shared/codec/mod.ts";

const number = (max: number) => fc.integer({ min: 0, max });
const step = fc.oneof(
  fc.record({ kind: fc.constant("u8" as const), value: number(0xff) }),
  fc.record({ kind: fc.constant("u16" as const), value: number(0xffff) }),
  fc.record({ kind: fc.constant("u32" as const), value: number(0xffff_ffff) }),
  fc.record({ kind: fc.constant("u48" as const), value: number(2 ** 48 - 1) }),
  fc.record({ kind: fc.constant("varint" as const), value: number(VARINT_MAX) }),
  fc.record({ kind: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 300 }) }),
);
type Step = { kind: "u8" | "u16" | "u32" | "u48" | "varint"; value: number } | { kind: "bytes"; value: Uint8Array };

function writeSteps(writer: Writer, steps: readonly Step[]): void {
  for (const one of steps) {
    if (one.kind === "bytes") writer.bytes(one.value);
    else writer[one.kind](one.value);
  }
}

function readSteps(reader: Reader, steps: readonly Step[]): Step["value"][] {
  return steps.map((one) => one.kind === "bytes" ? reader.bytes(one.value.length) : reader[one.kind]());
}

Deno.test("Writer and Reader: what one writes the other reads, whatever the order and capacity", () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 30 }), number(64), (steps, capacity) => {
    const writer = new Writer(capacity);
    writeSteps(writer, steps as Step[]);
    const bytes = writer.finish();
    assert.equal(writer.length, bytes.length);
    assert.deepEqual(writer.view(), bytes);
    const reader = new Reader(bytes);
    assert.deepEqual(readSteps(reader, steps as Step[]), steps.map(({ value }) => value));
    assert.equal(reader.remaining, 0);
    reader.finish();
    writer.reset();
    writeSteps(writer, steps as Step[]);
    assert.deepEqual(writer.finish(), bytes);
  }));
});

Deno.test("Reader: every truncation is a DecodeError, never a value from outside", () => {
  fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
    const writer = new Writer();
    writeSteps(writer, steps as Step[]);
    const bytes = writer.finish();
    for (let end = 0; end < bytes.length; end++) {
      // The bytes behind the end are there in memory: only the bound keeps them out.
      const reader = new Reader(bytes, 0, end);
      assert.throws(() => readSteps(reader, steps as Step[]), DecodeError);
    }
  }));
});

Deno.test("Reader is big-endian", () => {
  const reader = new Reader(Uint8Array.fromHex("01" + "0203" + "f4050607" + "f8090a0b0c0d"));
  assert.deepEqual([reader.u8(), reader.u16(), reader.u32(), reader.u48()], [1, 0x0203, 0xf4050607, 0xf8090a0b0c0d]);
});

Deno.test("Reader.varint() reads the examples of RFC 9000 appendix A.1", () => {
  const read = (hex: string) => new Reader(Uint8Array.fromHex(hex)).varint();
  assert.equal(read("9d7f3e7d"), 494_878_333);
  assert.equal(read("7bbd"), 15_293);
  assert.equal(read("25"), 37);
  assert.equal(read("4025"), 37, "longer than needed is allowed");
  assert.equal(read("c000000000000025"), 37);
});

Deno.test("Reader.varint() stops at 2^53-1", () => {
  const read = (hex: string) => new Reader(Uint8Array.fromHex(hex)).varint();
  assert.equal(read("c01fffffffffffff"), Number.MAX_SAFE_INTEGER);
  for (const hex of ["c020000000000000", "ffffffffffffffff"]) assert.throws(() => read(hex), DecodeError);
});

Deno.test("writeVarint() takes the shortest form at every boundary", () => {
  const boundaries = [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, 2 ** 32 - 1, 2 ** 32, VARINT_MAX];
  const sizes = [1, 1, 2, 2, 4, 4, 8, 8, 8, 8];
  for (const [index, value] of boundaries.entries()) {
    const target = new Uint8Array(10).fill(0xaa);
    assert.equal(varintBytes(value), sizes[index]);
    assert.equal(writeVarint(target, 1, value), 1 + sizes[index]!);
    assert.equal(new Reader(target, 1).varint(), value);
    assert.equal(target[0], 0xaa);
    assert.equal(target[1 + sizes[index]!], 0xaa);
  }
  for (const bad of [-1, 0.5, VARINT_MAX + 1, NaN]) assert.throws(() => varintBytes(bad), /safe integer/);
});

Deno.test("Reader.bytes() copies, Reader.view() borrows", () => {
  const input = new Uint8Array([1, 2, 3, 4]);
  const reader = new Reader(input);
  const copy = reader.bytes(2), view = reader.view(2);
  input.fill(9);
  assert.deepEqual([...copy, ...view], [1, 2, 9, 9]);
});

Deno.test("Reader.finish() refuses trailing bytes", () => {
  const reader = new Reader(new Uint8Array(2));
  reader.u8();
  assert.throws(() => reader.finish(), DecodeError);
});

Deno.test("Writer asserts its ranges: a value out of them is our bug", () => {
  const writer = new Writer();
  assert.throws(() => writer.u8(256), /u8/);
  assert.throws(() => writer.u16(-1), /u16/);
  assert.throws(() => writer.u32(2 ** 32), /u32/);
  assert.throws(() => writer.u48(2 ** 48), /u48/);
  assert.throws(() => writer.u8(1.5), /u8/);
  assert.equal(writer.length, 0);
});

Deno.test("Writer.zeros() writes zeros over memory that was used before", () => {
  const writer = new Writer(4);
  writer.bytes(new Uint8Array(4).fill(7));
  writer.reset();
  writer.zeros(4);
  assert.deepEqual(writer.finish(), new Uint8Array(4));
});
