/**
 * Protected packets (docs/PROTOCOL.md §5): `type ‖ connection id <8> ‖ packet number u48 ‖ ciphertext ‖ tag`.
 *
 * Header fields and the derivation of one phase's key; what phase is in use when is transport/key_update.ts.
 */
import { PROTECTED_HEADER_BYTES, TAG_BYTES } from "../limits.ts";
import type { PacketKey, Primitives } from "../primitives.ts";

/** First byte of a protected packet; bit 0 is the key phase. */
export const PROTECTED_TYPE = 0x40;
/** Bytes of a connection id. */
export const CONNECTION_ID_BYTES = 8;
/** The smallest datagram that can be a protected packet: an empty payload. Stateless resets are no smaller. */
export const PROTECTED_BYTES_MIN = PROTECTED_HEADER_BYTES + TAG_BYTES;

/** Whether these bytes may be a protected packet; says nothing of their authenticity. */
export function isProtected(packet: Uint8Array, packetBytes = packet.length): boolean {
  return packetBytes >= PROTECTED_BYTES_MIN && (packet[0]! & 0xfe) === PROTECTED_TYPE;
}

/** Writes the 15 header bytes at the start of `packet`. */
export function writeProtectedHeader(
  packet: Uint8Array,
  phase: number,
  connectionId: Uint8Array,
  packetNumber: number,
): void {
  packet[0] = PROTECTED_TYPE | phase;
  for (let i = 0; i < CONNECTION_ID_BYTES; i++) packet[1 + i] = connectionId[i]!;
  const high = Math.floor(packetNumber / 2 ** 32);
  packet[9] = high >>> 8;
  packet[10] = high;
  packet[11] = packetNumber >>> 24;
  packet[12] = packetNumber >>> 16;
  packet[13] = packetNumber >>> 8;
  packet[14] = packetNumber;
}

/** The packet number in a header; the caller has checked the length. */
export function readPacketNumber(packet: Uint8Array): number {
  const low = (packet[11]! << 24 | packet[12]! << 16 | packet[13]! << 8 | packet[14]!) >>> 0;
  const high = packet[9]! << 8 | packet[10]!;
  return high === 0 ? low : high * 2 ** 32 + low;
}

/** The key phase in a header: 0 or 1. */
export function readKeyPhase(packet: Uint8Array): number {
  return packet[0]! & 1;
}

/** key_n and iv_n of secret_n (docs/PROTOCOL.md §4). */
export function derivePacketKey(primitives: Primitives, secret: Uint8Array): PacketKey {
  return primitives.packetKey(
    primitives.hkdfExpand(secret, "fastchat/1 key", 32),
    primitives.hkdfExpand(secret, "fastchat/1 iv", 12),
  );
}

/** secret_n+1 of secret_n (docs/PROTOCOL.md §4). */
export function deriveNextSecret(primitives: Primitives, secret: Uint8Array): Uint8Array {
  return primitives.hkdfExpand(secret, "fastchat/1 update", 32);
}
