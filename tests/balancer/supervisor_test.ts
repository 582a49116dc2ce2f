import assert from "node:assert/strict";
import fc from "fast-check";
import {
  ALL_SILENT_FACTOR,
  FAILURES_REPORTED,
  MISSED_MAX,
  PAUSE_US_MAX,
  PAUSE_US_MIN,
} from "../../balancer/supervisor.ts";
import { SERVED_US, SIGNAL_US_MAX, START_US_MAX, STOP_US_MAX } from "../../balancer/supervisor.ts";
import { Supervisor, type SupervisorAction, UNHEALTHY_MISSED } from "../../balancer/supervisor.ts";

Deno.test("Supervisor spawns every server at once and is healthy when all are ready", () => {
  const supervisor = new Supervisor(3, 0);
  assert.deepEqual(step(supervisor, 0), [0, 1, 2].map((number) => ({ type: "spawn", number })));
  for (let number = 0; number < 3; number++) supervisor.spawned(number, 100 + number, 0);
  for (let number = 0; number < 3; number++) {
    assert.equal(supervisor.allHealthy, false);
    supervisor.answered(number, 100 + number, false, 1);
    assert.equal(supervisor.healthy(number), false);
    supervisor.answered(number, 100 + number, true, 2);
    assert.equal(supervisor.healthy(number), true);
  }
  assert.equal(supervisor.allHealthy, true);
  assert.equal(supervisor.nextDeadlineUs(), undefined);
});

Deno.test("Supervisor replaces a server that served at once, and not before its exit was seen", () => {
  const supervisor = running(2);
  assert.deepEqual(step(supervisor, SERVED_US), []);
  supervisor.answered(1, 101, true, SERVED_US);
  supervisor.exited(1, 101, SERVED_US);
  assert.equal(supervisor.healthy(1), false);
  assert.equal(supervisor.healthy(0), true);
  assert.equal(supervisor.nextDeadlineUs(), SERVED_US);
  assert.deepEqual(step(supervisor, SERVED_US), [{ type: "spawn", number: 1 }]);
});

Deno.test("Supervisor fills every slot at once in a storm of kills, as long as servers get to serve", () => {
  const supervisor = running(1);
  let nowUs = 0;
  for (let pid = 100; pid < 120; pid++) {
    nowUs += SERVED_US;
    supervisor.answered(0, pid, true, nowUs);
    supervisor.exited(0, pid, nowUs);
    assert.deepEqual(step(supervisor, nowUs), [{ type: "spawn", number: 0 }]);
    supervisor.spawned(0, pid + 1, nowUs);
    supervisor.answered(0, pid + 1, true, nowUs);
  }
});

Deno.test("Supervisor waits twice as long after each failure in a row, up to a bound, and reports from the fifth on", () => {
  const supervisor = new Supervisor(1, 0);
  const pauses: number[] = [], reports: number[] = [];
  let nowUs = 0;
  for (let pid = 1; pid <= 12; pid++) {
    assert.deepEqual(step(supervisor, nowUs), [{ type: "spawn", number: 0 }]);
    if (pid % 3 === 0) supervisor.spawnFailed(0, nowUs);
    else {
      supervisor.spawned(0, pid, nowUs);
      supervisor.exited(0, pid, nowUs);
    }
    for (const action of step(supervisor, nowUs)) {
      assert.equal(action.type, "failing");
      if (action.type === "failing") reports.push(action.failures);
    }
    const deadlineUs = supervisor.nextDeadlineUs()!;
    pauses.push(deadlineUs - nowUs);
    nowUs = deadlineUs;
  }
  assert.deepEqual(pauses, pauses.map((_, index) => Math.min(PAUSE_US_MAX, PAUSE_US_MIN * 2 ** index)));
  assert.equal(pauses.at(-1), PAUSE_US_MAX);
  assert.deepEqual(reports, Array.from({ length: 13 - FAILURES_REPORTED }, (_, index) => FAILURES_REPORTED + index));
});

Deno.test("Supervisor forgets failures once a server was ready for a while, and not before", () => {
  for (const [livedUs, pauseUs] of [[SERVED_US, 0], [SERVED_US - 1, 8 * PAUSE_US_MIN]] as const) {
    const supervisor = new Supervisor(1, 0);
    let nowUs = 0;
    for (let pid = 1; pid <= 3; pid++) {
      step(supervisor, nowUs);
      supervisor.spawned(0, pid, nowUs);
      supervisor.exited(0, pid, nowUs);
      nowUs = supervisor.nextDeadlineUs()!;
    }
    step(supervisor, nowUs);
    supervisor.spawned(0, 4, nowUs);
    supervisor.answered(0, 4, true, nowUs);
    supervisor.answered(0, 4, true, nowUs + livedUs);
    supervisor.exited(0, 4, nowUs + livedUs);
    assert.equal(supervisor.nextDeadlineUs()! - (nowUs + livedUs), pauseUs);
  }
});

