import assert from "node:assert/strict";
import fc from "fast-check";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import {
  deriveNextSecret,
  derivePacketKey,
  isProtected,
  PROTECTED_BYTES_MIN,
  readKeyPhase,
  readPacketNumber,
  writeProtectedHeader,
} from "../../../shared/packet/mod.ts";

const primitives = await createPrimitives();

Deno.test("A protected header survives the round trip", () => {
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 1 }),
    fc.uint8Array({ minLength: 8, maxLength: 8 }),
    fc.oneof(fc.nat(), fc.integer({ min: 0, max: 2 ** 48 - 1 })),
    (phase, connectionId, packetNumber) => {
      const packet = new Uint8Array(40);
      writeProtectedHeader(packet, phase, connectionId, packetNumber);
      assert.equal(readKeyPhase(packet), phase);
      assert.equal(readPacketNumber(packet), packetNumber);
      assert.deepEqual(packet.subarray(1, 9), connectionId);
      assert.ok(isProtected(packet));
    },
  ));
});

Deno.test("isProtected() takes both phases, nothing shorter than a tag allows, and no other type", () => {
  const packet = new Uint8Array(PROTECTED_BYTES_MIN);
  for (let type = 0; type < 256; type++) {
    packet[0] = type;
    assert.equal(isProtected(packet), type === 0x40 || type === 0x41);
  }
  packet[0] = 0x40;
  assert.equal(isProtected(packet, PROTECTED_BYTES_MIN - 1), false);
});

Deno.test("Packet keys are derived as PROTOCOL.md §4 says", () => {
  const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
  const expected = primitives.packetKey(
    primitives.hkdfExpand(secret, "fastchat/1 key", 32),
    primitives.hkdfExpand(secret, "fastchat/1 iv", 12),
  );
  const packet = new Uint8Array(100), same = new Uint8Array(100);
  derivePacketKey(primitives, secret).seal(packet, 15, 20, 77);
  expected.seal(same, 15, 20, 77);
  assert.deepEqual(packet, same);
  assert.deepEqual(deriveNextSecret(primitives, secret), primitives.hkdfExpand(secret, "fastchat/1 update", 32));
});
