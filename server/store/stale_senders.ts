/**
 * Who was refused for a stale epoch in one batch of appends.
 *
 * Later records of the same device and conversation are refused with it: they are sealed for the old epoch too, and one
 * that got through would stand before those that its sender has to seal anew.
 */
import type { StoreAppend } from "./store.ts";

export class StaleSenders {
  #epochs: Map<string, number> | undefined;

  /** Costs nothing while nobody was refused. */
  has(record: StoreAppend): boolean {
    return this.#epochs !== undefined && this.#epochs.has(senderKey(record));
  }

  /** The epoch that the sender was told, or `undefined` where it was not refused. */
  epoch(record: StoreAppend): number | undefined {
    return this.#epochs?.get(senderKey(record));
  }

  add(record: StoreAppend, epoch: number): void {
    (this.#epochs ??= new Map()).set(senderKey(record), epoch);
  }
}

function senderKey(record: StoreAppend): string {
  return `${record.conversation}/${record.device}`;
}
