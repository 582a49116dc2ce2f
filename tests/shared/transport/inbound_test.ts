import assert from "node:assert/strict";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import { STREAM_WINDOW_BYTES } from "../../../shared/limits.ts";
import { type ConnectionEvent, EventQueue } from "../../../shared/transport/events.ts";
import {
  DEFAULT_LIMITS,
  ReceiveCredit,
  SendCredit,
  type TransportLimits,
} from "../../../shared/transport/flow_control.ts";
import {
  FrameCursor,
  FrameType,
  writeLimit,
  writeResetStream,
  writeStreamHeader,
  writeStreamValue,
} from "../../../shared/transport/frame.ts";
import { Inbound } from "../../../shared/transport/inbound.ts";
import { Outbound } from "../../../shared/transport/outbound.ts";
import { RttEstimator } from "../../../shared/transport/rtt.ts";
import { SentPacket } from "../../../shared/transport/sent_packets.ts";
import { Streams } from "../../../shared/transport/streams.ts";

/** A server's streams, with everything that stands between them and a packet. */
function make(limits: Partial<TransportLimits> = {}) {
  const local = { ...DEFAULT_LIMITS, ...limits };
  const streams = new Streams("server", local, DEFAULT_LIMITS), events = new EventQueue();
  const receiveCredit = new ReceiveCredit(local.connectionWindowBytes);
  const sendCredit = new SendCredit(DEFAULT_LIMITS.connectionWindowBytes);
  const outbound = new Outbound({ streams, sendCredit, receiveCredit, rtt: new RttEstimator() });
  const inbound = new Inbound({ streams, receiveCredit, outbound, events });
  const handle = (write: (target: Uint8Array) => number): boolean => {
    const bytes = new Uint8Array(2000), cursor = new FrameCursor();
    cursor.start(bytes, 0, write(bytes));
    assert(cursor.next());
    return inbound.handle(cursor);
  };
  const stream = (streamId: number, offset: number, data: readonly number[], fin = false) =>
    handle((target) => {
      const at = writeStreamHeader(target, 0, { streamId, offset, length: data.length, fin });
      target.set(data, at);
      return at + data.length;
    });
  const reset = (streamId: number, code: number, finalSize: number) =>
    handle((target) => writeResetStream(target, 0, { streamId, code, finalSize }));
  const value = (type: FrameType, streamId: number, value: number) =>
    handle((target) => writeStreamValue(target, 0, type, streamId, value));
  const told = () => {
    const all: ConnectionEvent[] = [];
    for (let event = events.poll(); event; event = events.poll()) all.push(event);
    return all;
  };
  /** Frame types that leave now. */
  const leaving = () => {
    const packet = new SentPacket();
    outbound.fill(new Uint8Array(1200), 0, 1200, packet);
    return Array.from({ length: packet.frameCount }, (_, i) => packet.frames[i * 4]);
  };
  return { streams, inbound, outbound, handle, stream, reset, value, told, leaving };
}

const code = (expected: number) => (error: unknown) => error instanceof TransportError && error.code === expected;

Deno.test("Inbound tells of a stream, then once that there is something to read, until it was read", () => {
  const { inbound, stream, told } = make();
  stream(0, 0, [1, 2]), stream(0, 2, [3]);
  assert.deepEqual(told(), [{ type: "stream", id: 0 }, { type: "readable", id: 0 }]);
  stream(0, 3, [4]);
  assert.deepEqual(told(), []);
  const read: number[] = [];
  for (let chunk = inbound.read(0); chunk; chunk = inbound.read(0)) read.push(...chunk);
  assert.deepEqual(read, [1, 2, 3, 4]);
  stream(0, 4, [5]);
  assert.deepEqual(told(), [{ type: "readable", id: 0 }]);
});

Deno.test("Inbound waits for what is missing, and says that a stream is over only when all was read", () => {
  const { inbound, stream, told } = make();
  stream(4, 2, [3], true);
  assert.deepEqual(told(), [{ type: "stream", id: 4 }]);
  stream(4, 0, [1, 2]);
  assert.deepEqual(told(), [{ type: "readable", id: 4 }]);
  while (inbound.read(4));
  assert.deepEqual(told(), [{ type: "finished", id: 4 }]);
  stream(4, 0, [1, 2, 3], true);
  assert.deepEqual(told(), [], "a repeat is nothing new");
});

Deno.test("Inbound: an empty stream is over as soon as its end comes", () => {
  const { stream, told } = make();
  stream(0, 0, [], true);
  assert.deepEqual(told(), [{ type: "stream", id: 0 }, { type: "finished", id: 0 }]);
});

Deno.test("Inbound.takeRepeated() says once that nothing of a packet was new", () => {
  const { inbound, stream } = make();
  stream(0, 0, [1, 2]);
  assert.equal(inbound.takeRepeated(), false);
  stream(0, 0, [1, 2]);
  assert.equal(inbound.takeRepeated(), true);
  assert.equal(inbound.takeRepeated(), false);
  stream(0, 1, [2, 3]);
  assert.equal(inbound.takeRepeated(), false, "half of it was new");
  stream(0, 3, [], false);
  assert.equal(inbound.takeRepeated(), false, "a frame without data repeats nothing");
});

