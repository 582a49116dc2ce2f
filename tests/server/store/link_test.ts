import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import fc from "fast-check";
import { FRAME_BYTES_MAX, FrameBuffer, FrameKind, Link } from "../../../server/store/link.ts";
import { DecodeError, type Reader } from "../../../shared/codec/mod.ts";

Deno.test("FrameBuffer cuts any stream into its frames, however it arrives", () => {
  const size = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 60_000, max: 200_000 }));
  fc.assert(
    fc.property(
      fc.array(size, { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 20 }),
      (sizes, steps) => {
        const frames = sizes.map((length, at) => new Uint8Array(length).fill(at + 1));
        const stream = concat(frames.flatMap((frame) => [lengthOf(frame.length), frame]));
        const buffer = new FrameBuffer(), found: Uint8Array[] = [];
        for (let at = 0, step = 0; at < stream.length; step++) {
          const room = buffer.room();
          assert.ok(room.length > 0);
          const count = Math.min(room.length, steps[step % steps.length]!, stream.length - at);
          room.set(stream.subarray(at, at += count));
          buffer.filled(count);
          for (let frame = buffer.next(); frame !== undefined; frame = buffer.next()) found.push(frame.slice());
        }
        assert.deepEqual(found, frames);
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("FrameBuffer.next() refuses a length out of bounds before anything is kept for it", () => {
  for (const length of [0, FRAME_BYTES_MAX + 1, 0xffff_ffff]) {
    const buffer = new FrameBuffer();
    buffer.room().set(lengthOf(length));
    buffer.filled(4);
    assert.throws(() => buffer.next(), DecodeError);
  }
});

Deno.test("Link carries frames both ways in order, large ones too, and ends at both ends", async () => {
  await linked(async ([one, two]) => {
    const sizes = [0, 1, 100_000, 3_000_000, 5];
    for (const end of [one, two]) {
      for (const [at, size] of sizes.entries()) {
        end.link.send(FrameKind.Request, (writer) => {
          writer.u8(at);
          writer.bytes(new Uint8Array(size).fill(at));
        });
      }
    }
    await Promise.all([one.until(sizes.length), two.until(sizes.length)]);
    for (const { frames } of [one, two]) {
      assert.deepEqual(frames.map(({ bytes }) => [bytes[0], bytes.length - 1]), [...sizes.entries()]);
      assert.ok(
        frames.every(({ kind, bytes }) => kind === FrameKind.Request && bytes.every((byte) => byte === bytes[0])),
      );
    }
    one.link.close();
    assert.equal(await two.closed, undefined);
    assert.equal(await one.closed, undefined);
    two.link.send(FrameKind.Request, (writer) => writer.u8(1));
  });
});

Deno.test("Link.send() that fails in its midst sends nothing of it", async () => {
  await linked(async ([one, two]) => {
    one.link.send(FrameKind.Request, (writer) => writer.u8(1));
    assert.throws(
      () =>
        one.link.send(FrameKind.Request, (writer) => {
          writer.u8(2);
          throw new TypeError("Broken in its midst");
        }),
      TypeError,
    );
    one.link.send(FrameKind.Request, (writer) => writer.u8(3));
    await two.until(2);
    assert.deepEqual(two.frames.map(({ bytes }) => [...bytes]), [[1], [3]]);
  });
});

Deno.test("Link closes when a frame breaks its schema, and when the peer does not read", async () => {
  await linked(async ([one, two]) => {
    two.refuse = true;
    one.link.send(FrameKind.Request, (writer) => writer.u8(1));
    assert.ok(await two.closed instanceof DecodeError);
    await one.closed;
  });
  await linked(async ([one, two]) => {
    two.link.pause();
    const megabyte = new Uint8Array(1 << 20);
    // The socket takes some; the rest waits here, up to a bound.
    for (let sent = 0; sent < 200 && !one.link.closed; sent++) {
      one.link.send(FrameKind.Committed, (writer) => writer.bytes(megabyte));
    }
    assert.ok(one.link.closed);
    assert.match(String(await one.closed), /waiting/);
  });
});

Deno.test("Link.pause() leaves frames in the stream until resume()", async () => {
  await linked(async ([one, two]) => {
    two.pauseAfterEach = true;
    for (let at = 0; at < 5; at++) one.link.send(FrameKind.Announce, (writer) => writer.u8(at));
    for (let count = 1; count <= 5; count++) {
      await two.until(count);
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(two.frames.length, count);
      two.link.resume();
    }
  });
});

Deno.test("Link.flushed() resolves when everything has left", async () => {
  await linked(async ([one, two]) => {
    await one.link.flushed();
    for (let at = 0; at < 50; at++) one.link.send(FrameKind.Announce, (writer) => writer.bytes(new Uint8Array(10_000)));
    await one.link.flushed();
    one.link.close();
    await two.closed;
    assert.equal(two.frames.length, 50);
  });
});

/** One end of a link and what it received. */
class End {
  readonly link: Link;
  readonly frames: { kind: FrameKind; bytes: Uint8Array }[] = [];
  readonly closed: Promise<unknown>;
  refuse = false;
  pauseAfterEach = false;
  #arrived = Promise.withResolvers<void>();

  constructor(stream: Deno.Conn) {
    const closed = Promise.withResolvers<unknown>();
    this.closed = closed.promise;
    this.link = new Link(stream, {
      onFrame: (kind: FrameKind, reader: Reader) => {
        if (this.refuse) throw new DecodeError("Refused");
        this.frames.push({ kind, bytes: reader.bytes(reader.remaining) });
        if (this.pauseAfterEach) this.link.pause();
        this.#arrived.resolve();
      },
      onClosed: closed.resolve,
    });
    this.link.start();
  }

  async until(count: number): Promise<void> {
    while (this.frames.length < count) {
      await this.#arrived.promise;
      this.#arrived = Promise.withResolvers<void>();
    }
  }
}

async function linked(run: (ends: [End, End]) => Promise<void>): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [stream, accepted] = await Promise.all([Deno.connect({ port: listener.addr.port }), listener.accept()]);
  listener.close();
  const ends: [End, End] = [new End(stream), new End(accepted)];
  try {
    await run(ends);
  } finally {
    for (const { link } of ends) link.close();
    await Promise.all(ends.map(({ closed }) => closed));
  }
}

function lengthOf(length: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, length);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}
