import assert from "node:assert/strict";
import fc from "fast-check";
import { RangeSet } from "../../../shared/transport/range_set.ts";

function ranges(set: RangeSet): [number, number][] {
  return Array.from({ length: set.count }, (_, i) => [set.start(i), set.end(i)]);
}

Deno.test("RangeSet.insert() merges touching and overlapping ranges", () => {
  const set = new RangeSet();
  set.insert(10, 20);
  set.insert(30, 40);
  set.insert(0, 5);
  assert.deepEqual(ranges(set), [[0, 5], [10, 20], [30, 40]]);
  set.insert(20, 30);
  assert.deepEqual(ranges(set), [[0, 5], [10, 40]]);
  set.insert(4, 11);
  assert.deepEqual(ranges(set), [[0, 40]]);
  set.insert(50, 50);
  assert.deepEqual(ranges(set), [[0, 40]]);
});

Deno.test("RangeSet.remove() cuts a hole", () => {
  const set = new RangeSet();
  set.insert(0, 100);
  set.remove(40, 60);
  assert.deepEqual(ranges(set), [[0, 40], [60, 100]]);
  set.remove(30, 70);
  assert.deepEqual(ranges(set), [[0, 30], [70, 100]]);
  set.remove(0, 1000);
  assert.ok(set.isEmpty);
});

Deno.test("RangeSet.keepHighest() drops the lowest ranges", () => {
  const set = new RangeSet();
  for (let i = 0; i < 10; i++) set.insert(i * 2, i * 2 + 1);
  set.keepHighest(2);
  assert.deepEqual(ranges(set), [[16, 17], [18, 19]]);
});

Deno.test("RangeSet agrees with a Set of numbers", () => {
  const operation = fc.record({
    kind: fc.constantFrom("insert", "insert", "remove"),
    start: fc.nat(120),
    length: fc.nat(20),
  });
  fc.assert(fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
    const set = new RangeSet(), twin = new Set<number>();
    for (const { kind, start, length } of operations) {
      if (kind === "insert") set.insert(start, start + length);
      else set.remove(start, start + length);
      for (let i = start; i < start + length; i++) kind === "insert" ? twin.add(i) : twin.delete(i);
      let previousEnd = -1;
      const listed: number[] = [];
      for (const [from, to] of ranges(set)) {
        assert.ok(from > previousEnd && to > from, "Ranges are sorted and never touch");
        previousEnd = to;
        for (let i = from; i < to; i++) listed.push(i);
      }
      assert.deepEqual(listed, [...twin].sort((a, b) => a - b));
      for (let i = 0; i < 145; i += 7) assert.equal(set.contains(i), twin.has(i));
    }
  }));
});
