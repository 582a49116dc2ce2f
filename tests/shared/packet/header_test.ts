import assert from "node:assert/strict";
import fc from "fast-check";
import { chooseVersion, connectionIdServer, connectionIdSlot, makeConnectionId } from "../../../shared/packet/mod.ts";

Deno.test("makeConnectionId() holds server number, slot and 32 random bits (SECURITY H3)", () => {
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 0xff }),
    fc.integer({ min: 0, max: 2 ** 24 - 1 }),
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    (server, slot, random) => {
      const id = makeConnectionId(server, slot, random);
      assert.equal(id.length, 8);
      assert.deepEqual(id.slice(4), random);
      const packet = new Uint8Array([0x40, ...id]);
      assert.equal(connectionIdServer(id), server);
      assert.equal(connectionIdSlot(id), slot);
      assert.equal(connectionIdServer(packet, 1), server);
      assert.equal(connectionIdSlot(packet, 1), slot);
    },
  ));
});

Deno.test("makeConnectionId() asserts its ranges", () => {
  const random = new Uint8Array(4);
  assert.throws(() => makeConnectionId(256, 0, random), /8 bits/);
  assert.throws(() => makeConnectionId(0, 2 ** 24, random), /24 bits/);
  assert.throws(() => makeConnectionId(0, 0, new Uint8Array(3)), /32 random bits/);
});

Deno.test("chooseVersion() follows the order of the one who wants", () => {
  assert.equal(chooseVersion([3, 2, 1], [1, 2]), 2);
  assert.equal(chooseVersion([1, 2], [2, 1]), 1);
  assert.equal(chooseVersion([1], [2]), undefined);
});
