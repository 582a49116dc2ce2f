/** The transports that are compared, by name. */
import { ourCarrier } from "./ours.ts";
import type { Carrier } from "./peer.ts";
import { quicCarrier } from "./quic.ts";
import { tlsCarrier } from "./tls.ts";

export const CARRIERS: Readonly<Record<string, Carrier>> = {
  ours: ourCarrier(),
  "QUIC, a write each": quicCarrier("each"),
  "QUIC, written together": quicCarrier("together"),
  "TLS/TCP, a write each": tlsCarrier("each"),
  "TLS/TCP, written together": tlsCarrier("together"),
};
