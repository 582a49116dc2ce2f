/**
 * The sending half of a stream: bytes waiting, in flight, acknowledged.
 *
 * Unacknowledged bytes lie in one buffer that slides along the stream: appending small messages allocates nothing while there
 * is room, and a stream gives its buffer back when all is acknowledged.
 */
import { assert } from "../assert.ts";
import { SendCredit } from "./flow_control.ts";
import { RangeSet } from "./range_set.ts";

export class SendStream {
  readonly credit: SendCredit;
  #buffer: Uint8Array = EMPTY;
  /** Index in the buffer of stream offset `#start`. */
  #head = 0;
  /** Everything below is acknowledged. */
  #start = 0;
  /** Everything below was sent at least once. */
  #next = 0;
  /** Everything below was written. */
  #end = 0;
  readonly #acked = new RangeSet();
  readonly #lost = new RangeSet();
  #finWritten = false;
  #finSent = false;
  #finAcked = false;
  #resetCode = -1;
  #resetPending = false;
  #resetAcked = false;

  /** The piece that {@linkcode prepare} found. */
  pieceOffset = 0;
  pieceBytes = 0;

  constructor(windowBytes: number) {
    this.credit = new SendCredit(windowBytes);
  }

  /** Bytes written and not yet acknowledged as a prefix. */
  get bufferedBytes(): number {
    return this.#end - this.#start;
  }

  /** The peer has everything, or knows that it will not get it. */
  get isDone(): boolean {
    return this.#resetAcked || (this.#finAcked && this.#start === this.#end);
  }

  /** Nothing more can be written. */
  get isFinished(): boolean {
    return this.#finWritten || this.#resetCode >= 0;
  }

  get isReset(): boolean {
    return this.#resetCode >= 0;
  }

  /** A RESET_STREAM frame has to be sent. */
  get resetPending(): boolean {
    return this.#resetPending;
  }

  get resetCode(): number {
    return this.#resetCode;
  }

  /** Bytes that were ever sent: RESET_STREAM's final size. */
  get sentBytes(): number {
    return this.#next;
  }

  /** Appends a copy of `bytes`. */
  write(bytes: Uint8Array): void {
    assert(!this.isFinished, "A finished stream is not written to");
    if (bytes.length === 0) return;
    this.#makeRoom(bytes.length);
    this.#buffer.set(bytes, this.#head + this.#end - this.#start);
    this.#end += bytes.length;
  }

  finish(): void {
    this.#finWritten = true;
  }

