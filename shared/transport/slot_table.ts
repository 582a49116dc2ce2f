/**
 * Connections by id. An id names its slot, so finding a connection is an array access; all 8 bytes must match, so an id of
 * an earlier user of the slot, or of another server, finds nothing (SECURITY H3).
 */
import { assert } from "../assert.ts";
import { kept } from "../kept.ts";
import { CONNECTION_ID_BYTES, connectionIdSlot, makeConnectionId } from "../packet/mod.ts";
import type { RandomSource } from "../primitives.ts";

export interface Slotted {
  /** 8 bytes. */
  readonly connectionId: Uint8Array;
}

export class SlotTable<T extends Slotted> {
  readonly #serverNumber: number;
  readonly #slotsMax: number;
  readonly #random: RandomSource;
  readonly #slots: (T | undefined)[] = [];
  /** Slots that were given back. The one that rested longest is used next. */
  readonly #free: number[] = [];
  #freeFrom = 0;
  #size = 0;

  constructor(serverNumber: number, slotsMax: number, random: RandomSource) {
    this.#serverNumber = serverNumber;
    this.#slotsMax = slotsMax;
    this.#random = random;
  }

  get size(): number {
    return this.#size;
  }

  get isFull(): boolean {
    return this.#size >= this.#slotsMax;
  }

  /** An id for a new connection, to be put in at once. The table must not be full. */
  newId(): Uint8Array {
    assert(!this.isFull, "A full table gives out no id");
    return kept(makeConnectionId(this.#serverNumber, this.#nextSlot(), this.#random.bytes(4)));
  }

  /** @param item Its id came from {@linkcode newId}, just now. */
  add(item: T): void {
    const slot = connectionIdSlot(item.connectionId);
    assert(slot === this.#nextSlot(), "An item takes the slot that its id was made for");
    if (slot === this.#slots.length) this.#slots.push(item);
    else {
      this.#freeFrom++;
      this.#compact();
      this.#slots[slot] = item;
    }
    this.#size++;
  }

  /** @param bytes Holds a connection id at `offset`. */
  find(bytes: Uint8Array, offset: number): T | undefined {
    const item = this.#slots[connectionIdSlot(bytes, offset)];
    if (item === undefined) return undefined;
    const id = item.connectionId;
    for (let i = 0; i < CONNECTION_ID_BYTES; i++) if (id[i] !== bytes[offset + i]) return undefined;
    return item;
  }

  remove(item: T): void {
    const slot = connectionIdSlot(item.connectionId);
    assert(this.#slots[slot] === item, "An item is removed once");
    this.#slots[slot] = undefined;
    this.#free.push(slot);
    this.#size--;
  }

  *[Symbol.iterator](): Generator<T> {
    for (const item of this.#slots) if (item !== undefined) yield item;
  }

  /** New slots come first while there are any few, so that ids of the recently gone stay strangers for longer. */
  #nextSlot(): number {
    const resting = this.#free.length - this.#freeFrom;
    const fresh = this.#slots.length < this.#slotsMax;
    return fresh && resting < RESTING_MIN ? this.#slots.length : this.#free[this.#freeFrom]!;
  }

  #compact(): void {
    if (this.#freeFrom < 1024 || this.#freeFrom * 2 < this.#free.length) return;
    this.#free.splice(0, this.#freeFrom);
    this.#freeFrom = 0;
  }
}

/** Given-back slots that rest before the first of them is used again. */
const RESTING_MIN = 64;
