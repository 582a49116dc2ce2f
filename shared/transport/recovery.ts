/**
 * What became of the packets we sent, and when the next may leave (RFC 9002): joins the ledger, the round-trip estimate, loss
 * detection, the congestion controller and the pacer, none of which knows the others.
 */
import { DATAGRAM_BYTES, PACKETS_IN_FLIGHT_MAX } from "../limits.ts";
import type { Controller } from "./congestion.ts";
import type { FrameCursor } from "./frame.ts";
import { LossDetector } from "./loss.ts";
import type { DatagramSize } from "./mtu.ts";
import { Pacer } from "./pacer.ts";
import type { RttEstimator } from "./rtt.ts";
import type { Redundancy, Surroundings } from "./redundancy.ts";
import { PacketState, type SentPacket, SentPackets } from "./sent_packets.ts";

/** Who put something into a packet and has to know what became of it. */
export interface Cargo {
  onAcked(packet: SentPacket): void;
  /** Not delivered, or not known to be: what is still of use is to be sent again. */
  onLost(packet: SentPacket): void;
}

export interface RecoveryParts {
  readonly rtt: RttEstimator;
  readonly controller: Controller;
  readonly cargo: Cargo;
  readonly redundancy: Redundancy;
  readonly size: DatagramSize;
  readonly nowUs: number;
}

export class Recovery {
  readonly #rtt: RttEstimator;
  readonly #controller: Controller;
  readonly #cargo: Cargo;
  readonly #redundancy: Redundancy;
  readonly #size: DatagramSize;
  readonly #ledger = new SentPackets();
  readonly #loss: LossDetector;
  readonly #pacer: Pacer;
  /** The window was not what kept us from sending more. */
  #appLimited = true;
  #probesPending = 0;
  #packetsLost = 0;
  /** Packets of those that arrived after all. */
  #spurious = 0;
  /** The losses that the window was last reduced for: which, from when on, and how many of them are not refuted. */
  #episode = 0;
  #episodeStartUs = -1;
  #episodeLost = 0;
  /** Bytes sent since the peer was last asked for an acknowledgement, or gave one. */
  #unaskedBytes = 0;

  constructor(parts: RecoveryParts) {
    this.#rtt = parts.rtt;
    this.#controller = parts.controller;
    this.#cargo = parts.cargo;
    this.#redundancy = parts.redundancy;
    this.#size = parts.size;
    this.#loss = new LossDetector(this.#ledger, parts.rtt);
    this.#pacer = new Pacer(parts.nowUs);
  }

  get bytesInFlight(): number {
    return this.#ledger.bytesInFlight;
  }

  /** Packets declared lost since the connection began. */
  get packetsLost(): number {
    return this.#packetsLost;
  }

  /** Packets declared lost that arrived after all. */
  get spurious(): number {
    return this.#spurious;
  }

  /** Probe timeouts since the connection began. */
  get probes(): number {
    return this.#loss.probesTotal;
  }

  /** A packet has to leave though there may be nothing to say. */
  get isProbing(): boolean {
    return this.#probesPending > 0;
  }

  /** When to call {@linkcode handleDeadline}; `Infinity` with nothing in flight. */
  get deadlineUs(): number {
    return this.#loss.deadlineUs;
  }

  /**
   * Takes an ACK frame whose largest number was sent.
   *
   * @returns Whether it brought news.
   */
  handleAck(frame: FrameCursor, nowUs: number): boolean {
    const finished = FINISHED, largest = frame.ranges[0]!, late = this.#ledger.late;
    let count = 0;
    for (let i = frame.rangeCount - 1; i >= 0; i--) {
      count = this.#ledger.acknowledge(frame.ranges[i * 2 + 1]!, frame.ranges[i * 2]!, finished, count);
    }
    if (late.length > 0) this.#onLate(nowUs);
    if (count === 0) return false;
    const newest = finished[count - 1]!;
    if (newest.number === largest) {
      this.#rtt.update(nowUs - newest.sentUs, frame.value, nowUs);
      this.#controller.onRtt?.(this.#rtt.adjustedUs);
    }
    this.#loss.onAcked(largest);
    this.#probesPending = 0;
    this.#unaskedBytes = 0;
    this.#redundancy.onAcked(count);
    for (let i = 0; i < count; i++) {
      const packet = finished[i]!;
      this.#controller.onAcked(packet.bytes, packet.sentUs, this.#appLimited, nowUs);
      this.#size.onAcked(packet.bytes);
      this.#cargo.onAcked(packet);
    }
    this.#trim(nowUs);
    this.#detectLosses(nowUs);
    return true;
  }