  /** Gives up: what waits or is in flight is forgotten. @returns Bytes that are no longer buffered. */
  reset(code: number): number {
    if (this.#resetCode >= 0 || this.isDone) return 0;
    const dropped = this.bufferedBytes;
    this.#resetCode = code;
    this.#resetPending = true;
    this.#start = this.#end;
    this.#acked.clear();
    this.#lost.clear();
    this.#giveBuffer();
    return dropped;
  }

  /** Whether there is anything to send with unlimited credit. */
  get hasWork(): boolean {
    if (this.#resetCode >= 0) return false;
    return !this.#lost.isEmpty || this.#next < this.#end || (this.#finWritten && !this.#finSent);
  }

  /**
   * Finds the next piece to send: what was lost first, then new bytes within both credits.
   *
   * @param connectionCredit New bytes that the connection may send.
   * @returns false where nothing may be sent now.
   */
  prepare(connectionCredit: number): boolean {
    if (this.#resetCode >= 0) return false;
    if (!this.#lost.isEmpty) {
      this.pieceOffset = this.#lost.start(0);
      this.pieceBytes = this.#lost.end(0) - this.pieceOffset;
      return true;
    }
    const waiting = this.#end - this.#next;
    const sendable = Math.min(waiting, this.credit.available, connectionCredit);
    this.pieceOffset = this.#next;
    this.pieceBytes = sendable;
    return sendable > 0 || (waiting === 0 && this.#finWritten && !this.#finSent);
  }

  /** Whether a piece up to `end` ends the stream. */
  finAt(end: number): boolean {
    return this.#finWritten && end === this.#end;
  }

  /**
   * Copies the first `bytes` of the prepared piece to `target` and counts them as sent.
   *
   * @returns How many of them were new, for the connection's credit.
   */
  send(target: Uint8Array, at: number, bytes: number): number {
    const offset = this.pieceOffset, end = offset + bytes;
    assert(offset >= this.#start && end <= this.#end, "A piece lies in the buffer");
    const from = this.#head + offset - this.#start;
    if (bytes > 0) target.set(this.#buffer.subarray(from, from + bytes), at);
    if (!this.#lost.isEmpty) this.#lost.remove(offset, end);
    if (this.finAt(end)) this.#finSent = true;
    const fresh = Math.max(0, end - this.#next);
    this.#next += fresh;
    this.credit.use(fresh);
    return fresh;
  }

  /** Where in `[offset, end)` the first byte lies that is not acknowledged (or the end, for a FIN that is not); -1 for nowhere. */
  unackedFrom(offset: number, end: number, fin: boolean): number {
    if (this.#resetCode >= 0) return -1;
    let from = Math.max(offset, this.#start);
    for (let i = 0; i < this.#acked.count && this.#acked.start(i) <= from; i++) {
      from = Math.max(from, this.#acked.end(i));
    }
    if (from < end) return from;
    return fin && !this.#finAcked ? end : -1;
  }

  /** Copies bytes that were sent before, and does not count them. */
  copyTo(target: Uint8Array, at: number, offset: number, bytes: number): void {
    assert(
      offset >= this.#start && offset + bytes <= this.#next,
      "What is sent once more was sent, and is still there",
    );
    const from = this.#head + offset - this.#start;
    if (bytes > 0) target.set(this.#buffer.subarray(from, from + bytes), at);
  }

  /** @returns Bytes that are no longer buffered. */
  onAcked(offset: number, end: number, fin: boolean): number {
    if (this.#resetCode >= 0) return 0;
    if (fin) {
      this.#finAcked = true;
      this.#finSent = true;
    }
    if (!this.#lost.isEmpty) this.#lost.remove(offset, end);
    const before = this.#start;
    if (offset > before) {
      this.#acked.insert(offset, end);
      return 0;
    }
    if (end <= before) return 0;
    let start = end;
    // A piece that was cut otherwise the second time covers ranges that were acknowledged before, and may touch one more.
    while (!this.#acked.isEmpty && this.#acked.start(0) <= start) {
      start = Math.max(start, this.#acked.end(0));
      this.#acked.remove(0, start);
    }
    this.#slideTo(start);
    return start - before;
  }

  /** What a lost packet carried goes to the front of the queue, unless another packet brought it. */
  onLost(offset: number, end: number, fin: boolean): void {
    if (this.#resetCode >= 0) return;
    if (fin && !this.#finAcked) this.#finSent = false;
    const start = Math.max(offset, this.#start);
    if (start >= end) return;
    this.#lost.insert(start, end);
    for (let i = 0; i < this.#acked.count && this.#acked.start(i) < end; i++) {
      this.#lost.remove(this.#acked.start(i), this.#acked.end(i));
    }
  }

  onResetSent(): void {
    this.#resetPending = false;
  }

  onResetLost(): void {
    if (!this.#resetAcked) this.#resetPending = true;
  }

  onResetAcked(): void {
    this.#resetAcked = true;
    this.#resetPending = false;
  }

  #slideTo(start: number): void {
    this.#head += start - this.#start;
    this.#start = start;
    if (start !== this.#end) return;
    this.#head = 0;
    this.#giveBuffer();
  }

  #giveBuffer(): void {
    if (this.#buffer.length === SPARE_BUFFER_BYTES && SPARE.length < SPARE_BUFFERS_MAX) SPARE.push(this.#buffer);
    this.#buffer = EMPTY;
    this.#head = 0;
  }

  #makeRoom(bytes: number): void {
    const live = this.#end - this.#start, needed = live + bytes;
    if (this.#head + needed <= this.#buffer.length) return;
    if (needed * 2 <= this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#head, this.#head + live);
    } else {
      const grown = newBuffer(live === 0 ? needed : Math.max(needed, this.#buffer.length * 2));
      grown.set(this.#buffer.subarray(this.#head, this.#head + live));
      this.#giveBuffer();
      this.#buffer = grown;
    }
    this.#head = 0;
  }
}

/** At least so long. Small ones have one length, so that the next stream can use them. */
function newBuffer(bytes: number): Uint8Array {
  return bytes > SPARE_BUFFER_BYTES ? new Uint8Array(bytes) : SPARE.pop() ?? new Uint8Array(SPARE_BUFFER_BYTES);
}

const EMPTY = new Uint8Array(0);
/** Buffers that no stream needs now: a message allocates nothing, and thousands of idle streams hold none. */
const SPARE: Uint8Array[] = [];
const SPARE_BUFFERS_MAX = 64;
const SPARE_BUFFER_BYTES = 4096;
