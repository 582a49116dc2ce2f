/**
 * A token bucket that spreads a congestion window over a round trip (RFC 9002 §7.7).
 *
 * An event loop's timers wake at best every millisecond, and often a millisecond late; so the bucket holds what two
 * milliseconds at the current rate may send, and late wakers catch up. It never holds fewer than ten datagrams (chat must
 * not wait) nor more than 64: a loopback socket's buffer drops beyond about 92.
 */
import { DATAGRAM_BYTES } from "../limits.ts";

export class Pacer {
  #tokensBytes = BURST_BYTES_MIN;
  #refilledUs: number;

  constructor(nowUs: number) {
    this.#refilledUs = nowUs;
  }

  /** Microseconds to wait until a whole datagram may leave; 0 for now. */
  delayUs(nowUs: number, windowBytes: number, smoothedRttUs: number): number {
    const bytesPerUs = RATE_GAIN * windowBytes / Math.max(smoothedRttUs, 1);
    const capacityBytes = Math.min(Math.max(bytesPerUs * BURST_US, BURST_BYTES_MIN), BURST_BYTES_MAX);
    const refillBytes = (nowUs - this.#refilledUs) * bytesPerUs;
    this.#tokensBytes = Math.min(this.#tokensBytes + refillBytes, capacityBytes);
    this.#refilledUs = nowUs;
    if (this.#tokensBytes >= DATAGRAM_BYTES) return 0;
    return Math.max(1, Math.ceil((DATAGRAM_BYTES - this.#tokensBytes) / bytesPerUs));
  }

  /** A probe is not held back but counts: tokens may go below zero. */
  onSent(bytes: number): void {
    this.#tokensBytes -= bytes;
  }
}

/** A little faster than the window needs, so that pacing never makes the window idle. */
const RATE_GAIN = 1.25;
const BURST_US = 2_000;
const BURST_BYTES_MIN = 10 * DATAGRAM_BYTES;
const BURST_BYTES_MAX = 64 * DATAGRAM_BYTES;
