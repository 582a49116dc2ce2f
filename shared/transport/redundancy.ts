/**
 * Second copies: a small message that nothing follows is sent again a few milliseconds later, in another packet, so that a
 * lost packet costs those milliseconds instead of a probe timeout.
 *
 * Only where it buys something: on a sparse connection (in a stream of packets the next ones show at once what is missing), on
 * a path whose round trip is long enough to wait for. A connection begins with it, a run of acknowledgements without a loss
 * ends it, and the first loss brings it back. Copies are frames like others: congestion control and pacing hold for them.
 */
import { FrameType, STREAM_WITH_FIN } from "./frame.ts";
import type { SentPacket } from "./sent_packets.ts";

/** A piece of a stream that is to be sent once more, unless it is acknowledged by then. */
export interface Copy {
  readonly streamId: number;
  readonly offset: number;
  readonly end: number;
  readonly fin: boolean;
  /** How many more are to follow it. */
  readonly more: number;
  readonly dueUs: number;
  /** Microseconds between one copy and the next. */
  readonly afterUs: number;
}

/** What is known of the connection at the time a packet leaves. */
export interface Surroundings {
  readonly nowUs: number;
  readonly minRttUs: number;
  readonly packetsInFlight: number;
  /** Nothing else waits to be sent. */
  readonly isLast: boolean;
}

export class Redundancy {
  #cleanRun = 0;
  /** Share of packets lost of late. */
  #lossRate = 0;
  /** By rising `dueUs`. */
  readonly #copies: Copy[] = [];
  #bytes = 0;

  /** Whether packets of late got lost, or too few were sent to know. */
  get isActive(): boolean {
    return this.#cleanRun < CLEAN_RUN_PACKETS;
  }

  /** Bytes of copies that left. */
  get bytes(): number {
    return this.#bytes;
  }

  /** When the next copy should leave; `Infinity` for never. */
  get dueUs(): number {
    return this.#copies.length === 0 ? Infinity : this.#copies[0]!.dueUs;
  }

  onAcked(packets: number): void {
    this.#cleanRun += packets;
    for (let i = 0; i < packets; i++) this.#lossRate -= this.#lossRate * LOSS_RATE_GAIN;
  }

  onLost(packets: number): void {
    this.#cleanRun = 0;
    for (let i = 0; i < packets; i++) this.#lossRate += (1 - this.#lossRate) * LOSS_RATE_GAIN;
  }

  /** A packet left: plans copies of what it carries, where they are worth while. @param frameCount Its frames that are no copies. */
  onSent(packet: SentPacket, frameCount: number, around: Surroundings): void {
    if (!this.isActive || !around.isLast || around.minRttUs < RTT_US_MIN) return;
    if (around.packetsInFlight > PACKETS_IN_FLIGHT_MAX || this.#copies.length >= COPIES_MAX) return;
    const frames = packet.frames;
    let bytes = 0;
    for (let i = 0; i < frameCount * 4; i += 4) if (isStream(frames[i]!)) bytes += frames[i + 3]! - frames[i + 2]!;
    if (bytes > MESSAGE_BYTES_MAX) return;
    const more = this.#lossRate > LOSS_RATE_HIGH ? 1 : 0, afterUs = delayUs(around.minRttUs);
    const dueUs = around.nowUs + afterUs;
    for (let i = 0; i < frameCount * 4; i += 4) {
      const type = frames[i]!;
      if (!isStream(type)) continue;
      const fin = type === STREAM_WITH_FIN;
      const [streamId, offset, end] = [frames[i + 1]!, frames[i + 2]!, frames[i + 3]!];
      this.#copies.push({ streamId, offset, end, fin, more, dueUs, afterUs });
    }
  }

  /** The next copy that may leave now. A packet that leaves anyway takes copies along before they are due. */
  peek(nowUs: number): Copy | undefined {
    const copy = this.#copies[0];
    return copy !== undefined && copy.dueUs - EARLY_US <= nowUs ? copy : undefined;
  }

  /** The next copy at all: a probe that has nothing else to say takes it. */
  peekAny(): Copy | undefined {
    return this.#copies[0];
  }

  /** The copy of the last peek left in a packet, or is not needed. @param bytes That it took; 0 where it did not leave. */
  shift(bytes: number, nowUs: number): void {
    const copy = this.#copies.shift()!;
    this.#bytes += bytes;
    if (bytes === 0 || copy.more === 0) return;
    this.#copies.push({ ...copy, more: copy.more - 1, dueUs: nowUs + copy.afterUs });
  }

  /** Another path: what was to be repeated is sent again anyhow. */
  clear(): void {
    this.#copies.length = 0;
    this.#cleanRun = 0;
  }
}

/** Longer than most bursts of loss on a wire, shorter than anybody notices. */
function delayUs(minRttUs: number): number {
  return Math.round(Math.min(Math.max(minRttUs / 10, DELAY_US_MIN), DELAY_US_MAX));
}

function isStream(type: number): boolean {
  return type === FrameType.Stream || type === STREAM_WITH_FIN;
}

/** With one per cent of loss it is on at nine of ten losses. */
const CLEAN_RUN_PACKETS = 256;
const LOSS_RATE_GAIN = 1 / 64;
/** From here on two of three packets in a row are lost too often: a third copy follows. */
const LOSS_RATE_HIGH = 0.08;
/** On shorter paths a probe comes as quickly, and servers there talk to many. */
const RTT_US_MIN = 4_000;
const DELAY_US_MIN = 2_000;
const DELAY_US_MAX = 8_000;
const EARLY_US = 1_000;
/** More in flight is no sparse connection. */
const PACKETS_IN_FLIGHT_MAX = 16;
/** Stream bytes of a packet that is copied: a line of text, sealed. */
const MESSAGE_BYTES_MAX = 700;
const COPIES_MAX = 64;
