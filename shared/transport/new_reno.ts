/** NewReno (RFC 9002 §7): slow start, congestion avoidance, one window reduction a round trip. */
import { CONGESTION_WINDOW_BYTES_MAX, DATAGRAM_BYTES } from "../limits.ts";
import type { Controller } from "./congestion.ts";

export class NewReno implements Controller {
  #windowBytes = INITIAL_WINDOW_BYTES;
  #thresholdBytes = Infinity;
  /** Bytes acknowledged since the window last grew in congestion avoidance. */
  #ackedBytes = 0;
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

  onLost(newestSentUs: number, nowUs: number): void {
    if (newestSentUs <= this.#recoveryStartUs) return;
    this.#recoveryStartUs = nowUs;
    this.#windowBytes = Math.max(this.#windowBytes >>> 1, MINIMUM_WINDOW_BYTES);
    this.#thresholdBytes = this.#windowBytes;
    this.#ackedBytes = 0;
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
export const MINIMUM_WINDOW_BYTES = 2 * DATAGRAM_BYTES;
