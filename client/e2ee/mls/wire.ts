/** Between bytes and the library's messages. Whatever is wrong with bytes that others chose ends here as `undefined`. */
import type { MLSMessage } from "ts-mls";
import { decodeMlsMessage, encodeMlsMessage } from "ts-mls/message.js";
import { equalBytes } from "../../../shared/crypto/mod.ts";

/** An MLSMessage (RFC 9420 §6). */
export const encodeMessage: (message: MLSMessage) => Uint8Array = encodeMlsMessage;

/**
 * Reads one MLSMessage; `undefined` unless it is well-formed, in its one canonical encoding, with nothing behind it.
 *
 * The decoder throws errors of several kinds, plain TypeErrors and RangeErrors among them, and takes non-minimal lengths,
 * which would give one message several hashes.
 */
export function decodeMessage(bytes: Uint8Array): MLSMessage | undefined {
  try {
    // A copy: what it decodes are views, and secrets among them are wiped later.
    const copy = new Uint8Array(bytes);
    const decoded = decodeMlsMessage(copy, 0);
    if (decoded === undefined || decoded[1] !== bytes.length) return undefined;
    return equalBytes(encodeMlsMessage(decoded[0]), bytes) ? decoded[0] : undefined;
  } catch {
    return undefined;
  }
}

/** What a decoder of the library makes of all the bytes; `undefined` where it fails or leaves something over. */
export function decodeWhole<T>(
  decoder: (bytes: Uint8Array, offset: number) => [T, number] | undefined,
  bytes: Uint8Array,
): T | undefined {
  try {
    const decoded = decoder(bytes, 0);
    return decoded !== undefined && decoded[1] === bytes.length ? decoded[0] : undefined;
  } catch {
    return undefined;
  }
}
