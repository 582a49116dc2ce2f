/** A datagram in a few words, for traces. */
import { isProtected, PacketType, readPacketNumber } from "../../shared/packet/mod.ts";

export function describe(bytes: Uint8Array): string {
  const size = `${bytes.length} bytes`;
  if (isProtected(bytes)) {
    return `${bytes.subarray(1, 9).toHex()} #${readPacketNumber(bytes)} phase ${bytes[0]! & 1}, ${size}`;
  }
  const name = Object.entries(PacketType).find(([, type]) => type === bytes[0])?.[0];
  return `${name?.toUpperCase() ?? "garbage"}, ${size}`;
}
