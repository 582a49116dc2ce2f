import assert from "node:assert/strict";
import { PieceBudget } from "../../../shared/transport/assembler.ts";
import { Scheduler } from "../../../shared/transport/scheduler.ts";
import { type Priority, Stream } from "../../../shared/transport/stream.ts";

const budget = new PieceBudget(1);
const stream = (id: number, priority: Priority) =>
  new Stream(id, priority, true, { sendBytes: 1, receiveBytes: 1, budget });
const ids = (scheduler: Scheduler) => {
  const taken: number[] = [];
  for (let next = scheduler.take(); next; next = scheduler.take()) taken.push(next.id);
  return taken;
};

Deno.test("Scheduler.take() goes by priority, then by turns", () => {
  const scheduler = new Scheduler();
  for (const [id, priority] of [[1, 2], [2, 1], [3, 0], [4, 1], [5, 0]] as const) scheduler.add(stream(id, priority));
  assert.equal(scheduler.isEmpty, false);
  assert.deepEqual(ids(scheduler), [3, 5, 2, 4, 1]);
  assert.equal(scheduler.isEmpty, true);
});

Deno.test("Scheduler.add() keeps the place of a stream that waits already", () => {
  const scheduler = new Scheduler(), first = stream(1, 1);
  scheduler.add(first);
  scheduler.add(stream(2, 1));
  scheduler.add(first);
  assert.deepEqual(ids(scheduler), [1, 2]);
});

Deno.test("Scheduler takes turns over thousands of streams", () => {
  const scheduler = new Scheduler(), count = 3000;
  for (let id = 0; id < count; id++) scheduler.add(stream(id, 1));
  const rounds: number[][] = [[], []];
  for (const round of rounds) {
    for (let i = 0; i < count; i++) {
      const next = scheduler.take()!;
      round.push(next.id);
      scheduler.add(next);
    }
  }
  assert.deepEqual(rounds[0], rounds[1]);
  assert.equal(new Set(rounds[0]).size, count);
});

Deno.test("Scheduler.block() sets aside until there is credit, or something else to send", () => {
  const scheduler = new Scheduler(), a = stream(1, 1), b = stream(2, 1);
  scheduler.block(a);
  scheduler.block(b);
  assert.equal(scheduler.isEmpty, true);
  scheduler.add(b);
  assert.deepEqual(ids(scheduler), [2]);
  scheduler.unblock();
  assert.deepEqual(ids(scheduler), [1], "The other was not set aside any more");
});
