/** Loss detection and the probe timeout over the ledger (RFC 9002 §6). */
import type { RttEstimator } from "./rtt.ts";
import { PacketState, type SentPacket, type SentPackets } from "./sent_packets.ts";

export class LossDetector {
  readonly #ledger: SentPackets;
  readonly #rtt: RttEstimator;
  #largestAcked = -1;
  /** When the oldest suspect counts as lost by time alone. */
  #lossTimeUs = Infinity;
  #probeCount = 0;
  #probesTotal = 0;
  /** When the last probe was asked for: the next waits, even should that one not have left. */
  #probedUs = 0;
  #persistent = false;
  /** How far behind a newer acknowledged packet, in packets and in time, one may be without being lost. */
  #threshold = PACKET_THRESHOLD;
  #toleranceUs = 0;
  /** So many episodes of losses that are real end the tolerance. */
  #toleranceLeft = 0;
  /** Probe early: on a path that loses packets a probe too many costs less than one too late. */
  isHasty = false;

  constructor(ledger: SentPackets, rtt: RttEstimator) {
    this.#ledger = ledger;
    this.#rtt = rtt;
  }

  /** Whether the packets of the last {@linkcode detect} span a time in which nothing came through (RFC 9002 §7.6). */
  get isPersistent(): boolean {
    return this.#persistent;
  }

  /** Probe timeouts since the connection began. */
  get probesTotal(): number {
    return this.#probesTotal;
  }

  /** New acknowledgements arrived: the path lives, so back-off ends (RFC 9002 §6.2.1). */
  onAcked(largest: number): void {
    if (largest > this.#largestAcked) this.#largestAcked = largest;
    this.#probeCount = 0;
  }

  /**
   * Marks packets that are late beside a newer acknowledged one (RFC 9002 §6.1).
   *
   * @param lost Filled from index 0, oldest first; valid until the ledger is trimmed.
   * @returns How many.
   */
  detect(nowUs: number, lost: SentPacket[]): number {
    const ledger = this.#ledger, delayUs = this.#rtt.lossDelayUs + this.#toleranceUs;
    const persistentUs = this.#rtt.persistentCongestionUs, firstSampleUs = this.#rtt.firstSampleUs;
    this.#lossTimeUs = Infinity;
    this.#persistent = false;
    let count = 0, runStartUs = -1;
    for (let i = ledger.settled; i < ledger.size; i++) {
      const packet = ledger.at(i);
      if (packet.number > this.#largestAcked) break;
      if (packet.state === PacketState.Acknowledged) runStartUs = -1;
      if (packet.state !== PacketState.InFlight) continue;
      if (
        packet.number > this.#largestAcked - this.#threshold && packet.sentUs + delayUs > nowUs
      ) {
        this.#lossTimeUs = Math.min(this.#lossTimeUs, packet.sentUs + delayUs);
        continue;
      }
      ledger.markLost(packet);
      lost[count++] = packet;
      // Before the first sample the timeouts were guesses and prove nothing.
      if (packet.sentUs <= firstSampleUs) continue;
      if (runStartUs < 0) runStartUs = packet.sentUs;
      else if (packet.sentUs - runStartUs > persistentUs) this.#persistent = true;
    }
    return count;
  }

  /**
   * A packet that was declared lost has arrived after all: the path reorders, so this much is tolerated from now on (RFC 9002
   * §6.1.1, RFC 8985 §6.2), up to another round trip, until in sixteen episodes something was lost indeed.
   *
   * @param largestBefore The largest number acknowledged when it was declared lost, or later.
   */
  onSpurious(packet: SentPacket, largestBefore: number, nowUs: number): void {
    this.#threshold = Math.min(Math.max(this.#threshold, largestBefore - packet.number + 1), PACKET_THRESHOLD_MAX);
    const lateUs = nowUs - packet.sentUs - this.#rtt.lossDelayUs;
    this.#toleranceUs = Math.ceil(Math.min(Math.max(this.#toleranceUs, lateUs), this.#rtt.smoothedUs));
    this.#toleranceLeft = TOLERANCE_EPISODES;
  }

  /** Nothing has refuted the losses of a whole episode. */
  onReal(): void {
    if (this.#toleranceLeft > 0 && --this.#toleranceLeft === 0) this.#forgetTolerance();
  }

  get largestAcked(): number {
    return this.#largestAcked;
  }

  #forgetTolerance(): void {
    this.#threshold = PACKET_THRESHOLD;
    this.#toleranceUs = 0;
  }

  /** Counts everything in flight as lost: the path it was sent on is gone. @returns How many, as in {@linkcode detect}. */
  abandon(lost: SentPacket[]): number {
    let count = 0;
    this.#forgetTolerance();
    for (let i = this.#ledger.settled; i < this.#ledger.size; i++) {
      const packet = this.#ledger.at(i);
      if (packet.state !== PacketState.InFlight) continue;
      this.#ledger.markLost(packet);
      lost[count++] = packet;
    }
    this.#lossTimeUs = Infinity;
    this.#probeCount = 0;
    return count;
  }

  /** When to call {@linkcode isProbeDue}, `Infinity` with nothing in flight. */
  get deadlineUs(): number {
    if (this.#lossTimeUs !== Infinity) return this.#lossTimeUs;
    if (this.#ledger.packetsInFlight === 0) return Infinity;
    return Math.max(this.#ledger.lastSentUs, this.#probedUs) + this.#backedOffUs();
  }

  /** The deadline has come: true where it is for probing, which this counts; false where packets are to be detected as lost. */
  onDeadline(nowUs: number): boolean {
    if (this.#lossTimeUs !== Infinity) return false;
    this.#probedUs = nowUs;
    this.#probeCount++;
    this.#probesTotal++;
    return true;
  }

  /**
   * RFC 9002 §6.2.1, but back-off stops at four seconds: a phone that leaves a tunnel must not wait half a minute, and a
   * probe each four seconds congests nothing. The idle timeout ends it.
   */
  #backedOffUs(): number {
    const baseUs = this.isHasty ? this.#rtt.quickProbeTimeoutUs : this.#rtt.probeTimeoutUs;
    return Math.min(baseUs * 2 ** this.#probeCount, Math.max(baseUs, PROBE_TIMEOUT_US_MAX));
  }
}

/** RFC 9002 §6.1.1: kPacketThreshold. */
const PACKET_THRESHOLD = 3;
/** Once a path reorders, time decides; this only bounds (RFC 8985 counts no packets there at all). */
const PACKET_THRESHOLD_MAX = 1024;
/** RFC 8985 §6.2. */
const TOLERANCE_EPISODES = 16;
const PROBE_TIMEOUT_US_MAX = 4_000_000;
