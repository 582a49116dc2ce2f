/** A growing cursor for what we send. Sizes are ours, so passing a bound here is our bug and asserts. */
import { assert } from "../assert.ts";
import { writeAscii, writeHex } from "./text.ts";
import { varintBytes, writeVarint } from "./varint.ts";

export class Writer {
  #bytes: Uint8Array;
  #offset = 0;

  constructor(capacityBytes = 256) {
    this.#bytes = new Uint8Array(capacityBytes);
  }

  get length(): number {
    return this.#offset;
  }

  u8(value: number): void {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xff, "u8 out of range");
    const at = this.#reserve(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xffff, "u16 out of range");
    const at = this.#reserve(2);
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
  }

  u32(value: number): void {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff, "u32 out of range");
    const at = this.#reserve(4);
    this.#bytes[at] = value >>> 24;
    this.#bytes[at + 1] = value >>> 16;
    this.#bytes[at + 2] = value >>> 8;
    this.#bytes[at + 3] = value;
  }

  u48(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0 && value < 2 ** 48, "u48 out of range");
    this.u16(Math.floor(value / 2 ** 32));
    this.u32(value % 2 ** 32);
  }

  varint(value: number): void {
    const at = this.#reserve(varintBytes(value));
    writeVarint(this.#bytes, at, value);
  }

  /** Copies `bytes` in. */
  bytes(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** Copies in the bytes that hex digits stand for. @throws SyntaxError */
  hex(digits: string): void {
    const at = this.#reserve(digits.length >>> 1);
    writeHex(digits, this.#bytes, at);
  }

  /** A length and a text, where that is short and ASCII. @returns False, with nothing written, where it is not. */
  shortText(text: string): boolean {
    const count = text.length;
    if (count > SHORT_CHARS_MAX) return false;
    const at = this.#reserve(1 + count);
    this.#bytes[at] = count;
    if (writeAscii(text, this.#bytes, at + 1)) return true;
    this.#offset = at;
    return false;
  }

  zeros(count: number): void {
    const at = this.#reserve(count);
    this.#bytes.fill(0, at, at + count);
  }

  /** Starts over, keeping the memory. */
  reset(): void {
    this.#offset = 0;
  }

  /** What was written, without a copy: borrowed until the next call on this writer. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#offset);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#offset);
  }

  #reserve(count: number): number {
    const at = this.#offset, needed = at + count;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#offset = needed;
    return at;
  }
}

/** Lengths that a varint has in one byte. */
const SHORT_CHARS_MAX = 63;
