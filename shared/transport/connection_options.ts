/** What a connection is made of, and what it counts. */
import type { Primitives } from "../primitives.ts";
import type { Controller } from "./congestion.ts";
import type { TransportLimits } from "./flow_control.ts";
import type { Address } from "./path.ts";

export interface ConnectionOptions {
  readonly primitives: Primitives;
  readonly side: "client" | "server";
  /** 8 bytes. */
  readonly connectionId: Uint8Array;
  /** 32 bytes each: secret_0 of the two directions (docs/PROTOCOL.md §4). */
  readonly sendSecret: Uint8Array;
  readonly receiveSecret: Uint8Array;
  /** What this side lets the peer do, and the other way round. */
  readonly local: TransportLimits;
  readonly remote: TransportLimits;
  /** The handshake has proved that the peer is there. */
  readonly peer: Address;
  /** 16 bytes, on a client: what a stateless reset ends with. */
  readonly resetToken?: Uint8Array | undefined;
  readonly nowUs: number;
  /** New for each connection; Illinois by default. */
  readonly controller?: Controller | undefined;
  /** Largest datagram to send, from DATAGRAM_BYTES (the default) to DATAGRAM_BYTES_MAX: for paths that are known to carry it. */
  readonly datagramBytes?: number | undefined;
  /** What the handshake measured. */
  readonly initialRttUs?: number | undefined;
  /** For tests: smaller than the limits of the same name. */
  readonly packetsPerKeyMax?: number | undefined;
  readonly keyAgeUsMax?: number | undefined;
  readonly failedOpensMax?: number | undefined;
  readonly firstPacketNumber?: number | undefined;
}

/** Counters since the connection began, and the estimates of now. */
export interface ConnectionStats {
  datagramsSent: number;
  datagramsReceived: number;
  bytesSent: number;
  bytesReceived: number;
  /** Packets of ours that were declared lost. */
  packetsLost: number;
  /** Those of them that arrived after all. */
  spurious: number;
  /** Packets received twice: dropped. */
  duplicates: number;
  /** Packets that did not open: dropped. */
  failedOpens: number;
  /** Bytes of second copies, sent before anybody knew of a loss. */
  copyBytes: number;
  /** Probe timeouts. */
  probes: number;
  /** Times the peer moved to another address. */
  moves: number;
  /** Times our sending keys changed. */
  keyUpdates: number;
  rttUs: number;
  windowBytes: number;
  /** The largest datagram that is sent. */
  datagramBytes: number;
  bytesInFlight: number;
}

/** All zero. */
export function newStats(): ConnectionStats {
  return {
    datagramsSent: 0,
    datagramsReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    packetsLost: 0,
    spurious: 0,
    copyBytes: 0,
    duplicates: 0,
    failedOpens: 0,
    probes: 0,
    moves: 0,
    keyUpdates: 0,
    rttUs: 0,
    windowBytes: 0,
    datagramBytes: 0,
    bytesInFlight: 0,
  };
}
