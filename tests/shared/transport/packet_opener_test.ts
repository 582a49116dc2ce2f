import assert from "node:assert/strict";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { PacketKeys } from "../../../shared/transport/key_update.ts";
import { PacketOpener, Refusal } from "../../../shared/transport/packet_opener.ts";

const primitives = await createPrimitives();
const ID = new Uint8Array(8).fill(3), OURS = new Uint8Array(32).fill(1), THEIRS = new Uint8Array(32).fill(2);
const TOKEN = new Uint8Array(16).fill(9);

function make(options: { resetToken?: Uint8Array; failedOpensMax?: number } = {}) {
  const keys = (sendSecret: Uint8Array, receiveSecret: Uint8Array) =>
    new PacketKeys({ primitives, connectionId: ID, sendSecret, receiveSecret, nowUs: 0 });
  const peer = keys(THEIRS, OURS), opener = new PacketOpener({ primitives, keys: keys(OURS, THEIRS), ...options });
  const sealed = (packetNumber: number) => {
    const packet = new Uint8Array(200);
    return packet.slice(0, peer.seal(packet, 20, packetNumber, 0));
  };
  const open = (packet: Uint8Array) => opener.open(packet.slice(), packet.length, 0, 0);
  return { opener, sealed, open };
}

Deno.test("PacketOpener.open() opens each packet once", () => {
  const { opener, sealed, open } = make();
  const packet = sealed(7);
  assert.equal(open(packet), 20);
  assert.equal(opener.packetNumber, 7);
  assert.equal(open(packet), Refusal.Dropped);
  assert.equal(opener.duplicates, 1);
  assert.equal(open(sealed(6)), 20);
});

Deno.test("PacketOpener.open() drops what is forged, and a forged number makes nothing a repeat", () => {
  const { opener, sealed, open } = make();
  const genuine = sealed(7), forged = genuine.slice();
  forged[40]! ^= 1;
  assert.equal(open(forged), Refusal.Dropped);
  assert.equal(open(genuine.subarray(0, 20)), Refusal.Dropped);
  assert.deepEqual([opener.failedOpens, opener.duplicates], [1, 0]);
  assert.equal(open(genuine), 20);
});

Deno.test("PacketOpener.open() says when too many failed", () => {
  const { sealed, open } = make({ failedOpensMax: 3 });
  const forged = sealed(7);
  forged[40]! ^= 1;
  assert.deepEqual([open(forged), open(forged), open(forged)], [Refusal.Dropped, Refusal.Dropped, Refusal.TooMany]);
});

Deno.test("PacketOpener.open() recognises a reset by its own token only, also under a number that was used", () => {
  const { sealed, open } = make({ resetToken: TOKEN }), stranger = make();
  const reset = sealed(7);
  assert.equal(open(reset), 20);
  reset.set(TOKEN, reset.length - 16);
  assert.equal(open(reset), Refusal.Reset);
  reset[14] = 99;
  assert.equal(open(reset), Refusal.Reset);
  assert.equal(stranger.open(reset), Refusal.Dropped);
});
