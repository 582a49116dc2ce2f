import assert from "node:assert/strict";
import fc from "fast-check";
import { HINTS_QUEUED_MAX } from "../../../shared/limits.ts";
import {
  DEFAULT_LIMITS,
  ReceiveCredit,
  SendCredit,
  type TransportLimits,
} from "../../../shared/transport/flow_control.ts";
import { FrameCursor, FrameType } from "../../../shared/transport/frame.ts";
import { Outbound } from "../../../shared/transport/outbound.ts";
import { RttEstimator } from "../../../shared/transport/rtt.ts";
import { SentPacket } from "../../../shared/transport/sent_packets.ts";
import { Streams } from "../../../shared/transport/streams.ts";

const PACKET_BYTES = 1000;

interface Sent {
  readonly packet: SentPacket;
  readonly frames: {
    type: FrameType;
    streamId: number;
    offset: number;
    fin: boolean;
    value: number;
    data: Uint8Array;
  }[];
}

function make(remote: Partial<TransportLimits> = {}) {
  const limits = { ...DEFAULT_LIMITS, ...remote };
  const streams = new Streams("client", DEFAULT_LIMITS, limits);
  const receiveCredit = new ReceiveCredit(1000), sendCredit = new SendCredit(limits.connectionWindowBytes);
  const outbound = new Outbound({ streams, sendCredit, receiveCredit, rtt: new RttEstimator() });
  const fill = (bytes = PACKET_BYTES): Sent => {
    const target = new Uint8Array(bytes + 1).fill(0xee), packet = new SentPacket(), cursor = new FrameCursor();
    const end = outbound.fill(target, 0, bytes, packet), frames: Sent["frames"] = [];
    assert.equal(target[bytes], 0xee, "It wrote beyond its limit");
    cursor.start(target, 0, end);
    while (cursor.next()) {
      const { type, streamId, offset, fin, value } = cursor;
      const hasData = type === FrameType.Stream || type === FrameType.Hint || type === FrameType.NewTicket;
      frames.push({ type, streamId, offset, fin, value, data: hasData ? cursor.data() : new Uint8Array(0) });
    }
    assert.equal(packet.frameCount, frames.length, "Every frame is noted");
    return { packet, frames };
  };
  const types = () => fill().frames.map(({ type }) => type);
  return { streams, outbound, receiveCredit, fill, types };
}

Deno.test("Outbound has no work at first, and none when all has left", () => {
  const { streams, outbound, fill } = make();
  assert.equal(outbound.hasWork, false);
  const stream = streams.open(1);
  outbound.write(stream, new Uint8Array(10), true);
  assert.equal(outbound.hasWork, true);
  const { frames } = fill();
  assert.deepEqual(frames.map(({ type, offset, fin, data }) => [type, offset, fin, data.length]), [
    [FrameType.Stream, 0, true, 10],
  ]);
  assert.deepEqual([outbound.hasWork, outbound.bufferedBytes, fill().frames], [false, 10, []]);
});

Deno.test("Outbound puts what is about the connection first, then hints, then streams by priority", () => {
  const { streams, outbound, receiveCredit, fill } = make();
  const [bulk, chat] = [streams.open(2), streams.open(0)];
  outbound.write(bulk, new Uint8Array(10), false), outbound.write(chat, new Uint8Array(10), false);
  outbound.hint(new Uint8Array(3));
  outbound.ticket(new Uint8Array(20));
  receiveCredit.receive(500), receiveCredit.consume(500);
  outbound.ping();
  assert.deepEqual(fill().frames.map(({ type, streamId }) => type === FrameType.Stream ? streamId : -type), [
    ...[FrameType.Ping, FrameType.MaxData, FrameType.NewTicket, FrameType.Hint].map((type) => -type),
    chat.id,
    bulk.id,
  ]);
});

Deno.test("Outbound lets streams of one priority take turns", () => {
  const { streams, outbound, fill } = make();
  const both = [streams.open(1), streams.open(1)];
  for (const stream of both) outbound.write(stream, new Uint8Array(3000), false);
  assert.deepEqual([1, 2, 3, 4].map(() => fill().frames[0]!.streamId), [0, 4, 0, 4]);
});

Deno.test("Outbound says a limit once, with its newest value, and again where that was lost", () => {
  const { outbound, receiveCredit, fill } = make();
  receiveCredit.receive(300), receiveCredit.consume(300);
  receiveCredit.receive(300), receiveCredit.consume(300);
  const { packet, frames } = fill();
  assert.deepEqual(frames.map(({ type, value }) => [type, value]), [[FrameType.MaxData, 1600]]);
  assert.deepEqual(fill().frames, []);
  receiveCredit.receive(100), receiveCredit.consume(100);
  outbound.onLost(packet);
  assert.deepEqual(fill().frames.map(({ value }) => value), [1700]);
});

