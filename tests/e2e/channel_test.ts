/** Channels over real sockets, through a bad network, among noise, and at the end of a server's life. */
import assert from "node:assert/strict";
import { CloseCode } from "../../shared/errors.ts";
import { type Channel, type ChannelServer, connect, type ConnectResult, openUdp } from "../../shared/net/mod.ts";
import { PacketBuffers } from "../../shared/net/packet_buffers.ts";
import { Relay, type RelayOptions } from "../relay.ts";
import { pattern, until, watch } from "../shared/net/channel_contract.ts";
import { answerLocates, connectTo, listen, locateAt, locatedAt, primitives } from "../shared/net/cluster.ts";
import { Prng } from "../sim/prng.ts";
import { onceOf } from "./harness.ts";

/** A server that sends everything back, and a client of it that came through a relay. */
async function throughRelay(faults: RelayOptions) {
  const server = await listen(echo);
  const relay = new Relay(faults);
  const client = await connectTo(relay.map("127.0.0.1", server.address.port));
  return { server, relay, client, end: () => end(server, client, relay) };
}

function echo(channel: Channel): void {
  channel.handler = {
    onStream(stream) {
      stream.handler = { onMessage: (message) => stream.send(message), onFinish: () => stream.finish() };
    },
    onClose() {},
  };
}

async function end(server: ChannelServer, client: ConnectResult, relay?: Relay): Promise<void> {
  client.channel.handler ??= { onStream() {}, onClose() {} };
  client.channel.close(0, "");
  await client.ended;
  await server.close(0, "");
  relay?.close();
}

Deno.test("1 MiB each way through 10 % loss, 5 % duplicates and 10 % reordering", async () => {
  const faults = { delayMs: 2, loss: 0.1, duplicate: 0.05, reorder: 0.1, seed: 21 };
  const { client, relay, end } = await throughRelay(faults);
  const seen = watch(client.channel);
  const stream = seen.own(client.channel.openStream());
  const message = pattern(1 << 20);
  stream.send(message), stream.finish();
  await until(() => seen.of(stream.id).finished, 120_000);
  assert.equal(seen.of(stream.id).messages.length, 1);
  assert.deepEqual(seen.of(stream.id).messages[0], message);
  assert(relay.up.counters.lost > 0 && relay.down.counters.lost > 0);
  assert(relay.up.counters.duplicated > 0 && relay.up.counters.reordered > 0);
  await end();
});

Deno.test("1,000 messages in ten streams through loss, duplication and reordering: once each, in order", async () => {
  const faults = { delayMs: 20, loss: 0.1, duplicate: 0.05, reorder: 0.1, seed: 22, record: true };
  const { client, relay, end } = await throughRelay(faults);
  const seen = watch(client.channel);
  const streams = Array.from({ length: 10 }, () => seen.own(client.channel.openStream()));
  const text = (i: number) => new TextEncoder().encode(`the plaintext of message ${i}`);
  for (let i = 0; i < 1000; i++) streams[i % 10]!.send(text(i));
  await until(() => streams.every(({ id }) => seen.of(id).messages.length === 100));
  for (const [k, { id }] of streams.entries()) {
    assert.deepEqual(seen.of(id).messages, Array.from({ length: 100 }, (_, n) => text(n * 10 + k)));
  }
  const recorded = relay.recorded.map(({ bytes }) => new TextDecoder("latin1").decode(bytes));
  assert(recorded.length > 40 && recorded.every((payload) => !payload.includes("plaintext")));
  await end();
});

Deno.test("a connection survives that its client's source port changes", async () => {
  const { server, client, relay, end } = await throughRelay({});
  const seen = watch(client.channel);
  const stream = seen.own(client.channel.openStream());
  stream.send(pattern(10));
  await until(() => seen.of(stream.id).messages.length === 1);
  const [channel] = server.channels;
  const before = channel!.peer.port;
  relay.rebind();
  for (let i = 2; i < 20; i++) {
    stream.send(pattern(10));
    await until(() => seen.of(stream.id).messages.length === i);
  }
  assert.notEqual(channel!.peer.port, before);
  await end();
});

Deno.test("what is written in one turn of the event loop shares datagrams, and buffers come back", async () => {
  const server = await listen(echo);
  const client = await connectTo(server.address);
  const seen = watch(client.channel);
  const streams = Array.from({ length: 5 }, () => seen.own(client.channel.openStream()));
  const warm = seen.own(client.channel.openStream());
  warm.send(pattern(1));
  await until(() => seen.of(warm.id).messages.length === 1 && client.channel.bufferedBytes === 0);
  let rounds = 0;
  // An acknowledgement or a probe that is due may leave in the same turn: not in each of them.
  await onceOf(5, async () => {
    const before = client.channel.stats.datagramsSent;
    rounds++;
    await Promise.all(streams.map((stream) => Promise.resolve().then(() => stream.send(pattern(200)))));
    await new Promise((resolve) => setImmediate(resolve));
    const sent = client.channel.stats.datagramsSent - before;
    await until(() => streams.every(({ id }) => seen.of(id).messages.length === rounds));
    assert.equal(sent, 1);
  });
  await end(server, client);
  await until(() => PacketBuffers.of(primitives).taken === 0);
});

