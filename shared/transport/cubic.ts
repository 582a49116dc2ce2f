/**
 * CUBIC (RFC 9438): after a reduction the window follows a cubic curve over time, back to where the loss was and carefully
 * beyond, so that its growth does not depend on the round trip; never slower than Reno would be.
 */
import { CONGESTION_WINDOW_BYTES_MAX, DATAGRAM_BYTES } from "../limits.ts";
import type { Controller } from "./congestion.ts";
import { INITIAL_WINDOW_BYTES, MINIMUM_WINDOW_BYTES } from "./new_reno.ts";

/** What a reduction changes, and a spurious one restores. */
interface Shape {
  windowBytes: number;
  thresholdBytes: number;
  /** W_max: the window at the last loss, in datagrams. */
  peak: number;
}

export class Cubic implements Controller {
  #windowBytes = INITIAL_WINDOW_BYTES;
  #thresholdBytes = Infinity;
  #peak = 0;
  #before: Shape | undefined;
  #recoveryStartUs = -1;
  /** When the present curve began; -1 before its first acknowledgement. */
  #epochUs = -1;
  /** K: seconds from there to the peak. */
  #peakSeconds = 0;
  /** W_est: what Reno would have by now, in datagrams. */
  #reno = 0;
  #minRttUs = Infinity;

  get windowBytes(): number {
    return Math.floor(this.#windowBytes);
  }

  onRtt(sampleUs: number): void {
    if (sampleUs < this.#minRttUs) this.#minRttUs = sampleUs;
  }

  onAcked(bytes: number, sentUs: number, appLimited: boolean, nowUs: number): void {
    if (sentUs <= this.#recoveryStartUs) return;
    if (appLimited) {
      // RFC 9438 §5.8: time in which nothing was tried must not count as time without a loss.
      this.#epochUs = -1;
      return;
    }
    if (this.#windowBytes < this.#thresholdBytes) return this.#growTo(this.#windowBytes + bytes);
    const window = this.#windowBytes / DATAGRAM_BYTES, acked = bytes / DATAGRAM_BYTES;
    if (this.#epochUs < 0) this.#beginEpoch(window, nowUs);
    const rttUs = this.#minRttUs === Infinity ? 0 : this.#minRttUs;
    const ahead = (nowUs - this.#epochUs + rttUs) / 1e6 - this.#peakSeconds;
    // §4.4, §4.5: never beyond one and a half times the window in a round trip.
    const target = Math.min(Math.max(CURVE * ahead ** 3 + this.#peak, window), 1.5 * window);
    this.#reno += (this.#reno < this.#peak ? RENO_GAIN : 1) * acked / window;
    const grown = Math.max(window + (target - window) * acked / window, this.#reno);
    this.#growTo(grown * DATAGRAM_BYTES);
  }

  onLost(newestSentUs: number, nowUs: number): void {
    if (newestSentUs <= this.#recoveryStartUs) return;
    this.#before = { windowBytes: this.#windowBytes, thresholdBytes: this.#thresholdBytes, peak: this.#peak };
    this.#recoveryStartUs = nowUs;
    const window = this.#windowBytes / DATAGRAM_BYTES;
    // §4.7: whoever lost earlier than the last time leaves room for newcomers.
    this.#peak = window < this.#peak ? window * (1 + KEPT) / 2 : window;
    this.#windowBytes = Math.max(this.#windowBytes * KEPT, MINIMUM_WINDOW_BYTES);
    this.#thresholdBytes = this.#windowBytes;
    this.#epochUs = -1;
  }

  onSpurious(): void {
    const before = this.#before;
    if (before === undefined) return;
    this.#windowBytes = Math.max(this.#windowBytes, before.windowBytes);
    this.#thresholdBytes = Math.max(this.#thresholdBytes, before.thresholdBytes);
    this.#peak = Math.max(this.#peak, before.peak);
    this.#recoveryStartUs = -1;
    this.#epochUs = -1;
    this.#before = undefined;
  }

  onPersistentCongestion(): void {
    this.#windowBytes = MINIMUM_WINDOW_BYTES;
    this.#recoveryStartUs = -1;
    this.#epochUs = -1;
    this.#before = undefined;
  }

  reset(): void {
    this.#windowBytes = INITIAL_WINDOW_BYTES;
    this.#thresholdBytes = Infinity;
    this.#peak = 0;
    this.#recoveryStartUs = -1;
    this.#epochUs = -1;
    this.#minRttUs = Infinity;
    this.#before = undefined;
  }

  #beginEpoch(window: number, nowUs: number): void {
    this.#epochUs = nowUs;
    this.#reno = window;
    if (this.#peak < window) this.#peak = window;
    this.#peakSeconds = Math.cbrt((this.#peak - window) / CURVE);
  }

  #growTo(bytes: number): void {
    this.#windowBytes = Math.min(bytes, CONGESTION_WINDOW_BYTES_MAX);
  }
}

/** RFC 9438 §4.6, β. */
const KEPT = 0.7;
/** §5, C: datagrams per second cubed. */
const CURVE = 0.4;
/** §4.3, α: Reno's fairness with a reduction of 0.3 instead of 0.5. */
const RENO_GAIN = 3 * (1 - KEPT) / (1 + KEPT);
