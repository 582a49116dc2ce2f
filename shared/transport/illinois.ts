/**
 * TCP Illinois (Liu, Başar and Srikant, 2008), with changes for chat: loss says when to reduce, as in NewReno, but the queueing
 * delay says by how much, and how fast to grow.
 *
 * While round trips are near their shortest no queue is filling, so a loss is chance (radio) and the path has room: grow by up
 * to ten datagrams a round trip, give up an eighth at a loss. As the queue fills both turn into what Reno does and less. So a
 * path that loses at random is used several times better, and one that is full is treated as gently as by Reno.
 *
 * The changes: growth is at most a quarter of the window, so that small windows on slow paths stay small; without a queue losses never shrink the
 * window below the initial one, which any new connection may send; delays are averages over a window, and less than a sixteenth of the
 * shortest round trip counts as none, because an event loop's clock is no better.
 */
import { CONGESTION_WINDOW_BYTES_MAX, DATAGRAM_BYTES } from "../limits.ts";
import type { Controller } from "./congestion.ts";
import { INITIAL_WINDOW_BYTES, MINIMUM_WINDOW_BYTES } from "./new_reno.ts";

export class Illinois implements Controller {
  #windowBytes = INITIAL_WINDOW_BYTES;
  #thresholdBytes = Infinity;
  #windowBytesBefore = 0;
  #thresholdBytesBefore = Infinity;
  #recoveryStartUs = -1;
  /** Bytes acknowledged since growth and reduction were last chosen. */
  #ackedBytes = 0;
  /** Of the present window. */
  #rttSumUs = 0;
  #rttCount = 0;
  #rttMinUs = Infinity;
  /** The longest that a window's average was. */
  #rttMaxUs = 0;
  /** The queueing delay of the last window. */
  #delayUs = 0;
  /** Datagrams to grow by in a round trip, and the share to give up at a loss. */
  #growth = 1;
  #reduction = REDUCTION_MAX;

  get windowBytes(): number {
    return Math.floor(this.#windowBytes);
  }

  onRtt(sampleUs: number): void {
    this.#rttSumUs += sampleUs;
    this.#rttCount++;
    if (sampleUs < this.#rttMinUs) this.#rttMinUs = sampleUs;
  }

  onAcked(bytes: number, sentUs: number, appLimited: boolean): void {
    this.#ackedBytes += bytes;
    if (this.#ackedBytes >= this.#windowBytes) this.#choose();
    if (sentUs <= this.#recoveryStartUs || appLimited) return;
    const growth = this.#windowBytes < this.#thresholdBytes
      ? bytes
      : this.#growth * DATAGRAM_BYTES * bytes / this.#windowBytes;
    this.#windowBytes = Math.min(this.#windowBytes + growth, CONGESTION_WINDOW_BYTES_MAX);
  }

  onLost(newestSentUs: number, nowUs: number): void {
    if (newestSentUs <= this.#recoveryStartUs) return;
    this.#choose();
    this.#recoveryStartUs = nowUs;
    this.#windowBytesBefore = this.#windowBytes;
    this.#thresholdBytesBefore = this.#thresholdBytes;
    const least = this.#isQueueing ? MINIMUM_WINDOW_BYTES : Math.min(this.#windowBytes, INITIAL_WINDOW_BYTES);
    this.#windowBytes = Math.max(this.#windowBytes * (1 - this.#reduction), least, MINIMUM_WINDOW_BYTES);
    this.#thresholdBytes = this.#windowBytes;
  }

  onSpurious(): void {
    this.#windowBytes = Math.max(this.#windowBytes, this.#windowBytesBefore);
    this.#thresholdBytes = Math.max(this.#thresholdBytes, this.#thresholdBytesBefore);
    this.#recoveryStartUs = -1;
  }

  onPersistentCongestion(): void {
    this.#windowBytes = MINIMUM_WINDOW_BYTES;
    this.#windowBytesBefore = 0;
    this.#recoveryStartUs = -1;
    this.#ackedBytes = 0;
  }

  reset(): void {
    this.#windowBytes = INITIAL_WINDOW_BYTES;
    this.#thresholdBytes = this.#thresholdBytesBefore = Infinity;
    this.#windowBytesBefore = 0;
    this.#recoveryStartUs = -1;
    this.#ackedBytes = 0;
    this.#rttSumUs = this.#rttCount = 0;
    this.#rttMinUs = Infinity;
    this.#rttMaxUs = this.#delayUs = 0;
    this.#growth = 1;
    this.#reduction = REDUCTION_MAX;
  }

  /** Nothing was measured yet, or round trips were longer than they need be. */
  get #isQueueing(): boolean {
    return this.#rttMinUs === Infinity || this.#delayUs > this.#rttMinUs * NOISE;
  }

  /** Once a window: growth and reduction by its average delay, §III of the paper. */
  #choose(): void {
    this.#ackedBytes = 0;
    if (this.#rttCount === 0) return;
    const averageUs = this.#rttSumUs / this.#rttCount;
    this.#rttSumUs = this.#rttCount = 0;
    this.#rttMaxUs = Math.max(this.#rttMaxUs, averageUs);
    this.#delayUs = averageUs - this.#rttMinUs;
    const mostUs = Math.max(this.#rttMaxUs - this.#rttMinUs, 1);
    const quarter = Math.max(1, this.#windowBytes / DATAGRAM_BYTES / 4);
    if (!this.#isQueueing) {
      this.#growth = Math.min(GROWTH_MAX, quarter);
      this.#reduction = REDUCTION_MIN;
      return;
    }
    const delay = Math.min(this.#delayUs / mostUs, 1);
    this.#growth = Math.min(GROWTH_MAX / (1 + delay * (GROWTH_MAX - GROWTH_MIN) / GROWTH_MIN), quarter);
    const share = Math.min(Math.max((delay - DELAY_LOW) / (DELAY_HIGH - DELAY_LOW), 0), 1);
    this.#reduction = REDUCTION_MIN + share * (REDUCTION_MAX - REDUCTION_MIN);
  }
}

const GROWTH_MAX = 10;
const GROWTH_MIN = 0.3;
const REDUCTION_MIN = 1 / 8;
const REDUCTION_MAX = 1 / 2;
/** Shares of the longest delay: up to the first the reduction is the least, from the second on the most. */
const DELAY_LOW = 0.1;
const DELAY_HIGH = 0.8;
/** Share of the shortest round trip. */
const NOISE = 1 / 16;
