/** Which of the newest packet numbers have been seen: a packet is opened once (docs/PROTOCOL.md §5.1). */
import { REPLAY_WINDOW_PACKETS } from "../limits.ts";

export class ReplayWindow {
  /** There from the first gap on: where everything came in order, all up to the highest has been seen. */
  #bits: Uint32Array | undefined;
  #highest = -1;

  /** Whether `packetNumber` was added before, or is so old that nobody can tell. */
  has(packetNumber: number): boolean {
    if (packetNumber > this.#highest) return false;
    if (this.#bits === undefined || packetNumber <= this.#highest - REPLAY_WINDOW_PACKETS) return true;
    const slot = packetNumber % REPLAY_WINDOW_PACKETS;
    return (this.#bits[slot >>> 5]! & (1 << (slot & 31))) !== 0;
  }

  /** Call it only for packets that opened: a forged number must not move the window. */
  add(packetNumber: number): void {
    if (this.#bits === undefined) {
      if (packetNumber <= this.#highest) return;
      if (packetNumber === this.#highest + 1) {
        this.#highest = packetNumber;
        return;
      }
      this.#bits = new Uint32Array(REPLAY_WINDOW_PACKETS / 32).fill(-1);
    }
    if (packetNumber > this.#highest) this.#advance(this.#bits, packetNumber);
    else if (packetNumber <= this.#highest - REPLAY_WINDOW_PACKETS) return;
    const slot = packetNumber % REPLAY_WINDOW_PACKETS;
    this.#bits[slot >>> 5]! |= 1 << (slot & 31);
  }

  /** Slots between the old and the new highest number now stand for numbers not yet seen. */
  #advance(bits: Uint32Array, packetNumber: number): void {
    if (packetNumber - this.#highest >= REPLAY_WINDOW_PACKETS) {
      bits.fill(0);
    } else {
      for (let number = this.#highest + 1; number <= packetNumber; number++) {
        const slot = number % REPLAY_WINDOW_PACKETS;
        bits[slot >>> 5]! &= ~(1 << (slot & 31));
      }
    }
    this.#highest = packetNumber;
  }
}
