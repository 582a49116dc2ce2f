/**
 * Messages out of the bytes of a stream: varint length, then that many bytes (docs/PROTOCOL.md §6.1).
 *
 * A length is only a claim: memory grows with what has arrived, by doubling, so every byte is copied at most twice and a
 * stranger's empty promise costs nothing. What half-finished messages hold is counted against a {@linkcode ReadBudget}.
 */
import { CloseCode, TransportError } from "../errors.ts";
import { MESSAGE_BYTES_MAX } from "../limits.ts";

/**
 * Bytes that half-finished messages hold; nested, so that a server bounds each connection and all of them together. The first
 * `ownBytes` count here alone: whoever fills what is common to all keeps nobody from messages of the usual size.
 */
export class ReadBudget {
  #used = 0;
  #bytesMax: number;
  #parent: ReadBudget | undefined;
  #ownBytes: number;

  constructor(bytesMax: number, parent?: ReadBudget, ownBytes = 0) {
    this.#bytesMax = bytesMax;
    this.#parent = parent;
    this.#ownBytes = ownBytes;
  }

  get used(): number {
    return this.#used;
  }

  /** @throws TransportError where the bytes are not there. */
  take(bytes: number): void {
    const used = this.#used + bytes;
    if (used > this.#bytesMax) {
      throw new TransportError(CloseCode.flowControl, `Unfinished messages hold ${this.#used} bytes already`);
    }
    this.#parent?.take(this.#shared(used) - this.#shared(this.#used));
    this.#used = used;
  }

  give(bytes: number): void {
    const used = this.#used - bytes;
    this.#parent?.give(this.#shared(this.#used) - this.#shared(used));
    this.#used = used;
  }

  /** Other bounds from now on. @throws TransportError where the new ones have no room for what is held. */
  move(bytesMax: number, parent: ReadBudget | undefined, ownBytes: number): void {
    const used = this.#used;
    this.give(used);
    this.#bytesMax = bytesMax;
    this.#parent = parent;
    this.#ownBytes = ownBytes;
    this.take(used);
  }

  #shared(used: number): number {
    return Math.max(0, used - this.#ownBytes);
  }
}

export class MessageReader {
  readonly #budget: ReadBudget;
  /** Of the length that is being read: how many of its bytes are there (1 to 8 make a varint), and their value. */
  #lengthBytes = 0;
  #lengthNeeded = 0;
  #length = 0;
  /** The message that is being read; `undefined` between messages. */
  #body: Uint8Array | undefined;
  #filled = 0;

  constructor(budget: ReadBudget) {
    this.#budget = budget;
  }

  /** Nothing is half-finished: a stream may end here. */
  get isBetweenMessages(): boolean {
    return this.#body === undefined && this.#lengthBytes === 0;
  }

  /**
   * Takes the next bytes and hands out the messages that are complete.
   *
   * @param chunk Given over: messages may be views into it.
   * @param onMessage Returns false to stop: what follows in `chunk` is thrown away.
   * @throws TransportError malformedMessage for a length beyond MESSAGE_BYTES_MAX, flowControl for the budget.
   */
  push(chunk: Uint8Array, onMessage: (message: Uint8Array) => boolean): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body !== undefined) {
        at += this.#fill(chunk, at);
        if (this.#filled < this.#length) return;
        if (!onMessage(this.#takeBody())) return;
        continue;
      }
      at = this.#readLength(chunk, at);
      if (this.#lengthNeeded !== this.#lengthBytes) return;
      this.#lengthBytes = this.#lengthNeeded = 0;
      const end = at + this.#length;
      if (end <= chunk.length) {
        // Whole messages are the common case. One that fills its chunk takes the chunk with it.
        const message = end - at > chunk.length >> 1 ? chunk.subarray(at, end) : chunk.slice(at, end);
        at = end;
        if (!onMessage(message)) return;
      } else {
        this.#begin(chunk.length - at);
      }
    }
  }

  /** Gives back what it holds. */
  drop(): void {
    if (this.#body !== undefined) this.#budget.give(this.#body.length);
    this.#body = undefined;
    this.#lengthBytes = this.#lengthNeeded = 0;
  }

  /** @returns The offset behind what was read of the length. */
  #readLength(chunk: Uint8Array, from: number): number {
    let at = from;
    if (this.#lengthBytes === 0) {
      const first = chunk[at++]!;
      this.#lengthNeeded = 1 << (first >>> 6);
      this.#lengthBytes = 1;
      this.#length = first & 0x3f;
    }
    while (this.#lengthBytes < this.#lengthNeeded && at < chunk.length) {
      this.#length = this.#length * 256 + chunk[at++]!;
      this.#lengthBytes++;
    }
    if (this.#length > MESSAGE_BYTES_MAX) {
      throw new TransportError(CloseCode.malformedMessage, `Message is longer than ${MESSAGE_BYTES_MAX} bytes`);
    }
    return at;
  }

  #begin(available: number): void {
    const capacity = Math.min(this.#length, Math.max(available, CAPACITY_BYTES_MIN));
    this.#budget.take(capacity);
    this.#body = new Uint8Array(capacity);
    this.#filled = 0;
  }

  #fill(chunk: Uint8Array, at: number): number {
    const bytes = Math.min(this.#length - this.#filled, chunk.length - at);
    const needed = this.#filled + bytes;
    let body = this.#body!;
    if (needed > body.length) {
      const capacity = Math.min(this.#length, Math.max(needed, body.length * 2));
      this.#budget.take(capacity - body.length);
      const grown = new Uint8Array(capacity);
      grown.set(body.subarray(0, this.#filled));
      this.#body = body = grown;
    }
    body.set(at === 0 && bytes === chunk.length ? chunk : chunk.subarray(at, at + bytes), this.#filled);
    this.#filled = needed;
    return bytes;
  }

  #takeBody(): Uint8Array {
    const body = this.#body!;
    this.#budget.give(body.length);
    this.#body = undefined;
    return body.length === this.#length ? body : body.subarray(0, this.#length);
  }
}

const CAPACITY_BYTES_MIN = 4096;