Deno.test("Supervisor sends nobody to a silent server, kills it after five missed answers, and forgives fewer", () => {
  const supervisor = running(1);
  for (let missed = 1; missed < MISSED_MAX; missed++) {
    supervisor.missed(0, 100, missed);
    assert.equal(supervisor.healthy(0), missed < UNHEALTHY_MISSED);
  }
  supervisor.answered(0, 100, true, 20);
  assert.equal(supervisor.healthy(0), true);
  for (let missed = 1; missed <= MISSED_MAX; missed++) supervisor.missed(0, 100, 20 + missed);
  const nowUs = 20 + MISSED_MAX;
  // It hears nothing, so it is not asked, and SIGTERM would wait for it: SIGKILL until it is gone.
  const kill = { type: "signal", number: 0, pid: 100, hard: true } as const;
  assert.deepEqual(step(supervisor, nowUs), [{ type: "hung", number: 0, pid: 100, missed: MISSED_MAX }, kill]);
  assert.deepEqual(step(supervisor, nowUs + SIGNAL_US_MAX), [kill]);
  assert.deepEqual(step(supervisor, nowUs + 2 * SIGNAL_US_MAX), [kill]);
  supervisor.answered(0, 100, true, nowUs);
  assert.equal(supervisor.healthy(0), false);
  supervisor.exited(0, 100, nowUs + 3 * SIGNAL_US_MAX);
  const againUs = supervisor.nextDeadlineUs()!;
  assert.equal(againUs, nowUs + 3 * SIGNAL_US_MAX + PAUSE_US_MIN);
  assert.deepEqual(step(supervisor, againUs), [{ type: "spawn", number: 0 }]);
});

Deno.test("Supervisor kills the one that hangs among others that answer, after the time it was given", () => {
  const hungS = 3, { supervisor, second } = beating(4, hungS);
  for (let count = 1; count < hungS; count++) assert.deepEqual(second([2]), []);
  assert.deepEqual(second([2]).map(({ type }) => type), ["hung", "signal"]);
  assert.deepEqual([0, 1, 2, 3].map((number) => supervisor.healthy(number)), [true, true, false, true]);
});

Deno.test("Supervisor blames nobody for the time in which the machine slept", () => {
  for (const everybody of [[0], [0, 1, 2]]) {
    const { second } = beating(everybody.length, MISSED_MAX);
    for (let night = 0; night < 20; night++) {
      // Asked just before and answered never; then hours without a beat, and the first questions after them come too early.
      for (let count = 0; count < MISSED_MAX - 1; count++) assert.deepEqual(second(everybody), []);
      assert.deepEqual(second(everybody, 8 * 3600 * 1_000_000), []);
      for (let count = 0; count < MISSED_MAX - 2; count++) assert.deepEqual(second(everybody), []);
      assert.deepEqual(second([]), []);
    }
  }
});

Deno.test("Supervisor gives everybody longer where nobody answers, and then replaces them all the same", () => {
  const { second } = beating(3, MISSED_MAX);
  for (let count = 1; count < ALL_SILENT_FACTOR * MISSED_MAX; count++) assert.deepEqual(second([0, 1, 2]), []);
  const killed = second([0, 1, 2]).filter(({ type }) => type === "hung");
  assert.deepEqual(killed.map(({ number }) => number), [0, 1, 2]);
});

Deno.test("Supervisor does not wait longer for the only server there is", () => {
  const { second } = beating(1, MISSED_MAX);
  for (let count = 1; count < MISSED_MAX; count++) assert.deepEqual(second([0]), []);
  assert.deepEqual(second([0]).map(({ type }) => type), ["hung", "signal"]);
});

Deno.test("Supervisor waits for a server that starts slowly, and longer for one that says so", () => {
  const supervisor = new Supervisor(2, 0);
  step(supervisor, 0);
  supervisor.spawned(0, 100, 0);
  supervisor.spawned(1, 101, 0);
  for (let count = 0; count < 3 * MISSED_MAX; count++) supervisor.missed(0, 100, START_US_MAX - 1);
  supervisor.answered(1, 101, false, START_US_MAX * 3);
  supervisor.missed(1, 101, START_US_MAX * 3);
  assert.deepEqual(step(supervisor, START_US_MAX - 1), []);
  supervisor.missed(0, 100, START_US_MAX);
  assert.deepEqual(step(supervisor, START_US_MAX).map(({ type }) => type), ["hung", "signal"]);
});

