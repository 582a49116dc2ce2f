import assert from "node:assert/strict";
import fc from "fast-check";
import { DATAGRAM_BYTES, DATAGRAM_BYTES_MAX, PACKETS_IN_FLIGHT_MAX } from "../../../shared/limits.ts";
import type { Controller } from "../../../shared/transport/congestion.ts";
import { FrameCursor, FrameType, writeAck } from "../../../shared/transport/frame.ts";
import { DatagramSize } from "../../../shared/transport/mtu.ts";
import { RangeSet } from "../../../shared/transport/range_set.ts";
import { Recovery } from "../../../shared/transport/recovery.ts";
import { Redundancy } from "../../../shared/transport/redundancy.ts";
import { RttEstimator } from "../../../shared/transport/rtt.ts";

const RTT_US = 50_000;

/** A controller that says what it was told, and lets through what the test wants. */
class Witness implements Controller {
  windowBytes = 100 * DATAGRAM_BYTES;
  readonly told: string[] = [];
  ackedBytes = 0;
  appLimited: boolean[] = [];

  onAcked(bytes: number, _sentUs: number, appLimited: boolean): void {
    this.ackedBytes += bytes;
    this.appLimited.push(appLimited);
  }
  onLost(): void {
    this.told.push("lost");
  }
  onSpurious(): void {
    this.told.push("spurious");
  }
  onPersistentCongestion(): void {
    this.told.push("persistent");
  }
  reset(): void {
    this.told.push("reset");
  }
}

function make(datagramBytes?: number) {
  const controller = new Witness(), acked: number[] = [], lost: number[] = [];
  const size = new DatagramSize(datagramBytes), redundancy = new Redundancy(), rtt = new RttEstimator(RTT_US);
  const recovery = new Recovery({
    rtt,
    controller,
    cargo: { onAcked: ({ number }) => acked.push(number), onLost: ({ number }) => lost.push(number) },
    redundancy,
    size,
    nowUs: 0,
  });
  let next = 0;
  const send = (nowUs: number, bytes = DATAGRAM_BYTES) => {
    const packet = recovery.begin();
    packet.note(FrameType.Ping);
    recovery.onSent(packet, next, bytes, nowUs);
    return next++;
  };
  const ack = (nowUs: number, ...numbers: number[]) => {
    const ranges = new RangeSet(), bytes = new Uint8Array(2000), cursor = new FrameCursor();
    for (const number of numbers) ranges.insert(number, number + 1);
    cursor.start(bytes, 0, writeAck(bytes, 0, bytes.length, ranges, 0));
    assert(cursor.next());
    return recovery.handleAck(cursor, nowUs);
  };
  return { recovery, controller, acked, lost, size, redundancy, rtt, send, ack };
}

Deno.test("Recovery.handleAck() tells the cargo and the controller once of each packet", () => {
  const { recovery, controller, acked, rtt, send, ack } = make();
  for (let i = 0; i < 4; i++) send(i);
  assert.equal(recovery.bytesInFlight, 4 * DATAGRAM_BYTES);
  assert.equal(ack(RTT_US, 0, 1), true);
  assert.equal(ack(RTT_US, 0, 1), false, "it is known already");
  assert.equal(ack(RTT_US, 0, 1, 2, 3), true);
  assert.deepEqual(acked, [0, 1, 2, 3]);
  assert.equal(controller.ackedBytes, 4 * DATAGRAM_BYTES);
  assert.deepEqual([recovery.bytesInFlight, recovery.deadlineUs], [0, Infinity]);
  assert.equal(rtt.latestUs, RTT_US - 3);
});

Deno.test("Recovery: an acknowledgement whose largest packet is old news measures no round trip", () => {
  const { rtt, send, ack } = make();
  send(0), send(10_000);
  ack(RTT_US, 1);
  const { latestUs } = rtt;
  ack(400_000, 0, 1);
  assert.equal(rtt.latestUs, latestUs);
});

