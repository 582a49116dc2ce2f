/**
 * Padding of what is sealed (SECURITY M16): a length, the content, zeros up to a class of 256, 512, 1k, 2k or 4k bytes, and
 * beyond that to Padmé (Nikitin et al., PETS 2019), which leaks O(log log n) bits of a length and costs 12 % at most.
 */
import { DecodeError } from "../../../shared/codec/mod.ts";

/** Content behind its length, filled with zeros: {@linkcode paddedBytes} bytes. */
export function pad(content: Uint8Array): Uint8Array {
  const padded = new Uint8Array(paddedBytes(content.length));
  new DataView(padded.buffer).setUint32(0, content.length);
  padded.set(content, LENGTH_BYTES);
  return padded;
}

/**
 * The content, as a view into `padded`.
 *
 * @throws DecodeError where the length, the zeros or the class are not what {@linkcode pad} writes: one content has one form.
 */
export function unpad(padded: Uint8Array): Uint8Array {
  if (padded.length < LENGTH_BYTES) throw new DecodeError(`Padded content is ${padded.length} bytes`);
  const length = new DataView(padded.buffer, padded.byteOffset).getUint32(0);
  if (length > padded.length - LENGTH_BYTES || paddedBytes(length) !== padded.length) {
    throw new DecodeError(`Padded content of ${padded.length} bytes cannot hold ${length}`);
  }
  if (padded.subarray(LENGTH_BYTES + length).some((byte) => byte !== 0)) throw new DecodeError("Padding is not zero");
  return padded.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
}

/** Bytes that content of this length takes when padded. */
export function paddedBytes(contentBytes: number): number {
  const bytes = contentBytes + LENGTH_BYTES;
  return CLASSES.find((size) => bytes <= size) ?? padme(bytes);
}

function padme(bytes: number): number {
  const exponent = Math.floor(Math.log2(bytes));
  const unit = 2 ** (exponent - Math.floor(Math.log2(exponent)) - 1);
  return Math.ceil(bytes / unit) * unit;
}

const LENGTH_BYTES = 4;
const CLASSES = [256, 512, 1024, 2048, 4096] as const;
