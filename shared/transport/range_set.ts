/** Sorted half-open integer ranges: what has arrived, what to acknowledge, what to send again. */

export class RangeSet {
  /** `[start0, end0, start1, end1, …]`, ascending, never touching. Flat, so that a range costs no object. */
  #bounds: number[] = [];

  get isEmpty(): boolean {
    return this.#bounds.length === 0;
  }

  /** How many separate ranges there are. */
  get count(): number {
    return this.#bounds.length >>> 1;
  }

  /** @param index 0 is the lowest range. */
  start(index: number): number {
    return this.#bounds[index * 2]!;
  }

  /** One past the last value of range `index`. */
  end(index: number): number {
    return this.#bounds[index * 2 + 1]!;
  }

  contains(value: number): boolean {
    const index = this.#firstEndingAfter(value);
    return index < this.#bounds.length && this.#bounds[index]! <= value;
  }

  /** Adds `[start, end)`; merges with what it overlaps or touches. */
  insert(start: number, end: number): void {
    if (start >= end) return;
    const bounds = this.#bounds, length = bounds.length;
    // The common case: the next number in order.
    if (length === 0) {
      // Most sets have one range for ever: a literal has room for no more.
      this.#bounds = [start, end];
      return;
    }
    if (start > bounds[length - 1]!) {
      bounds.push(start, end);
      return;
    }
    if (start >= bounds[length - 2]!) {
      if (end > bounds[length - 1]!) bounds[length - 1] = end;
      return;
    }
    const first = this.#firstEndingAfter(start - 1);
    let last = first;
    while (last < length && bounds[last]! <= end) last += 2;
    if (first === last) {
      bounds.splice(first, 0, start, end);
      return;
    }
    const mergedStart = Math.min(start, bounds[first]!), mergedEnd = Math.max(end, bounds[last - 1]!);
    bounds[first] = mergedStart;
    bounds[first + 1] = mergedEnd;
    if (last - first > 2) bounds.splice(first + 2, last - first - 2);
  }

  /** Takes `[start, end)` out. */
  remove(start: number, end: number): void {
    if (start >= end) return;
    const bounds = this.#bounds;
    let index = this.#firstEndingAfter(start);
    while (index < bounds.length && bounds[index]! < end) {
      const rangeStart = bounds[index]!, rangeEnd = bounds[index + 1]!;
      if (rangeStart < start && rangeEnd > end) {
        bounds.splice(index, 2, rangeStart, start, end, rangeEnd);
        return;
      }
      if (rangeStart < start) {
        bounds[index + 1] = start;
        index += 2;
      } else if (rangeEnd > end) {
        bounds[index] = end;
        return;
      } else {
        bounds.splice(index, 2);
      }
    }
  }

  /** Drops the lowest ranges until at most `countMax` are left. */
  keepHighest(countMax: number): void {
    const excess = this.count - countMax;
    if (excess > 0) this.#bounds.splice(0, excess * 2);
  }

  clear(): void {
    if (this.#bounds.length > 0) this.#bounds = [];
  }

  /** Index into the flat bounds of the first range whose end is above `value`. */
  #firstEndingAfter(value: number): number {
    const bounds = this.#bounds;
    let low = 0, high = bounds.length >>> 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (bounds[middle * 2 + 1]! > value) high = middle;
      else low = middle + 1;
    }
    return low * 2;
  }
}