Deno.test("Recovery: a lost packet goes back to its cargo once, and the window is told once for those lost together", () => {
  const { recovery, controller, lost, send, ack } = make();
  for (let i = 0; i < 8; i++) send(i);
  ack(RTT_US, 5, 6, 7);
  assert.deepEqual(lost, [0, 1, 2, 3, 4]);
  assert.deepEqual([recovery.packetsLost, recovery.bytesInFlight], [5, 0]);
  assert.deepEqual(controller.told, ["lost"]);
  ack(RTT_US + 1, 5, 6, 7);
  assert.equal(lost.length, 5);
});

Deno.test("Recovery: losses that all turn out to have come late are taken back", () => {
  const { recovery, controller, acked, send, ack } = make();
  for (let i = 0; i < 6; i++) send(i);
  ack(RTT_US, 3, 4, 5);
  assert.deepEqual(controller.told, ["lost"]);
  ack(RTT_US + 1_000, 0, 1, 3, 4, 5);
  assert.deepEqual(controller.told, ["lost"], "one of them is still missing");
  ack(RTT_US + 2_000, 0, 1, 2, 3, 4, 5);
  assert.deepEqual(controller.told, ["lost", "spurious"]);
  assert.deepEqual([recovery.spurious, recovery.packetsLost], [3, 3]);
  assert.deepEqual(acked.toSorted(), [0, 1, 2, 3, 4, 5]);
});

Deno.test("Recovery.handleDeadline() sends two probes with the oldest that waits, and loses nothing by it", () => {
  const { recovery, controller, lost, send } = make();
  send(0, 300), send(1, 300);
  const dueUs = recovery.deadlineUs;
  assert(dueUs > 0 && dueUs < 1_000_000);
  recovery.handleDeadline(dueUs);
  assert.deepEqual(lost, [0, 1], "as much as a datagram holds is offered again");
  assert.deepEqual([recovery.probes, recovery.packetsLost, controller.told], [1, 0, []]);
  controller.windowBytes = 0;
  for (let probe = 0; probe < 2; probe++) {
    assert(recovery.isProbing);
    assert.equal(recovery.mayElicitUs(true, dueUs), dueUs, "a probe does not wait for the window");
    send(dueUs, 300);
  }
  assert.equal(recovery.isProbing, false);
  assert.equal(recovery.mayElicitUs(true, dueUs), Infinity);
  assert(recovery.deadlineUs > dueUs + (dueUs - 1), "the next one waits twice as long");
});

Deno.test("Recovery: an acknowledgement ends probing", () => {
  const { recovery, send, ack } = make();
  send(0);
  recovery.handleDeadline(recovery.deadlineUs);
  assert(recovery.isProbing);
  ack(400_000, 0);
  assert.equal(recovery.isProbing, false);
});

Deno.test("Recovery.mayElicitUs() waits for window, pacer and ledger, in this order of patience", () => {
  const { recovery, controller, send } = make();
  assert.equal(recovery.mayElicitUs(false, 0), Infinity, "there is nothing to say");
  assert.equal(recovery.mayElicitUs(true, 0), 0);
  let burst = 0;
  while (recovery.mayElicitUs(true, 0) === 0) send(0), burst++;
  const atUs = recovery.mayElicitUs(true, 0);
  assert(burst >= 10 && atUs > 0 && atUs < RTT_US, `${burst} at once, the next after ${atUs} µs`);
  controller.windowBytes = recovery.bytesInFlight;
  assert.equal(recovery.mayElicitUs(true, 10 * RTT_US), Infinity);
  controller.windowBytes = Infinity;
  while (recovery.bytesInFlight < PACKETS_IN_FLIGHT_MAX * DATAGRAM_BYTES) send(0);
  assert.equal(recovery.mayElicitUs(true, 10 * RTT_US), Infinity);
});

Deno.test("Recovery says whether it was the window that kept the application from sending", () => {
  const { recovery, controller, send, ack } = make();
  controller.windowBytes = 2 * DATAGRAM_BYTES;
  recovery.mayElicitUs(true, 0), send(0);
  recovery.mayElicitUs(false, 0);
  ack(RTT_US, 0);
  recovery.mayElicitUs(true, RTT_US), send(RTT_US), send(RTT_US);
  recovery.mayElicitUs(true, RTT_US);
  ack(2 * RTT_US, 1, 2);
  recovery.mayElicitUs(true, 2 * RTT_US), send(2 * RTT_US);
  recovery.onNothingToSay();
  ack(3 * RTT_US, 3);
  assert.deepEqual(controller.appLimited, [true, false, false, true]);
});

