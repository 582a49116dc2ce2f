import assert from "node:assert/strict";
import { ACK_DELAY_US_MAX, ACK_RANGES_MAX } from "../../../shared/limits.ts";
import { FrameCursor } from "../../../shared/transport/frame.ts";
import { ReceivedPackets } from "../../../shared/transport/received_packets.ts";

function written(received: ReceivedPackets, nowUs: number): { ranges: number[]; delayUs: number } {
  const bytes = new Uint8Array(1200), end = received.write(bytes, 0, 1200, nowUs), cursor = new FrameCursor();
  cursor.start(bytes, 0, end);
  assert.ok(cursor.next());
  return { ranges: cursor.ranges.slice(0, cursor.rangeCount * 2), delayUs: cursor.value };
}

Deno.test("ReceivedPackets owes an ACK for the tenth packet at once, for fewer after the longest delay", () => {
  const received = new ReceivedPackets();
  for (let number = 0; number < 9; number++) {
    received.add(number, true, 1_000 + number);
    assert.equal(received.dueUs, 1_000 + ACK_DELAY_US_MAX);
  }
  received.add(9, true, 2_000);
  assert.equal(received.dueUs, 0);
  assert.deepEqual(written(received, 2_500), { ranges: [9, 0], delayUs: 500 });
  assert.equal(received.isOwed, false);
  assert.equal(received.dueUs, Infinity);
});

Deno.test("ReceivedPackets owes an ACK at once to a peer that asks", () => {
  const received = new ReceivedPackets();
  received.add(0, true, 0, true);
  assert.equal(received.dueUs, 0);
});

Deno.test("ReceivedPackets is hasty for a while after a packet was missing", () => {
  const received = new ReceivedPackets();
  let number = 1, nowUs = 0;
  const add = () => (received.add(number++, true, nowUs += 100), received.dueUs);
  assert.equal(add(), 0, "A hole");
  written(received, nowUs);
  for (let i = 0; i < 31; i++) {
    assert.equal(add(), nowUs + 5_000);
    assert.equal(add(), 0, "Every second one");
    written(received, nowUs);
  }
  add();
  written(received, nowUs);
  assert.equal(add(), nowUs + ACK_DELAY_US_MAX);
  assert.notEqual(add(), 0);
});

Deno.test("ReceivedPackets owes nothing for packets that elicit nothing", () => {
  const received = new ReceivedPackets();
  received.add(0, false, 1_000);
  received.add(1, false, 1_000);
  assert.equal(received.isOwed, false);
  assert.equal(received.dueUs, Infinity);
});

Deno.test("ReceivedPackets owes an ACK at once for a packet out of order", () => {
  const received = new ReceivedPackets();
  received.add(0, true, 0);
  written(received, 0);
  received.add(2, true, 0);
  assert.equal(received.dueUs, 0, "A hole");
  assert.deepEqual(written(received, 0).ranges, [2, 2, 0, 0]);
  received.add(1, true, 0);
  assert.equal(received.dueUs, 0, "It was filled");
  assert.deepEqual(written(received, 0).ranges, [2, 0]);
});

Deno.test("ReceivedPackets.onAckAcked() stops repeating what the peer knows, but keeps the newest", () => {
  const received = new ReceivedPackets();
  for (const number of [0, 2, 4, 6]) received.add(number, true, 0);
  received.onAckAcked(4);
  assert.deepEqual(written(received, 0).ranges, [6, 6, 4, 4]);
  received.onAckAcked(6);
  assert.deepEqual(written(received, 0).ranges, [6, 6]);
});

Deno.test("ReceivedPackets remembers a bounded number of ranges", () => {
  const received = new ReceivedPackets();
  for (let i = 0; i < 1000; i++) received.add(i * 2, true, 0);
  assert.equal(written(received, 0).ranges.length, 2 * ACK_RANGES_MAX);
});
