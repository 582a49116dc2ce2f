import assert from "node:assert/strict";
import fc from "fast-check";
import { aeadOpen, aeadSeal, createPrimitives } from "../../../shared/crypto/mod.ts";
import file from "../../vectors/aead.json" with { type: "json" };

const hex = Uint8Array.fromHex;
const primitives = await createPrimitives();
const HEAP = primitives.packetBuffer(1500);
/** A packet in the heap, and one outside of it: the same must come of both. */
const homes = { heap: () => HEAP, outside: () => new Uint8Array(1500) };

for (const vector of file.vectors) {
  const options = { key: hex(vector.key), nonce: hex(vector.nonce), aad: hex(vector.aad) };

  Deno.test(`aeadSeal() and aeadOpen(): RFC 8439 ${vector.name}`, () => {
    assert.equal(aeadSeal({ ...options, plaintext: hex(vector.plaintext) }).toHex(), vector.sealed);
    assert.equal(aeadOpen({ ...options, sealed: hex(vector.sealed) })?.toHex(), vector.plaintext);
  });

  for (const [home, take] of Object.entries(homes)) {
    Deno.test(`PacketKey: RFC 8439 ${vector.name}, packet in ${home}`, () => {
      const key = primitives.packetKey(options.key, options.nonce);
      const packet = take(), aadBytes = options.aad.length, plaintextBytes = vector.plaintext.length / 2;
      packet.set(options.aad);
      packet.set(hex(vector.plaintext), aadBytes);
      const packetBytes = key.seal(packet, aadBytes, plaintextBytes, 0);
      assert.equal(packet.subarray(0, aadBytes).toHex(), vector.aad);
      assert.equal(packet.subarray(aadBytes, packetBytes).toHex(), vector.sealed);
      assert.equal(key.open(packet, aadBytes, packetBytes, 0), plaintextBytes);
      assert.equal(packet.subarray(aadBytes, aadBytes + plaintextBytes).toHex(), vector.plaintext);
    });
  }
}

const packetNumber = fc.oneof(
  fc.nat(),
  fc.integer({ min: 0, max: 2 ** 48 - 1 }),
  fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 5, 2 ** 48 - 1),
);
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const bytes12 = fc.uint8Array({ minLength: 12, maxLength: 12 });

Deno.test("PacketKey.seal() is RFC 8439 under iv XOR packet number, in the heap and outside", () => {
  fc.assert(fc.property(
    bytes32,
    bytes12,
    fc.uint8Array({ maxLength: 40 }),
    fc.uint8Array({ maxLength: 1400 }),
    packetNumber,
    (keyBytes, iv, aad, plaintext, number) => {
      const nonce = iv.slice();
      for (let i = 0; i < 6; i++) nonce[11 - i]! ^= Math.floor(number / 2 ** (8 * i)) % 256;
      const twin = aeadSeal({ key: keyBytes, nonce, aad, plaintext });
      for (const take of Object.values(homes)) {
        const packet = take();
        packet.fill(0xee);
        packet.set(aad);
        packet.set(plaintext, aad.length);
        const sealed = primitives.packetKey(keyBytes, iv).seal(packet, aad.length, plaintext.length, number);
        assert.equal(sealed, aad.length + plaintext.length + 16);
        assert.deepEqual(packet.slice(aad.length, sealed), twin);
        assert.ok(packet.subarray(sealed).every((byte) => byte === 0xee), "nothing behind the tag is touched");
        assert.equal(primitives.packetKey(keyBytes, iv).open(packet, aad.length, sealed, number), plaintext.length);
        assert.deepEqual(packet.slice(aad.length, aad.length + plaintext.length), plaintext);
      }
    },
  ));
});

Deno.test("PacketKey.open() refuses any flipped bit, another number, key or length", () => {
  const key = primitives.packetKey(new Uint8Array(32).fill(1), new Uint8Array(12).fill(2));
  const other = primitives.packetKey(new Uint8Array(32).fill(3), new Uint8Array(12).fill(2));
  for (const take of Object.values(homes)) {
    const packet = take();
    packet.fill(7);
    const packetBytes = key.seal(packet, 15, 20, 9);
    const sealed = packet.slice(0, packetBytes);
    const opens = (change: (copy: Uint8Array) => void, bytes = packetBytes, number = 9, by = key) => {
      packet.set(sealed);
      change(packet);
      return by.open(packet, 15, bytes, number);
    };
    assert.equal(opens(() => {}), 20);
    for (let bit = 0; bit < packetBytes * 8; bit++) {
      assert.equal(opens((copy) => copy[bit >> 3]! ^= 1 << (bit & 7)), -1);
    }
    for (let bytes = 15; bytes < packetBytes; bytes++) assert.equal(opens(() => {}, bytes), -1);
    assert.equal(opens(() => {}, packetBytes + 1), -1);
    assert.equal(opens(() => {}, packetBytes, 10), -1);
    assert.equal(opens(() => {}, packetBytes, 9, other), -1);
    assert.equal(opens(() => {}), 20);
  }
});

