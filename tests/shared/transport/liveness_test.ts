import assert from "node:assert/strict";
import { IDLE_TIMEOUT_US, KEEP_ALIVE_US } from "../../../shared/limits.ts";
import { EventQueue } from "../../../shared/transport/events.ts";
import { Liveness } from "../../../shared/transport/liveness.ts";
import { RttEstimator } from "../../../shared/transport/rtt.ts";
import { Timer, Timers } from "../../../shared/transport/timers.ts";

function make({ isClient = true, rttUs = 40_000, idleTimeoutUs = IDLE_TIMEOUT_US } = {}) {
  const timers = new Timers(), rtt = new RttEstimator(), events = new EventQueue(), said: string[] = [];
  rtt.update(rttUs, 0, 0);
  const liveness = new Liveness({ isClient, idleTimeoutUs, timers, rtt, events, ping: () => said.push("ping") });
  liveness.restart(0);
  /** Time passes: what is due is looked at when it is due. */
  const passUntil = (nowUs: number) => {
    for (let dueUs = timers.nextDeadlineUs(); dueUs !== undefined && dueUs <= nowUs; dueUs = timers.nextDeadlineUs()) {
      liveness.handleTimeout(dueUs);
    }
  };
  const told = () => {
    for (let event = events.poll(); event; event = events.poll()) said.push(event.type);
    return said.splice(0);
  };
  return { timers, rtt, liveness, passUntil, told };
}

Deno.test("Liveness ends after the idle timeout, counted from the last packet heard", () => {
  const { liveness } = make();
  assert.equal(liveness.handleTimeout(IDLE_TIMEOUT_US - 1), false);
  liveness.onHeard(5_000_000);
  assert.equal(liveness.handleTimeout(IDLE_TIMEOUT_US), false);
  assert.equal(liveness.handleTimeout(5_000_000 + IDLE_TIMEOUT_US), true);
});

Deno.test("Liveness counts from the first packet said after that, so that talking to nobody does not keep it", () => {
  const { liveness, timers } = make();
  liveness.onHeard(0);
  liveness.onSpoken(1_000_000);
  liveness.onSpoken(9_000_000);
  assert.equal(timers.get(Timer.Idle), 1_000_000 + IDLE_TIMEOUT_US);
});

Deno.test("Liveness never waits less than three probe timeouts", () => {
  const { timers, rtt } = make({ idleTimeoutUs: 1_000, rttUs: 500_000 });
  assert.equal(timers.get(Timer.Idle), 3 * rtt.probeTimeoutUs);
});

Deno.test("Liveness lets only a client ping, each time the silence has lasted", () => {
  const client = make(), server = make({ isClient: false });
  for (const { liveness } of [client, server]) liveness.handleTimeout(KEEP_ALIVE_US);
  assert.deepEqual(client.told(), ["ping"]);
  assert.deepEqual(server.told(), []);
  client.liveness.keepAlive(1_000, KEEP_ALIVE_US);
  client.liveness.handleTimeout(KEEP_ALIVE_US + 1_000);
  assert.deepEqual(client.told(), ["ping"]);
  server.liveness.keepAlive(1_000, 0);
  assert.equal(server.timers.get(Timer.KeepAlive), Infinity);
});

Deno.test("Liveness tells a client once that nothing is answered, and that it is again", () => {
  const { liveness, timers, told } = make();
  liveness.onSpoken(0);
  const dueUs = timers.get(Timer.Silence);
  assert.ok(dueUs >= 200_000);
  liveness.handleTimeout(dueUs - 1);
  assert.deepEqual(told(), []);
  liveness.handleTimeout(dueUs);
  assert.deepEqual(told(), ["silent"]);
  liveness.onHeard(dueUs + 5);
  liveness.onHeard(dueUs + 6);
  assert.deepEqual(told(), ["heard"]);
});

Deno.test("Liveness that looks late asks again before it says that nobody answers", () => {
  const { liveness, timers, told } = make();
  liveness.onSpoken(0);
  const lateUs = timers.get(Timer.Silence) + 5_000_000;
  liveness.handleTimeout(lateUs);
  assert.deepEqual(told(), ["ping"]);
  liveness.handleTimeout(timers.get(Timer.Silence));
  assert.deepEqual(told(), ["silent"]);
});

Deno.test("Liveness that looks late listens as long as an answer takes, however patient it has become", () => {
  const { liveness, timers, rtt, passUntil, told } = make();
  liveness.onSpoken(0);
  passUntil(900_000);
  liveness.onHeard(900_000);
  assert.deepEqual(told(), ["silent", "heard"]);
  liveness.onSpoken(1_000_000);
  const lateUs = timers.get(Timer.Silence) + 500_000;
  assert.equal(lateUs, 1_000_000 + 1_800_000 + 500_000);
  liveness.handleTimeout(lateUs);
  assert.deepEqual(told(), ["ping"]);
  const listensUs = timers.get(Timer.Silence) - lateUs;
  assert.ok(listensUs >= rtt.probeTimeoutUs && listensUs < 400_000, `${listensUs} µs`);
  // What lay unread is read: all the patience again.
  liveness.onHeard(lateUs + 1_000);
  liveness.onSpoken(lateUs + 2_000);
  assert.ok(timers.get(Timer.Silence) - lateUs > 1_000_000);
});

Deno.test("Liveness that looks late again and again takes the second time for silence, until it hears something", () => {
  const { liveness, timers, told } = make();
  const lookLate = () => liveness.handleTimeout(timers.get(Timer.Silence) + 700_000);
  liveness.onSpoken(0);
  lookLate();
  assert.deepEqual(told(), ["ping"]);
  lookLate();
  assert.deepEqual(told(), ["silent"]);
  liveness.onHeard(10_000_000);
  assert.deepEqual(told(), ["heard"]);
  liveness.onSpoken(10_000_000);
  lookLate();
  assert.deepEqual(told(), ["ping"]);
});

Deno.test("Liveness is more patient for a while where a long silence meant nothing, and never for long", () => {
  const { liveness, timers, passUntil } = make();
  const patienceUs = (nowUs: number) => {
    liveness.onSpoken(nowUs);
    const patience = timers.get(Timer.Silence) - nowUs;
    liveness.onHeard(nowUs);
    return patience;
  };
  const usualUs = patienceUs(0);
  liveness.onSpoken(0);
  passUntil(900_000);
  liveness.onHeard(900_000);
  assert.equal(patienceUs(1_000_000), 1_800_000);
  let patience = Infinity;
  for (let answer = 0; answer < 200; answer++) patience = patienceUs(2_000_000 + answer);
  assert.equal(patience, usualUs);
  liveness.onSpoken(10_000_000);
  passUntil(30_000_000);
  liveness.onHeard(30_000_000);
  assert.equal(patienceUs(50_000_000), 3_000_000);
});

Deno.test("Liveness learns no patience from its own absence, whether answers or timers are looked at first", () => {
  for (const timersFirst of [false, true]) {
    const { liveness, timers, told } = make();
    liveness.onSpoken(0);
    const usualUs = timers.get(Timer.Silence);
    // Busy with something else: nothing is looked at, and the answer lies unread.
    const backUs = 1_500_000;
    if (timersFirst) liveness.handleTimeout(backUs);
    liveness.onHeard(backUs + 1_000);
    assert.deepEqual(told(), timersFirst ? ["ping"] : []);
    liveness.onSpoken(2_000_000);
    assert.equal(timers.get(Timer.Silence) - 2_000_000, usualUs);
  }
});
