/** What every datagram begins with: packet types, versions, connection ids (docs/PROTOCOL.md §1, SECURITY H3). Pure. */
import { assert } from "../assert.ts";

/** First byte of a packet in clear; protected.ts has that of all others. Anything else is dropped without an answer. */
export const PacketType = {
  locate: 0x01,
  located: 0x02,
  initial: 0x03,
  retry: 0x04,
  accept: 0x05,
} as const;
export type PacketType = (typeof PacketType)[keyof typeof PacketType];

/** Versions of the protocol that this program speaks, most wanted first. */
export const SUPPORTED_VERSIONS: readonly number[] = [1];
/** Entries in a list of versions: at least one, at most this. */
export const VERSIONS_MAX = 16;

const SLOTS_MAX = 1 << 24;

/** The first of `wanted`, most wanted first, that is also in `offered`. */
export function chooseVersion(wanted: readonly number[], offered: readonly number[]): number | undefined {
  return wanted.find((version) => offered.includes(version));
}

/**
 * Server number ‖ slot ‖ 32 random bits. The slot makes looking a connection up an array access; the random bits make an
 * id of an earlier user of that slot a stranger's.
 *
 * @param random 4 bytes.
 */
export function makeConnectionId(serverNumber: number, slot: number, random: Uint8Array): Uint8Array {
  assert(serverNumber >= 0 && serverNumber <= 0xff, "A server number has 8 bits");
  assert(slot >= 0 && slot < SLOTS_MAX, "A slot has 24 bits");
  assert(random.length === 4, "A connection id has 32 random bits");
  return new Uint8Array([serverNumber, slot >>> 16, slot >>> 8, slot, ...random]);
}

/** @param offset Where the id lies: 0 in an id, 1 in a protected packet. */
export function connectionIdServer(bytes: Uint8Array, offset = 0): number {
  return bytes[offset]!;
}

/** @param offset As in {@linkcode connectionIdServer}. */
export function connectionIdSlot(bytes: Uint8Array, offset = 0): number {
  return (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!;
}
