/**
 * Small arrays that live for long, many of them in one piece of memory.
 *
 * A typed array with memory of its own costs 200 bytes on the heap and nearly 300 outside of it beside its content; a view of a piece that many share,
 * 100 in all. What a connection keeps for its whole life (ids, secrets, deadlines) is taken from here. A piece goes when
 * nothing of it is used any more: those that are made together mostly end together, and it is small.
 */

/** A copy of `bytes`. Its `buffer` is not its own. */
export function kept(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(PIECES.piece(bytes.length), PIECES.at, bytes.length);
  copy.set(bytes);
  return copy;
}

/** So many words, all zero. */
export function keptWords(count: number): Uint32Array {
  return new Uint32Array(PIECES.piece(4 * count), PIECES.at, count);
}

/** So many numbers, all zero. */
export function keptDoubles(count: number): Float64Array {
  return new Float64Array(PIECES.piece(8 * count), PIECES.at, count);
}

class Pieces {
  /** Where the room lies that {@linkcode piece} made last. */
  at = 0;
  #piece = new ArrayBuffer(0);
  #used = 0;

  /** Makes room for `bytes` bytes at {@linkcode at} of what it returns. */
  piece(bytes: number): ArrayBuffer {
    if (this.#used + bytes > this.#piece.byteLength) {
      this.#piece = new ArrayBuffer(Math.max(PIECE_BYTES, bytes));
      this.#used = 0;
    }
    this.at = this.#used;
    // Numbers of eight bytes lie at multiples of eight.
    this.#used += (bytes + 7) & ~7;
    return this.#piece;
  }
}

/** Of about ten connections. */
const PIECE_BYTES = 4096;
const PIECES = new Pieces();
