/** The end of a connection (docs/PROTOCOL.md §5.3, RFC 9000 §10.2). */
import type { CloseReason } from "../errors.ts";
import { CLOSE_REASON_BYTES_MAX } from "../limits.ts";

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
  #phase = Phase.Open;
  #reason: CloseReason | undefined;
  #packetPending = false;
  /** Packets received since the last CLOSE, and after how many the next is sent: doubling. */
  #received = 0;
  #repeatAfter = 1;

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

  /** We close. */
  begin(reason: CloseReason): void {
    this.#phase = Phase.Closing;
    this.#reason = reason;
    this.#packetPending = true;
  }

  /** The peer closes. */
  drain(reason: CloseReason): void {
    this.#phase = Phase.Draining;
    this.#reason ??= reason;
    this.#packetPending = false;
  }

  /** Nothing more to send or to wait for. */
  forget(reason?: CloseReason): void {
    this.#phase = Phase.Gone;
    this.#reason ??= reason;
    this.#packetPending = false;
  }

  /** A packet arrived although we closed: the peer may have missed it. */
  onPacket(): void {
    if (this.#phase !== Phase.Closing) return;
    this.#received++;
    if (this.#received < this.#repeatAfter) return;
    this.#received = 0;
    this.#repeatAfter *= 2;
    this.#packetPending = true;
  }

  onPacketSent(): void {
    this.#packetPending = false;
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