Deno.test("LOCATE, handshake and channel through one relay that rewrites LOCATED", async () => {
  const server = await listen(echo);
  const balancer = answerLocates(server.address);
  const relay = new Relay({ rewriteLocated: true, delayMs: 2 });
  const located = await locateAt(relay.map("127.0.0.1", balancer.address.port));
  assert.notEqual(located.port, server.address.port);
  const client = await connect({ located, timeoutMs: 60_000, primitives });
  const seen = watch(client.channel);
  const stream = seen.own(client.channel.openStream());
  stream.send(pattern(5));
  await until(() => seen.of(stream.id).messages.length === 1);
  // What ACCEPT brought is enough to come again without the balancer.
  balancer.close();
  const again = await connect({ located: { ...located, token: client.addressToken }, timeoutMs: 60_000, primitives });
  assert.equal(server.stats.endpoint.retries, 0);
  again.channel.handler = { onStream() {}, onClose() {} };
  again.channel.close(0, "");
  await again.ended;
  await end(server, client, relay);
});

Deno.test("10,000 random, truncated and mutated datagrams at a server, while a channel talks", async () => {
  const { server, client, relay, end } = await throughRelay({ record: true });
  const seen = watch(client.channel);
  const stream = seen.own(client.channel.openStream());
  for (let i = 0; i < 20; i++) stream.send(pattern(i));
  await until(() => seen.of(stream.id).messages.length === 20);
  const samples = relay.recorded.map(({ bytes }) => bytes);
  const prng = new Prng(23);
  const heard: number[] = [];
  const noise = openUdp({ host: "127.0.0.1", port: 0, onDatagram: (bytes) => void heard.push(bytes.length) });
  let sentBytes = 0;
  for (let i = 0; i < 10_000; i++) {
    const bytes = distort(prng, prng.pick(samples));
    sentBytes += bytes.length;
    noise.first.send(bytes, server.address, () => {});
    if (i % 50 !== 0) continue;
    stream.send(pattern(20 + i / 50));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await until(() => seen.of(stream.id).messages.length === 220);
  assert.deepEqual(seen.of(stream.id).messages, Array.from({ length: 220 }, (_, i) => pattern(i)));
  assert(server.stats.udp.received > 5_000, `${server.stats.udp.received} datagrams got there`);
  assert.equal(server.connections, 1);
  assert(heard.reduce((sum, bytes) => sum + bytes, 0) <= sentBytes);
  noise.close();
  await end();
});

Deno.test("ChannelServer.close() sends everybody elsewhere, and its port is free again", async () => {
  const server = await listen(echo);
  const clients = await Promise.all(Array.from({ length: 8 }, () => connectTo(server.address)));
  const watched = clients.map(({ channel }) => watch(channel));
  await until(() => server.connections === 8);
  await server.close(CloseCode.goElsewhere, "Going home");
  await until(() => watched.every(({ closes }) => closes.length === 1));
  for (const { closes } of watched) {
    assert.deepEqual(closes[0], { code: CloseCode.goElsewhere, reason: "Going home", byPeer: true });
  }
  assert.equal(server.connections, 0);
  await Promise.all(clients.map(({ ended }) => ended));
  const next = await listen(echo, { port: server.address.port });
  await next.close(0, "");
});

Deno.test("a client of a server that was replaced is reset at once", async () => {
  const server = await listen(echo);
  const client = await connectTo(server.address);
  const seen = watch(client.channel);
  await until(() => server.connections === 1);
  // As after kill -9: nobody is told, and another process has the port and the number. What it cannot know is lost.
  const relayed = await listen(echo);
  const relay = new Relay();
  const first = await connectTo(relay.map("127.0.0.1", server.address.port));
  const seenFirst = watch(first.channel);
  relay.retarget(server.address.port, relayed.address.port);
  seenFirst.own(first.channel.openStream()).send(pattern(100));
  await until(() => seenFirst.closes.length === 1);
  assert.equal(seenFirst.closes[0]!.code, CloseCode.reset);
  assert.equal(seen.closes.length, 0);
  await first.ended;
  await relayed.close(0, "");
  await end(server, client, relay);
});

Deno.test("a wildcard server is reached at every local address", async () => {
  const server = await listen(echo, { host: "::" });
  for (const address of server.addresses) {
    const client = await connect({
      located: { ...locatedAt(address), token: new Uint8Array(0) },
      timeoutMs: 60_000,
      primitives,
    });
    const seen = watch(client.channel);
    const stream = seen.own(client.channel.openStream());
    stream.send(pattern(3));
    await until(() => seen.of(stream.id).messages.length === 1);
    client.channel.close(0, "");
    await client.ended;
  }
  await server.close(0, "");
});

Deno.test("a handler that throws ends its own connection only", async () => {
  const server = await listen((channel) => {
    channel.handler = {
      onStream(stream) {
        stream.handler = {
          onMessage(message) {
            if (message.length === 13) throw new Error("a bug");
            stream.send(message);
          },
        };
      },
      onClose() {},
    };
  });
  const unlucky = await connectTo(server.address), lucky = await connectTo(server.address);
  const seenUnlucky = watch(unlucky.channel), seenLucky = watch(lucky.channel);
  seenUnlucky.own(unlucky.channel.openStream()).send(pattern(13));
  await until(() => seenUnlucky.closes.length === 1);
  assert.equal(seenUnlucky.closes[0]!.code, CloseCode.internal);
  const stream = seenLucky.own(lucky.channel.openStream());
  stream.send(pattern(4));
  await until(() => seenLucky.of(stream.id).messages.length === 1);
  await unlucky.ended;
  await end(server, lucky);
});

function distort(prng: Prng, sample: Uint8Array): Uint8Array {
  const kind = prng.integer(0, 3);
  if (kind === 0) return prng.bytes(prng.integer(1, 1400));
  if (kind === 1) return sample.slice(0, prng.integer(1, sample.length));
  const bytes = sample.slice();
  for (let flips = prng.integer(1, 5); flips > 0; flips--) {
    bytes[prng.integer(0, bytes.length - 1)]! ^= 1 << prng.integer(0, 7);
  }
  return bytes;
}
