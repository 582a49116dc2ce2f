/** Somebody on the path who reads everything, sends anything under any name, and has no keys. */
import { PacketType } from "../../shared/packet/mod.ts";
import type { Prng } from "./prng.ts";
import { type Envelope, SimClient, type World } from "./world.ts";

export class Attacker {
  /** Attacks for each datagram that passes. */
  rate = 0;
  readonly #prng: Prng;
  readonly #seen: { readonly bytes: Uint8Array; readonly envelope: Envelope }[] = [];
  #next = 0;
  #isActing = false;

  constructor(readonly world: World, prng: Prng) {
    this.#prng = prng;
    world.onSent = (bytes, envelope) => this.#onSent(bytes, envelope);
  }

  #onSent(bytes: Uint8Array, envelope: Envelope): void {
    if (this.rate === 0 || this.#isActing) return;
    this.#seen[this.#next++ % SEEN_MAX] = { bytes: bytes.slice(), envelope };
    if (!this.#prng.chance(this.rate)) return;
    this.#isActing = true;
    this.#attack(bytes, envelope);
    this.#isActing = false;
  }

  #attack(bytes: Uint8Array, envelope: Envelope): void {
    const prng = this.#prng, old = prng.pick(this.#seen);
    switch (prng.integer(0, 7)) {
      case 0:
        // Faster than the true one, and from elsewhere: does the server follow, and how loudly?
        return this.#inject(bytes.slice(), { from: this.#victim(), to: envelope.to });
      case 1:
        return this.#inject(old.bytes.slice(), old.envelope);
      case 2:
        return this.#inject(old.bytes.slice(), { from: this.#victim(), to: old.envelope.to });
      case 3:
        return this.#inject(this.#flip(old.bytes), this.#from(old.envelope));
      case 4:
        return this.#inject(old.bytes.slice(0, prng.integer(1, old.bytes.length)), this.#from(old.envelope));
      case 5:
        return this.#inject(this.#splice(bytes, old.bytes), this.#from(envelope));
      case 6:
        return this.#inject(this.#forgeReset(bytes), envelope);
      default:
        return this.#flood(old.envelope);
    }
  }

  #inject(bytes: Uint8Array, envelope: Envelope): void {
    if (bytes.length === 0) return;
    // Now, or when it is least expected.
    const us = this.#prng.pick([0, 0, 1_000, 100_000, 10_000_000]);
    if (us === 0) this.world.inject(bytes, envelope);
    else this.world.later(us, () => this.world.inject(bytes, envelope));
  }

  /** Somebody who has nothing to do with any of this. */
  #victim() {
    return { host: `198.51.100.${this.#prng.integer(1, 4)}`, port: this.#prng.integer(1, 3) };
  }

  #from({ from, to }: Envelope): Envelope {
    return { from: this.#prng.chance(0.5) ? from : this.#victim(), to };
  }

  #flip(bytes: Uint8Array): Uint8Array {
    const flipped = bytes.slice();
    for (let i = this.#prng.integer(1, 4); i > 0; i--) {
      const at = this.#prng.integer(0, flipped.length - 1);
      flipped[at] = flipped[at]! ^ (1 << this.#prng.integer(0, 7));
    }
    return flipped;
  }

  #splice(head: Uint8Array, tail: Uint8Array): Uint8Array {
    const at = this.#prng.integer(0, Math.min(head.length, tail.length) - 1);
    return new Uint8Array([...head.subarray(0, at), ...tail.subarray(at)]);
  }

  /** Looks like a stateless reset, with a token that is a guess. */
  #forgeReset(bytes: Uint8Array): Uint8Array {
    const reset = this.#prng.bytes(this.#prng.integer(31, 60));
    reset[0] = 0x40 | (reset[0]! & 1);
    reset.set(bytes.subarray(1, Math.min(9, bytes.length)), 1);
    return reset;
  }

  /** INITIALs of the right shape, from an address of its own, with a token that is valid there. */
  #flood({ to }: Envelope): void {
    const initial = this.#seen.find(({ bytes }) => bytes[0] === PacketType.initial)?.bytes;
    const server = this.world.servers.find(({ address }) => address === to) ?? this.world.servers[0]!;
    const client = this.#prng.pick(this.world.clients);
    if (initial === undefined || !(client instanceof SimClient)) return;
    const host = `198.51.100.${this.#prng.integer(10, 12)}`;
    for (let i = this.#prng.integer(1, 20); i > 0; i--) {
      const forged = initial.slice();
      // Layout as PROTOCOL.md §2.3 with one version: the token at 7, the ciphertext behind token, key and kind.
      const tokenBytes = forged[6]!;
      const ciphertextAt = 7 + tokenBytes + 32 + 1 + 2;
      if (tokenBytes > 0) forged.set(this.world.token(host).subarray(0, tokenBytes), 7);
      forged.set(this.#prng.bytes(32), ciphertextAt + 100);
      this.world.inject(forged, { from: { host, port: this.#prng.integer(1, 1000) }, to: server.address });
    }
  }
}

const SEEN_MAX = 64;
