/** What a test needs of a cluster: keys, servers, and something that answers LOCATE. */
import {
  createPrimitives,
  fingerprint,
  generateRsaPkcs8,
  spkiFromPkcs8,
  systemRandom,
} from "../../../shared/crypto/mod.ts";
import { AddressTokens, TokenPurpose } from "../../../shared/handshake/mod.ts";
import {
  type Address,
  type Channel,
  ChannelServer,
  type ChannelServerOptions,
  connect,
  type ConnectResult,
  locate,
  type LocateOptions,
  openUdp,
  type UdpSockets,
} from "../../../shared/net/mod.ts";
import { decodeLocate, encodeLocated } from "../../../shared/packet/mod.ts";

export const primitives = await createPrimitives();

export interface TestCluster {
  readonly id: Uint8Array;
  readonly privateKeyPkcs8: Uint8Array;
  readonly spki: Uint8Array;
  readonly fingerprint: Uint8Array;
  readonly tokenKey: Uint8Array;
  readonly resetKey: Uint8Array;
}

export async function makeCluster(): Promise<TestCluster> {
  const privateKeyPkcs8 = await generateRsaPkcs8();
  const spki = await spkiFromPkcs8(privateKeyPkcs8);
  return {
    id: systemRandom.bytes(16),
    privateKeyPkcs8,
    spki,
    fingerprint: fingerprint(spki),
    tokenKey: systemRandom.bytes(32),
    resetKey: systemRandom.bytes(32),
  };
}

/** RSA keys are slow to make: most tests share this one. */
export const cluster = await makeCluster();

export function listen(
  onChannel: (channel: Channel) => void,
  options: Partial<ChannelServerOptions> = {},
): Promise<ChannelServer> {
  return ChannelServer.listen({
    host: "127.0.0.1",
    port: 0,
    serverNumber: 3,
    cluster,
    primitives,
    servers: () => [{ number: 3, host: "", port: 9001 }],
    onChannel,
    ...options,
  });
}

/** As if located: for tests that are not about LOCATE. */
export function locatedAt(address: Address, from: TestCluster = cluster) {
  const tokens = new AddressTokens(primitives, from.tokenKey, from.id);
  return {
    ...address,
    clusterKey: from.spki,
    token: tokens.make(TokenPurpose.locate, "127.0.0.1", Math.floor(Date.now() / 1000)),
  };
}

export function connectTo(address: Address, timeoutMs = 60_000): Promise<ConnectResult> {
  return connect({ located: locatedAt(address), timeoutMs, primitives });
}

/** A balancer in ten lines. `server` may be changed while it runs. */
export function answerLocates(server: Address, from: TestCluster = cluster): UdpSockets & { server: Address } {
  const tokens = new AddressTokens(primitives, from.tokenKey, from.id);
  const sockets = openUdp({
    host: "127.0.0.1",
    port: 0,
    onDatagram(bytes, client) {
      const locate = decodeLocate(bytes);
      if (locate === undefined) return;
      const token = tokens.make(TokenPurpose.locate, client.host, Math.floor(Date.now() / 1000));
      const { nonce, version } = locate;
      const { port } = answerer.server;
      const located = encodeLocated({
        version,
        nonce,
        clusterId: from.id,
        versions: [1],
        serverNumber: 3,
        host: "",
        port,
        token,
        clusterKey: from.spki,
      });
      client.socket.send(located, client, () => {});
    },
  });
  const answerer = Object.assign(sockets, { server });
  return answerer;
}

export function locateAt(address: Address, options: Partial<LocateOptions> = {}) {
  return locate({ ...address, timeoutMs: 60_000, primitives, ...options });
}
