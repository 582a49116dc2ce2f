import assert from "node:assert/strict";
import { DATAGRAM_BYTES, DATAGRAM_BYTES_MAX } from "../../../shared/limits.ts";
import { DatagramSize } from "../../../shared/transport/mtu.ts";

Deno.test("DatagramSize is 1,200 unless set, and takes no size that a receiver would drop", () => {
  assert.equal(new DatagramSize().bytes, 1200);
  assert.equal(new DatagramSize(1400).bytes, 1400);
  assert.throws(() => new DatagramSize(DATAGRAM_BYTES - 1));
  assert.throws(() => new DatagramSize(DATAGRAM_BYTES_MAX + 1));
});

Deno.test("DatagramSize falls back to 1,200 when only large packets vanish", () => {
  const size = new DatagramSize(1400);
  for (let i = 0; i < 5; i++) {
    size.onMissed(1400);
    size.onAcked(1200);
  }
  assert.equal(size.bytes, 1400);
  size.onMissed(1201);
  assert.equal(size.bytes, 1200);
  size.onAcked(1400);
  assert.equal(size.bytes, 1200, "For good");
});

Deno.test("DatagramSize stays where large packets get through in between, and small ones get lost", () => {
  const size = new DatagramSize(1400);
  for (let i = 0; i < 100; i++) {
    size.onMissed(1400);
    size.onMissed(1200);
    if (i % 5 === 4) size.onAcked(1400);
  }
  assert.equal(size.bytes, 1400);
});

Deno.test("DatagramSize begins anew with 1,200 on another path", () => {
  const size = new DatagramSize(1400);
  size.reset();
  assert.equal(size.bytes, 1200);
});
