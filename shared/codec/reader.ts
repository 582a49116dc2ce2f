/** A bounds-checked cursor over received bytes. Never reads outside its input; throws {@linkcode DecodeError} instead. */
import { DecodeError } from "./error.ts";
import { readText } from "./text.ts";

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #isOwn: boolean;
  #offset: number;

  /**
   * @param bytes Borrowed; what the reader hands out as bytes is copied, except by {@linkcode view}.
   * @param isOwn Given over instead: nobody changes `bytes` any more, so nothing has to be copied out of them.
   */
  constructor(bytes: Uint8Array, offset = 0, end = bytes.length, isOwn = false) {
    this.#bytes = bytes;
    this.#offset = offset;
    this.#end = end;
    this.#isOwn = isOwn;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#end - this.#offset;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  u16(): number {
    const at = this.#take(2);
    return (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  u32(): number {
    const at = this.#take(4), bytes = this.#bytes;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }

  /** 48 bits: milliseconds since 1970, or a packet number. */
  u48(): number {
    const high = this.u16();
    return high * 2 ** 32 + this.u32();
  }

  /** RFC 9000 §16, refusing values over 2^53-1. */
  varint(): number {
    const first = this.u8();
    switch (first >>> 6) {
      case 0:
        return first;
      case 1:
        return ((first & 0x3f) << 8) | this.u8();
      case 2: {
        const at = this.#take(3), bytes = this.#bytes;
        return ((first & 0x3f) << 24 | bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!) >>> 0;
      }
      default: {
        const at = this.#take(3), bytes = this.#bytes;
        const high = ((first & 0x3f) << 24 | bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!) >>> 0;
        const value = high * 2 ** 32 + this.u32();
        if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError("Varint is above 2^53-1");
        return value;
      }
    }
  }

  /** The next `length` bytes, to keep. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#isOwn ? this.#bytes.subarray(at, at + length) : this.#bytes.slice(at, at + length);
  }

  /** The next `length` bytes as UTF-8. @throws DecodeError */
  text(length: number): string {
    const at = this.#take(length);
    return readText(this.#bytes, at, length);
  }

  /** The next `length` bytes without a copy: borrowed, valid only as long as the input is. */
  view(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** Throws unless everything was read: trailing bytes are an error, never ignored. */
  finish(): void {
    if (this.remaining !== 0) throw new DecodeError(`Input has ${this.remaining} bytes too many`);
  }

  #take(length: number): number {
    const at = this.#offset;
    if (length > this.#end - at) {
      throw new DecodeError(`Input ends after ${this.#end - at} bytes, needs ${length}`);
    }
    this.#offset = at + length;
    return at;
  }
}
