import assert from "node:assert/strict";
import fc from "fast-check";
import { DeadlineHeap, type Timed } from "../../../shared/transport/deadline_heap.ts";

interface Item extends Timed {
  deadlineUs: number | undefined;
}

Deno.test("DeadlineHeap.nextUs is never late, and everything due comes up exactly once, in time", () => {
  const command = fc.tuple(fc.nat(9), fc.option(fc.nat(1_000_000), { nil: undefined, freq: 5 }));
  fc.assert(fc.property(fc.array(fc.oneof(command, fc.nat(300_000)), { maxLength: 80 }), (steps) => {
    const items = Array.from({ length: 10 }, (): Item => ({ heapIndex: -1, heapUs: 0, deadlineUs: undefined }));
    const heap = new DeadlineHeap<Item>();
    let nowUs = 0;
    for (const step of steps) {
      if (Array.isArray(step)) {
        const item = items[step[0]]!;
        item.deadlineUs = step[1] === undefined ? undefined : nowUs + step[1];
        heap.set(item, item.deadlineUs, nowUs);
      } else {
        nowUs += step;
        const due = new Set(items.filter(({ deadlineUs }) => deadlineUs !== undefined && deadlineUs <= nowUs));
        for (let item = heap.takeDue(nowUs); item; item = heap.takeDue(nowUs)) {
          // One that moved later comes up early: it is put back.
          if (!due.delete(item)) heap.set(item, item.deadlineUs, nowUs);
          else item.deadlineUs = undefined;
        }
        assert.equal(due.size, 0);
      }
      const soonest = Math.min(...items.map(({ deadlineUs }) => deadlineUs ?? Infinity));
      assert((heap.nextUs ?? Infinity) <= soonest);
      assert.equal(heap.size, items.filter(({ deadlineUs }) => deadlineUs !== undefined).length);
    }
  }));
});

Deno.test("DeadlineHeap leaves a far entry where it is when its deadline moves later, and moves a near one", () => {
  const heap = new DeadlineHeap<Timed>();
  const far = { heapIndex: -1, heapUs: 0 }, near = { heapIndex: -1, heapUs: 0 };
  heap.set(far, 60_000_000, 0);
  for (let us = 1; us < 100; us++) heap.set(far, 60_000_000 + us, us);
  assert.equal(heap.nextUs, 60_000_000);
  heap.set(near, 25_000, 0);
  assert.equal(heap.nextUs, 25_000);
  heap.set(near, 100_000, 0);
  assert.equal(heap.nextUs, 100_000);
  heap.set(near, 50, 0);
  assert.equal(heap.nextUs, 50);
  heap.remove(near);
  assert.equal(heap.nextUs, 60_000_000);
});
