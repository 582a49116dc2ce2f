import assert from "node:assert/strict";
import fc from "fast-check";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import { Assembler, PieceBudget } from "../../../shared/transport/assembler.ts";

const STREAM = Uint8Array.from({ length: 400 }, (_, i) => (i * 37 + (i >>> 3)) & 0xff);

function readAll(assembler: Assembler, into: number[]): void {
  for (let chunk = assembler.read(); chunk !== undefined; chunk = assembler.read()) into.push(...chunk);
}

Deno.test("Assembler.insert() hands on what is in order at once", () => {
  const assembler = new Assembler(new PieceBudget(0));
  assembler.insert(0, STREAM, 0, 10);
  assembler.insert(10, STREAM, 10, 15);
  assert.deepEqual(assembler.read(), STREAM.slice(0, 10));
  assert.deepEqual(assembler.read(), STREAM.slice(10, 15));
  assert.equal(assembler.read(), undefined);
});

Deno.test("Assembler.insert() keeps its own copy", () => {
  const assembler = new Assembler(new PieceBudget(5)), source = STREAM.slice(0, 20);
  assembler.insert(10, source, 10, 20);
  assembler.insert(0, source, 0, 10);
  source.fill(0);
  const read: number[] = [];
  readAll(assembler, read);
  assert.deepEqual(read, [...STREAM.subarray(0, 20)]);
});

Deno.test("Assembler agrees with a plain array, whatever the order and overlap", () => {
  const piece = fc.tuple(fc.nat(200), fc.nat(40));
  fc.assert(fc.property(fc.array(piece, { maxLength: 60 }), fc.boolean(), (pieces, readsOften) => {
    const budget = new PieceBudget(100), assembler = new Assembler(budget);
    const arrived = new Set<number>(), read: number[] = [];
    const inOrder = () => {
      let length = 0;
      while (arrived.has(length)) length++;
      return length;
    };
    for (const [start, length] of pieces) {
      assembler.insert(start, STREAM, start, start + length);
      for (let i = start; i < start + length; i++) arrived.add(i);
      assert.equal(assembler.nextOffset, inOrder());
      if (readsOften) readAll(assembler, read);
    }
    readAll(assembler, read);
    assert.deepEqual(read, [...STREAM.subarray(0, inOrder())]);
    assembler.insert(0, STREAM, 0, STREAM.length);
    readAll(assembler, read);
    assert.deepEqual(read, [...STREAM]);
    assert.equal(budget.left, 100, "All pieces were given back");
  }));
});

Deno.test("Assembler makes one run of pieces that continue one another, however small", () => {
  const budget = new PieceBudget(1), assembler = new Assembler(budget);
  for (let i = 1; i < STREAM.length; i++) assembler.insert(i, STREAM, i, i + 1);
  assert.equal(budget.left, 0);
  assembler.insert(0, STREAM, 0, 1);
  const read: number[] = [];
  readAll(assembler, read);
  assert.deepEqual(read, [...STREAM]);
});

Deno.test("Assembler.insert() closes on more separate pieces than the connection may have", () => {
  const budget = new PieceBudget(3), one = new Assembler(budget), other = new Assembler(budget);
  one.insert(10, STREAM, 0, 1);
  one.insert(20, STREAM, 0, 1);
  other.insert(30, STREAM, 0, 1);
  assert.throws(
    () => other.insert(10, STREAM, 0, 1),
    (error) => error instanceof TransportError && error.code === CloseCode.flowControl,
  );
  one.clear();
  other.insert(10, STREAM, 0, 1);
  assert.equal(budget.left, 1);
});
