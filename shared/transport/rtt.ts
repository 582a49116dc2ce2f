/** The round-trip estimator (RFC 9002 §5). */
import { assert } from "../assert.ts";
import { ACK_DELAY_US_MAX, IDLE_TIMEOUT_US } from "../limits.ts";

export class RttEstimator {
  #latestUs = 0;
  #adjustedUs = 0;
  #minUs = Infinity;
  #smoothedUs: number;
  #varianceUs: number;
  #firstSampleUs = Infinity;
  /** The longest delay that the peer reported of late. */
  #peerDelayUs = ACK_DELAY_US_MAX;
  readonly #initialUs: number;

  /** @param initialUs What to assume before the first sample: RFC 9002 §6.2.2, or what the handshake measured. */
  constructor(initialUs = INITIAL_RTT_US) {
    this.#initialUs = initialUs;
    this.#smoothedUs = initialUs;
    this.#varianceUs = initialUs / 2;
  }

  get smoothedUs(): number {
    return this.#smoothedUs;
  }

  get latestUs(): number {
    return this.#latestUs;
  }

  /** The latest sample without the peer's delay. */
  get adjustedUs(): number {
    return this.#adjustedUs;
  }

  get minUs(): number {
    return this.#minUs;
  }

  get hasSample(): boolean {
    return this.#minUs !== Infinity;
  }

  /** When the first sample of this path was taken; `Infinity` before. */
  get firstSampleUs(): number {
    return this.#firstSampleUs;
  }

  /**
   * @param sampleUs From sending a packet to its first acknowledgement.
   * @param ackDelayUs How long the peer says it held the acknowledgement back; it cannot push us below the minimum.
   */
  update(sampleUs: number, ackDelayUs: number, nowUs: number): void {
    this.#latestUs = this.#adjustedUs = sampleUs;
    const delayUs = Math.min(ackDelayUs, ACK_DELAY_US_MAX);
    this.#peerDelayUs = Math.max(delayUs, this.#peerDelayUs + (delayUs - this.#peerDelayUs) / 8);
    if (!this.hasSample) {
      this.#firstSampleUs = nowUs;
      this.#minUs = sampleUs;
      this.#smoothedUs = sampleUs;
      this.#varianceUs = sampleUs / 2;
      return;
    }
    if (sampleUs < this.#minUs) this.#minUs = sampleUs;
    const adjustedUs = sampleUs >= this.#minUs + delayUs ? sampleUs - delayUs : sampleUs;
    this.#adjustedUs = adjustedUs;
    this.#varianceUs += (Math.abs(this.#smoothedUs - adjustedUs) - this.#varianceUs) / 4;
    this.#smoothedUs += (adjustedUs - this.#smoothedUs) / 8;
  }

  /**
   * The probe timeout without back-off (RFC 9002 §6.2.1). The peer's ack delay is part of it: it may hold back what we wait for.
   *
   * It has a ceiling, which the RFC lacks: whoever holds one packet back for half a minute (an outage, or somebody on the path)
   * makes one sample of that, and a connection must neither wait minutes to probe nor be kept for minutes after its end.
   */
  get probeTimeoutUs(): number {
    return this.#timeoutUs(ACK_DELAY_US_MAX);
  }

  /** The same with the delay that the peer's acknowledgements had of late: sometimes too early, which costs a packet. */
  get quickProbeTimeoutUs(): number {
    return this.#timeoutUs(this.#peerDelayUs);
  }

  /** How much later than a newer, acknowledged packet one may be acknowledged before it counts as lost (RFC 9002 §6.1.2). */
  get lossDelayUs(): number {
    return Math.ceil(Math.max(Math.max(this.#smoothedUs, this.#latestUs) * 9 / 8, TIMER_GRANULARITY_US));
  }

  /** RFC 9002 §7.6.1. */
  get persistentCongestionUs(): number {
    return 3 * this.probeTimeoutUs;
  }

  #timeoutUs(ackDelayUs: number): number {
    const timeoutUs = this.#smoothedUs + Math.max(4 * this.#varianceUs, TIMER_GRANULARITY_US) + ackDelayUs;
    return Math.min(Math.ceil(timeoutUs), PROBE_TIMEOUT_US_MAX);
  }

  /** Another path: nothing measured holds any more (RFC 9000 §9.4). */
  reset(): void {
    this.#latestUs = 0;
    this.#peerDelayUs = ACK_DELAY_US_MAX;
    this.#minUs = Infinity;
    this.#firstSampleUs = Infinity;
    this.#smoothedUs = this.#initialUs;
    this.#varianceUs = this.#initialUs / 2;
  }
}

/** RFC 9002 §6.2.2: kInitialRtt. */
export const INITIAL_RTT_US = 333_000;
/** RFC 9002 §6.1.2: kGranularity; also what an event loop's timers can do. */
export const TIMER_GRANULARITY_US = 1_000;
/** Above any round trip that one can chat over; three of them are below the idle timeout. */
export const PROBE_TIMEOUT_US_MAX = 10_000_000;
assert(
  3 * PROBE_TIMEOUT_US_MAX <= IDLE_TIMEOUT_US,
  "A silent connection ends by the idle timeout, not by its estimates",
);
