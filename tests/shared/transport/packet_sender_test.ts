import assert from "node:assert/strict";
import fc from "fast-check";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import {
  DATAGRAM_BYTES,
  DATAGRAM_BYTES_MAX,
  PACKET_NUMBER_LIMIT,
  PROTECTED_HEADER_BYTES,
  TAG_BYTES,
} from "../../../shared/limits.ts";
import { EventQueue } from "../../../shared/transport/events.ts";
import { DEFAULT_LIMITS, ReceiveCredit, SendCredit } from "../../../shared/transport/flow_control.ts";
import { FrameCursor, FrameType } from "../../../shared/transport/frame.ts";
import { PacketKeys } from "../../../shared/transport/key_update.ts";
import { Liveness } from "../../../shared/transport/liveness.ts";
import { DatagramSize } from "../../../shared/transport/mtu.ts";
import { NewReno } from "../../../shared/transport/new_reno.ts";
import { Outbound } from "../../../shared/transport/outbound.ts";
import { PacketSender } from "../../../shared/transport/packet_sender.ts";
import { Path } from "../../../shared/transport/path.ts";
import { ReceivedPackets } from "../../../shared/transport/received_packets.ts";
import { Recovery } from "../../../shared/transport/recovery.ts";
import { Redundancy } from "../../../shared/transport/redundancy.ts";
import { RttEstimator } from "../../../shared/transport/rtt.ts";
import { RESETTABLE_BYTES_MIN } from "../../../shared/transport/stateless_reset.ts";
import { Streams } from "../../../shared/transport/streams.ts";
import { Timer, Timers } from "../../../shared/transport/timers.ts";

const primitives = await createPrimitives();
const HOME = { host: "192.0.2.1", port: 1 }, AWAY = { host: "192.0.2.2", port: 2 };
const ID = new Uint8Array(8).fill(3), SECRETS = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;

interface Datagram {
  readonly bytes: number;
  readonly to: { readonly host: string };
  readonly types: FrameType[];
  readonly data: Uint8Array[];
}

function make(
  options: { elicitingBytesMin?: number; datagramBytes?: number; firstPacketNumber?: number; windowBytes?: number } =
    {},
) {
  const timers = new Timers(), rtt = new RttEstimator(50_000), events = new EventQueue();
  const path = new Path(primitives, HOME), received = new ReceivedPackets(), redundancy = new Redundancy();
  const size = new DatagramSize(options.datagramBytes), streams = new Streams("client", DEFAULT_LIMITS, DEFAULT_LIMITS);
  const cargo = { onAcked() {}, onLost() {} };
  const controller = new NewReno();
  // Acknowledged without a loss, a window doubles.
  while (controller.windowBytes < (options.windowBytes ?? 0)) controller.onAcked(controller.windowBytes, 0, false);
  const recovery = new Recovery({ rtt, controller, cargo, redundancy, size, nowUs: 0 });
  const outbound = new Outbound({
    streams,
    sendCredit: new SendCredit(DEFAULT_LIMITS.connectionWindowBytes),
    receiveCredit: new ReceiveCredit(DEFAULT_LIMITS.connectionWindowBytes),
    rtt,
  });
  const keys = { primitives, connectionId: ID, nowUs: 0 };
  const sender = new PacketSender({
    keys: new PacketKeys({ ...keys, sendSecret: SECRETS[0], receiveSecret: SECRETS[1] }),
    path,
    received,
    recovery,
    outbound,
    redundancy,
    size,
    liveness: new Liveness({ isClient: true, idleTimeoutUs: 60_000_000, timers, rtt, events, ping: () => {} }),
    timers,
    firstPacketNumber: options.firstPacketNumber,
    elicitingBytesMin: options.elicitingBytesMin ?? 0,
  });
  const opener = new PacketKeys({ ...keys, sendSecret: SECRETS[1], receiveSecret: SECRETS[0] });
  /** One datagram as the peer sees it; it must not be written beyond its end. */
  const open = (buffer: Uint8Array, bytes: number): Datagram => {
    assert(
      bytes <= size.bytes && buffer.subarray(bytes).every((byte) => byte === 0xee),
      "It wrote beyond its datagram",
    );
    const number = new DataView(buffer.buffer).getUint16(9) * 2 ** 32 + new DataView(buffer.buffer).getUint32(11);
    const payloadBytes = opener.open(buffer, bytes, number, 0, 0), cursor = new FrameCursor();
    assert(payloadBytes > 0);
    cursor.start(buffer, PROTECTED_HEADER_BYTES, PROTECTED_HEADER_BYTES + payloadBytes);
    const types: FrameType[] = [], data: Uint8Array[] = [];
    while (cursor.next()) {
      types.push(cursor.type);
      if (cursor.type === FrameType.Stream) data.push(cursor.data());
    }
    return { bytes, to: sender.to, types, data };
  };
  const transmit = (nowUs: number): Datagram | undefined => {
    const buffer = new Uint8Array(2000).fill(0xee), bytes = sender.transmit(buffer, nowUs);
    return bytes === 0 ? undefined : open(buffer, bytes);
  };
  const write = (bytes: number, priority: 0 | 1 | 2 = 1) => {
    const stream = streams.open(priority);
    outbound.write(stream, new Uint8Array(bytes), true);
    return stream;
  };
  return { sender, timers, path, received, recovery, outbound, streams, transmit, write, open };
}