Deno.test("Supervisor waits for a server that says to bring the data up to date, however long, and for silence after it no longer", () => {
  const supervisor = new Supervisor(1, 0);
  step(supervisor, 0);
  supervisor.spawned(0, 100, 0);
  let nowUs = 0;
  for (; nowUs < 10 * START_US_MAX; nowUs += 1_000_000) {
    supervisor.migrating(0, 100, nowUs);
    assert.deepEqual(step(supervisor, nowUs), []);
  }
  // Somebody else's word changes nothing.
  const saidUs = nowUs - 1_000_000;
  supervisor.migrating(0, 99, nowUs);
  for (let count = 0; count < 2 * MISSED_MAX; count++) supervisor.missed(0, 100, saidUs + START_US_MAX - 1);
  assert.deepEqual(step(supervisor, saidUs + START_US_MAX - 1), []);
  supervisor.missed(0, 100, saidUs + START_US_MAX);
  assert.deepEqual(step(supervisor, saidUs + START_US_MAX).map(({ type }) => type), ["hung", "signal"]);
});

Deno.test("Supervisor adopts what it finds fit, replaces the rest, and stops what is beyond the number wanted", () => {
  const supervisor = new Supervisor(4, 0);
  supervisor.found(0, 50, "fit", 0);
  supervisor.found(1, 51, "other", 0);
  supervisor.found(2, 52, "deaf", 0);
  supervisor.found(7, 57, "fit", 0);
  assert.deepEqual(step(supervisor, 0), [
    { type: "stop", number: 1, pid: 51 },
    { type: "signal", number: 2, pid: 52, hard: false },
    { type: "stop", number: 7, pid: 57 },
    { type: "spawn", number: 3 },
  ]);
  supervisor.answered(0, 50, true, 0);
  assert.equal(supervisor.healthy(0), true);
  supervisor.exited(1, 51, 10);
  supervisor.exited(7, 57, 10);
  supervisor.exited(2, 52, 10);
  // It was asked to go: no failure, no pause.
  assert.deepEqual(step(supervisor, 10), [1, 2].map((number) => ({ type: "spawn", number })));
});

Deno.test("Supervisor.stop() asks, then signals, then kills, starts nothing more, and is done when all are gone", () => {
  const supervisor = running(3);
  supervisor.exited(2, 102, 0);
  supervisor.stop(0);
  assert.deepEqual(step(supervisor, 0), [0, 1].map((number) => ({ type: "stop", number, pid: 100 + number })));
  supervisor.exited(0, 100, 1);
  assert.equal(supervisor.done, false);
  assert.deepEqual(step(supervisor, STOP_US_MAX), [{ type: "signal", number: 1, pid: 101, hard: false }]);
  const killUs = STOP_US_MAX + SIGNAL_US_MAX;
  assert.deepEqual(step(supervisor, killUs), [{ type: "signal", number: 1, pid: 101, hard: true }]);
  supervisor.exited(1, 101, killUs);
  assert.equal(supervisor.done, true);
  assert.equal(supervisor.nextDeadlineUs(), undefined);
  assert.deepEqual(step(supervisor, killUs + PAUSE_US_MAX), []);
});

Deno.test("Supervisor.stop() while a process is being started stops it as soon as it has a pid", () => {
  const supervisor = new Supervisor(2, 0);
  step(supervisor, 0);
  supervisor.stop(0);
  assert.equal(supervisor.done, false);
  supervisor.spawned(0, 100, 1);
  supervisor.spawnFailed(1, 1);
  assert.deepEqual(step(supervisor, 1), [{ type: "stop", number: 0, pid: 100 }]);
  supervisor.exited(0, 100, 2);
  assert.equal(supervisor.done, true);
});

Deno.test("Supervisor never wants two processes for a number, and recovers from whatever happened", () => {
  const event = fc.record({
    kind: fc.constantFrom("spawned", "spawnFailed", "answered", "unready", "missed", "exited", "late", "tick"),
    number: fc.nat(2),
    afterUs: fc.oneof(fc.nat(1000), fc.nat(5_000_000), fc.nat(60_000_000)),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 300 }), fc.boolean(), (events, thenStop) => {
      const supervisor = new Supervisor(3, 0);
      const world = new World(supervisor);
      for (const { kind, number, afterUs } of events) world.event(kind, number, afterUs);
      if (thenStop) supervisor.stop(world.nowUs);
      // From here on everything works: processes start, answer, and end when told to.
      for (let round = 0; round < 100; round++) world.kindly();
      if (thenStop) assert.ok(supervisor.done);
      else assert.ok(supervisor.allHealthy);
      assert.equal(world.processes.size, thenStop ? 0 : 3);
    }),
    { numRuns: 300 },
  );
});

