/** The job over our own transport, one stream in each direction of one connection for each client. */
import { createPrimitives, generateRsaPkcs8, spkiFromPkcs8, systemRandom } from "../../shared/crypto/mod.ts";
import { type Channel, ChannelServer, connect, DEFAULT_RSA_LIMITS } from "../../shared/net/mod.ts";
import type { Controller } from "../../shared/transport/mod.ts";
import type { Carrier, Peer } from "./peer.ts";

/** @param controller What decides how much a client has in flight; the default otherwise. */
export function ourCarrier(controller?: () => Controller): Carrier {
  return {
    async listen(host, onPeer) {
      const privateKeyPkcs8 = await generateRsaPkcs8();
      const spki = await spkiFromPkcs8(privateKeyPkcs8);
      const everybody = { perSecond: 1e6, burst: 1e6 };
      const server = await ChannelServer.listen({
        host,
        port: 0,
        serverNumber: 0,
        cluster: {
          id: systemRandom.bytes(16),
          privateKeyPkcs8,
          spki,
          tokenKey: systemRandom.bytes(32),
          resetKey: systemRandom.bytes(32),
        },
        primitives: await createPrimitives(),
        servers: () => [],
        limits: { rsa: { ...DEFAULT_RSA_LIMITS, perAddress: everybody, ceiling: everybody } },
        onChannel: (channel) => onPeer(over(channel)),
      });
      return { port: server.address.port, key: spki.toHex() };
    },
    async dial(host, { port, key }) {
      const located = { host, port, clusterKey: Uint8Array.fromHex(key), token: new Uint8Array(0) };
      const { channel } = await connect({
        located,
        timeoutMs: 10_000,
        primitives: await createPrimitives(),
        ...(controller ? { controller } : {}),
      });
      return over(channel);
    },
  };
}

function over(channel: Channel): Peer {
  const out = channel.openStream();
  const peer: Peer = {
    send: (message) => out.send(message),
    flush: () => {},
    close: () => channel.close(0, ""),
    get datagrams() {
      return channel.stats.datagramsSent + channel.stats.datagramsReceived;
    },
    onMessage: () => {},
    onBatch: () => {},
  };
  channel.handler = {
    onStream(stream) {
      stream.handler = { onMessage: (message) => peer.onMessage(message) };
    },
    onClose() {},
  };
  return peer;
}