Deno.test("PacketSender.transmit() sends nothing where there is nothing to say", () => {
  const { sender, transmit } = make();
  assert.equal(transmit(0), undefined);
  assert.deepEqual([sender.datagrams, sender.bytes, sender.nextPacketNumber], [0, 0, 0]);
});

Deno.test("PacketSender counts what it seals, and numbers rise", () => {
  const { sender, transmit, write } = make();
  write(100), transmit(0);
  write(100), transmit(0);
  assert.deepEqual([sender.datagrams, sender.nextPacketNumber], [2, 2]);
  assert(sender.bytes > 200);
});

Deno.test("PacketSender fills a datagram to its last byte, and no further", () => {
  for (const datagramBytes of [DATAGRAM_BYTES, DATAGRAM_BYTES_MAX]) {
    const { transmit, write } = make({ datagramBytes });
    write(20_000);
    const { bytes, data } = transmit(0)!;
    assert.equal(bytes, datagramBytes);
    assert(data[0]!.length > datagramBytes - PROTECTED_HEADER_BYTES - TAG_BYTES - 8);
  }
});

Deno.test("PacketSender lets an acknowledgement travel with what leaves anyway, in front", () => {
  const { timers, received, transmit, write } = make();
  received.add(0, true, 0);
  timers.set(Timer.Ack, received.dueUs);
  assert.equal(transmit(0), undefined, "alone it would wait");
  write(10);
  assert.deepEqual(transmit(0)!.types, [FrameType.Ack, FrameType.Stream]);
  assert.equal(timers.get(Timer.Ack), Infinity);
});

Deno.test("PacketSender sends an acknowledgement alone when it is due, and nobody waits for an answer to it", () => {
  const { received, recovery, transmit } = make();
  received.add(0, true, 0);
  assert.deepEqual(transmit(received.dueUs)!.types, [FrameType.Ack]);
  assert.deepEqual([recovery.bytesInFlight, recovery.deadlineUs], [0, Infinity]);
  assert.equal(transmit(10_000_000), undefined);
});

Deno.test("PacketSender: an acknowledgement leaves though the window is full, without data", () => {
  const { received, recovery, transmit, write } = make();
  write(100_000);
  while (transmit(0));
  assert(recovery.bytesInFlight > 10_000);
  received.add(5, true, 0);
  received.add(9, true, 0);
  const { types, bytes } = transmit(0)!;
  assert.deepEqual(types, [FrameType.Ack]);
  assert(bytes < 60);
});

Deno.test("PacketSender pads what asks for an answer, so that a server that forgot us can give one (SECURITY H4)", () => {
  const { outbound, received, transmit } = make({ elicitingBytesMin: RESETTABLE_BYTES_MIN });
  outbound.ping();
  const { bytes, types } = transmit(0)!;
  assert.equal(bytes, RESETTABLE_BYTES_MIN);
  assert.equal(types[0], FrameType.Ping);
  assert(types.slice(1).every((type) => type === FrameType.Padding));
  received.add(0, true, 0);
  assert(transmit(received.dueUs)!.bytes < RESETTABLE_BYTES_MIN, "an acknowledgement asks for none");
});

