/** Randomness that is written down, for vectors: gives these bytes, in this order, and nothing else. */
import assert from "node:assert/strict";
import type { RandomSource } from "../../shared/primitives.ts";

export function scripted(...draws: Uint8Array[]): RandomSource {
  const rest = draws.slice();
  return {
    bytes(length) {
      const next = rest.shift();
      assert.equal(next?.length, length, "the draws are those that were written down");
      return next!.slice();
    },
  };
}
