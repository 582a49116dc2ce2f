/**
 * The job over TLS 1.3 and the kernel's TCP, one connection for each client, without Nagle's delay.
 *
 * By `node:tls`, because `Deno.listenTls` cannot switch that delay off, and on a lossy path it would be counted against TCP.
 * What is written together costs `Deno.listenTls` a third less CPU; a write for each message costs both the same.
 */
import type { Buffer } from "node:buffer";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { makeTlsCertificate, SERVER_NAME } from "./certificate.ts";
import type { Carrier, Contact, Peer } from "./peer.ts";
import { StreamPeer, type Writing } from "./stream_peer.ts";

export function tlsCarrier(writing: Writing): Carrier {
  return {
    async listen(host, onPeer) {
      const { key, cert } = await makeTlsCertificate();
      const server = createServer({ key, cert, noDelay: true }, (socket) => onPeer(over(socket, writing)));
      await new Promise<void>((resolve) => server.listen(0, host, resolve));
      return { port: (server.address() as AddressInfo).port, key: cert };
    },
    async dial(host: string, { port, key }: Contact): Promise<Peer> {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const socket = connect({ host, port, ca: key, servername: SERVER_NAME }, resolve);
      socket.once("error", reject);
      socket.setNoDelay(true);
      await promise;
      return over(socket, writing);
    },
  };
}

function over(socket: TLSSocket, writing: Writing): Peer {
  const peer = new StreamPeer(writing, (bytes) => void socket.write(bytes), () => socket.destroy());
  socket.on("data", (chunk: Buffer) => peer.receive(chunk));
  socket.on("error", () => socket.destroy());
  return peer;
}
