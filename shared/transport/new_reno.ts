/**
 * NewReno (RFC 9002 §7): slow start, congestion avoidance, one window reduction a round trip; with two changes for paths that
 * lose without being full, as radio does, where halving at each loss would leave chat waiting for probe timeouts.
 *
 * A loss while next to nothing waits in queues is taken for chance and shrinks the window by a fifth only, as in TCP Veno (Fu and
 * Liew, 2003); one behind a queue halves it. And the window never falls below four datagrams, where the RFC recommends two: a
 * loss is seen by the three packets behind it, and with two in flight each one costs a timeout.
 */
import { CONGESTION_WINDOW_BYTES_MAX, DATAGRAM_BYTES } from "../limits.ts";
import type { Controller } from "./congestion.ts";

export class NewReno implements Controller {
  #windowBytes = INITIAL_WINDOW_BYTES;
  #thresholdBytes = Infinity;
  /** Bytes acknowledged since the window last grew in congestion avoidance. */
  #ackedBytes = 0;
  /** The window and the threshold before the last reduction. */
  #windowBytesBefore = 0;
  #thresholdBytesBefore = Infinity;
  /** Packets sent until then belong to a loss that was already answered. */
  #recoveryStartUs = -1;

  get windowBytes(): number {
    return this.#windowBytes;
  }

  onAcked(bytes: number, sentUs: number, appLimited: boolean): void {
    if (sentUs <= this.#recoveryStartUs || appLimited) return;
    if (this.#windowBytes < this.#thresholdBytes) {
      this.#grow(bytes);
      return;
    }
    // RFC 9002 §7.3.3: about one datagram for each window acknowledged.
    this.#ackedBytes += bytes;
    if (this.#ackedBytes >= this.#windowBytes) {
      this.#ackedBytes -= this.#windowBytes;
      this.#grow(DATAGRAM_BYTES);
    }
  }

  onLost(newestSentUs: number, nowUs: number, backlogBytes = Infinity): void {
    if (newestSentUs <= this.#recoveryStartUs) return;
    this.#recoveryStartUs = nowUs;
    this.#windowBytesBefore = this.#windowBytes;
    this.#thresholdBytesBefore = this.#thresholdBytes;
    const kept = backlogBytes < CHANCE_BACKLOG_BYTES ? CHANCE_KEPT : 0.5;
    this.#windowBytes = Math.max(Math.floor(this.#windowBytes * kept), MINIMUM_WINDOW_BYTES);
    this.#thresholdBytes = this.#windowBytes;
    this.#ackedBytes = 0;
  }

  onSpurious(): void {
    this.#windowBytes = Math.max(this.#windowBytes, this.#windowBytesBefore);
    this.#thresholdBytes = Math.max(this.#thresholdBytes, this.#thresholdBytesBefore);
    this.#recoveryStartUs = -1;
  }

  onPersistentCongestion(): void {
    this.#windowBytes = MINIMUM_WINDOW_BYTES;
    this.#recoveryStartUs = -1;
    this.#ackedBytes = 0;
  }

  reset(): void {
    this.#windowBytes = INITIAL_WINDOW_BYTES;
    this.#thresholdBytes = Infinity;
    this.#ackedBytes = 0;
    this.#recoveryStartUs = -1;
  }

  #grow(bytes: number): void {
    this.#windowBytes = Math.min(this.#windowBytes + bytes, CONGESTION_WINDOW_BYTES_MAX);
  }
}

/** RFC 9002 §7.2. */
export const INITIAL_WINDOW_BYTES = 10 * DATAGRAM_BYTES;
export const MINIMUM_WINDOW_BYTES = 4 * DATAGRAM_BYTES;
/** Veno's β: with fewer than three packets in queues, none of them was full. */
const CHANCE_BACKLOG_BYTES = 3 * DATAGRAM_BYTES;
const CHANCE_KEPT = 0.8;