/** Processes as the supervisor's actions and the events make them; checks what must never happen. */
class World {
  nowUs = 0;
  /** Number -> pid of what runs. */
  readonly processes = new Map<number, number>();
  readonly #asked = new Set<number>();
  #pids = 1000;

  constructor(readonly supervisor: Supervisor) {
    this.#perform();
  }

  event(kind: string, number: number, afterUs: number): void {
    this.nowUs += afterUs;
    const { supervisor, nowUs } = this, pid = this.processes.get(number);
    if (kind === "late") {
      // Word of a process that is long gone must change nothing.
      supervisor.answered(number, 1, true, nowUs);
      supervisor.missed(number, 1, nowUs);
      supervisor.exited(number, 1, nowUs);
    } else if (kind === "spawned" && this.#asked.delete(number)) this.#start(number);
    else if (kind === "spawnFailed" && this.#asked.delete(number)) supervisor.spawnFailed(number, nowUs);
    else if (pid !== undefined && kind === "answered") supervisor.answered(number, pid, true, nowUs);
    else if (pid !== undefined && kind === "unready") supervisor.answered(number, pid, false, nowUs);
    else if (pid !== undefined && kind === "missed") supervisor.missed(number, pid, nowUs);
    else if (pid !== undefined && kind === "exited") this.#exit(number, pid);
    this.#perform();
  }

  kindly(): void {
    this.nowUs = Math.max(this.nowUs, this.supervisor.nextDeadlineUs() ?? 0);
    for (const number of [...this.#asked]) {
      this.#asked.delete(number);
      this.#start(number);
    }
    for (const [number, pid] of this.processes) this.supervisor.answered(number, pid, true, this.nowUs);
    this.#perform((number, pid) => this.#exit(number, pid));
  }

  #start(number: number): void {
    assert.equal(this.processes.has(number), false, `Two processes for ${number}`);
    const pid = ++this.#pids;
    this.processes.set(number, pid);
    this.supervisor.spawned(number, pid, this.nowUs);
  }

  #exit(number: number, pid: number): void {
    if (this.processes.get(number) !== pid) return;
    this.processes.delete(number);
    this.supervisor.exited(number, pid, this.nowUs);
  }

  #perform(onStop?: (number: number, pid: number) => void): void {
    const stopped: [number, number][] = [];
    for (const action of step(this.supervisor, this.nowUs)) {
      if (action.type === "spawn") {
        assert.equal(this.processes.has(action.number), false, `${action.number} runs already`);
        assert.equal(this.#asked.has(action.number), false, `${action.number} is being started already`);
        this.#asked.add(action.number);
      } else if (action.type !== "failing" && action.type !== "hung") {
        assert.equal(this.processes.get(action.number), action.pid, "Only what runs is stopped");
        stopped.push([action.number, action.pid]);
      }
    }
    for (const [number, pid] of stopped) onStop?.(number, pid);
  }
}

/** Lets time reach `nowUs` and collects what is to be done. */
function step(supervisor: Supervisor, nowUs: number): SupervisorAction[] {
  supervisor.handleTimeout(nowUs);
  const actions: SupervisorAction[] = [];
  for (let action = supervisor.pollAction(); action; action = supervisor.pollAction()) actions.push(action);
  return actions;
}

/** Servers that run, and how to let a second pass in which some of them do not answer. */
function beating(count: number, missedMax: number) {
  const supervisor = running(count, missedMax);
  let nowUs = 0;
  const second = (silent: readonly number[], afterUs = 1_000_000): SupervisorAction[] => {
    nowUs += afterUs;
    supervisor.beat(nowUs);
    for (let number = 0; number < count; number++) {
      if (!silent.includes(number)) supervisor.answered(number, 100 + number, true, nowUs);
    }
    for (const number of silent) supervisor.missed(number, 100 + number, nowUs);
    return step(supervisor, nowUs);
  };
  return { supervisor, second };
}

/** That many servers, ready, with pids from 100 on. */
function running(count: number, missedMax?: number): Supervisor {
  const supervisor = new Supervisor(count, 0, missedMax);
  step(supervisor, 0);
  for (let number = 0; number < count; number++) {
    supervisor.spawned(number, 100 + number, 0);
    supervisor.answered(number, 100 + number, true, 0);
  }
  return supervisor;
}