Deno.test("Recovery.wantsAck asks four times in each window", () => {
  const { recovery, controller, send } = make();
  controller.windowBytes = 40 * DATAGRAM_BYTES;
  let asked = 0;
  for (let i = 0; i < 40; i++) {
    if (recovery.wantsAck) recovery.onAckAsked(), asked++;
    send(0);
  }
  assert(asked >= 3 && asked <= 4, `${asked} times`);
  controller.windowBytes = DATAGRAM_BYTES;
  assert.equal(recovery.wantsAck, true, "the only packet of a window asks");
});

Deno.test("Recovery: silence for many probe timeouts is persistent congestion", () => {
  const { controller, send, ack } = make();
  send(0), ack(RTT_US, 0);
  for (let i = 0; i < 10; i++) send(RTT_US + i * 400_000);
  send(5_000_000);
  ack(5_000_000 + RTT_US, 11);
  assert(controller.told.includes("persistent"), controller.told.join());
});

Deno.test("Recovery: large datagrams that never arrive make datagrams small", () => {
  const { size, send, ack } = make(DATAGRAM_BYTES_MAX);
  for (let i = 0; i < 8; i++) send(i, DATAGRAM_BYTES_MAX);
  for (let i = 8; i < 12; i++) send(i, 100);
  ack(RTT_US, 8, 9, 10, 11);
  assert.equal(size.bytes, DATAGRAM_BYTES);
});

Deno.test("Recovery.handleMove() forgets the old path and offers everything again", () => {
  const { recovery, controller, lost, rtt, send, ack } = make();
  send(0), send(1), ack(RTT_US, 1), send(RTT_US);
  lost.length = 0;
  recovery.handleMove(RTT_US + 1);
  assert.deepEqual(lost.toSorted(), [0, 2]);
  assert.deepEqual([recovery.bytesInFlight, recovery.deadlineUs, rtt.hasSample], [0, Infinity, false]);
  assert(controller.told.includes("reset"));
  assert.equal(controller.told.includes("lost"), false);
});

Deno.test("Recovery: whatever is sent and acknowledged, every packet has one end and bytes in flight add up", () => {
  const step = fc.oneof(
    fc.record({ send: fc.integer({ min: 40, max: DATAGRAM_BYTES }) }),
    fc.record({ ack: fc.array(fc.nat(60), { minLength: 1, maxLength: 8 }) }),
    fc.record({ waitUs: fc.integer({ min: 1, max: 500_000 }) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
    const { recovery, acked, lost, send, ack } = make();
    const bytesOf = new Map<number, number>(), ended = new Map<number, "acked" | "lost">();
    let nowUs = 0, sent = 0;
    const check = () => {
      for (const number of acked.splice(0)) {
        assert.notEqual(ended.get(number), "acked", `${number} was acknowledged twice`);
        ended.set(number, "acked");
      }
      lost.length = 0;
    };
    for (const step of steps) {
      if ("send" in step) bytesOf.set(sent, step.send), send(nowUs, step.send), sent++;
      else if ("ack" in step) {
        const numbers = step.ack.filter((number) => number < sent);
        if (numbers.length > 0) ack(nowUs, ...numbers);
      } else {
        nowUs += step.waitUs;
        while (recovery.deadlineUs <= nowUs) recovery.handleDeadline(nowUs);
      }
      check();
      assert(recovery.bytesInFlight >= 0);
      const inFlight = [...bytesOf].filter(([number]) => !ended.has(number)).reduce((sum, [, bytes]) => sum + bytes, 0);
      assert(recovery.bytesInFlight <= inFlight, "More is in flight than was never acknowledged");
      assert.equal(recovery.deadlineUs === Infinity, recovery.bytesInFlight === 0, "What is in flight is watched");
    }
    if (sent > 0) ack(nowUs, ...Array.from({ length: sent }, (_, number) => number));
    assert.equal(recovery.bytesInFlight, 0);
  }));
});
