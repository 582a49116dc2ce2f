/** Credit for bytes, per stream and per connection (RFC 9000 §4). */
import { CloseCode, TransportError } from "../errors.ts";
import { CONNECTION_WINDOW_BYTES, IDLE_TIMEOUT_US, STREAM_WINDOW_BYTES, STREAMS_OPEN_MAX } from "../limits.ts";

/** What one side offers the other when a connection begins (docs/PROTOCOL.md §2.5). */
export interface TransportLimits {
  readonly idleTimeoutUs: number;
  readonly connectionWindowBytes: number;
  readonly streamWindowBytes: number;
  /** Streams that the other side may have open at once. */
  readonly streamsOpenMax: number;
}

/** What a client offers: INITIAL carries no limits, so they are part of the protocol's version. */
export const DEFAULT_LIMITS: TransportLimits = {
  idleTimeoutUs: IDLE_TIMEOUT_US,
  connectionWindowBytes: CONNECTION_WINDOW_BYTES,
  streamWindowBytes: STREAM_WINDOW_BYTES,
  streamsOpenMax: STREAMS_OPEN_MAX,
};

/** Bytes that the peer lets us send. */
export class SendCredit {
  #limit: number;
  #used = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get available(): number {
    return this.#limit - this.#used;
  }

  /** Whether the peer's new limit is higher than the old one; a lower one is late and means nothing. */
  raise(limit: number): boolean {
    if (limit <= this.#limit) return false;
    this.#limit = limit;
    return true;
  }

  use(bytes: number): void {
    this.#used += bytes;
  }
}

/** Bytes that we let the peer send: always `window` beyond what has been read. */
export class ReceiveCredit {
  #windowBytes: number;
  #granted: number;
  #received = 0;
  #consumed = 0;
  /** Where and when the window that is being watched began. */
  #watchedFrom = 0;
  #watchedUs = -Infinity;

  constructor(windowBytes: number) {
    this.#windowBytes = windowBytes;
    this.#granted = windowBytes;
  }

  /** @throws TransportError flowControl */
  receive(bytes: number): void {
    this.#received += bytes;
    if (this.#received > this.#granted) {
      throw new TransportError(CloseCode.flowControl, `Peer sent ${this.#received} bytes, may send ${this.#granted}`);
    }
  }

  /** From now on the window is this, unless it is larger already. */
  widen(windowBytes: number): void {
    this.#windowBytes = Math.max(this.#windowBytes, windowBytes);
  }

  get windowBytes(): number {
    return this.#windowBytes;
  }

  /**
   * Doubles the window where a whole one was read within two round trips: it, and not the path or the reader, is then what
   * holds the sender back. Asked before each {@linkcode grant}.
   */
  grow(nowUs: number, rttUs: number, windowBytesMax: number): void {
    if (this.#consumed - this.#watchedFrom < this.#windowBytes) return;
    if (nowUs - this.#watchedUs < 2 * rttUs) this.widen(Math.min(2 * this.#windowBytes, windowBytesMax));
    this.#watchedFrom = this.#consumed;
    this.#watchedUs = nowUs;
  }

  /** The application took `bytes`, so the peer may send as many more. */
  consume(bytes: number): void {
    this.#consumed += bytes;
  }

  /** Whether a quarter of the window waits to be granted: often enough that a sender at full speed never stops for it. */
  get wantsUpdate(): boolean {
    return (this.#consumed + this.#windowBytes - this.#granted) * 4 >= this.#windowBytes;
  }

  /** The limit to tell the peer now. */
  grant(): number {
    this.#granted = this.#consumed + this.#windowBytes;
    return this.#granted;
  }
}
