/** "Did you mean": the nearest of known words. */

/** The candidate within two edits of `word` (one for short words), nearest first, or `undefined`. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const reach = word.length <= 3 ? 1 : 2;
  return candidates
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate) }))
    .filter(({ candidate, distance }) => distance <= reach || (word.length >= 3 && candidate.startsWith(word)))
    .sort((a, b) => a.distance - b.distance)[0]?.candidate;
}

/** Optimal string alignment: insertions, deletions, replacements, and neighbours swapped. */
function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => [i, ...new Array<number>(b.length).fill(0)]);
  for (let j = 1; j <= b.length; j++) rows[0]![j] = j;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      }
      rows[i]![j] = best;
    }
  }
  return rows[a.length]![b.length]!;
}
