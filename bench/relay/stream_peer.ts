/** {@linkcode Peer} over any stream of bytes: each message after its length, big-endian in 2 bytes. */
import type { Peer } from "./peer.ts";

/** Whether every message is a write of its own, or what is sent together is also written together. */
export type Writing = "each" | "together";

export class StreamPeer implements Peer {
  onMessage: (message: Uint8Array) => void = () => {};
  onBatch: () => void = () => {};
  readonly close: () => void;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #writing: Writing;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  /** The beginning of a message whose end has not come yet. */
  #rest = new Uint8Array(0);

  /** @param write Keeps the bytes; called in order. */
  constructor(writing: Writing, write: (bytes: Uint8Array) => void, close: () => void) {
    this.#writing = writing;
    this.#write = write;
    this.close = close;
  }

  send(message: Uint8Array): void {
    const frame = new Uint8Array(LENGTH_BYTES + message.length);
    frame[0] = message.length >>> 8;
    frame[1] = message.length;
    frame.set(message, LENGTH_BYTES);
    if (this.#writing === "each") return this.#write(frame);
    this.#gathered.push(frame);
    this.#gatheredBytes += frame.length;
  }

  flush(): void {
    if (this.#gatheredBytes === 0) return;
    const bytes = new Uint8Array(this.#gatheredBytes);
    let at = 0;
    for (const frame of this.#gathered) {
      bytes.set(frame, at);
      at += frame.length;
    }
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#write(bytes);
  }

  /** Takes what has arrived. */
  receive(chunk: Uint8Array): void {
    const bytes = this.#rest.length === 0 ? chunk : concat(this.#rest, chunk);
    let at = 0;
    while (bytes.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + (bytes[at]! << 8 | bytes[at + 1]!);
      if (end > bytes.length) break;
      this.onMessage(bytes.subarray(at + LENGTH_BYTES, end));
      at = end;
    }
    this.#rest = bytes.slice(at);
    this.onBatch();
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}

const LENGTH_BYTES = 2;
