/**
 * Datagram buffers in the packet heap, handed round: that heap is small and never gives memory back, so the drivers of a
 * process share one pool and each uses only what is on its way at the moment.
 */
import type { Primitives } from "../primitives.ts";

/** Longer than any datagram of ours, so that a longer one is seen to be longer. */
export const PACKET_BUFFER_BYTES = 1472;

export class PacketBuffers {
  readonly #primitives: Primitives;
  readonly #free: PacketBuffer[] = [];
  readonly #onFree = new Set<() => void>();
  #made = 0;
  #receiving = 0;

  constructor(primitives: Primitives) {
    this.#primitives = primitives;
  }

  /** The pool that everything with these primitives shares. */
  static of(primitives: Primitives): PacketBuffers {
    let pool = pools.get(primitives);
    if (pool === undefined) pools.set(primitives, pool = new PacketBuffers(primitives));
    return pool;
  }

  get taken(): number {
    return this.#made - this.#free.length;
  }

  /** `undefined` where all are out. @see {@linkcode whenFree} */
  take(): PacketBuffer | undefined {
    const free = this.#free.pop();
    if (free !== undefined || this.#made >= BUFFERS_MAX) return free;
    this.#made++;
    return new PacketBuffer(this, this.#primitives.packetBuffer(PACKET_BUFFER_BYTES));
  }

  /** For a socket that waits for a datagram: a process with very many of them must not wait with all there are. */
  takeToReceive(): PacketBuffer | undefined {
    const buffer = this.#receiving < RECEIVING_MAX ? this.take() : undefined;
    if (buffer !== undefined) this.#receiving++;
    return buffer;
  }

  giveReceived(buffer: PacketBuffer): void {
    this.#receiving--;
    this.give(buffer);
  }

  give(buffer: PacketBuffer): void {
    this.#free.push(buffer);
    if (this.#onFree.size === 0) return;
    const waiting = [...this.#onFree];
    this.#onFree.clear();
    for (const retry of waiting) retry();
  }

  /** Calls once, when a buffer has come back. The same function waits once. */
  whenFree(retry: () => void): void {
    this.#onFree.add(retry);
  }
}

export class PacketBuffer {
  /** Gives it back; a property, so that it can be handed on as a callback without making one. */
  readonly release: () => void;

  constructor(pool: PacketBuffers, readonly bytes: Uint8Array) {
    this.release = () => pool.give(this);
  }
}

const pools = new WeakMap<Primitives, PacketBuffers>();
/** 750 kB: what a few turns of a busy server send. */
const BUFFERS_MAX = 512;
/** The rest is for sending. */
const RECEIVING_MAX = 128;
