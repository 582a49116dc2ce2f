import assert from "node:assert/strict";
import { Timer, Timers } from "../../../shared/transport/timers.ts";

Deno.test("Timers.nextDeadlineUs() is the soonest of those that are set", () => {
  const timers = new Timers();
  assert.equal(timers.nextDeadlineUs(), undefined);
  timers.set(Timer.Idle, 500);
  timers.set(Timer.Close, 300);
  timers.set(Timer.Ack, 0);
  assert.equal(timers.nextDeadlineUs(), 0);
  timers.clear(Timer.Ack);
  assert.equal(timers.nextDeadlineUs(), 300);
  timers.clearAll();
  assert.equal(timers.nextDeadlineUs(), undefined);
});

Deno.test("Timers.take() gives a due deadline once", () => {
  const timers = new Timers();
  timers.set(Timer.Loss, 100);
  assert.equal(timers.take(Timer.Loss, 99), false);
  assert.equal(timers.take(Timer.Loss, 100), true);
  assert.equal(timers.take(Timer.Loss, 200), false);
});