  /**
   * RFC 9002 §6.2.4: two probes with what has waited longest for its acknowledgement. As much of it as they can hold: of small
   * messages that were lost together none should wait another round trip.
   */
  handleDeadline(nowUs: number): void {
    if (!this.#loss.onDeadline(nowUs)) return this.#detectLosses(nowUs);
    this.#probesPending = PROBES;
    const ledger = this.#ledger;
    let bytes = 0;
    for (let i = ledger.settled; i < ledger.size && bytes < DATAGRAM_BYTES; i++) {
      const packet = ledger.at(i);
      if (packet.state !== PacketState.InFlight) continue;
      if (bytes === 0) this.#size.onMissed(packet.bytes);
      bytes += packet.bytes;
      this.#cargo.onLost(packet);
    }
  }

  /** RFC 9000 §9.4. What was in flight went to where the peer no longer is. */
  handleMove(nowUs: number): void {
    this.#rtt.reset();
    this.#controller.reset();
    this.#size.reset();
    this.#episode++;
    this.#resend(this.#loss.abandon(FINISHED), nowUs);
    this.#probesPending = 0;
    this.#unaskedBytes = 0;
    this.#redundancy.clear();
  }

  /**
   * When a packet that has to be acknowledged may leave.
   *
   * @param hasWork Whether there is anything to put into it.
   * @returns At most `nowUs`: now. `Infinity`: not before something arrives, or there is something to say.
   */
  mayElicitUs(hasWork: boolean, nowUs: number): number {
    if (this.#probesPending > 0) return nowUs;
    if (!hasWork) {
      this.#appLimited = true;
      return Infinity;
    }
    if (this.#ledger.size >= PACKETS_IN_FLIGHT_MAX) return Infinity;
    const windowBytes = this.#controller.windowBytes;
    if (this.#ledger.bytesInFlight + DATAGRAM_BYTES > windowBytes) {
      this.#appLimited = false;
      return Infinity;
    }
    const delayUs = this.#pacer.delayUs(nowUs, windowBytes, this.#rtt.smoothedUs);
    if (delayUs > 0) this.#appLimited = false;
    return nowUs + delayUs;
  }

  /** What looked like something to say was nothing: credit is missing. */
  onNothingToSay(): void {
    this.#appLimited = true;
  }

  /** An empty record to fill: {@linkcode onSent} or {@linkcode release}. */
  begin(): SentPacket {
    return this.#ledger.begin();
  }

  release(packet: SentPacket): void {
    this.#ledger.release(packet);
  }

  /**
   * Whether the next packet should ask for an acknowledgement: four in each window keep it moving, however rarely the peer
   * acknowledges by itself.
   */
  get wantsAck(): boolean {
    return this.#unaskedBytes + DATAGRAM_BYTES > this.#controller.windowBytes / ACKS_PER_WINDOW;
  }

  onAckAsked(): void {
    this.#unaskedBytes = 0;
  }

  onSent(packet: SentPacket, packetNumber: number, bytes: number, nowUs: number): void {
    this.#ledger.add(packet, packetNumber, nowUs, bytes);
    this.#pacer.onSent(bytes);
    this.#unaskedBytes += bytes;
    this.#loss.isHasty = this.#redundancy.isActive;
    if (this.#probesPending > 0) this.#probesPending--;
  }

  /** What decides whether a packet just sent is worth a second copy. */
  surroundings(isLast: boolean, nowUs: number): Surroundings {
    const { hasSample, minUs, smoothedUs } = this.#rtt;
    return { nowUs, minRttUs: hasSample ? minUs : smoothedUs, packetsInFlight: this.#ledger.packetsInFlight, isLast };
  }

  #detectLosses(nowUs: number): void {
    const count = this.#loss.detect(nowUs, FINISHED);
    if (count === 0) return;
    const newestSentUs = FINISHED[count - 1]!.sentUs;
    if (newestSentUs > this.#episodeStartUs) {
      if (this.#episodeLost > 0) this.#loss.onReal();
      this.#episode++;
      this.#episodeStartUs = nowUs;
      this.#episodeLost = 0;
    }
    this.#episodeLost += count;
    // What of a round trip is longer than the shortest one was spent in queues, and so was that share of what is in flight.
    const { minUs, smoothedUs, hasSample } = this.#rtt;
    const backlogBytes = hasSample ? this.#controller.windowBytes * Math.max(0, 1 - minUs / smoothedUs) : Infinity;
    this.#controller.onLost(newestSentUs, nowUs, backlogBytes);
    if (this.#loss.isPersistent) {
      this.#controller.onPersistentCongestion();
      this.#episodeLost = Infinity;
    }
    this.#resend(count, nowUs);
  }

  /** Packets declared lost arrived after all. Where that is so of all that a reduction was for, it is taken back. */
  #onLate(nowUs: number): void {
    const late = this.#ledger.late;
    for (const packet of late) {
      this.#spurious++;
      this.#loss.onSpurious(packet, this.#loss.largestAcked, nowUs);
      this.#cargo.onAcked(packet);
      if (packet.episode === this.#episode && --this.#episodeLost === 0) this.#controller.onSpurious();
    }
    late.length = 0;
  }

  /** The first `count` packets of `FINISHED` are lost. */
  #resend(count: number, nowUs: number): void {
    this.#packetsLost += count;
    this.#redundancy.onLost(count);
    for (let i = 0; i < count; i++) {
      const packet = FINISHED[i]!;
      packet.episode = this.#episode;
      this.#size.onMissed(packet.bytes);
      this.#cargo.onLost(packet);
    }
    this.#trim(nowUs);
  }

  /** Lost packets are remembered as long as an acknowledgement of them may still come. */
  #trim(nowUs: number): void {
    this.#ledger.trim(nowUs - 2 * this.#rtt.probeTimeoutUs);
  }
}

/** Filled with what an ACK or a timeout finishes, and done with before either returns. */
const FINISHED: SentPacket[] = [];
/** RFC 9002 §6.2.4. */
const PROBES = 2;
const ACKS_PER_WINDOW = 4;