Deno.test("PacketSender asks for an acknowledgement by PING, in front of a STREAM frame that has no length", () => {
  const { transmit, write } = make();
  write(100_000);
  const asked: boolean[] = [];
  for (let sent = transmit(0); sent; sent = transmit(0)) {
    assert.equal(sent.types.at(-1), FrameType.Stream);
    asked.push(sent.types[0] === FrameType.Ping);
  }
  const count = asked.filter(Boolean).length;
  assert(count >= 3 && count <= 5, `${count} of ${asked.length} ask`);
});

Deno.test("PacketSender sends a probe though there is nothing to say", () => {
  const { timers, recovery, outbound, transmit } = make();
  // A small message would be sent once more; a PING has nothing that could be.
  outbound.ping(), transmit(0);
  const dueUs = timers.get(Timer.Loss);
  assert.equal(dueUs, recovery.deadlineUs);
  recovery.handleDeadline(dueUs);
  assert.deepEqual([transmit(dueUs)!.types, transmit(dueUs)!.types], [[FrameType.Ping], [FrameType.Ping]]);
  assert.equal(transmit(dueUs), undefined);
});

Deno.test("PacketSender sets the pacing timer for what may not leave yet", () => {
  const { timers, transmit, write } = make({ windowBytes: 200_000 });
  write(200_000);
  let sent = 0;
  while (transmit(0)) sent++;
  const atUs = timers.get(Timer.Pacing);
  assert(sent >= 10 && atUs > 0 && atUs < 50_000, `${sent} datagrams, then at ${atUs} µs`);
  assert(transmit(atUs));
});

Deno.test("PacketSender: path frames go alone, to where they are meant for, and are never in flight", () => {
  const { path, recovery, transmit, write } = make();
  path.onChallenge(new Uint8Array(8), AWAY);
  path.onElsewhere({ host: "192.0.2.3", port: 3 }, 100, true);
  write(10);
  const sent = [transmit(0)!, transmit(0)!, transmit(0)!];
  assert.deepEqual(sent.map(({ types, to }) => [types, to.host]), [
    [[FrameType.PathChallenge], "192.0.2.3"],
    [[FrameType.PathResponse], AWAY.host],
    [[FrameType.Stream], HOME.host],
  ]);
  assert.equal(recovery.bytesInFlight, sent[2]!.bytes);
});

Deno.test("PacketSender keeps packet numbers back to say goodbye with (SECURITY H2)", () => {
  const { sender, transmit, write, open } = make({ firstPacketNumber: PACKET_NUMBER_LIMIT - 17 });
  assert.equal(sender.isExhausted, false);
  write(10), assert(transmit(0));
  assert.equal(sender.isExhausted, true);
  const reason = { code: 1, reason: "Over", byPeer: false };
  let closes = 0;
  for (; closes < 100; closes++) {
    const buffer = new Uint8Array(2000).fill(0xee), bytes = sender.transmitClose(buffer, reason, 0);
    if (bytes === 0) break;
    assert.deepEqual(open(buffer, bytes).types, [FrameType.Close]);
  }
  assert.deepEqual([closes, sender.nextPacketNumber], [16, PACKET_NUMBER_LIMIT]);
});

Deno.test("PacketSender: whatever waits, no datagram is too long and none is empty", () => {
  const step = fc.record({
    bytes: fc.nat(3000),
    priority: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
    hint: fc.nat(1024),
    acks: fc.array(fc.nat(500), { maxLength: 20 }),
    waitUs: fc.nat(20_000),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 30 }), fc.boolean(), (steps, isClient) => {
    const { received, outbound, transmit, write } = make(isClient ? { elicitingBytesMin: RESETTABLE_BYTES_MIN } : {});
    let nowUs = 0;
    for (const { bytes, priority, hint, acks, waitUs } of steps) {
      write(bytes, priority), outbound.hint(new Uint8Array(hint));
      for (const number of acks) received.add(number, true, nowUs);
      nowUs += waitUs;
      for (let sent = transmit(nowUs); sent; sent = transmit(nowUs)) assert(sent.types.length > 0);
    }
  }));
});
