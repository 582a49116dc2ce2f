import assert from "node:assert/strict";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import { PieceBudget } from "../../../shared/transport/assembler.ts";
import { RecvStream } from "../../../shared/transport/recv_stream.ts";

const DATA = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
const make = (window = 100) => new RecvStream(window, new PieceBudget(10));
const code = (expected: number) => (error: unknown) => error instanceof TransportError && error.code === expected;

Deno.test("RecvStream.receive() counts how far the highest offset rose", () => {
  const stream = make();
  assert.equal(stream.receive(4, DATA, 4, 6, false), 6);
  assert.equal(stream.receive(0, DATA, 0, 4, false), 0);
  assert.equal(stream.receive(5, DATA, 5, 10, true), 4);
  assert.equal(stream.isDone, false);
  for (let chunk = stream.read(); chunk; chunk = stream.read());
  assert.equal(stream.isDone, true);
});

Deno.test("RecvStream refuses a final size that changes or was passed", () => {
  const finalSize = code(CloseCode.finalSize);
  const passed = make();
  passed.receive(0, DATA, 0, 10, false);
  assert.throws(() => passed.receive(0, DATA, 0, 5, true), finalSize);
  const changed = make();
  changed.receive(0, DATA, 0, 5, true);
  assert.throws(() => changed.receive(0, DATA, 0, 6, true), finalSize);
  assert.throws(() => changed.receive(0, DATA, 0, 6, false), finalSize);
  assert.throws(() => changed.receiveReset(4), finalSize);
  assert.equal(changed.receive(0, DATA, 0, 5, true), 0, "A repeat is no violation");
});

Deno.test("RecvStream refuses a byte beyond its window", () => {
  const stream = make(9);
  assert.throws(() => stream.receive(0, DATA, 0, 10, false), code(CloseCode.flowControl));
  assert.throws(() => make(9).receiveReset(10), code(CloseCode.flowControl));
});

Deno.test("RecvStream.receiveReset() gives back the credit of what nobody read", () => {
  const stream = make();
  stream.receive(0, DATA, 0, 10, false);
  stream.receiveReset(30);
  assert.equal(stream.isDone, true);
  assert.equal(stream.read(), undefined);
  assert.equal(stream.takeUnwanted(), 30);
  assert.equal(stream.takeUnwanted(), 0);
});

Deno.test("RecvStream.stop() throws away what comes and counts it", () => {
  const stream = make();
  stream.receive(0, DATA, 0, 4, false);
  stream.stop(9);
  assert.equal(stream.stopPending, true);
  assert.equal(stream.takeUnwanted(), 4);
  stream.receive(4, DATA, 4, 8, false);
  assert.equal(stream.hasData, false);
  assert.equal(stream.takeUnwanted(), 4);
  assert.equal(stream.isDone, false);
  stream.receive(8, DATA, 8, 10, true);
  assert.equal(stream.isDone, true);
  assert.equal(stream.stopPending, false, "It has stopped already");
});
