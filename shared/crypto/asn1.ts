/** The few pieces of DER (ITU-T X.690) that key files need: tag, length, value, with definite lengths only. */
import { DecodeError } from "../codec/mod.ts";
import { concatBytes } from "./bytes.ts";

/** Universal tags, with the constructed bit where DER wants it. */
export const DerTag = { integer: 0x02, octets: 0x04, null: 0x05, oid: 0x06, sequence: 0x30 } as const;

/** One element: its tag, the length of its contents, the contents. */
export function derElement(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const value = concatBytes(...contents);
  return concatBytes(new Uint8Array([tag, ...lengthBytes(value.length)]), value);
}

/** A number that is not negative, in as few bytes as DER allows. */
export function derInteger(value: number): Uint8Array {
  const digits = value.toString(16);
  const bytes = Uint8Array.fromHex(digits.length % 2 === 0 ? digits : `0${digits}`);
  return derElement(DerTag.integer, bytes[0]! >= 0x80 ? concatBytes(new Uint8Array(1), bytes) : bytes);
}

/** A bounds-checked cursor over the elements of one sequence. */
export class DerReader {
  #rest: Uint8Array;

  /** @param bytes Borrowed, and so is what is read from it. */
  constructor(bytes: Uint8Array) {
    this.#rest = bytes;
  }

  get done(): boolean {
    return this.#rest.length === 0;
  }

  /** The tag of the next element, `undefined` at the end. */
  get nextTag(): number | undefined {
    return this.#rest[0];
  }

  /** The contents of the next element. @throws DecodeError where it has another tag or does not fit. */
  element(tag: number): Uint8Array {
    const bytes = this.#rest;
    if (bytes[0] !== tag) throw new DecodeError(`DER tag is ${bytes[0]}, not ${tag}`);
    const first = bytes[1] ?? 0x80;
    const lengthCount = first < 0x80 ? 0 : first & 0x7f;
    if (first === 0x80 || lengthCount > 3) throw new DecodeError("DER length is missing or too long");
    let length = lengthCount === 0 ? first : 0;
    for (let i = 0; i < lengthCount; i++) length = length * 256 + (bytes[2 + i] ?? 0);
    const start = 2 + lengthCount, end = start + length;
    if (end > bytes.length) throw new DecodeError(`DER element is ${length} bytes, more than there are`);
    this.#rest = bytes.subarray(end);
    return bytes.subarray(start, end);
  }

  sequence(): DerReader {
    return new DerReader(this.element(DerTag.sequence));
  }

  /** A number that is not negative and below 2^48. */
  integer(): number {
    const bytes = this.element(DerTag.integer);
    if (bytes.length === 0 || bytes.length > 6 || bytes[0]! >= 0x80) throw new DecodeError("DER integer out of range");
    return bytes.reduce((value, byte) => value * 256 + byte, 0);
  }

  /** Throws unless everything was read. */
  finish(): void {
    if (!this.done) throw new DecodeError(`DER sequence has ${this.#rest.length} bytes too many`);
  }
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}
