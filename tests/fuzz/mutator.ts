/**
 * Datagrams that nobody should send, made from ones that somebody did: every mutation knows the layout that it breaks
 * (docs/PROTOCOL.md §2, §5).
 */
import {
  decodeInitial,
  encodeAcceptHeader,
  encodeInitial,
  encodeLocate,
  encodeLocated,
  encodeRetry,
  isProtected,
  KeyKind,
  PacketType,
  RetryReason,
} from "../../shared/packet/mod.ts";
import type { Prng } from "../sim/prng.ts";

/** What was seen on the wire, the newest of each kind. */
export class Corpus {
  readonly #rings = new Map<number, { readonly seen: Uint8Array[]; added: number }>();

  add(bytes: Uint8Array): void {
    const kind = isProtected(bytes) ? 0 : bytes[0] ?? 0;
    let ring = this.#rings.get(kind);
    if (ring === undefined) this.#rings.set(kind, ring = { seen: [], added: 0 });
    ring.seen[ring.added++ % RING_MAX] = bytes.slice();
  }

  /** One of any kind, each kind alike often. */
  any(prng: Prng): Uint8Array {
    return prng.pick(prng.pick([...this.#rings.values()]).seen);
  }

  of(kind: number, prng: Prng): Uint8Array | undefined {
    const ring = this.#rings.get(kind);
    return ring && prng.pick(ring.seen);
  }
}

export interface Mutation {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export class Mutator {
  readonly #prng: Prng;
  readonly #corpus: Corpus;

  constructor(prng: Prng, corpus: Corpus) {
    this.#prng = prng;
    this.#corpus = corpus;
  }

  /** @param token Valid for where it will be sent from; empty where there is none. */
  next(token: Uint8Array): Mutation {
    const prng = this.#prng, name = prng.pick(NAMES);
    return { name, bytes: this.#make(name, token) };
  }

  #make(name: typeof NAMES[number], token: Uint8Array): Uint8Array {
    const prng = this.#prng, seen = this.#corpus.any(prng);
    switch (name) {
      case "random":
        return prng.bytes(prng.pick([0, 1, 14, 31, 43, 44, 200, 1199, 1200, 1201, 1500]));
      case "replay":
        return seen.slice();
      case "flip":
        return this.#flip(seen.slice(), prng.integer(1, 8));
      case "truncate":
        return seen.slice(0, prng.integer(0, seen.length));
      case "extend":
        return new Uint8Array([...seen, ...prng.bytes(prng.integer(1, 300))]);
      case "splice": {
        const other = this.#corpus.any(prng), at = prng.integer(0, Math.min(seen.length, other.length));
        return new Uint8Array([...seen.subarray(0, at), ...other.subarray(at)]);
      }
      case "length":
        return this.#setLengths(seen.slice());
      case "type": {
        const bytes = seen.slice();
        bytes[0] = prng.pick([0, 1, 2, 3, 4, 5, 6, 0x3f, 0x40, 0x41, 0x42, 0x80, 0xff]);
        return bytes;
      }
      case "foreign-id":
        return this.#header(seen, () => prng.bytes(prng.integer(1, 8)));
      case "live-id":
        return this.#header(seen, () => new Uint8Array(0));
      case "forged-reset":
        return this.#header(seen, () => new Uint8Array(0), prng.integer(31, 60));
      case "locate":
        return this.#locate();
      case "initial":
        return this.#initial(token);
      case "answer":
        return this.#answer();
    }
  }

  #flip(bytes: Uint8Array, count: number): Uint8Array {
    for (; count > 0 && bytes.length > 0; count--) {
      const at = this.#prng.integer(0, bytes.length - 1);
      bytes[at] = bytes[at]! ^ (1 << this.#prng.integer(0, 7));
    }
    return bytes;
  }

  /** Lies in the first bytes, where counts and lengths stand. */
  #setLengths(bytes: Uint8Array): Uint8Array {
    const prng = this.#prng;
    for (let i = prng.integer(1, 4); i > 0 && bytes.length > 3; i--) {
      bytes[prng.integer(3, Math.min(bytes.length - 1, 70))] = prng.pick([0, 1, 0x7f, 0x80, 0xc0, 0xff]);
    }
    return bytes;
  }

  /** A protected packet with a true header, but for what `change` puts into its connection id, and a content of no meaning. */
  #header(seen: Uint8Array, change: () => Uint8Array, bytes = this.#prng.pick([31, 43, 44, 200, 1200])): Uint8Array {
    const prng = this.#prng, packet = prng.bytes(bytes);
    const live = this.#corpus.of(0, prng) ?? seen;
    packet.set(live.subarray(0, 15));
    packet[0] = 0x40 | prng.integer(0, 1);
    packet.set(change(), 1);
    // Packet numbers near, far and impossible.
    const number = prng.pick([0, 1, 2 ** 32 - 1, 2 ** 40, 2 ** 48 - 1]);
    if (prng.chance(0.5)) return packet;
    const view = new DataView(packet.buffer);
    view.setUint16(9, Math.floor(number / 2 ** 32));
    view.setUint32(11, number % 2 ** 32);
    return packet;
  }

  #versions(): number[] {
    const prng = this.#prng;
    return Array.from({ length: prng.integer(1, 16) }, () => prng.pick([0, 1, 1, 2, 0xffff]));
  }

  #locate(): Uint8Array {
    const prng = this.#prng;
    const excluded = Array.from({ length: prng.integer(0, 255) }, () => prng.integer(0, 255));
    const locate = encodeLocate({
      version: prng.pick([0, 1, 1, 2, 0xffff]),
      nonce: prng.bytes(16),
      versions: this.#versions(),
      excluded,
    });
    return prng.chance(0.3) ? this.#setLengths(locate) : locate;
  }

