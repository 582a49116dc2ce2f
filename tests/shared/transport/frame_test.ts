import assert from "node:assert/strict";
import fc from "fast-check";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import {
  CONTROL_FRAME_BYTES_MAX,
  FrameCursor,
  FrameType,
  isAckEliciting,
  streamHeaderBytes,
  writeAck,
  writeBare,
  writeBlob,
  writeClose,
  writeLimit,
  writePath,
  writeResetStream,
  writeStreamHeader,
  writeStreamValue,
} from "../../../shared/transport/frame.ts";
import { RangeSet } from "../../../shared/transport/range_set.ts";

const number = fc.oneof(fc.nat(100), fc.nat(20_000), fc.nat(), fc.maxSafeNat());

function one(bytes: Uint8Array, end: number): FrameCursor {
  const cursor = new FrameCursor();
  cursor.start(bytes, 0, end);
  assert.ok(cursor.next());
  return cursor;
}

function isFrameEncoding(error: unknown): boolean {
  return error instanceof TransportError && error.code === CloseCode.frameEncoding;
}

Deno.test("STREAM survives the round trip, with and without its length", () => {
  fc.assert(fc.property(number, fc.nat(2 ** 40), fc.uint8Array({ maxLength: 50 }), fc.boolean(), fc.boolean(), (
    streamId,
    offset,
    data,
    fin,
    hasLength,
  ) => {
    const bytes = new Uint8Array(200);
    let at = writeStreamHeader(bytes, 3, { streamId, offset, length: hasLength ? data.length : undefined, fin });
    assert.equal(at - 3, streamHeaderBytes(streamId, offset) + (hasLength ? 1 : 0));
    bytes.set(data, at);
    at += data.length;
    const cursor = new FrameCursor();
    cursor.start(bytes, 3, at);
    assert.ok(cursor.next());
    assert.equal(cursor.type, FrameType.Stream);
    assert.deepEqual([cursor.streamId, cursor.offset, cursor.fin], [streamId, offset, fin]);
    assert.deepEqual(cursor.data(), data);
    assert.equal(cursor.next(), false);
  }));
});

Deno.test("Control frames survive the round trip within their size", () => {
  fc.assert(fc.property(number, number, number, (streamId, code, finalSize) => {
    const bytes = new Uint8Array(64);
    let end = writeResetStream(bytes, 0, { streamId, code, finalSize });
    assert.ok(end <= CONTROL_FRAME_BYTES_MAX);
    let frame = one(bytes, end);
    assert.deepEqual([frame.type, frame.streamId, frame.value, frame.offset], [
      FrameType.ResetStream,
      streamId,
      code,
      finalSize,
    ]);
    for (const type of [FrameType.StopSending, FrameType.MaxStreamData]) {
      end = writeStreamValue(bytes, 0, type, streamId, code);
      frame = one(bytes, end);
      assert.deepEqual([frame.type, frame.streamId, frame.value], [type, streamId, code]);
    }
    for (const type of [FrameType.MaxData, FrameType.MaxStreams]) {
      frame = one(bytes, writeLimit(bytes, 0, type, code));
      assert.deepEqual([frame.type, frame.value], [type, code]);
    }
  }));
});

Deno.test("Frames with bytes survive the round trip", () => {
  const bytes = new Uint8Array(300), data = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  for (const type of [FrameType.PathChallenge, FrameType.PathResponse]) {
    const frame = one(bytes, writePath(bytes, 0, type, data));
    assert.equal(frame.type, type);
    assert.deepEqual(frame.data(), data);
  }
  for (const type of [FrameType.Hint, FrameType.NewTicket]) {
    const frame = one(bytes, writeBlob(bytes, 0, type, data));
    assert.equal(frame.type, type);
    assert.deepEqual(frame.data(), data);
  }
  const frame = one(bytes, writeClose(bytes, 0, 0x20, data));
  assert.deepEqual([frame.type, frame.value], [FrameType.Close, 0x20]);
  assert.deepEqual(frame.data(), data);
});

