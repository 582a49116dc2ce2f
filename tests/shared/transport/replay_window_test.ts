import assert from "node:assert/strict";
import fc from "fast-check";
import { REPLAY_WINDOW_PACKETS } from "../../../shared/limits.ts";
import { ReplayWindow } from "../../../shared/transport/replay_window.ts";

Deno.test("ReplayWindow.has() knows what was added and refuses what is too old to know", () => {
  const window = new ReplayWindow();
  assert.equal(window.has(0), false);
  window.add(0);
  assert.equal(window.has(0), true);
  window.add(REPLAY_WINDOW_PACKETS);
  assert.equal(window.has(0), true, "Behind the window");
  assert.equal(window.has(1), false, "The oldest inside");
  window.add(2 ** 47);
  assert.equal(window.has(REPLAY_WINDOW_PACKETS), true);
  assert.equal(window.has(2 ** 47 - 1), false);
  assert.equal(window.has(2 ** 47), true);
});

Deno.test("ReplayWindow agrees with a Set", () => {
  const jump = fc.oneof(fc.integer({ min: -50, max: 50 }), fc.integer({ min: -9000, max: 9000 }), fc.constant(1));
  fc.assert(fc.property(fc.array(jump, { maxLength: 200 }), (jumps) => {
    const window = new ReplayWindow(), twin = new Set<number>();
    let number = 0, highest = -1;
    for (const by of jumps) {
      number = Math.max(0, number + by);
      const expected = twin.has(number) || number <= highest - REPLAY_WINDOW_PACKETS;
      assert.equal(window.has(number), expected, `${number} with ${highest} the highest`);
      if (!expected) {
        window.add(number);
        twin.add(number);
        highest = Math.max(highest, number);
      }
    }
  }));
});
