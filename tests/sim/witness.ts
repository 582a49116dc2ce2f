/**
 * The primitives of a simulation: the real ones with seeded randomness, and a witness that sees every nonce and key.
 *
 * It stands between the product and the primitives, so whatever makes a nonce repeat is seen where it does harm.
 */
import { createPrimitives } from "../../shared/crypto/mod.ts";
import type { PacketKey, Primitives, RandomSource } from "../../shared/primitives.ts";
import { Prng } from "./prng.ts";

export class Witness {
  /** Highest packet number sealed, by key. */
  readonly #sealed = new Map<string, { highest: number }>();
  readonly #publicKeys = new Set<string>();
  readonly primitives: Primitives;

  /** @param random Until the next witness is made, everything random comes from here. */
  constructor(random: RandomSource) {
    source = random;
    this.primitives = {
      ...base,
      random,
      keyAgreement: () => this.#keyAgreement(),
      packetKey: (key, iv) => this.#packetKey(key, iv),
    };
  }

  #keyAgreement() {
    const pair = base.keyAgreement(), name = pair.publicKey.toHex();
    if (this.#publicKeys.has(name)) throw new Error("An ephemeral key is used a second time");
    this.#publicKeys.add(name);
    return pair;
  }

  #packetKey(key: Uint8Array, iv: Uint8Array): PacketKey {
    const name = new Uint8Array(key).toHex(), inner = base.packetKey(key, iv);
    let record = this.#sealed.get(name);
    if (record === undefined) this.#sealed.set(name, record = { highest: -1 });
    const sealed = record;
    return {
      seal(packet, headerBytes, payloadBytes, packetNumber) {
        // Numbers of one sender only rise, so the highest is all that has to be kept.
        if (packetNumber <= sealed.highest) throw new Error(`Nonce ${packetNumber} is used twice under one key`);
        sealed.highest = packetNumber;
        return inner.seal(packet, headerBytes, payloadBytes, packetNumber);
      },
      open: (packet, headerBytes, packetBytes, packetNumber) =>
        inner.open(packet, headerBytes, packetBytes, packetNumber),
    };
  }
}

let source: RandomSource = new Prng(1);
const base = await createPrimitives({ random: { bytes: (length) => source.bytes(length) } });
