/** One direction of a network in virtual time, with its faults as rates. */
import type { Prng } from "./prng.ts";

export interface Faults {
  /** One-way, without queueing. */
  delayUs: number;
  /** Added at random, uniformly: enough of it reorders. */
  jitterUs: number;
  /** Probabilities for each datagram. */
  loss: number;
  /** A run of up to thirty losses begins. */
  burst: number;
  duplicate: number;
  /** Held back by up to four delays. */
  reorder: number;
  /** One bit flipped. */
  corrupt: number;
  /** Larger datagrams vanish, as where a path shrank; 0 for no limit. */
  mtuBytes: number;
  /** 0 for no limit. */
  bitsPerSecond: number;
  /** Datagrams that wait at the bottleneck before the tail is dropped. */
  queuePackets: number;
}

export const PERFECT: Faults = {
  delayUs: 10_000,
  jitterUs: 0,
  loss: 0,
  burst: 0,
  duplicate: 0,
  reorder: 0,
  corrupt: 0,
  mtuBytes: 0,
  bitsPerSecond: 0,
  queuePackets: 50,
};

export interface Delivery<A> {
  readonly atUs: number;
  readonly order: number;
  readonly from: A;
  readonly bytes: Uint8Array;
}

export class Link<A> {
  faults: Faults;
  /** Nothing comes through until then. */
  blackoutUntilUs = 0;
  /** Asked for each datagram; true loses it. For tests that drop a certain one. */
  drop: ((bytes: Uint8Array, index: number) => boolean) | undefined;
  sentPackets = 0;
  droppedPackets = 0;
  deliveredBytes = 0;
  readonly #prng: Prng;
  readonly #flying: Delivery<A>[] = [];
  #order = 0;
  #burstLeft = 0;
  /** When the bottleneck is free again. */
  #freeUs = 0;

  constructor(prng: Prng, faults: Partial<Faults> = {}) {
    this.#prng = prng;
    this.faults = { ...PERFECT, ...faults };
  }

  /** @param bytes Copied. @returns Whether it will arrive, as far as anybody can know now. */
  send(from: A, bytes: Uint8Array, nowUs: number): boolean {
    const index = this.sentPackets++;
    const isDropped = this.drop?.(bytes, index) || nowUs < this.blackoutUntilUs || this.#isLost(bytes.length);
    if (isDropped || !this.#enterQueue(bytes.length, nowUs)) {
      this.droppedPackets++;
      return false;
    }
    const copies = this.#prng.chance(this.faults.duplicate) ? 2 : 1;
    for (let i = 0; i < copies; i++) this.#fly(from, bytes.slice(), Math.max(nowUs, this.#freeUs));
    return true;
  }

  /** No more faults: only delay and rate stay. */
  calm(): void {
    const { delayUs, bitsPerSecond, queuePackets } = this.faults;
    this.faults = { ...PERFECT, delayUs, bitsPerSecond, queuePackets };
    this.blackoutUntilUs = 0;
    this.#burstLeft = 0;
  }

  /** When the next datagram arrives; `Infinity` for never. */
  get nextUs(): number {
    return this.#flying[0]?.atUs ?? Infinity;
  }

  /** The next datagram that has arrived by now. */
  take(nowUs: number): Delivery<A> | undefined {
    if (this.nextUs > nowUs) return undefined;
    const delivery = this.#flying.shift()!;
    this.deliveredBytes += delivery.bytes.length;
    return delivery;
  }

  #isLost(bytes: number): boolean {
    const { loss, burst, mtuBytes } = this.faults, prng = this.#prng;
    if (this.#burstLeft > 0) {
      this.#burstLeft--;
      return true;
    }
    if (prng.chance(burst)) this.#burstLeft = prng.integer(1, BURST_PACKETS_MAX);
    return (mtuBytes > 0 && bytes > mtuBytes) || prng.chance(loss);
  }

  #enterQueue(bytes: number, nowUs: number): boolean {
    const bitsPerSecond = this.faults.bitsPerSecond;
    if (bitsPerSecond === 0) return true;
    const packetUs = bytes * 8 * 1e6 / bitsPerSecond;
    const backlogUs = Math.max(0, this.#freeUs - nowUs);
    const fullUs = this.faults.queuePackets * 1200 * 8 * 1e6 / bitsPerSecond;
    if (backlogUs + packetUs > fullUs) return false;
    this.#freeUs = Math.ceil(nowUs + backlogUs + packetUs);
    return true;
  }

  #fly(from: A, bytes: Uint8Array, departsUs: number): void {
    const faults = this.faults, prng = this.#prng;
    let atUs = departsUs + faults.delayUs;
    if (faults.jitterUs > 0) atUs += prng.integer(0, faults.jitterUs);
    if (prng.chance(faults.reorder)) atUs += prng.integer(0, faults.delayUs * 4);
    if (prng.chance(faults.corrupt)) {
      const at = prng.integer(0, bytes.length - 1);
      bytes[at] = bytes[at]! ^ (1 << prng.integer(0, 7));
    }
    const delivery = { atUs, order: this.#order++, from, bytes };
    let index = this.#flying.length;
    while (index > 0 && this.#flying[index - 1]!.atUs > atUs) index--;
    this.#flying.splice(index, 0, delivery);
  }
}

const BURST_PACKETS_MAX = 30;
