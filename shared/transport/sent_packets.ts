/**
 * The ledger of what is in flight: one record for each ack-eliciting packet, in the order of sending.
 *
 * A record remembers what the packet carried as flat numbers, four a frame, because frames are sent again, never packets.
 * Records are reused: one that left the ledger belongs to the next packet, of any connection.
 */
import { assert } from "../assert.ts";

export enum PacketState {
  InFlight,
  Acknowledged,
  Lost,
}

export class SentPacket {
  number = 0;
  sentUs = 0;
  bytes = 0;
  state = PacketState.InFlight;
  /** Which loss episode it belongs to, once it is lost. */
  episode = 0;
  /** The largest packet number that an ACK frame in this packet acknowledged, or -1. */
  ackLargest = -1;
  /** `frameCount` × (frame type, and three numbers whose meaning the frame's type gives). */
  readonly frames: number[] = [];
  frameCount = 0;

  /** Notes a frame, so that its content can be sent again or forgotten. */
  note(type: number, a = 0, b = 0, c = 0): void {
    const at = this.frameCount++ * 4, frames = this.frames;
    frames[at] = type;
    frames[at + 1] = a;
    frames[at + 2] = b;
    frames[at + 3] = c;
  }
}

export class SentPackets {
  #packets: SentPacket[] = [];
  /** Everything before this index has left the ledger. */
  #head = 0;
  /** Nothing before this index is in flight. */
  #first = 0;
  #bytesInFlight = 0;
  #packetsInFlight = 0;
  #lastSentUs = 0;

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  get packetsInFlight(): number {
    return this.#packetsInFlight;
  }

  /** Records held, those acknowledged or lost behind an older one in flight too. */
  get size(): number {
    return this.#packets.length - this.#head;
  }

  /** Packets that the last {@linkcode acknowledge} calls found acknowledged after they had been declared lost; for the caller to empty. */
  readonly late: SentPacket[] = [];

  /** How many of the oldest records held are not in flight any more. */
  get settled(): number {
    return this.#first - this.#head;
  }

  /** When the newest packet in the ledger was sent. */
  get lastSentUs(): number {
    return this.#lastSentUs;
  }

  /** An empty record to fill; {@linkcode add} it or {@linkcode release} it. */
  begin(): SentPacket {
    const packet = FREE.pop() ?? new SentPacket();
    packet.ackLargest = -1;
    packet.frameCount = 0;
    packet.state = PacketState.InFlight;
    return packet;
  }

  release(packet: SentPacket): void {
    if (FREE.length < FREE_MAX) FREE.push(packet);
  }

  add(packet: SentPacket, number: number, sentUs: number, bytes: number): void {
    assert(this.size === 0 || this.#packets[this.#packets.length - 1]!.number < number, "Packet numbers rise");
    packet.number = number;
    packet.sentUs = sentUs;
    packet.bytes = bytes;
    this.#packets.push(packet);
    this.#bytesInFlight += bytes;
    this.#packetsInFlight++;
    this.#lastSentUs = sentUs;
  }

  /**
   * Marks the packets in flight with numbers in `[low, high]` as acknowledged.
   *
   * @param acked Filled from `count` on, by rising number; valid until {@linkcode trim}.
   * @returns The new count.
   */
  acknowledge(low: number, high: number, acked: SentPacket[], count: number): number {
    const packets = this.#packets;
    for (let i = this.#indexOf(low); i < packets.length; i++) {
      const packet = packets[i]!;
      if (packet.number > high) break;
      if (packet.state === PacketState.Lost) {
        packet.state = PacketState.Acknowledged;
        this.late.push(packet);
      } else if (packet.state === PacketState.InFlight) {
        this.#leave(packet, PacketState.Acknowledged);
        acked[count++] = packet;
      }
    }
    return count;
  }

  markLost(packet: SentPacket): void {
    this.#leave(packet, PacketState.Lost);
  }

  /** Record `index`, 0 being the oldest held; check its state. */
  at(index: number): SentPacket {
    return this.#packets[this.#head + index]!;
  }

  /** The oldest packet in flight. */
  oldest(): SentPacket | undefined {
    for (let i = this.#first; i < this.#packets.length; i++) {
      if (this.#packets[i]!.state === PacketState.InFlight) return this.#packets[i];
    }
    return undefined;
  }

  /**
   * Lets go of the finished records at the old end.
   *
   * @param lostBeforeUs Lost ones stay that were sent later: an acknowledgement may show yet that they only came late.
   */
  trim(lostBeforeUs = Infinity): void {
    const packets = this.#packets;
    while (this.#first < packets.length && packets[this.#first]!.state !== PacketState.InFlight) this.#first++;
    while (this.#head < this.#first) {
      const packet = packets[this.#head]!;
      if (packet.state === PacketState.Lost && packet.sentUs >= lostBeforeUs) break;
      this.release(packet);
      this.#head++;
    }
    if (this.#head === packets.length) {
      // Nothing of what was needed at the busiest time stays with a connection that has become quiet.
      packets.length = this.#head = this.#first = 0;
    } else if (this.#head > COMPACT_AT && this.#head * 2 > packets.length) {
      packets.copyWithin(0, this.#head);
      packets.length -= this.#head;
      this.#first -= this.#head;
      this.#head = 0;
    }
  }

  #leave(packet: SentPacket, state: PacketState): void {
    assert(packet.state === PacketState.InFlight, "A packet leaves flight once");
    packet.state = state;
    this.#bytesInFlight -= packet.bytes;
    this.#packetsInFlight--;
  }

  /** Index of the first record whose number is at least `number`. */
  #indexOf(number: number): number {
    const packets = this.#packets;
    let low = this.#head, high = packets.length;
    if (low === high || packets[low]!.number >= number) return low;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (packets[middle]!.number >= number) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Records that wait to be used again, by whichever connection sends next: thousands that are quiet would keep some each. */
const FREE: SentPacket[] = [];
const FREE_MAX = 1024;
const COMPACT_AT = 1024;
