import assert from "node:assert/strict";
import { CLOSE_REASON_BYTES_MAX } from "../../../shared/limits.ts";
import { EventQueue } from "../../../shared/transport/events.ts";
import { FrameCursor, FrameType } from "../../../shared/transport/frame.ts";
import { Timer, Timers } from "../../../shared/transport/timers.ts";
import { Closing, Phase, readReason, writeReason } from "../../../shared/transport/closing.ts";

const OURS = { code: 1, reason: "ours", byPeer: false }, THEIRS = { code: 2, reason: "theirs", byPeer: true };

function make() {
  const timers = new Timers(), events = new EventQueue(), closing = new Closing(timers, events);
  timers.set(Timer.Loss, 5);
  const handle = (...payload: number[]) => {
    const cursor = new FrameCursor();
    cursor.start(new Uint8Array(payload), 0, payload.length);
    closing.handlePayload(cursor, 300);
  };
  const told = () => {
    const all = [];
    for (let event = events.poll(); event; event = events.poll()) all.push(event);
    return all;
  };
  return { timers, closing, handle, told };
}

Deno.test("Closing repeats CLOSE after 1, 2, 4, … packets", () => {
  const { closing, handle } = make(), sent: number[] = [];
  closing.begin(OURS, 100);
  assert.equal(closing.packetPending, true);
  closing.onPacketSent();
  for (let packet = 1; packet <= 31; packet++) {
    handle(FrameType.Ping);
    if (closing.packetPending) sent.push(packet);
    closing.onPacketSent();
  }
  assert.deepEqual(sent, [1, 3, 7, 15, 31]);
});

Deno.test("Closing keeps the first reason and tells it once, and says nothing once the peer closes", () => {
  const { closing, handle, told, timers } = make();
  closing.begin(OURS, 100);
  closing.begin(THEIRS, 200);
  assert.equal(timers.nextDeadlineUs(), 100);
  handle(FrameType.Close, 2, 0);
  assert.equal(closing.phase, Phase.Draining);
  assert.equal(closing.reason, OURS);
  assert.equal(closing.packetPending, false);
  handle(FrameType.Ping);
  assert.equal(closing.packetPending, false);
  assert.equal(timers.nextDeadlineUs(), 300);
  closing.forget();
  assert.equal(closing.phase, Phase.Gone);
  assert.equal(timers.nextDeadlineUs(), undefined);
  assert.deepEqual(told(), [{ type: "closed", reason: OURS }]);
});

Deno.test("Closing answers garbage as it answers anything", () => {
  const { closing, handle } = make();
  closing.begin(OURS, 100);
  closing.onPacketSent();
  handle(0x3f);
  assert.equal(closing.phase, Phase.Closing);
  assert.equal(closing.packetPending, true);
});

Deno.test("Closing by the peer, or without a word, is told too", () => {
  const drained = make(), forgotten = make();
  drained.closing.drain(THEIRS, 100);
  forgotten.closing.forget(THEIRS);
  for (const { told, closing } of [drained, forgotten]) {
    assert.deepEqual(told(), [{ type: "closed", reason: THEIRS }]);
    assert.equal(closing.packetPending, false);
  }
});

Deno.test("writeReason() cuts between characters", () => {
  assert.equal(new TextDecoder().decode(writeReason("Stopping")), "Stopping");
  for (let i = 0; i < 4; i++) {
    const bytes = writeReason("x".repeat(i) + "😀".repeat(100));
    assert.ok(bytes.length <= CLOSE_REASON_BYTES_MAX && bytes.length > CLOSE_REASON_BYTES_MAX - 4);
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  }
});

Deno.test("readReason() strips what could fool a terminal and survives any bytes", () => {
  const bytes = new TextEncoder().encode("a\u001b[31mb\u0000\u202ec\u009b\n");
  assert.equal(readReason(bytes), "a[31mbc");
  assert.equal(readReason(new Uint8Array([0x61, 0xff, 0xfe])), "a\ufffd\ufffd");
});
