/**
 * Puts the pieces of one stream in order.
 *
 * Bytes in order are copied once, from the packet to what the reader gets. Bytes out of order wait in runs: a piece that
 * continues a run is appended to it, so a network's losses make one run each, however small the pieces are. A run is never
 * extended at its front: that would let a peer have us copy it again with every byte. Instead all runs of a connection
 * count against one budget.
 */
import { CloseCode, TransportError } from "../errors.ts";

/** What all assemblers of one connection share. */
export class PieceBudget {
  #left: number;

  constructor(piecesMax: number) {
    this.#left = piecesMax;
  }

  get left(): number {
    return this.#left;
  }

  take(): void {
    if (this.#left === 0) throw new TransportError(CloseCode.flowControl, "Peer sent too many separate pieces");
    this.#left--;
  }

  giveBack(count: number): void {
    this.#left += count;
  }
}

interface Run {
  readonly start: number;
  end: number;
  /** At least `end - start` bytes. */
  bytes: Uint8Array;
}

export class Assembler {
  readonly #budget: PieceBudget;
  /** Contiguous chunks for the reader, from `#readyHead` on. */
  #ready: Uint8Array[] = [];
  #readyHead = 0;
  #readyBytes = 0;
  /** Everything below is in order. */
  #next = 0;
  /** Out of order, by start, never overlapping; neighbours may touch. */
  #runs: Run[] = [];

  constructor(budget: PieceBudget) {
    this.#budget = budget;
  }

  /** The first offset that has not arrived. */
  get nextOffset(): number {
    return this.#next;
  }

  /** Bytes in order that nobody has read. */
  get readyBytes(): number {
    return this.#readyBytes;
  }

  /** Takes `source[from, to)` as the stream's bytes from `offset` on; copies what is new. @throws TransportError */
  insert(offset: number, source: Uint8Array, from: number, to: number): void {
    const end = offset + (to - from);
    if (end <= this.#next) return;
    if (offset < this.#next) {
      from += this.#next - offset;
      offset = this.#next;
    }
    if (offset === this.#next && (this.#runs.length === 0 || end <= this.#runs[0]!.start)) {
      this.#append(source.slice(from, to));
    } else {
      this.#fill(offset, end, source, from);
    }
    if (this.#runs.length > 0) this.#release();
  }

  /** The next contiguous bytes, owned by the caller. */
  read(): Uint8Array | undefined {
    if (this.#readyHead === this.#ready.length) return undefined;
    const chunk = this.#ready[this.#readyHead]!;
    this.#ready[this.#readyHead++] = EMPTY;
    if (this.#readyHead === this.#ready.length) {
      this.#ready = [];
      this.#readyHead = 0;
    }
    this.#readyBytes -= chunk.length;
    return chunk;
  }

  /** Forgets everything that was not read. */
  clear(): void {
    this.#budget.giveBack(this.#runs.length);
    this.#runs = [];
    this.#ready = [];
    this.#readyHead = 0;
    this.#readyBytes = 0;
  }

  #append(chunk: Uint8Array): void {
    this.#ready.push(chunk);
    this.#readyBytes += chunk.length;
    this.#next += chunk.length;
  }

  /** Fills the holes between runs that `[offset, end)` covers. */
  #fill(offset: number, end: number, source: Uint8Array, from: number): void {
    const runs = this.#runs;
    let index = this.#firstEndingAt(offset);
    let at = offset;
    while (at < end) {
      const run = runs[index];
      if (run !== undefined && run.end <= at) {
        // The piece continues this run, up to the next one.
        const next = runs[index + 1];
        if (run.end === at && (next === undefined || next.start > at)) {
          const stop = next === undefined ? end : Math.min(end, next.start);
          extend(run, source, from + at - offset, from + stop - offset);
          at = stop;
        }
        index++;
      } else if (run !== undefined && run.start <= at) {
        at = run.end;
        // Stay: the run now ends at `at` and may be continued.
      } else {
        const stop = run === undefined ? end : Math.min(end, run.start);
        this.#budget.take();
        runs.splice(index, 0, { start: at, end: stop, bytes: source.slice(from + at - offset, from + stop - offset) });
        at = stop;
        index++;
      }
    }
  }

  /** Moves runs that are now in order to the reader. */
  #release(): void {
    let count = 0;
    while (count < this.#runs.length && this.#runs[count]!.start === this.#next) {
      const run = this.#runs[count++]!;
      this.#append(run.bytes.subarray(0, run.end - run.start));
    }
    if (count === 0) return;
    this.#runs.splice(0, count);
    this.#budget.giveBack(count);
  }

  /** Index of the first run whose end is at or above `offset`. */
  #firstEndingAt(offset: number): number {
    let low = 0, high = this.#runs.length;
    // The common case: it continues the newest run.
    if (high > 0 && this.#runs[high - 1]!.end < offset) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#runs[middle]!.end >= offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function extend(run: Run, source: Uint8Array, from: number, to: number): void {
  const length = run.end - run.start, needed = length + (to - from);
  if (needed > run.bytes.length) {
    const grown = new Uint8Array(Math.max(needed, run.bytes.length * 2));
    grown.set(run.bytes.subarray(0, length));
    run.bytes = grown;
  }
  run.bytes.set(source.subarray(from, to), length);
  run.end += to - from;
}

const EMPTY = new Uint8Array(0);
