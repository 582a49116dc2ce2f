/**
 * How large our datagrams may be (SECURITY H10).
 *
 * 1,200 bytes pass every path in use. We do not look for more by ourselves: Deno cannot forbid fragmentation, so a probe that is
 * too large would be cut up, arrive, and look like a success. An operator who knows the network may set more; where such a path turns out to be a
 * black hole for large datagrams, we go back to 1,200 (RFC 8899 §4.3).
 */
import { assert } from "../assert.ts";
import { DATAGRAM_BYTES, DATAGRAM_BYTES_MAX } from "../limits.ts";

export class DatagramSize {
  #bytes: number;
  /** Large packets lost, and timeouts with large packets in flight, since one was acknowledged. */
  #suspicions = 0;

  constructor(bytes = DATAGRAM_BYTES) {
    assert(bytes >= DATAGRAM_BYTES && bytes <= DATAGRAM_BYTES_MAX, "Datagrams have a size that every receiver takes");
    this.#bytes = bytes;
  }

  /** The largest datagram to send now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A packet of so many bytes arrived. */
  onAcked(packetBytes: number): void {
    if (packetBytes > DATAGRAM_BYTES) this.#suspicions = 0;
  }

  /** A packet of so many bytes was lost, or is the oldest that a probe timeout waited for. */
  onMissed(packetBytes: number): void {
    if (packetBytes > DATAGRAM_BYTES && ++this.#suspicions >= SUSPICIONS_MAX) this.#bytes = DATAGRAM_BYTES;
  }

  /** Another path: what was set was meant for the one that the connection began on. */
  reset(): void {
    this.#bytes = DATAGRAM_BYTES;
  }
}

/** RFC 8899 §5.1.2, MAX_PROBES, and some for random loss: at 10 % of it one connection in a million is wrong. */
const SUSPICIONS_MAX = 6;