Deno.test("Inbound: a reset is told once, whatever else comes, and gives back the credit of what is not read", () => {
  const { stream, reset, told, leaving } = make({ connectionWindowBytes: 1000 });
  stream(0, 0, new Array(400).fill(7));
  told();
  reset(0, 9, 600);
  assert.deepEqual(told(), [{ type: "reset", id: 0, code: 9 }]);
  reset(0, 9, 600), stream(0, 0, [1]);
  assert.deepEqual(told(), []);
  assert.deepEqual(leaving(), [FrameType.MaxData]);
});

Deno.test("Inbound: who is asked to stop answers with a reset (RFC 9000 §3.5), and is told once", () => {
  const { inbound, streams, outbound, stream, value, told, leaving } = make();
  stream(0, 0, [1]);
  inbound.read(0);
  outbound.write(streams.get(0)!, new Uint8Array(50), false);
  told();
  value(FrameType.StopSending, 0, 5);
  assert.deepEqual(told(), [{ type: "reset", id: 0, code: 5 }]);
  assert.deepEqual(leaving(), [FrameType.ResetStream]);
  value(FrameType.StopSending, 0, 5);
  assert.deepEqual([told(), leaving()], [[], []]);
  assert.equal(outbound.bufferedBytes, 0);
});

Deno.test("Inbound.stop() asks the peer to stop, says nothing to us, and counts what still comes as read", () => {
  const { inbound, stream, told, leaving } = make({ connectionWindowBytes: 1000 });
  stream(0, 0, new Array(100).fill(1));
  told();
  inbound.stop(0, 3);
  assert.deepEqual(leaving(), [FrameType.StopSending]);
  stream(0, 100, new Array(300).fill(1), true);
  assert.deepEqual(told(), []);
  assert.equal(inbound.read(0), undefined);
  assert.deepEqual(leaving(), [FrameType.MaxData]);
});

Deno.test("Inbound grants a stream more when a quarter of its window was read, and no more once its end is known", () => {
  const { inbound, stream, leaving } = make({ streamWindowBytes: 1000 });
  stream(0, 0, new Array(249).fill(1));
  while (inbound.read(0));
  assert.deepEqual(leaving(), []);
  stream(0, 249, [1]);
  while (inbound.read(0));
  assert.deepEqual(leaving(), [FrameType.MaxStreamData]);
  assert.deepEqual(leaving(), []);
  stream(0, 250, new Array(500).fill(1), true);
  while (inbound.read(0));
  assert.deepEqual(leaving(), []);
});

Deno.test("Inbound: MAX_DATA, MAX_STREAM_DATA and MAX_STREAMS let what waits go", () => {
  const { streams, outbound, handle, value, leaving } = make();
  const local = streams.open(1), data = new Uint8Array(STREAM_WINDOW_BYTES + 10);
  outbound.write(local, data, true);
  for (let sent = 0; local.send.credit.available > 0; sent++) {
    assert(sent < 1000);
    leaving();
  }
  assert.deepEqual(leaving(), []);
  value(FrameType.MaxStreamData, local.id, STREAM_WINDOW_BYTES + 10);
  assert.equal(leaving().length, 1);
  let late = streams.open(1);
  while (streams.maySend(late)) late = streams.open(1);
  outbound.write(late, new Uint8Array(1), true);
  assert.deepEqual(leaving(), []);
  handle((target) => writeLimit(target, 0, FrameType.MaxStreams, 1000));
  assert.equal(leaving().length, 1);
});

Deno.test("Inbound: a peer that breaks a rule of streams or credit is told which", () => {
  assert.throws(() => make().stream(1, 0, [1]), code(CloseCode.streamState), "ours, and not opened");
  assert.throws(() => make().stream(2, 0, [1]), code(CloseCode.streamState), "nobody's");
  assert.throws(() => make({ streamsOpenMax: 2 }).stream(8, 0, [1]), code(CloseCode.streamLimit));
  assert.throws(() => make({ streamWindowBytes: 9 }).stream(0, 9, [1]), code(CloseCode.flowControl));
  assert.throws(() => make({ connectionWindowBytes: 9 }).stream(0, 9, [1]), code(CloseCode.flowControl));
  assert.throws(() => make({ connectionWindowBytes: 9 }).reset(0, 0, 10), code(CloseCode.flowControl));
  const { stream, reset } = make();
  stream(0, 0, [1, 2, 3], true);
  assert.throws(() => stream(0, 3, [4]), code(CloseCode.finalSize));
  assert.throws(() => reset(0, 0, 2), code(CloseCode.finalSize));
});

Deno.test("Inbound.handle() leaves to others what is not about streams", () => {
  const { handle } = make();
  assert.equal(
    handle((target) => {
      target[0] = FrameType.Ping;
      return 1;
    }),
    false,
  );
});
