import assert from "node:assert/strict";
import fc from "fast-check";
import { type SentPacket, SentPackets } from "../../../shared/transport/sent_packets.ts";

function add(ledger: SentPackets, number: number, bytes = 100, sentUs = number): SentPacket {
  const packet = ledger.begin();
  packet.note(1);
  ledger.add(packet, number, sentUs, bytes);
  return packet;
}

Deno.test("SentPackets.acknowledge() finds what is in flight in a range, once", () => {
  const ledger = new SentPackets(), acked: SentPacket[] = [];
  for (const number of [3, 4, 7, 9, 12]) add(ledger, number);
  assert.equal(ledger.bytesInFlight, 500);
  assert.equal(ledger.acknowledge(4, 9, acked, 0), 3);
  assert.deepEqual(acked.slice(0, 3).map((packet) => packet.number), [4, 7, 9]);
  assert.equal(ledger.acknowledge(0, 9, acked, 0), 1);
  assert.equal(acked[0]!.number, 3);
  assert.equal(ledger.bytesInFlight, 100);
  assert.equal(ledger.oldest()?.number, 12);
  ledger.trim();
  assert.equal(ledger.size, 1);
});

Deno.test("SentPackets.begin() gives records back empty", () => {
  const ledger = new SentPackets(), packet = add(ledger, 0);
  packet.ackLargest = 5;
  ledger.markLost(packet);
  ledger.trim();
  const again = ledger.begin();
  assert.equal(again, packet, "It is reused");
  assert.equal(again.frameCount, 0);
  assert.equal(again.ackLargest, -1);
});

Deno.test("SentPackets.trim() lets go of everything once nothing is in flight", () => {
  const ledger = new SentPackets(), acked: SentPacket[] = [];
  for (let number = 0; number < 500; number++) add(ledger, number);
  ledger.acknowledge(0, 499, acked, 0);
  ledger.trim();
  assert.equal(ledger.size, 0);
  assert.equal(ledger.settled, 0);
  add(ledger, 500);
  assert.equal(ledger.at(0).number, 500);
  assert.equal(ledger.oldest()?.number, 500);
  assert.equal(ledger.acknowledge(0, 500, acked, 0), 1, "Only what was sent since");
});

Deno.test("SentPackets agrees with a Map", () => {
  const operation = fc.record({
    kind: fc.constantFrom("send", "send", "ack", "lose"),
    skip: fc.nat(3),
    low: fc.nat(60),
    length: fc.nat(20),
  });
  fc.assert(fc.property(fc.array(operation, { maxLength: 150 }), (operations) => {
    const ledger = new SentPackets(), twin = new Map<number, number>(), acked: SentPacket[] = [];
    let next = 0;
    for (const { kind, skip, low, length } of operations) {
      if (kind === "send") {
        next += skip;
        add(ledger, next, next + 1);
        twin.set(next, next + 1);
        next++;
      } else if (kind === "ack") {
        const from = Math.max(0, next - low), to = from + length;
        const count = ledger.acknowledge(from, to, acked, 0);
        const expected = [...twin.keys()].filter((number) => number >= from && number <= to);
        assert.deepEqual(acked.slice(0, count).map((packet) => packet.number), expected);
        for (const number of expected) twin.delete(number);
        ledger.trim();
      } else {
        const oldest = ledger.oldest();
        assert.equal(oldest?.number, [...twin.keys()][0]);
        if (oldest !== undefined) {
          ledger.markLost(oldest);
          twin.delete(oldest.number);
        }
      }
      assert.equal(ledger.packetsInFlight, twin.size);
      assert.equal(ledger.bytesInFlight, [...twin.values()].reduce((sum, bytes) => sum + bytes, 0));
    }
  }));
});

Deno.test("SentPackets stays small over a long life", () => {
  const ledger = new SentPackets(), acked: SentPacket[] = [];
  for (let number = 0; number < 20_000; number++) {
    add(ledger, number);
    if (number >= 10) ledger.acknowledge(number - 10, number - 10, acked, 0);
    ledger.trim();
    assert.ok(ledger.size <= 11);
  }
});

Deno.test("SentPackets tells of lost packets that arrived after all, for as long as they are kept", () => {
  const ledger = new SentPackets(), acked: SentPacket[] = [];
  const lost = [add(ledger, 0, 100, 10), add(ledger, 1, 100, 20)];
  add(ledger, 2, 100, 30);
  for (const packet of lost) ledger.markLost(packet);
  ledger.trim(20);
  assert.equal(ledger.size, 2, "The older one is forgotten");
  assert.equal(ledger.settled, 1);
  assert.equal(ledger.acknowledge(0, 1, acked, 0), 0);
  assert.deepEqual(ledger.late.splice(0).map(({ number }) => number), [1]);
  assert.equal(ledger.acknowledge(0, 2, acked, 0), 1);
  assert.deepEqual(ledger.late, [], "Once");
  ledger.trim(20);
  assert.equal(ledger.size, 0);
  assert.equal(ledger.bytesInFlight, 0);
});