Deno.test("Outbound.ticket() replaces one that has not arrived, and never repeats the older one", () => {
  const { outbound, fill, types } = make();
  outbound.ticket(new Uint8Array([1]));
  const first = fill().packet;
  outbound.ticket(new Uint8Array([2]));
  const second = fill();
  assert.deepEqual(second.frames[0]!.data, new Uint8Array([2]));
  outbound.onLost(first);
  assert.deepEqual(types(), []);
  outbound.onLost(second.packet);
  const third = fill();
  assert.deepEqual(third.frames[0]!.data, new Uint8Array([2]));
  outbound.onAcked(third.packet, () => {});
  outbound.onLost(second.packet);
  assert.deepEqual(types(), []);
});

Deno.test("Outbound.hint() drops the oldest of too many, and sends none twice", () => {
  const { outbound, fill, types } = make();
  for (let i = 0; i <= HINTS_QUEUED_MAX; i++) outbound.hint(new Uint8Array([i]));
  const { packet, frames } = fill();
  assert.equal(frames.length, HINTS_QUEUED_MAX);
  assert.deepEqual(frames[0]!.data, new Uint8Array([1]));
  outbound.onLost(packet);
  assert.deepEqual(types(), []);
});

Deno.test("Outbound: a hint that does not fit waits for the next packet and holds nothing up", () => {
  const { streams, outbound, fill } = make();
  outbound.hint(new Uint8Array(990));
  outbound.write(streams.open(1), new Uint8Array(40), false);
  assert.deepEqual(fill(500).frames.map(({ type }) => type), [FrameType.Stream]);
  assert.deepEqual(fill().frames.map(({ type }) => type), [FrameType.Hint]);
});

Deno.test("Outbound sets a stream aside that only waits for the connection's credit, and takes it up again", () => {
  const { streams, outbound, types } = make({ connectionWindowBytes: 100 });
  const stream = streams.open(1);
  outbound.write(stream, new Uint8Array(150), false);
  assert.deepEqual([types(), types(), outbound.hasWork], [[FrameType.Stream], [], false]);
  outbound.raiseCredit(100);
  assert.equal(outbound.hasWork, false, "that is what it had");
  outbound.raiseCredit(120);
  assert.deepEqual(types(), [FrameType.Stream]);
});

Deno.test("Outbound sends what was lost without new credit, but not what came another way", () => {
  const { streams, outbound, fill } = make({ connectionWindowBytes: 100 });
  const stream = streams.open(1);
  outbound.write(stream, new Uint8Array(100), true);
  const first = fill();
  outbound.onLost(first.packet);
  const second = fill();
  assert.deepEqual(second.frames.map(({ offset, data, fin }) => [offset, data.length, fin]), [[0, 100, true]]);
  let done = 0;
  outbound.onAcked(second.packet, () => done++);
  outbound.onLost(first.packet);
  assert.deepEqual([fill().frames, done, outbound.bufferedBytes], [[], 1, 0]);
});

Deno.test("Outbound.reset() gives up what waits and says so until it is heard", () => {
  const { streams, outbound, fill, types } = make();
  const stream = streams.open(1);
  outbound.write(stream, new Uint8Array(5000), false);
  const data = fill();
  outbound.reset(stream, 7);
  assert.equal(outbound.bufferedBytes, 0);
  const { packet, frames } = fill();
  assert.deepEqual(frames.map(({ type, value, offset }) => [type, value, offset]), [
    [FrameType.ResetStream, 7, stream.send.sentBytes],
  ]);
  outbound.onLost(data.packet);
  assert.deepEqual(types(), []);
  outbound.onLost(packet);
  assert.deepEqual(types(), [FrameType.ResetStream]);
  outbound.onAcked(packet, () => {});
  outbound.onLost(packet);
  assert.deepEqual(types(), []);
});

Deno.test("Outbound: whatever is written, lost and acknowledged, every byte arrives in some packet", () => {
  const step = fc.record({
    write: fc.nat(600),
    stream: fc.nat(3),
    room: fc.integer({ min: 60, max: PACKET_BYTES }),
    fate: fc.constantFrom("acked", "lost", "late"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { streams, outbound, fill } = make();
      const open = [0, 1, 2, 3].map((i) => streams.open(i % 3 as 0 | 1 | 2));
      const written = open.map(() => 0), got = open.map(() => new Set<number>()), late: Sent[] = [];
      const arrive = (sent: Sent) => {
        for (const { type, streamId, offset, data } of sent.frames) {
          assert.equal(type, FrameType.Stream);
          for (let i = 0; i < data.length; i++) {
            assert.equal(data[i], (offset + i) % 251);
            got[streamId / 4]!.add(offset + i);
          }
        }
        outbound.onAcked(sent.packet, () => {});
      };
      for (const { write, stream, room, fate } of steps) {
        const from = written[stream]!;
        outbound.write(open[stream]!, Uint8Array.from({ length: write }, (_, i) => (from + i) % 251), false);
        written[stream] = from + write;
        const sent = fill(room);
        if (fate === "acked") arrive(sent);
        else {
          outbound.onLost(sent.packet);
          if (fate === "late") late.push(sent);
        }
      }
      for (const sent of late) arrive(sent);
      for (let sent = fill(); sent.frames.length > 0; sent = fill()) arrive(sent);
      assert.deepEqual(got.map(({ size }) => size), written);
      assert.equal(outbound.bufferedBytes, 0);
    }),
    { numRuns: 200 },
  );
});
