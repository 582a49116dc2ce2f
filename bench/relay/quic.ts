/** The job over Deno's own QUIC (quinn), one stream of one connection for each client. */
import { makeTlsCertificate, SERVER_NAME } from "./certificate.ts";
import type { Carrier, Contact, Peer } from "./peer.ts";
import { StreamPeer, type Writing } from "./stream_peer.ts";

export function quicCarrier(writing: Writing): Carrier {
  return {
    async listen(host, onPeer) {
      const { key, cert } = await makeTlsCertificate();
      const endpoint = new Deno.QuicEndpoint({ hostname: host, port: 0 });
      const listener = endpoint.listen({ key, cert, alpnProtocols: [PROTOCOL] });
      void acceptAll(listener, (stream, close) => onPeer(over(stream, writing, close)));
      return { port: endpoint.addr.port, key: cert };
    },
    async dial(host: string, { port, key }: Contact): Promise<Peer> {
      const connection = await Deno.connectQuic({
        hostname: host,
        port,
        serverName: SERVER_NAME,
        caCerts: [key],
        alpnProtocols: [PROTOCOL],
        // It would be gone after 30 s of silence.
        keepAliveInterval: 10_000,
      });
      const stream = await connection.createBidirectionalStream();
      return over(stream, writing, () => connection.close({ closeCode: 0, reason: "" }));
    },
  };
}

async function acceptAll(
  listener: Deno.QuicListener,
  onStream: (stream: Deno.QuicBidirectionalStream, close: () => void) => void,
): Promise<void> {
  for await (const incoming of listener) {
    const connection = await incoming.accept();
    void (async () => {
      const { value: stream } = await connection.incomingBidirectionalStreams.getReader().read();
      if (stream) onStream(stream, () => connection.close({ closeCode: 0, reason: "" }));
    })().catch(() => {});
  }
}

function over(stream: Deno.QuicBidirectionalStream, writing: Writing, close: () => void): Peer {
  const writer = stream.writable.getWriter();
  const peer = new StreamPeer(writing, (bytes) => void writer.write(bytes).catch(() => {}), close);
  void receiveAll(stream.readable, peer).catch(() => {});
  return peer;
}

/** With one buffer for all: a reader without one gets 64 KiB of zeros for every read, which is most of its cost. */
async function receiveAll(readable: ReadableStream<Uint8Array<ArrayBuffer>>, peer: StreamPeer): Promise<void> {
  const reader = readable.getReader({ mode: "byob" });
  for (let buffer = new Uint8Array(READ_BYTES);;) {
    const { value, done } = await reader.read(buffer);
    if (done) return;
    peer.receive(value);
    buffer = new Uint8Array(value.buffer);
  }
}

const READ_BYTES = 16 << 10;
const PROTOCOL = "bench";
