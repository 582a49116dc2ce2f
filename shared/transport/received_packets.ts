/** What has arrived and when to say so (RFC 9000 §13.2). */
import { ACK_DELAY_US_MAX, ACK_RANGES_MAX } from "../limits.ts";
import { writeAck } from "./frame.ts";
import { RangeSet } from "./range_set.ts";

export class ReceivedPackets {
  readonly #ranges = new RangeSet();
  #largest = -1;
  #largestUs = 0;
  /** Ack-eliciting packets since the last ACK frame. */
  #unacknowledged = 0;
  #dueUs = Infinity;
  /** Packets for which the path counts as a bad one. */
  #hasteLeft = 0;

  /** The largest packet number received, or -1. */
  get largest(): number {
    return this.#largest;
  }

  /** When an ACK frame must leave; `Infinity` where none is owed. Zero: at once. */
  get dueUs(): number {
    return this.#dueUs;
  }

  /** Whether an ACK frame would tell the peer something it waits for: then any packet that leaves may carry one. */
  get isOwed(): boolean {
    return this.#unacknowledged > 0;
  }

  /**
   * Notes a packet that opened for the first time.
   *
   * An acknowledgement is due at once for one out of order, so that the peer sees losses early, and where the peer asks; else
   * for every tenth ack-eliciting packet or after the longest delay. RFC 9000 §13.2.2 recommends every second one, which costs
   * as many packets as the messages themselves; a sender that needs more of them for its window says so by PING
   * (docs/PROTOCOL.md §6.2). Where packets were missing or repeated of late, it is every second one and after a short delay.
   *
   * @param isAsked The peer wants to hear: it sent PING, or what was here already.
   */
  add(packetNumber: number, ackEliciting: boolean, nowUs: number, isAsked = false): void {
    const inOrder = packetNumber === this.#largest + 1;
    this.#ranges.insert(packetNumber, packetNumber + 1);
    if (packetNumber > this.#largest) {
      this.#largest = packetNumber;
      this.#largestUs = nowUs;
    }
    this.#ranges.keepHighest(ACK_RANGES_MAX);
    if (!ackEliciting) return;
    this.#unacknowledged++;
    if (!inOrder) this.#hasteLeft = HASTE_PACKETS;
    else if (this.#hasteLeft > 0) this.#hasteLeft--;
    const isHasty = this.#hasteLeft > 0;
    if (!inOrder || isAsked || this.#unacknowledged >= (isHasty ? ACK_EVERY_HASTY : ACK_EVERY)) this.#dueUs = 0;
    else if (this.#dueUs === Infinity) this.#dueUs = nowUs + (isHasty ? ACK_DELAY_US_HASTY : ACK_DELAY_US_MAX);
  }

  /** Writes an ACK frame below `limit` and counts as having told the peer. @returns The offset behind it. */
  write(target: Uint8Array, at: number, limit: number, nowUs: number): number {
    const behind = writeAck(target, at, limit, this.#ranges, Math.max(0, nowUs - this.#largestUs));
    if (behind === at) return at;
    this.#unacknowledged = 0;
    this.#dueUs = Infinity;
    return behind;
  }

  /** The peer has an ACK frame of ours up to `largest`: repeating those ranges tells it nothing (RFC 9000 §13.2.4). */
  onAckAcked(largest: number): void {
    // The newest range stays: an ACK frame cannot be empty.
    this.#ranges.remove(0, Math.min(largest, this.#largest));
  }
}

const ACK_EVERY = 10;
/** RFC 9000 §13.2.2. */
const ACK_EVERY_HASTY = 2;
const ACK_DELAY_US_HASTY = 5_000;
const HASTE_PACKETS = 64;
