import assert from "node:assert/strict";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { PacketKeys } from "../../../shared/transport/key_update.ts";

const primitives = await createPrimitives();
const SECRETS = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;
const KEEP_US = 300_000;

function keys(own: 0 | 1, options: { packetsPerKeyMax?: number; keyAgeUsMax?: number } = {}): PacketKeys {
  const connectionId = new Uint8Array(8).fill(9);
  const [sendSecret, receiveSecret] = [SECRETS[own], SECRETS[1 - own]!];
  return new PacketKeys({ primitives, connectionId, sendSecret, receiveSecret, nowUs: 0, ...options });
}

function seal(from: PacketKeys, number: number, nowUs = 0): Uint8Array {
  const packet = new Uint8Array(64);
  packet.set([number & 0xff, 42], 15);
  return packet.subarray(0, from.seal(packet, 2, number, nowUs));
}

function opens(to: PacketKeys, packet: Uint8Array, number: number, nowUs = 0): boolean {
  const copy = packet.slice(), bytes = to.open(copy, copy.length, number, nowUs, KEEP_US);
  if (bytes >= 0) assert.deepEqual([...copy.subarray(15, 15 + bytes)], [number & 0xff, 42]);
  return bytes >= 0;
}

/** Both have spoken and heard, so either may change its keys. */
function settled() {
  const a = keys(0), b = keys(1);
  assert.ok(opens(b, seal(a, 0), 0) && opens(a, seal(b, 0), 0));
  a.onAcked(0);
  b.onAcked(0);
  return { a, b };
}

Deno.test("PacketKeys.update() waits until the peer has acknowledged the current keys", () => {
  const a = keys(0);
  assert.equal(a.update(0), false);
  seal(a, 5);
  assert.equal(a.update(0), false);
  a.onAcked(4);
  assert.equal(a.update(0), false);
  a.onAcked(5);
  assert.equal(a.update(0), true);
  assert.equal(a.update(0), false);
});

Deno.test("PacketKeys follow the peer's change, and late packets open for a while", () => {
  const { a, b } = settled();
  const late = seal(a, 1), later = seal(a, 2);
  assert.ok(a.update(0));
  const flipped = seal(a, 3);
  assert.equal(flipped[0]! & 1, 1);
  assert.ok(opens(b, flipped, 3));
  assert.equal(b.updates, 1, "It answers with new keys of its own");
  assert.ok(opens(b, late, 1, KEEP_US));
  assert.equal(opens(b, later, 2, KEEP_US + 1), false, "Its key is gone");
  const answer = seal(b, 1);
  assert.equal(answer[0]! & 1, 1);
  assert.ok(opens(a, answer, 1));
  assert.equal(a.updates, 1, "An answer is not a new change");
});

Deno.test("PacketKeys change again and again, from either side", () => {
  const { a, b } = settled();
  let number = 1;
  for (let i = 0; i < 10; i++, number++) {
    const [first, second] = i % 3 === 0 ? [b, a] : [a, b];
    assert.ok(first.update(0), `change ${i}`);
    assert.ok(opens(second, seal(first, number), number));
    assert.ok(opens(first, seal(second, number), number));
    first.onAcked(number);
    second.onAcked(number);
  }
  assert.equal(a.updates, 10);
  assert.equal(b.updates, 10);
});

Deno.test("PacketKeys survive both sides changing at once", () => {
  const { a, b } = settled();
  assert.ok(a.update(0) && b.update(0));
  assert.ok(opens(b, seal(a, 1), 1) && opens(a, seal(b, 1), 1));
  assert.deepEqual([a.updates, b.updates], [1, 1]);
});

Deno.test("PacketKeys are not moved by a forged phase", () => {
  const { a, b } = settled();
  const packet = seal(a, 1);
  packet[0]! ^= 1;
  assert.equal(opens(b, packet, 1), false);
  assert.equal(b.updates, 0);
  assert.ok(opens(b, seal(a, 2), 2));
});

Deno.test("PacketKeys change by themselves after so many packets, or by age", () => {
  const counting = keys(0, { packetsPerKeyMax: 3 });
  for (let number = 0; number < 3; number++) seal(counting, number);
  counting.onAcked(0);
  assert.equal(counting.updates, 0);
  seal(counting, 3);
  assert.equal(counting.updates, 1);
  const ageing = keys(0, { keyAgeUsMax: 1_000 });
  seal(ageing, 0, 999);
  ageing.onAcked(0);
  seal(ageing, 1, 999);
  assert.equal(ageing.updates, 0);
  seal(ageing, 2, 1_000);
  assert.equal(ageing.updates, 1);
});
