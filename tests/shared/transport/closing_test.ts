import assert from "node:assert/strict";
import { CLOSE_REASON_BYTES_MAX } from "../../../shared/limits.ts";
import { Closing, Phase, readReason, writeReason } from "../../../shared/transport/closing.ts";

Deno.test("Closing repeats CLOSE after 1, 2, 4, … packets", () => {
  const closing = new Closing(), sent: number[] = [];
  closing.begin({ code: 0, reason: "", byPeer: false });
  assert.equal(closing.packetPending, true);
  closing.onPacketSent();
  for (let packet = 1; packet <= 31; packet++) {
    closing.onPacket();
    if (closing.packetPending) sent.push(packet);
    closing.onPacketSent();
  }
  assert.deepEqual(sent, [1, 3, 7, 15, 31]);
});

Deno.test("Closing keeps the first reason, and says nothing once the peer closes", () => {
  const closing = new Closing();
  closing.begin({ code: 1, reason: "ours", byPeer: false });
  closing.drain({ code: 2, reason: "theirs", byPeer: true });
  assert.equal(closing.reason?.reason, "ours");
  assert.equal(closing.packetPending, false);
  closing.onPacket();
  assert.equal(closing.packetPending, false);
  closing.forget();
  assert.equal(closing.phase, Phase.Gone);
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
