/**
 * Variable-length integers (RFC 9000 §16): the two top bits of the first byte give the length, 1, 2, 4 or 8 bytes.
 * Values stop at 2^53-1, JavaScript's largest safe integer; a longer encoding than needed is accepted, as in the RFC.
 */
import { assert } from "../assert.ts";

export const VARINT_MAX = Number.MAX_SAFE_INTEGER;

/** Bytes that `value` takes: 1, 2, 4 or 8. */
export function varintBytes(value: number): number {
  assert(Number.isSafeInteger(value) && value >= 0, "A varint is a safe integer, not negative");
  return value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x4000_0000 ? 4 : 8;
}

/** Writes `value` at `offset` and returns the offset behind it. The caller has checked the room. */
export function writeVarint(target: Uint8Array, offset: number, value: number): number {
  switch (varintBytes(value)) {
    case 1:
      target[offset] = value;
      return offset + 1;
    case 2:
      target[offset] = 0x40 | (value >>> 8);
      target[offset + 1] = value;
      return offset + 2;
    case 4:
      target[offset] = 0x80 | (value >>> 24);
      target[offset + 1] = value >>> 16;
      target[offset + 2] = value >>> 8;
      target[offset + 3] = value;
      return offset + 4;
    default: {
      const high = Math.floor(value / 2 ** 32);
      target[offset] = 0xc0 | (high >>> 24);
      target[offset + 1] = high >>> 16;
      target[offset + 2] = high >>> 8;
      target[offset + 3] = high;
      target[offset + 4] = value >>> 24;
      target[offset + 5] = value >>> 16;
      target[offset + 6] = value >>> 8;
      target[offset + 7] = value;
      return offset + 8;
    }
  }
}
