import assert from "node:assert/strict";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { PacketBuffers } from "../../../shared/net/packet_buffers.ts";

Deno.test("PacketBuffers: sockets that wait for datagrams leave buffers to those who send", async () => {
  const pool = new PacketBuffers(await createPrimitives());
  const receiving = Array.from({ length: 1_000 }, () => pool.takeToReceive()).filter((buffer) => buffer !== undefined);
  assert(receiving.length > 0);
  const before = pool.taken, sending = Array.from({ length: 300 }, () => pool.take());
  assert(sending.every((buffer) => buffer !== undefined));
  for (const buffer of sending) buffer!.release();
  assert.equal(pool.taken, before);
  for (const buffer of receiving) pool.giveReceived(buffer);
  assert.equal(pool.taken, 0);
  assert.notEqual(pool.takeToReceive(), undefined, "what came back is given again");
});
