import assert from "node:assert/strict";
import { DATAGRAM_BYTES, DATAGRAM_BYTES_MAX } from "../../../shared/limits.ts";
import { type Channel, ChannelServer, connect } from "../../../shared/net/mod.ts";
import { connectTo, listen, locatedAt, primitives } from "./cluster.ts";
import { testChannelContract, until, watch } from "./channel_contract.ts";

testChannelContract("ConnectionChannel", async () => {
  const accepted = Promise.withResolvers<Channel>();
  const server: ChannelServer = await listen((channel) => accepted.resolve(channel));
  const { channel: client, ended } = await connectTo(server.address);
  const end = async () => {
    client.close(0, "");
    await ended;
    await server.close(0, "");
  };
  return { client, server: await accepted.promise, end };
});

Deno.test("ConnectionChannel.close() lets go of the socket though nobody ever listened", async () => {
  const server = await listen(() => {});
  const { channel, ended } = await connectTo(server.address);
  channel.close(0, "");
  await ended;
  await server.close(0, "");
});

Deno.test("datagramBytes raises what one side sends, and only that side (SECURITY H10)", async () => {
  for (const raised of ["client", "server"] as const) {
    const datagramBytes = DATAGRAM_BYTES_MAX, accepted = Promise.withResolvers<Channel>();
    const onChannel = (channel: Channel) => accepted.resolve(channel);
    const server = await listen(onChannel, raised === "server" ? { datagramBytes } : {});
    const { channel: client, ended } = await connect({
      located: locatedAt(server.address),
      timeoutMs: 60_000,
      primitives,
      ...(raised === "client" ? { datagramBytes } : {}),
    });
    const sides = { client, server: await accepted.promise };
    watch(sides.client), watch(sides.server);
    for (const side of ["client", "server"] as const) {
      const channel = sides[side], before = { ...channel.stats };
      // One after the other: who has nothing to say but what has arrived says it in small datagrams.
      channel.openStream().send(new Uint8Array(1 << 20));
      await until(() => channel.bufferedBytes === 0);
      const { bytesSent, datagramsSent } = channel.stats;
      const bytesEach = (bytesSent - before.bytesSent) / (datagramsSent - before.datagramsSent);
      if (side === raised) assert(bytesEach > DATAGRAM_BYTES, `${side}: ${bytesEach} bytes`);
      else assert(bytesEach <= DATAGRAM_BYTES, `${side}: ${bytesEach} bytes`);
    }
    client.close(0, "");
    await ended;
    await server.close(0, "");
  }
});
