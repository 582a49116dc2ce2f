/** The {@linkcode Primitives} that the pure layers are handed, over the platform. */
import type { Primitives, RandomSource } from "../primitives.ts";
import { HeapPacketKey, PacketHeap } from "./aead.ts";
import { equalBytes, hkdfExpand, hkdfExtract, hmacSha256, sha256 } from "./hkdf.ts";
import { systemRandom } from "./random.ts";
import { x25519 } from "./x25519.ts";

/** @param options.random A seeded source makes everything drawn here repeatable; for simulations only. */
export async function createPrimitives(options: { readonly random?: RandomSource } = {}): Promise<Primitives> {
  const random = options.random ?? systemRandom;
  const heap = await PacketHeap.open();
  return {
    random,
    sha256,
    hmacSha256,
    hkdfExtract,
    hkdfExpand,
    equal: equalBytes,
    keyAgreement: () => x25519(random),
    packetKey: (key, iv) => new HeapPacketKey(heap, key, iv),
    packetBuffer: (bytes) => heap.buffer(bytes),
  };
}
