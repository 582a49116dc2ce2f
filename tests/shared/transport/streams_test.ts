import assert from "node:assert/strict";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import { DEFAULT_LIMITS } from "../../../shared/transport/mod.ts";
import type { Stream } from "../../../shared/transport/stream.ts";
import { Streams } from "../../../shared/transport/streams.ts";

const limits = (streamsOpenMax: number) => ({ ...DEFAULT_LIMITS, streamsOpenMax });
const code = (expected: number) => (error: unknown) => error instanceof TransportError && error.code === expected;

function end(stream: Stream): void {
  stream.recv.receiveReset(0);
  stream.send.reset(0);
  stream.send.onResetAcked();
}

Deno.test("Streams.open() counts in fours from the side's own number", () => {
  const client = new Streams("client", limits(10), limits(10)), server = new Streams("server", limits(10), limits(10));
  assert.deepEqual([client.open(1).id, client.open(1).id], [0, 4]);
  assert.deepEqual([server.open(1).id, server.open(1).id], [1, 5]);
});

Deno.test("Streams.fromPeer() makes a stream when something of it comes first, in any order, and forgets it for good", () => {
  const streams = new Streams("server", limits(10), limits(10));
  const third = streams.fromPeer(8)!;
  assert.equal(streams.isNew(third), true);
  assert.equal(streams.isNew(third), false);
  assert.equal(streams.fromPeer(8), third);
  assert.equal(streams.get(0), undefined, "Nothing of it came yet");
  const first = streams.fromPeer(0)!;
  assert.equal(streams.isNew(first), true);
  assert.equal(streams.retire(first), false);
  end(first);
  assert.equal(streams.retire(first), true);
  assert.equal(streams.fromPeer(0), undefined);
  assert.equal(streams.count, 1);
});

Deno.test("Streams.fromPeer() refuses streams of ours not yet opened, impossible ones, and too many", () => {
  const streams = new Streams("server", limits(3), limits(3));
  assert.throws(() => streams.fromPeer(1), code(CloseCode.streamState));
  assert.throws(() => streams.fromPeer(2), code(CloseCode.streamState));
  assert.throws(() => streams.fromPeer(2 ** 53 - 1), code(CloseCode.streamState));
  assert.ok(streams.fromPeer(8));
  assert.throws(() => streams.fromPeer(12), code(CloseCode.streamLimit));
  const own = streams.open(0);
  assert.equal(streams.fromPeer(1), own);
});

Deno.test("Streams.grant() makes room for as many as are over", () => {
  const streams = new Streams("server", limits(8), limits(8));
  for (let i = 0; i < 8; i++) streams.fromPeer(i * 4);
  end(streams.get(0)!);
  streams.retire(streams.get(0)!);
  assert.equal(streams.wantsGrant, false);
  end(streams.get(4)!);
  streams.retire(streams.get(4)!);
  assert.equal(streams.wantsGrant, true);
  assert.equal(streams.grant(), 10);
  assert.equal(streams.wantsGrant, false);
  assert.ok(streams.fromPeer(9 * 4));
});

Deno.test("Streams.raiseLimit() names the streams that waited, once", () => {
  const streams = new Streams("client", limits(2), limits(2));
  const opened = Array.from({ length: 5 }, () => streams.open(1));
  assert.deepEqual(opened.map((stream) => streams.maySend(stream)), [true, true, false, false, false]);
  const allowed: number[] = [];
  streams.raiseLimit(1, (stream) => allowed.push(stream.id));
  streams.raiseLimit(4, (stream) => allowed.push(stream.id));
  streams.raiseLimit(4, (stream) => allowed.push(stream.id));
  streams.raiseLimit(2 ** 50, (stream) => allowed.push(stream.id));
  assert.deepEqual(allowed, [8, 12, 16]);
});
