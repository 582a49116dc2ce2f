import assert from "node:assert/strict";
import fc from "fast-check";
import { connectionIdServer, connectionIdSlot } from "../../../shared/packet/mod.ts";
import { SlotTable } from "../../../shared/transport/slot_table.ts";
import { Prng } from "../../sim/prng.ts";

interface Item {
  readonly connectionId: Uint8Array;
}

function make(slotsMax = 1000) {
  const table = new SlotTable<Item>(7, slotsMax, new Prng(1));
  const add = () => {
    const item = { connectionId: table.newId() };
    table.add(item);
    return item;
  };
  return { table, add };
}

Deno.test("SlotTable.find() finds by all 8 bytes, wherever they stand, and by nothing less (SECURITY H3)", () => {
  const { table, add } = make(), item = add();
  assert.equal(connectionIdServer(item.connectionId, 0), 7);
  assert.equal(table.find(item.connectionId, 0), item);
  assert.equal(table.find(new Uint8Array([9, ...item.connectionId, 9]), 1), item);
  for (let bit = 0; bit < 64; bit++) {
    const other = item.connectionId.slice();
    other[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(table.find(other, 0), undefined, `bit ${bit}`);
  }
});

Deno.test("SlotTable: the id of an earlier user of a slot finds nothing", () => {
  const { table, add } = make(1), first = add();
  table.remove(first);
  const second = add();
  assert.equal(connectionIdSlot(second.connectionId), connectionIdSlot(first.connectionId));
  assert.equal(table.find(first.connectionId, 0), undefined);
  assert.equal(table.find(second.connectionId, 0), second);
});

Deno.test("SlotTable lets slots rest while there are others", () => {
  const { table, add } = make();
  const slots = new Set<number>();
  for (let i = 0; i < 64; i++) {
    const item = add();
    slots.add(connectionIdSlot(item.connectionId));
    table.remove(item);
  }
  assert.equal(slots.size, 64);
});

Deno.test("SlotTable is full at its bound, and not before", () => {
  const { table, add } = make(3), items = [add(), add(), add()];
  assert.deepEqual([table.isFull, table.size], [true, 3]);
  assert.throws(() => table.newId());
  table.remove(items[1]!);
  assert.equal(table.isFull, false);
  const last = add();
  assert.deepEqual([...table].length, 3);
  assert.throws(() => table.remove(items[1]!), "an item is removed once");
  assert.equal(table.find(last.connectionId, 0), last);
});

Deno.test("SlotTable: whoever comes and goes, all who are here are found and nobody else", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: -1, max: 40 }), { maxLength: 300 }), (steps) => {
    const { table, add } = make(30), here: Item[] = [], gone: Item[] = [];
    for (const step of steps) {
      if (step < 0 || here.length === 0) {
        if (!table.isFull) here.push(add());
      } else {
        const [item] = here.splice(step % here.length, 1);
        table.remove(item!);
        gone.push(item!);
      }
      assert.equal(table.size, here.length);
    }
    for (const item of here) assert.equal(table.find(item.connectionId, 0), item);
    for (const item of gone) assert.equal(table.find(item.connectionId, 0), undefined);
    assert.deepEqual(new Set(table), new Set(here));
  }));
});
