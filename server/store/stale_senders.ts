/**
 * Who was refused for a stale epoch in one batch of appends.
 *
 * Later records of the same device and conversation are refused with it: they are sealed for the old epoch too, and one
 * that got through would stand before those that its sender has to seal anew.
 */
import type { StoreAppend } from "./store.ts";

export class StaleSenders {
  #keys: Set<string> | undefined;

  /** Costs nothing while nobody was refused. */
  has(record: StoreAppend): boolean {
    return this.#keys !== undefined && this.#keys.has(senderKey(record));
  }

  add(record: StoreAppend): void {
    (this.#keys ??= new Set()).add(senderKey(record));
  }
}

function senderKey(record: StoreAppend): string {
  return `${record.conversation}/${record.device}`;
}