Deno.test("writeAck() acknowledges the newest ranges that fit", () => {
  const range = fc.tuple(fc.integer({ min: 2, max: 3000 }), fc.integer({ min: 1, max: 3000 }));
  fc.assert(
    fc.property(fc.nat(2 ** 40), fc.array(range, { minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 120 }), (
      first,
      gaps,
      room,
    ) => {
      const received = new RangeSet();
      let at = first;
      for (const [gap, length] of gaps) {
        received.insert(at + gap, at + gap + length);
        at += gap + length;
      }
      const bytes = new Uint8Array(200);
      const end = writeAck(bytes, 5, 5 + room, received, 1234);
      assert.ok(end <= 5 + room);
      if (end === 5) {
        assert.ok(room < 30, "A single range always fits in 30 bytes");
        return;
      }
      const cursor = new FrameCursor();
      cursor.start(bytes, 5, end);
      assert.ok(cursor.next());
      assert.equal(cursor.value, 1234);
      for (let i = 0; i < cursor.rangeCount; i++) {
        const index = received.count - 1 - i;
        assert.deepEqual([cursor.ranges[i * 2], cursor.ranges[i * 2 + 1]], [
          received.end(index) - 1,
          received.start(index),
        ]);
      }
      assert.equal(cursor.next(), false);
    }),
  );
});

Deno.test("FrameCursor refuses every truncation", () => {
  const frames: [Uint8Array, number][] = [];
  const add = (write: (bytes: Uint8Array) => number) => {
    const bytes = new Uint8Array(100);
    frames.push([bytes, write(bytes)]);
  };
  const received = new RangeSet();
  received.insert(5, 10);
  received.insert(300, 500);
  add((bytes) => writeAck(bytes, 0, 100, received, 70_000));
  add((bytes) => writeResetStream(bytes, 0, { streamId: 400, code: 7, finalSize: 2 ** 33 }));
  add((bytes) => writeStreamValue(bytes, 0, FrameType.StopSending, 8, 9));
  add((bytes) => writeLimit(bytes, 0, FrameType.MaxData, 2 ** 20));
  add((bytes) => writePath(bytes, 0, FrameType.PathChallenge, new Uint8Array(8)));
  add((bytes) => writeBlob(bytes, 0, FrameType.Hint, new Uint8Array(9)));
  add((bytes) => writeClose(bytes, 0, 5, new Uint8Array(9)));
  add((bytes) => writeStreamHeader(bytes, 0, { streamId: 4, offset: 100, length: 10, fin: true }) + 10);
  for (const [bytes, end] of frames) {
    one(bytes, end);
    for (let cut = 1; cut < end; cut++) {
      assert.throws(() => one(bytes, cut), isFrameEncoding, `type ${bytes[0]} at ${cut}`);
    }
  }
});

Deno.test("FrameCursor refuses unknown types, ranges below zero, long reasons and streams beyond 2^53", () => {
  const refuse = (...bytes: number[]) => assert.throws(() => one(new Uint8Array(bytes), bytes.length), isFrameEncoding);
  refuse(0x03);
  refuse(0x0c);
  refuse(0x22);
  refuse(0x40, 0x50);
  refuse(0x02, 5, 0, 0, 6);
  refuse(0x02, 5, 0, 1, 3, 1, 0);
  refuse(0x02, 5, 0, 1, 0, 3, 1);
  refuse(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
  refuse(0x08, 0x00, 0xc0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
  refuse(0x1c, 0x00, 0x40, 201, ...new Array<number>(201).fill(0));
});

Deno.test("FrameCursor stays inside its input whatever it is", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(10), (bytes, start) => {
      const cursor = new FrameCursor(), end = Math.max(start, bytes.length - 5);
      if (end > bytes.length) return;
      cursor.start(bytes, start, end);
      let steps = 0;
      try {
        while (cursor.next()) {
          assert.ok(++steps <= 60);
          if (cursor.type === FrameType.Stream) assert.ok(cursor.dataStart >= start && cursor.dataEnd <= end);
          if (cursor.type === FrameType.Ack) assert.ok(cursor.rangeCount <= 30);
        }
      } catch (error) {
        assert.ok(isFrameEncoding(error));
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("isAckEliciting() is the last column of PROTOCOL.md §6", () => {
  const silent = [FrameType.Padding, FrameType.Ack, FrameType.Close];
  const all = Object.values(FrameType).filter((type): type is FrameType => typeof type === "number");
  for (const type of all) assert.equal(isAckEliciting(type), !silent.includes(type), FrameType[type]);
  const bytes = new Uint8Array(1);
  assert.equal(one(bytes, writeBare(bytes, 0, FrameType.Confirmed)).type, FrameType.Confirmed);
});
