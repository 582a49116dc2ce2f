import assert from "node:assert/strict";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { isProtected, makeConnectionId } from "../../../shared/packet/mod.ts";
import { RESET_BYTES, RESETTABLE_BYTES_MIN, StatelessResets } from "../../../shared/transport/stateless_reset.ts";

const primitives = await createPrimitives();
const RESET_KEY = new Uint8Array(32).fill(5);
const make = (serverNumber = 7, rate = { perSecond: 50, burst: 100 }) =>
  new StatelessResets({ primitives, serverNumber, resetKey: RESET_KEY, rate, nowUs: 0 });

function packetOf(serverNumber: number, bytes = 100): Uint8Array {
  const packet = new Uint8Array(bytes).fill(0x11);
  packet[0] = 0x40;
  packet.set(makeConnectionId(serverNumber, 3, new Uint8Array([1, 2, 3, 4])), 1);
  return packet;
}

Deno.test("StatelessResets.answer() ends with the token that ACCEPT gave for that id, behind the id itself", () => {
  const resets = make(), packet = packetOf(7), reset = resets.answer(packet, 0)!;
  assert.equal(reset.length, RESET_BYTES);
  assert(isProtected(reset, reset.length));
  assert.deepEqual(reset.subarray(1, 9), packet.subarray(1, 9));
  assert.deepEqual(reset.subarray(-16), resets.token(packet.slice(1, 9)));
});

Deno.test("StatelessResets.token() differs for every id and for every server (SECURITY H4)", () => {
  const [one, other] = [packetOf(7).slice(1, 9), packetOf(7).slice(1, 9)];
  other[7]! ^= 1;
  const tokens = [make().token(one), make().token(other), make(8).token(one)].map((token) => token.toHex());
  assert.equal(new Set(tokens).size, 3);
  assert.deepEqual(make().token(one), make().token(one));
});

Deno.test("StatelessResets.answer() answers no other server's ids, and nothing that a reset could be", () => {
  const resets = make();
  assert.equal(resets.answer(packetOf(8), 0), undefined);
  assert.equal(resets.answer(packetOf(7, RESETTABLE_BYTES_MIN - 1), 0), undefined);
  const reset = resets.answer(packetOf(7, RESETTABLE_BYTES_MIN), 0)!;
  assert(reset.length < RESETTABLE_BYTES_MIN);
  assert.equal(resets.answer(reset, 0), undefined, "two machines do not answer one another for ever");
});

Deno.test("StatelessResets.answer() keeps to its rate", () => {
  const resets = make(7, { perSecond: 10, burst: 3 });
  const answered = (nowUs: number) => {
    let count = 0;
    while (resets.answer(packetOf(7), nowUs)) count++;
    return count;
  };
  assert.deepEqual([answered(0), answered(100_000), answered(100_001)], [3, 1, 0]);
});
