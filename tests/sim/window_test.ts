/** Flow-control windows in virtual time: they grow for readers that keep up, for nobody else, and never make small change. */
import assert from "node:assert/strict";
import { CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAM_WINDOW_BYTES_MAX } from "../../shared/limits.ts";
import { Pair, type PairOptions } from "./pair.ts";

const DELAY_US = 20_000;

function connect(options: PairOptions = {}): Pair {
  const pair = new Pair({ toServer: { delayUs: DELAY_US }, toClient: { delayUs: DELAY_US }, ...options });
  assert.ok(pair.run(() => pair.client.has("confirmed") && pair.server.has("confirmed"), 5_000_000));
  return pair;
}

/** Bytes that the server holds and nobody has read. */
function unread(pair: Pair, ids: readonly number[]): number {
  const sent = ids.reduce((sum, id) => sum + pair.server.inbox(id).bytes, 0);
  return pair.client.connection.bufferedBytes === 0 ? 0 : pair.server.connection.stats.bytesReceived - sent;
}

/** Reads so many bytes a second from now on, a piece every millisecond. */
function readSlowly(pair: Pair, id: number, bytesPerSecond: number, seconds: number): void {
  const before = pair.server.inbox(id).bytes;
  for (let ms = 0; ms < seconds * 1000; ms++) {
    while (pair.server.inbox(id).bytes - before < bytesPerSecond * ms / 1000) {
      const chunk = pair.server.connection.read(id);
      if (chunk === undefined) break;
      pair.server.inbox(id).bytes += chunk.length;
    }
    pair.sleep(1_000);
  }
}

Deno.test("a link of 100 Mbit/s and 40 ms is used, though a stream begins with a window of 256 KiB", () => {
  const link = { delayUs: DELAY_US, bitsPerSecond: 100_000_000, queuePackets: 400 };
  const pair = connect({ toServer: link });
  const id = pair.client.connection.openStream(), startUs = pair.nowUs, bytes = 20_000_000;
  pair.client.connection.write(id, new Uint8Array(bytes), true);
  assert.ok(pair.run(() => pair.server.inbox(id).finished));
  const mbits = bytes * 8 / (pair.nowUs - startUs);
  assert.ok(mbits > 75, `${mbits.toFixed(1)} Mbit/s`);
});

Deno.test("a slow reader keeps the window that it began with, and so does its sender's data in our memory", () => {
  const pair = connect();
  pair.server.reads = false;
  const { connection } = pair.client, id = connection.openStream();
  connection.write(id, new Uint8Array(8 << 20));
  let heldMax = 0;
  for (let second = 0; second < 10; second++) {
    readSlowly(pair, id, 500_000, 1);
    heldMax = Math.max(heldMax, unread(pair, [id]));
  }
  assert.ok(pair.server.inbox(id).bytes > 4_500_000, `${pair.server.inbox(id).bytes} bytes were read`);
  // Headers and acknowledgements of five megabytes are in what came, too.
  assert.ok(heldMax < STREAM_WINDOW_BYTES + 0.06 * pair.server.inbox(id).bytes, `${heldMax} bytes waited`);
});

Deno.test("a reader that was quick and stops holds half of the connection's window, and the others go on", () => {
  const pair = connect();
  const { connection } = pair.client, stopped = connection.openStream(), other = connection.openStream();
  connection.write(stopped, new Uint8Array(40_000_000));
  pair.sleep(2_000_000);
  assert.ok(pair.server.inbox(stopped).bytes > 10_000_000);
  pair.server.reads = false;
  pair.sleep(1_000_000);
  const heldBefore = pair.server.connection.stats.bytesReceived, readBefore = pair.server.inbox(stopped).bytes;
  connection.write(other, new Uint8Array(4_000_000), true);
  const readOther = () => {
    pair.server.read(other);
    return pair.server.inbox(other).finished;
  };
  assert.ok(pair.run(readOther, 20_000_000), "the other stream stands still");
  assert.equal(pair.server.inbox(stopped).bytes, readBefore);
  const came = pair.server.connection.stats.bytesReceived - heldBefore;
  assert.ok(came < 4_000_000 * 1.1, `${came} bytes came, of which 4 MB were read`);
  let held = 0;
  for (let chunk = pair.server.connection.read(stopped); chunk; chunk = pair.server.connection.read(stopped)) {
    held += chunk.length;
  }
  assert.ok(held > STREAM_WINDOW_BYTES && held <= STREAM_WINDOW_BYTES_MAX, `${held} bytes waited`);
});

Deno.test("a stranger's streams never hold more than what its connection is granted", () => {
  const connectionWindowBytes = 64 << 10;
  const pair = connect({ serverLimits: { connectionWindowBytes } });
  const { connection } = pair.client, quick = connection.openStream();
  connection.write(quick, new Uint8Array(2_000_000));
  pair.sleep(3_000_000);
  pair.server.reads = false;
  const read = pair.server.inbox(quick).bytes;
  pair.sleep(5_000_000);
  let held = 0;
  for (let chunk = pair.server.connection.read(quick); chunk; chunk = pair.server.connection.read(quick)) {
    held += chunk.length;
  }
  assert.ok(read > 500_000 && held <= connectionWindowBytes, `${held} bytes waited`);
  assert.ok(connectionWindowBytes < CONNECTION_WINDOW_BYTES);
});

for (
  const [name, limits] of [
    ["stream", { streamWindowBytes: 6_000 }],
    ["connection", { connectionWindowBytes: 6_000 }],
  ] as const
) {
  Deno.test(`a small ${name} window that is read in crumbs is not granted in crumbs (RFC 9293 §3.8.6.2)`, () => {
    const pair = connect({ serverLimits: limits });
    pair.server.reads = false;
    const { connection } = pair.client, id = connection.openStream(), bytes = 300_000;
    connection.write(id, new Uint8Array(bytes), true);
    const before = connection.stats.datagramsSent;
    const grantsBefore = pair.server.connection.stats.datagramsSent;
    // Whatever comes is read a packet at a time, which is the smallest piece there is.
    for (let ms = 0; ms < 60_000 && pair.server.inbox(id).bytes < bytes; ms++) {
      pair.server.inbox(id).bytes += pair.server.connection.read(id)?.length ?? 0;
      pair.sleep(1_000);
    }
    assert.equal(pair.server.inbox(id).bytes, bytes);
    const bytesEach = bytes / (connection.stats.datagramsSent - before);
    assert.ok(bytesEach > 500, `${bytesEach.toFixed(0)} bytes in each datagram`);
    const bytesEachGrant = bytes / (pair.server.connection.stats.datagramsSent - grantsBefore);
    assert.ok(bytesEachGrant > 500, `${bytesEachGrant.toFixed(0)} bytes for each datagram that comes back`);
  });
}