  #initial(token: Uint8Array): Uint8Array {
    const prng = this.#prng, seen = this.#corpus.of(PacketType.initial, prng);
    const captured = seen && decodeInitial(seen);
    const ciphertext = prng.bytes(384);
    ciphertext[0] = prng.pick([0, 0, 0xff]);
    const initial = encodeInitial({
      version: prng.pick([1, 1, 1, 2]),
      versions: prng.chance(0.8) ? [1] : this.#versions(),
      token: prng.pick([token, token, new Uint8Array(0), prng.bytes(23), captured?.token ?? token]),
      clientEphemeral: prng.chance(0.1) ? new Uint8Array(32) : prng.bytes(32),
      keyKind: prng.chance(0.7) ? KeyKind.rsa : KeyKind.ticket,
      key: prng.pick([ciphertext, captured?.key ?? ciphertext, prng.bytes(prng.integer(0, 700))]),
    });
    return prng.chance(0.2) ? this.#flip(initial, 2) : initial;
  }

  /** What only servers send, sent to servers. */
  #answer(): Uint8Array {
    const prng = this.#prng, version = 1, versions = this.#versions(), echo = prng.bytes(16);
    switch (prng.integer(0, 2)) {
      case 0:
        return encodeRetry({
          version,
          versions,
          echo,
          reason: prng.pick(Object.values(RetryReason)),
          token: prng.bytes(23),
        });
      case 1: {
        const header = encodeAcceptHeader({
          version,
          echo,
          connectionId: prng.bytes(8),
          serverEphemeral: prng.bytes(32),
        });
        return new Uint8Array([...header, ...prng.bytes(100)]);
      }
      default:
        return encodeLocated({
          version,
          versions,
          nonce: prng.bytes(16),
          clusterId: prng.bytes(16),
          serverNumber: 1,
          host: "",
          port: 9,
          token: prng.bytes(23),
          clusterKey: prng.bytes(422),
        });
    }
  }
}

const NAMES = [
  "random",
  "replay",
  "flip",
  "truncate",
  "extend",
  "splice",
  "length",
  "type",
  "foreign-id",
  "live-id",
  "forged-reset",
  "locate",
  "initial",
  "answer",
] as const;
const RING_MAX = 256;
