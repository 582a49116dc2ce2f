import assert from "node:assert/strict";
import { CONGESTION_WINDOW_BYTES_MAX, DATAGRAM_BYTES } from "../../../shared/limits.ts";
import { type Controller, Cubic, Illinois, NewReno } from "../../../shared/transport/mod.ts";

const CONTROLLERS: Record<string, () => Controller> = {
  NewReno: () => new NewReno(),
  Cubic: () => new Cubic(),
  Illinois: () => new Illinois(),
};

/** Acknowledges `count` datagrams, each a while after it was sent. */
function acknowledge(controller: Controller, count: number, sentUs = 1, nowUs = sentUs): void {
  for (let i = 0; i < count; i++) controller.onAcked(DATAGRAM_BYTES, sentUs, false, nowUs);
}

for (const [name, make] of Object.entries(CONTROLLERS)) {
  Deno.test(`${name} begins with ten datagrams and doubles each round trip`, () => {
    const controller = make();
    assert.equal(controller.windowBytes, 10 * DATAGRAM_BYTES);
    acknowledge(controller, 10);
    assert.equal(controller.windowBytes, 20 * DATAGRAM_BYTES);
  });

  Deno.test(`${name} does not grow while the application is the limit, nor beyond the bound`, () => {
    const controller = make();
    for (let i = 0; i < 100; i++) controller.onAcked(DATAGRAM_BYTES, 1, true, 1);
    assert.equal(controller.windowBytes, 10 * DATAGRAM_BYTES);
    acknowledge(controller, 10_000);
    assert.equal(controller.windowBytes, CONGESTION_WINDOW_BYTES_MAX);
  });

  Deno.test(`${name} shrinks once for the losses of one round trip, and never below four datagrams`, () => {
    const controller = make();
    acknowledge(controller, 90);
    const before = controller.windowBytes;
    controller.onLost(1_000, 2_000);
    const after = controller.windowBytes;
    assert.ok(after < before && after >= before / 2);
    controller.onLost(1_500, 2_500);
    assert.equal(controller.windowBytes, after, "It was sent before the window shrank");
    acknowledge(controller, 1, 1_900);
    assert.equal(controller.windowBytes, after, "Acknowledgements of that time do not grow it");
    for (let i = 0; i < 20; i++) controller.onLost(3_000 + 2_000 * i, 4_000 + 2_000 * i);
    assert.equal(controller.windowBytes, 4 * DATAGRAM_BYTES);
  });

  Deno.test(`${name} grows slowly after a loss`, () => {
    const controller = make();
    acknowledge(controller, 90);
    controller.onLost(1_000, 2_000);
    const after = controller.windowBytes;
    for (let round = 1; round <= 40; round++) {
      acknowledge(controller, controller.windowBytes / DATAGRAM_BYTES, 3_000, 2_000 + round * 40_000);
    }
    const grown = controller.windowBytes;
    assert.ok(grown > 1.1 * after && grown < 2 * after, `${grown} after ${after} bytes`);
  });

  Deno.test(`${name} takes a reduction back that was for nothing, and goes on from there`, () => {
    const controller = make();
    acknowledge(controller, 90);
    controller.onLost(1_000, 2_000);
    controller.onSpurious();
    assert.equal(controller.windowBytes, 100 * DATAGRAM_BYTES);
    acknowledge(controller, 1, 1_500, 2_500);
    assert.equal(controller.windowBytes, 101 * DATAGRAM_BYTES, "Slow start, as before");
    controller.onLost(1_600, 3_000);
    assert.ok(controller.windowBytes < 100 * DATAGRAM_BYTES, "The next one counts");
  });

  Deno.test(`${name} starts over after persistent congestion and on another path`, () => {
    const controller = make();
    acknowledge(controller, 90);
    controller.onLost(1_000, 2_000);
    controller.onPersistentCongestion();
    assert.equal(controller.windowBytes, 4 * DATAGRAM_BYTES);
    acknowledge(controller, 4, 2_500);
    assert.equal(controller.windowBytes, 8 * DATAGRAM_BYTES, "Slow start");
    controller.reset();
    assert.equal(controller.windowBytes, 10 * DATAGRAM_BYTES);
  });
}

Deno.test("NewReno halves its window for a loss behind a queue, and takes one without a queue for chance", () => {
  const shrunk = (backlogBytes: number) => {
    const controller = new NewReno();
    acknowledge(controller, 90);
    controller.onLost(1_000, 2_000, backlogBytes);
    return controller.windowBytes / DATAGRAM_BYTES;
  };
  assert.deepEqual([0, 2.9 * DATAGRAM_BYTES, 3 * DATAGRAM_BYTES, 40 * DATAGRAM_BYTES].map(shrunk), [80, 80, 50, 50]);
});

Deno.test("Illinois gives up an eighth where no queue is, and half where it is full", () => {
  const shrunk = (rttUs: number) => {
    const controller = new Illinois();
    controller.onRtt(40_000);
    controller.onRtt(200_000);
    acknowledge(controller, 90);
    for (let i = 0; i < 200; i++) controller.onRtt(rttUs);
    controller.onLost(1_000, 2_000);
    return controller.windowBytes / DATAGRAM_BYTES;
  };
  assert.equal(shrunk(41_000), 87.5);
  assert.equal(shrunk(190_000), 50);
});

Deno.test("Illinois never shrinks below the initial window for losses without a queue", () => {
  const controller = new Illinois();
  for (let i = 1; i < 40; i++) {
    for (let sample = 0; sample < 10; sample++) controller.onRtt(40_000);
    controller.onLost(i * 10_000, i * 10_000 + 5_000);
  }
  assert.equal(controller.windowBytes, 10 * DATAGRAM_BYTES);
});

Deno.test("Illinois grows by up to ten datagrams a round trip without a queue, by less than one behind a full one", () => {
  const growth = (rttUs: number) => {
    const controller = new Illinois();
    controller.onRtt(40_000);
    acknowledge(controller, 90);
    controller.onRtt(200_000);
    controller.onLost(1_000, 2_000);
    for (let i = 0; i < 100; i++) controller.onRtt(rttUs);
    // Chosen once a window.
    acknowledge(controller, controller.windowBytes / DATAGRAM_BYTES + 1, 1_500);
    const before = controller.windowBytes;
    acknowledge(controller, before / DATAGRAM_BYTES, 3_000);
    return (controller.windowBytes - before) / DATAGRAM_BYTES;
  };
  assert.ok(Math.abs(growth(40_000) - 10) < 1, `${growth(40_000)}`);
  assert.ok(growth(200_000) < 0.5, `${growth(200_000)}`);
});

Deno.test("Cubic comes back to where the loss was, slowly there, and then leaves it behind", () => {
  const controller = new Cubic();
  controller.onRtt(150_000);
  acknowledge(controller, 90);
  controller.onLost(1_000, 2_000);
  const windows: number[] = [];
  for (let round = 0; round < 60; round++) {
    acknowledge(controller, Math.round(controller.windowBytes / DATAGRAM_BYTES), 3_000, 10_000 + round * 150_000);
    windows.push(controller.windowBytes / DATAGRAM_BYTES);
  }
  // K = cbrt((100 - 70) / 0.4) = 4.2 s: 28 round trips.
  assert.ok(windows[8]! > 85 && windows[28]! < 101, `${windows[8]} and ${windows[28]}`);
  assert.ok(windows[28]! - windows[24]! < 2, "Flat at the peak");
  assert.ok(windows[59]! > 130, `${windows[59]}`);
});
