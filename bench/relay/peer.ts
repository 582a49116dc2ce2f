/** One job over several transports: messages go from a client to its partner through one server. */

/** One end of a connection: messages of up to 64 KiB, in order. */
export interface Peer {
  /** @param message Borrowed until the call returns. */
  send(message: Uint8Array): void;
  /** What was sent since the last time may leave now; a transport that gathers by itself has nothing to do. */
  flush(): void;
  close(): void;
  /** Datagrams that this end has sent and received, where the transport tells. */
  readonly datagrams?: number;
  /** @param message Borrowed until the call returns. */
  onMessage: (message: Uint8Array) => void;
  /** All that had arrived together has been handed over. */
  onBatch: () => void;
}

/** Tells the relay of which pair this client is. @returns When the relay has introduced the two: an empty message says so. */
export function greet(peer: Peer, pair: number): Promise<void> {
  return new Promise((resolve) => {
    peer.onMessage = () => resolve();
    peer.send(Uint8Array.of(pair));
    peer.flush();
  });
}

/** A transport that can do the job. */
export interface Carrier {
  /** Listens on a free port of `host`. @returns What a client must know: survives JSON. */
  listen(host: string, onPeer: (peer: Peer) => void): Promise<Contact>;
  /** @param host As the client sees the server: where there is a bad network in between, not what the server listens on. */
  dial(host: string, contact: Contact): Promise<Peer>;
}

export interface Contact {
  readonly port: number;
  /** Our cluster's key in hex, or the server's certificate in PEM. */
  readonly key: string;
}