Deno.test("PacketKey: an empty payload is only a tag, fewer bytes never open", () => {
  const key = primitives.packetKey(new Uint8Array(32), new Uint8Array(12));
  const packet = new Uint8Array(40);
  assert.equal(key.seal(packet, 15, 0, 0), 31);
  assert.equal(key.open(packet, 15, 31, 0), 0);
  for (const bytes of [0, 14, 15, 30]) assert.equal(key.open(packet, 15, bytes, 0), -1);
});

Deno.test("PacketKey: keys that take turns do not mix, their arguments are copied", () => {
  const keyBytes = new Uint8Array(32).fill(5), iv = new Uint8Array(12).fill(6);
  const a = primitives.packetKey(keyBytes, iv);
  keyBytes.fill(8);
  const b = primitives.packetKey(keyBytes, iv);
  iv.fill(9);
  const first = new Uint8Array(64), second = HEAP;
  second.fill(0);
  a.seal(first, 4, 10, 1);
  b.seal(second, 4, 10, 1);
  assert.notDeepEqual(first.subarray(4, 14), second.subarray(4, 14));
  assert.equal(a.open(first, 4, 30, 1), 10);
  assert.equal(b.open(second, 4, 30, 1), 10);
});

Deno.test("PacketKey takes a Buffer's bytes, not those of the pool it lies in", () => {
  const keyBytes = new Uint8Array(32).fill(5), iv = new Uint8Array(12).fill(6);
  const packet = new Uint8Array(64), twin = new Uint8Array(64);
  primitives.packetKey(Buffer.from(keyBytes), Buffer.from(iv)).seal(packet, 4, 10, 1);
  primitives.packetKey(keyBytes, iv).seal(twin, 4, 10, 1);
  assert.deepEqual(packet, twin);
});

Deno.test("PacketKey.seal() asserts that the tag has room", () => {
  const key = primitives.packetKey(new Uint8Array(32), new Uint8Array(12));
  assert.throws(() => key.seal(new Uint8Array(30), 15, 0, 0), /Packet needs 31 bytes/);
  assert.throws(() => key.open(new Uint8Array(30), 15, 31, 0), /buffer of 30/);
});

Deno.test("packetBuffer() gives zeroed buffers apart from one another, and works beyond the heap's room", async () => {
  const fresh = await createPrimitives();
  const key = fresh.packetKey(new Uint8Array(32).fill(4), new Uint8Array(12));
  const buffers = Array.from({ length: 64 }, () => fresh.packetBuffer(64 << 10));
  assert.ok(buffers.some((buffer) => buffer.buffer === HEAP.buffer), "some lie in the heap");
  assert.ok(buffers.some((buffer) => buffer.buffer !== HEAP.buffer), "4 MiB do not fit");
  for (const [index, buffer] of buffers.entries()) {
    assert.ok(buffer.every((byte) => byte === 0));
    buffer.fill(index + 1);
  }
  for (const [index, buffer] of buffers.entries()) {
    assert.ok(buffer.every((byte) => byte === index + 1));
    assert.equal(key.open(buffer, 15, key.seal(buffer, 15, 1000, index), index), 1000);
    assert.ok(buffer.subarray(0, 1015).every((byte) => byte === index + 1));
  }
  assert.equal(HEAP.length, 1500, "views taken before are still alive");
});

Deno.test("aeadOpen() refuses what aeadSeal() did not make; sizes from nothing to megabytes round-trip", () => {
  const options = { key: new Uint8Array(32).fill(1), nonce: new Uint8Array(12).fill(2), aad: new Uint8Array([3]) };
  for (const size of [0, 1, 63, 64, 65, 1 << 16, 3 << 20]) {
    const plaintext = new Uint8Array(size).fill(0x5a);
    const sealed = aeadSeal({ ...options, plaintext });
    assert.equal(sealed.length, size + 16);
    const opened = aeadOpen({ ...options, sealed })!;
    assert.ok(Buffer.from(opened).equals(plaintext));
    assert.equal(aeadOpen({ ...options, sealed: sealed.subarray(1) }), undefined);
    for (const at of [0, sealed.length - 16, sealed.length - 1]) {
      const flipped = sealed.slice();
      flipped[at]! ^= 1;
      assert.equal(aeadOpen({ ...options, sealed: flipped }), undefined);
    }
    assert.equal(aeadOpen({ ...options, aad: new Uint8Array([4]), sealed }), undefined);
    assert.equal(aeadOpen({ ...options, nonce: new Uint8Array(12), sealed }), undefined);
    assert.equal(aeadOpen({ ...options, key: new Uint8Array(32), sealed }), undefined);
  }
  assert.equal(aeadOpen({ ...options, sealed: new Uint8Array(15) }), undefined);
});
