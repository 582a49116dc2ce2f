import assert from "node:assert/strict";
import { FrameType, STREAM_WITH_FIN } from "../../../shared/transport/frame.ts";
import { Redundancy, type Surroundings } from "../../../shared/transport/redundancy.ts";
import { SentPacket } from "../../../shared/transport/sent_packets.ts";

const AROUND: Surroundings = { nowUs: 1_000_000, minRttUs: 40_000, packetsInFlight: 1, isLast: true };

function packetOf(...frames: [number, number, number, number][]): SentPacket {
  const packet = new SentPacket();
  for (const frame of frames) packet.note(...frame);
  return packet;
}

const TEXT = packetOf([FrameType.Stream, 4, 100, 400]);

Deno.test("Redundancy plans a copy of a small message a tenth of a round trip later", () => {
  const redundancy = new Redundancy();
  redundancy.onSent(TEXT, 1, AROUND);
  assert.equal(redundancy.dueUs, 1_004_000);
  assert.equal(redundancy.peek(1_002_000), undefined);
  const { streamId, offset, end, fin } = redundancy.peek(1_004_000)!;
  assert.deepEqual({ streamId, offset, end, fin }, { streamId: 4, offset: 100, end: 400, fin: false });
  redundancy.shift(310, 1_004_000);
  assert.equal(redundancy.dueUs, Infinity, "One copy is enough");
  assert.equal(redundancy.bytes, 310);
});

Deno.test("Redundancy copies stream data only, and only the frames that are no copies themselves", () => {
  const redundancy = new Redundancy();
  const packet = packetOf([FrameType.MaxData, 0, 0, 0], [STREAM_WITH_FIN, 8, 0, 5], [FrameType.Stream, 4, 0, 9]);
  redundancy.onSent(packet, 2, AROUND);
  assert.equal(redundancy.peekAny()?.streamId, 8);
  assert.equal(redundancy.peekAny()?.fin, true);
  redundancy.shift(0, 0);
  assert.equal(redundancy.peekAny(), undefined);
  assert.equal(redundancy.bytes, 0, "It was not needed any more");
});

Deno.test("Redundancy copies nothing large, crowded, followed by more, or near", () => {
  const redundancy = new Redundancy();
  redundancy.onSent(packetOf([FrameType.Stream, 4, 0, 701]), 1, AROUND);
  redundancy.onSent(TEXT, 1, { ...AROUND, packetsInFlight: 17 });
  redundancy.onSent(TEXT, 1, { ...AROUND, isLast: false });
  redundancy.onSent(TEXT, 1, { ...AROUND, minRttUs: 3_999 });
  assert.equal(redundancy.dueUs, Infinity);
});

Deno.test("Redundancy ends with 256 acknowledgements in a row and returns with a loss", () => {
  const redundancy = new Redundancy();
  redundancy.onAcked(200);
  redundancy.onLost(1);
  redundancy.onAcked(255);
  assert.equal(redundancy.isActive, true);
  redundancy.onAcked(1);
  assert.equal(redundancy.isActive, false);
  redundancy.onSent(TEXT, 1, AROUND);
  assert.equal(redundancy.dueUs, Infinity);
  redundancy.onLost(1);
  assert.equal(redundancy.isActive, true);
});

Deno.test("Redundancy sends a third copy where a tenth of the packets is lost", () => {
  const redundancy = new Redundancy();
  for (let i = 0; i < 100; i++) {
    redundancy.onAcked(8);
    redundancy.onLost(2);
  }
  redundancy.onSent(TEXT, 1, AROUND);
  redundancy.shift(310, 1_004_000);
  assert.equal(redundancy.dueUs, 1_008_000);
  redundancy.shift(310, 1_008_000);
  assert.equal(redundancy.dueUs, Infinity);
});

Deno.test("Redundancy holds a bounded number of copies, and none after a move", () => {
  const redundancy = new Redundancy();
  for (let i = 0; i < 500; i++) redundancy.onSent(TEXT, 1, { ...AROUND, nowUs: i });
  let count = 0;
  for (; redundancy.peekAny() !== undefined; count++) redundancy.shift(1, 0);
  assert.equal(count, 64);
  redundancy.onSent(TEXT, 1, AROUND);
  redundancy.clear();
  assert.equal(redundancy.dueUs, Infinity);
});
