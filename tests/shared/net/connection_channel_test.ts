import { type Channel, ChannelServer } from "../../../shared/net/mod.ts";
import { connectTo, listen } from "./cluster.ts";
import { testChannelContract } from "./channel_contract.ts";

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
