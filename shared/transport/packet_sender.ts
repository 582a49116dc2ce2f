/** Puts packets together, one at a time: acknowledgements first, then what is waiting, as far as recovery lets it leave. */
import type { CloseReason } from "../errors.ts";
import { PACKET_NUMBER_LIMIT, PROTECTED_HEADER_BYTES, TAG_BYTES } from "../limits.ts";
import { writeReason } from "./closing.ts";
import { FrameType, writeBare, writeClose, writePath } from "./frame.ts";
import type { PacketKeys } from "./key_update.ts";
import type { Liveness } from "./liveness.ts";
import type { DatagramSize } from "./mtu.ts";
import type { Outbound } from "./outbound.ts";
import type { Address, Path } from "./path.ts";
import type { ReceivedPackets } from "./received_packets.ts";
import type { Recovery } from "./recovery.ts";
import type { Redundancy } from "./redundancy.ts";
import type { SentPacket } from "./sent_packets.ts";
import { Timer, type Timers } from "./timers.ts";

export interface PacketSenderParts {
  readonly keys: PacketKeys;
  readonly path: Path;
  readonly received: ReceivedPackets;
  readonly recovery: Recovery;
  readonly outbound: Outbound;
  readonly redundancy: Redundancy;
  readonly size: DatagramSize;
  readonly liveness: Liveness;
  readonly timers: Timers;
  readonly firstPacketNumber?: number | undefined;
  /** What asks for an acknowledgement is padded to so many bytes of datagram. */
  readonly elicitingBytesMin: number;
}

export class PacketSender {
  readonly #keys: PacketKeys;
  readonly #path: Path;
  readonly #received: ReceivedPackets;
  readonly #recovery: Recovery;
  readonly #outbound: Outbound;
  readonly #redundancy: Redundancy;
  readonly #size: DatagramSize;
  readonly #liveness: Liveness;
  readonly #timers: Timers;
  readonly #elicitingBytesMin: number;
  #nextPacketNumber: number;
  #to: Address;
  #datagrams = 0;
  #bytes = 0;

  constructor(parts: PacketSenderParts) {
    this.#keys = parts.keys;
    this.#path = parts.path;
    this.#received = parts.received;
    this.#recovery = parts.recovery;
    this.#outbound = parts.outbound;
    this.#redundancy = parts.redundancy;
    this.#size = parts.size;
    this.#liveness = parts.liveness;
    this.#timers = parts.timers;
    this.#elicitingBytesMin = parts.elicitingBytesMin;
    this.#nextPacketNumber = parts.firstPacketNumber ?? 0;
    this.#to = parts.path.peer;
  }

  /** Where the last packet goes. */
  get to(): Address {
    return this.#to;
  }

  /** Everything below was sent. */
  get nextPacketNumber(): number {
    return this.#nextPacketNumber;
  }

  /** So few packet numbers are left that it is time to say goodbye (SECURITY H2). */
  get isExhausted(): boolean {
    return this.#nextPacketNumber >= PACKET_NUMBER_LIMIT - CLOSE_PACKETS_RESERVED;
  }

