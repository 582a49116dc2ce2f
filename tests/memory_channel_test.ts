import assert from "node:assert/strict";
import { CloseCode } from "../shared/errors.ts";
import { memoryChannelPair } from "./memory_channel.ts";
import { pattern, settle, testChannelContract, until, watch } from "./shared/net/channel_contract.ts";

testChannelContract("MemoryChannel", () => {
  const { client, server } = memoryChannelPair();
  return Promise.resolve({ client, server, end: () => Promise.resolve() });
});

Deno.test("MemoryChannel.pause() holds deliveries back while bufferedBytes grow", async () => {
  const { client, server } = memoryChannelPair();
  const atServer = watch(server);
  watch(client);
  server.pause();
  const stream = client.openStream();
  stream.send(pattern(1000)), stream.send(pattern(500));
  await settle();
  assert.equal(client.bufferedBytes, 1500);
  assert.equal(atServer.has(stream.id), false);
  server.resume();
  await until(() => atServer.of(stream.id).messages.length === 2);
  assert.equal(client.bufferedBytes, 0);
});

Deno.test("MemoryPair.sever() ends both sides as silence would", async () => {
  const pair = memoryChannelPair();
  const atServer = watch(pair.server), atClient = watch(pair.client);
  pair.client.openStream().send(pattern(1));
  pair.sever();
  await until(() => atServer.closes.length === 1 && atClient.closes.length === 1);
  assert.equal(atServer.closes[0]!.code, CloseCode.idle);
  assert.equal(atClient.closes[0]!.byPeer, false);
});

Deno.test("MemoryChannel forgets streams that are over", async () => {
  const { client, server } = memoryChannelPair();
  watch(server, (stream, message) => (stream.send(message), stream.finish()));
  const atClient = watch(client);
  for (let i = 0; i < 50; i++) {
    const stream = atClient.own(client.openStream());
    stream.send(pattern(i)), stream.finish();
    await until(() => atClient.of(stream.id).finished);
  }
  assert.equal(client.openStreams, 0);
  assert.equal(server.openStreams, 0);
});
