/**
 * The deadlines of many connections, such that a packet costs next to nothing and an idle connection nothing at all.
 *
 * A binary heap that is lazy in one direction: a far deadline that moves later (every packet moves the idle timeout) leaves
 * the entry where it is; it comes up early, is looked at, and sinks to where it belongs. So {@linkcode DeadlineHeap.nextUs}
 * may be early, never late. A near one is moved at once: an acknowledgement that went along with an answer must not wake the
 * process 25 ms later for nothing, which costs more than ten packets.
 */
import { assert } from "../assert.ts";

/** What can stand in the heap. The two fields belong to the heap. */
export interface Timed {
  /** Where it stands in the heap, -1 where it does not. */
  heapIndex: number;
  /** The time by which it stands there: at most its deadline. */
  heapUs: number;
}

export class DeadlineHeap<T extends Timed> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** When something may be due: no deadline is before it. */
  get nextUs(): number | undefined {
    return this.#heap[0]?.heapUs;
  }

  /** @param deadlineUs `undefined` takes the item out. */
  set(item: T, deadlineUs: number | undefined, nowUs: number): void {
    if (deadlineUs === undefined) return this.remove(item);
    if (item.heapIndex < 0) {
      item.heapUs = deadlineUs;
      item.heapIndex = this.#heap.length;
      this.#heap.push(item);
      this.#rise(item);
    } else if (deadlineUs < item.heapUs) {
      item.heapUs = deadlineUs;
      this.#rise(item);
    } else if (deadlineUs > item.heapUs && item.heapUs < nowUs + NEAR_US) {
      item.heapUs = deadlineUs;
      this.#sink(item);
    }
  }

  remove(item: T): void {
    const at = item.heapIndex;
    if (at < 0) return;
    assert(this.#heap[at] === item, "An item stands where it says");
    item.heapIndex = -1;
    const last = this.#heap.pop()!;
    if (last === item) return;
    this.#place(last, at);
    this.#rise(last);
    this.#sink(last);
  }

  /**
   * Takes out an item whose time may have come. The caller asks the item and puts it back with its true deadline.
   *
   * @returns `undefined` where nothing can be due.
   */
  takeDue(nowUs: number): T | undefined {
    const top = this.#heap[0];
    if (top === undefined || top.heapUs > nowUs) return undefined;
    this.remove(top);
    return top;
  }

  #rise(item: T): void {
    let at = item.heapIndex;
    while (at > 0) {
      const parent = this.#heap[(at - 1) >> 1]!;
      if (parent.heapUs <= item.heapUs) break;
      const up = parent.heapIndex;
      this.#place(parent, at);
      at = up;
    }
    this.#place(item, at);
  }

  #sink(item: T): void {
    const heap = this.#heap;
    let at = item.heapIndex;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.heapUs < heap[child]!.heapUs) child++;
      if (heap[child]!.heapUs >= item.heapUs) break;
      this.#place(heap[child]!, at);
      at = child;
    }
    this.#place(item, at);
  }

  #place(item: T, at: number): void {
    this.#heap[at] = item;
    item.heapIndex = at;
  }
}

/** Deadlines nearer than this stand where they belong. */
const NEAR_US = 500_000;
