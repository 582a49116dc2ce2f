/** The end of a connection (docs/PROTOCOL.md §5.3, RFC 9000 §10.2). */
import { type CloseReason, TransportError } from "../errors.ts";
import { CLOSE_REASON_BYTES_MAX } from "../limits.ts";
import type { EventQueue } from "./events.ts";
import { type FrameCursor, FrameType } from "./frame.ts";
import { Timer, type Timers } from "./timers.ts";

export enum Phase {
  Open,
  /** We closed: CLOSE is repeated for as long as the peer speaks. */
  Closing,
  /** The peer closed: nothing is sent any more. */
  Draining,
  /** It can be forgotten. */
  Gone,
}

export class Closing {
  readonly #timers: Timers;
  readonly #events: EventQueue;
  #phase = Phase.Open;
  #reason: CloseReason | undefined;
  #packetPending = false;
  /** Packets received since the last CLOSE, and after how many the next is sent: doubling. */
  #received = 0;
  #repeatAfter = 1;

  /** @param timers All of the connection's: none but that of the end is of use after it. */
  constructor(timers: Timers, events: EventQueue) {
    this.#timers = timers;
    this.#events = events;
  }

  get phase(): Phase {
    return this.#phase;
  }

  get isOpen(): boolean {
    return this.#phase === Phase.Open;
  }

  get reason(): CloseReason | undefined {
    return this.#reason;
  }

  /** Whether a CLOSE packet has to be sent. */
  get packetPending(): boolean {
    return this.#packetPending;
  }

  /** We close. @param untilUs How long the peer is answered. */
  begin(reason: CloseReason, untilUs: number): void {
    if (!this.isOpen) return;
    this.#end(Phase.Closing, reason);
    this.#packetPending = true;
    this.#timers.set(Timer.Close, untilUs);
  }

  /** The peer closes. @param untilUs How long what is still under way is swallowed. */
  drain(reason: CloseReason, untilUs: number): void {
    this.#end(Phase.Draining, reason);
    this.#timers.set(Timer.Close, untilUs);
  }

  /** Nothing more to send or to wait for. @param reason Of an end without a word: there is nobody to tell. */
  forget(reason?: CloseReason): void {
    this.#end(Phase.Gone, reason);
  }

  /**
   * An authentic packet arrived although it is over. While we close only the peer's CLOSE still means something: then nobody
   * needs to hear more. Else the peer may have missed ours.
   *
   * @param payload A cursor that was started on it.
   */
  handlePayload(payload: FrameCursor, untilUs: number): void {
    if (this.#phase !== Phase.Closing) return;
    this.#received++;
    if (this.#received >= this.#repeatAfter) {
      this.#received = 0;
      this.#repeatAfter *= 2;
      this.#packetPending = true;
    }
    try {
      while (payload.next()) if (payload.type === FrameType.Close) return this.drain(this.#reason!, untilUs);
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
    }
  }

  onPacketSent(): void {
    this.#packetPending = false;
  }

  #end(phase: Phase, reason: CloseReason | undefined): void {
    const wasOpen = this.isOpen;
    this.#phase = phase;
    this.#reason ??= reason;
    this.#packetPending = false;
    this.#timers.clearAll();
    if (wasOpen && reason !== undefined) this.#events.push({ type: "closed", reason });
  }
}

/** The peer's reason as a person may see it: valid text without control characters. */
export function readReason(bytes: Uint8Array): string {
  // deno-lint-ignore no-control-regex
  return DECODER.decode(bytes).replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, "");
}

/** Our reason as it travels: UTF-8, cut to what the frame may carry. */
export function writeReason(reason: string): Uint8Array {
  const bytes = ENCODER.encode(reason);
  if (bytes.length <= CLOSE_REASON_BYTES_MAX) return bytes;
  let end = CLOSE_REASON_BYTES_MAX;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

const DECODER = new TextDecoder();
const ENCODER = new TextEncoder();
