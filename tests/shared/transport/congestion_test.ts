import assert from "node:assert/strict";
import { CONGESTION_WINDOW_BYTES_MAX, DATAGRAM_BYTES } from "../../../shared/limits.ts";
import { type Controller, NewReno } from "../../../shared/transport/mod.ts";

const CONTROLLERS: Record<string, () => Controller> = { NewReno: () => new NewReno() };

for (const [name, make] of Object.entries(CONTROLLERS)) {
  Deno.test(`${name} begins with ten datagrams and doubles each round trip`, () => {
    const controller = make();
    assert.equal(controller.windowBytes, 10 * DATAGRAM_BYTES);
    for (let i = 0; i < 10; i++) controller.onAcked(DATAGRAM_BYTES, 1, false);
    assert.equal(controller.windowBytes, 20 * DATAGRAM_BYTES);
  });

  Deno.test(`${name} does not grow while the application is the limit, nor beyond the bound`, () => {
    const controller = make();
    for (let i = 0; i < 100; i++) controller.onAcked(DATAGRAM_BYTES, 1, true);
    assert.equal(controller.windowBytes, 10 * DATAGRAM_BYTES);
    for (let i = 0; i < 10_000; i++) controller.onAcked(DATAGRAM_BYTES, 1, false);
    assert.equal(controller.windowBytes, CONGESTION_WINDOW_BYTES_MAX);
  });

  Deno.test(`${name} shrinks once for the losses of one round trip, and never below four datagrams`, () => {
    const controller = make();
    for (let i = 0; i < 90; i++) controller.onAcked(DATAGRAM_BYTES, 1, false);
    const before = controller.windowBytes;
    controller.onLost(1_000, 2_000);
    const after = controller.windowBytes;
    assert.ok(after < before && after >= before / 2);
    controller.onLost(1_500, 2_500);
    assert.equal(controller.windowBytes, after, "It was sent before the window shrank");
    controller.onAcked(DATAGRAM_BYTES, 1_900, false);
    assert.equal(controller.windowBytes, after, "Acknowledgements of that time do not grow it");
    for (let i = 0; i < 20; i++) controller.onLost(3_000 + 2_000 * i, 4_000 + 2_000 * i);
    assert.equal(controller.windowBytes, 4 * DATAGRAM_BYTES);
  });

  Deno.test(`${name} grows slowly after a loss`, () => {
    const controller = make();
    for (let i = 0; i < 90; i++) controller.onAcked(DATAGRAM_BYTES, 1, false);
    controller.onLost(1_000, 2_000);
    const after = controller.windowBytes;
    for (let i = 0; i < after / DATAGRAM_BYTES; i++) controller.onAcked(DATAGRAM_BYTES, 3_000, false);
    assert.equal(controller.windowBytes, after + DATAGRAM_BYTES);
  });

  Deno.test(`${name} starts over after persistent congestion and on another path`, () => {
    const controller = make();
    for (let i = 0; i < 90; i++) controller.onAcked(DATAGRAM_BYTES, 1, false);
    controller.onLost(1_000, 2_000);
    controller.onPersistentCongestion();
    assert.equal(controller.windowBytes, 4 * DATAGRAM_BYTES);
    controller.onAcked(4 * DATAGRAM_BYTES, 2_500, false);
    assert.equal(controller.windowBytes, 8 * DATAGRAM_BYTES, "Slow start");
    controller.reset();
    assert.equal(controller.windowBytes, 10 * DATAGRAM_BYTES);
  });
}

Deno.test("NewReno halves its window for a loss behind a queue, and takes one without a queue for chance", () => {
  const shrunk = (backlogBytes: number) => {
    const controller = new NewReno();
    for (let i = 0; i < 90; i++) controller.onAcked(DATAGRAM_BYTES, 1, false);
    controller.onLost(1_000, 2_000, backlogBytes);
    return controller.windowBytes / DATAGRAM_BYTES;
  };
  assert.deepEqual([0, 2.9 * DATAGRAM_BYTES, 3 * DATAGRAM_BYTES, 40 * DATAGRAM_BYTES].map(shrunk), [80, 80, 50, 50]);
});