  /** Sealed since the connection began. */
  get datagrams(): number {
    return this.#datagrams;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Writes one packet, if there is one to send now. @returns Bytes of the datagram, or 0. */
  transmit(buffer: Uint8Array, nowUs: number): number {
    return this.#transmitPath(buffer, nowUs) || this.#transmitFrames(buffer, nowUs);
  }

  /** Writes a CLOSE packet. @returns Bytes of the datagram, or 0 where there is no packet number left for it. */
  transmitClose(buffer: Uint8Array, reason: CloseReason, nowUs: number): number {
    if (this.#nextPacketNumber >= PACKET_NUMBER_LIMIT) return 0;
    const end = writeClose(buffer, PROTECTED_HEADER_BYTES, reason.code, writeReason(reason.reason));
    this.#to = this.#path.peer;
    return this.#seal(buffer, end, nowUs);
  }

  /** PATH_CHALLENGE and PATH_RESPONSE go alone, to where they are meant for, and are neither counted as in flight nor repeated by loss. */
  #transmitPath(buffer: Uint8Array, nowUs: number): number {
    if (!this.#path.hasSomethingToSend) return 0;
    const challenge = this.#path.takeChallenge(PATH_PACKET_BYTES);
    const frame = challenge ?? this.#path.takeResponse();
    if (frame === undefined) return 0;
    const type = challenge === undefined ? FrameType.PathResponse : FrameType.PathChallenge;
    const end = writePath(buffer, PROTECTED_HEADER_BYTES, type, frame.data);
    this.#to = frame.address;
    return this.#seal(buffer, end, nowUs);
  }

  #transmitFrames(buffer: Uint8Array, nowUs: number): number {
    const mayElicit = this.#mayElicit(nowUs);
    if (!mayElicit && this.#received.dueUs > nowUs) return 0;
    const packet = this.#recovery.begin();
    packet.sentUs = nowUs;
    // The tag follows the payload.
    const limit = this.#size.bytes - TAG_BYTES;
    let at = PROTECTED_HEADER_BYTES;
    if (this.#received.isOwed) {
      at = this.#received.write(buffer, at, limit, nowUs);
      packet.ackLargest = this.#received.largest;
      this.#timers.clear(Timer.Ack);
    }
    let originals = 0;
    if (mayElicit) {
      // A PING stands in front: a STREAM frame without a length reaches to the end of the packet.
      const asks = this.#recovery.wantsAck ? 1 : 0, start = at;
      at = this.#outbound.fill(buffer, start + asks, limit, packet);
      originals = packet.frameCount;
      if (this.#redundancy.dueUs !== Infinity) at = this.#fillCopies(buffer, at, packet, nowUs);
      if (packet.frameCount === 0) at = this.#fillNothing(buffer, start, packet);
      else if (asks) this.#ask(buffer, start, packet);
    }
    if (at === PROTECTED_HEADER_BYTES) {
      this.#recovery.release(packet);
      return 0;
    }
    const endMin = this.#elicitingBytesMin - TAG_BYTES;
    if (packet.frameCount > 0 && at < endMin) {
      // Zeros are PADDING frames. A STREAM frame without a length fills its packet, so none stands before these.
      buffer.fill(0, at, endMin);
      at = endMin;
    }
    this.#to = this.#path.peer;
    const packetNumber = this.#nextPacketNumber;
    const bytes = this.#seal(buffer, at, nowUs);
    if (packet.frameCount === 0) {
      this.#recovery.release(packet);
      return bytes;
    }
    this.#recovery.onSent(packet, packetNumber, bytes, nowUs);
    this.#liveness.onSpoken(nowUs);
    if (originals > 0 && this.#redundancy.isActive) {
      this.#redundancy.onSent(packet, originals, this.#recovery.surroundings(!this.#outbound.hasWork, nowUs));
      const dueUs = this.#redundancy.dueUs;
      if (dueUs !== Infinity) this.#timers.set(Timer.Copy, Math.max(dueUs, nowUs + 1));
    }
    this.#timers.set(Timer.Loss, this.#recovery.deadlineUs);
    return bytes;
  }

  /** Whether a packet that has to be acknowledged may leave now; sets the pacing timer where it has to wait. */
  #mayElicit(nowUs: number): boolean {
    const fromUs = this.#recovery.mayElicitUs(this.#outbound.hasWork || this.#redundancy.dueUs <= nowUs, nowUs);
    if (fromUs <= nowUs) return true;
    if (fromUs !== Infinity) this.#timers.set(Timer.Pacing, fromUs);
    return false;
  }

  /** Second copies that are due, as many as fit. */
  #fillCopies(buffer: Uint8Array, at: number, packet: SentPacket, nowUs: number): number {
    const limit = this.#size.bytes - TAG_BYTES;
    const redundancy = this.#redundancy, isProbe = this.#recovery.isProbing;
    for (;;) {
      const copy = isProbe ? redundancy.peekAny() : redundancy.peek(nowUs);
      if (copy === undefined) break;
      const behind = this.#outbound.fillCopy(buffer, at, limit, packet, copy);
      if (behind < 0) break;
      redundancy.shift(behind - at, nowUs);
      at = behind;
    }
    this.#timers.set(Timer.Copy, redundancy.dueUs);
    return at;
  }

  /** There was nothing to say: only a probe leaves all the same. */
  #fillNothing(buffer: Uint8Array, at: number, packet: SentPacket): number {
    if (this.#recovery.isProbing) return this.#ask(buffer, at, packet);
    this.#recovery.onNothingToSay();
    return at;
  }

  #ask(buffer: Uint8Array, at: number, packet: SentPacket): number {
    this.#recovery.onAckAsked();
    packet.note(FrameType.Ping);
    return writeBare(buffer, at, FrameType.Ping);
  }

  /** Seals what was written up to `end`. @returns Bytes of the datagram. */
  #seal(buffer: Uint8Array, end: number, nowUs: number): number {
    const bytes = this.#keys.seal(buffer, end - PROTECTED_HEADER_BYTES, this.#nextPacketNumber++, nowUs);
    this.#datagrams++;
    this.#bytes += bytes;
    return bytes;
  }
}

/** Header, one frame of nine bytes, tag. */
const PATH_PACKET_BYTES = PROTECTED_HEADER_BYTES + 9 + TAG_BYTES;
/** Packet numbers kept back to say goodbye with. */
const CLOSE_PACKETS_RESERVED = 16;
