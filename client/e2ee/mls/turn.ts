/**
 * Whose turn it is (SECURITY M5): when a request waits for somebody to commit it, members who are online do not all try at
 * once. Each waits as long as a hash of the request and its device says; who comes later sees it done. Pure.
 */
import { hmacSha256 } from "../../../shared/crypto/mod.ts";
import type { DeviceId } from "../../../shared/protocol/mod.ts";

/** How long this device waits before it acts, in milliseconds below `withinMs`; another order for each request. */
export function turnMs(device: DeviceId, request: Uint8Array, withinMs = 30_000): number {
  const draw = hmacSha256(request, Uint8Array.fromHex(device));
  return Math.floor(new DataView(draw.buffer).getUint32(0) / 2 ** 32 * withinMs);
}
