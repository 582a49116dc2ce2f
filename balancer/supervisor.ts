/**
 * Keeps one process per server number alive. PURE: events and the time in, actions out.
 *
 * A slot is one server number. It holds at most one process: a new one is asked for only when nothing runs there, and what runs
 * there is gone only when its exit was seen. A process that served for a while and dies, whatever of, is replaced at once: the next
 * one will most likely serve as long. One that does not get as far is replaced after a pause that doubles with each such failure in a
 * row.
 *
 * A silent process may be stopped, or spin, and then it still holds its port and, where it leads, the store's lock: it is killed,
 * for it could not hear anything milder. But where the machine stood still, or this program, nobody is to blame: silence is
 * counted in unanswered questions, is forgiven when the questions themselves came late, and has to last longer where everybody
 * is silent at once.
 *
 * Events: {@linkcode Supervisor.found} (at start), `beat`, `spawned`, `spawnFailed`, `answered`, `missed`, `exited`, `handleTimeout`.
 * After each, drain {@linkcode Supervisor.pollAction}, then ask {@linkcode Supervisor.nextDeadlineUs}.
 */
import { assert } from "../shared/assert.ts";

export type SupervisorAction =
  /** Start a process; answer with `spawned` or `spawnFailed`. */
  | { readonly type: "spawn"; readonly number: number }
  /** Ask the process over its control socket to stop; a failure to ask needs no answer. */
  | { readonly type: "stop"; readonly number: number; readonly pid: number }
  /** Signal the process: SIGTERM, or SIGKILL where `hard`. */
  | { readonly type: "signal"; readonly number: number; readonly pid: number; readonly hard: boolean }
  /** It has not answered this often in a row and is killed; a `signal` follows. */
  | { readonly type: "hung"; readonly number: number; readonly pid: number; readonly missed: number }
  /** The slot failed this often in a row, and will be tried again after `pauseUs`. Reported from FAILURES_REPORTED on. */
  | { readonly type: "failing"; readonly number: number; readonly failures: number; readonly pauseUs: number };

/** How a process of an earlier balancer was found: as we would start it; of another version or with other settings; not answering. */
export type Fitness = "fit" | "other" | "deaf";

/** What one slot is doing. */
export type Phase =
  /** No process, and none wanted before `deadlineUs` (or ever, where the slot is not wanted). */
  | "empty"
  /** A process was asked for. */
  | "spawning"
  /** There is a process that has not been ready yet. */
  | "starting"
  /** It was ready. */
  | "running"
  /** It was told to end. */
  | "stopping";

export class Supervisor {
  readonly #slots = new Map<number, Slot>();
  readonly #actions: SupervisorAction[] = [];
  readonly #missedMax: number;
  #beatUs: number;

  /**
   * Wants one process for each number from 0 to count - 1, at once.
   *
   * @param missedMax Unanswered questions in a row, one a second, at which a process counts as hung.
   */
  constructor(count: number, nowUs: number, missedMax = MISSED_MAX) {
    this.#missedMax = missedMax;
    this.#beatUs = nowUs;
    for (let number = 0; number < count; number++) this.#slots.set(number, new Slot(number, true, nowUs));
  }

  /**
   * A process of an earlier balancer lives; said before the first {@linkcode handleTimeout}. One that is not fit is stopped and
   * replaced, one beyond the wanted numbers only stopped.
   */
  found(number: number, pid: number, fitness: Fitness, nowUs: number): void {
    let slot = this.#slots.get(number);
    if (slot === undefined) this.#slots.set(number, slot = new Slot(number, false, nowUs));
    assert(slot.phase === "empty", `Slot ${number} is found occupied once`);
    slot.occupy(pid, nowUs);
    slot.phase = "running";
    slot.served = true;
    if (fitness === "deaf") this.#stop(slot, nowUs, "signal");
    else if (!slot.wanted || fitness === "other") this.#stop(slot, nowUs);
  }

  spawned(number: number, pid: number, nowUs: number): void {
    const slot = this.#slot(number);
    assert(slot.phase === "spawning", `Slot ${number} asked for a process`);
    slot.occupy(pid, nowUs);
    // Nobody wants it any more: stop was called while it was being started.
    if (!slot.wanted) this.#stop(slot, nowUs);
  }

  spawnFailed(number: number, nowUs: number): void {
    const slot = this.#slot(number);
    assert(slot.phase === "spawning", `Slot ${number} asked for a process`);
    this.#failed(slot, nowUs);
  }

  /** The process answered `status`. @param ready Whether clients may be sent there. */
  answered(number: number, pid: number, ready: boolean, nowUs: number): void {
    const slot = this.#slot(number);
    if (slot.pid !== pid) return;
    slot.missed = 0;
    slot.ready = ready;
    if (slot.phase === "starting" && ready) {
      slot.phase = "running";
      slot.readyAtUs = nowUs;
    }
    if (slot.phase !== "running" || nowUs - slot.readyAtUs < SERVED_US) return;
    slot.served = true;
    slot.failures = 0;
  }

  /** It answers nothing because it brings the data up to date, and says so in another way: it is waited for. */
  migrating(number: number, pid: number, nowUs: number): void {
    const slot = this.#slot(number);
    if (slot.pid !== pid || slot.phase !== "starting") return;
    slot.missed = 0;
    slot.deadlineUs = nowUs + START_US_MAX;
  }

  /** Everybody is being asked now. Questions that come late are about us: what was missed before them is forgiven. */
  beat(nowUs: number): void {
    if (nowUs - this.#beatUs > BEAT_US_LATE) {
      for (const slot of this.#slots.values()) slot.missed = 0;
    }
    this.#beatUs = nowUs;
  }

  /** It did not answer in time. */
  missed(number: number, pid: number, nowUs: number): void {
    const slot = this.#slot(number);
    if (slot.pid !== pid) return;
    slot.missed++;
    if (slot.missed < this.#missedMax * (this.#allSilent ? ALL_SILENT_FACTOR : 1)) return;
    // A new process may take its time: it loads, migrates, waits for a predecessor's lock.
    if (slot.phase === "running" || (slot.phase === "starting" && nowUs >= slot.deadlineUs)) {
      slot.silent = true;
      this.#actions.push({ type: "hung", number, pid, missed: slot.missed });
      this.#stop(slot, nowUs, "kill");
    }
  }

  exited(number: number, pid: number, nowUs: number): void {
    const slot = this.#slot(number);
    if (slot.pid !== pid) return;
    const asked = slot.phase === "stopping" && !slot.silent;
    const { served } = slot;
    slot.vacate(nowUs);
    // An empty slot that is wanted is filled at the next look.
    if (!served && !asked && slot.wanted) this.#failed(slot, nowUs);
  }

  /** Nothing is wanted from now on. `done` tells when all are gone. */
  stop(nowUs: number): void {
    for (const slot of this.#slots.values()) {
      slot.wanted = false;
      if (slot.phase === "starting" || slot.phase === "running") this.#stop(slot, nowUs);
    }
  }

  handleTimeout(nowUs: number): void {
    for (const slot of this.#slots.values()) {
      if (nowUs < slot.deadlineUs) continue;
      if (slot.phase === "empty" && slot.wanted) this.#spawn(slot);
      else if (slot.phase === "stopping") this.#insist(slot, nowUs);
    }
  }

  /** @returns The next thing to do; `undefined` when that is all. */
  pollAction(): SupervisorAction | undefined {
    return this.#actions.shift();
  }

  /** When {@linkcode handleTimeout} must be called next; `undefined` where only events can change anything. */
  nextDeadlineUs(): number | undefined {
    let nextUs = Infinity;
    for (const slot of this.#slots.values()) {
      const timed = slot.phase === "stopping" || (slot.phase === "empty" && slot.wanted);
      if (timed && slot.deadlineUs < nextUs) nextUs = slot.deadlineUs;
    }
    return nextUs === Infinity ? undefined : nextUs;
  }

  /** Whether clients may be sent to this server. */
  healthy(number: number): boolean {
    const slot = this.#slots.get(number);
    return slot?.phase === "running" && slot.ready && slot.missed < UNHEALTHY_MISSED;
  }

  /** The process that has this number now. */
  pidOf(number: number): number | undefined {
    return this.#slots.get(number)?.pid;
  }

  /** Whether clients may be sent to every wanted server. */
  get allHealthy(): boolean {
    return [...this.#slots.values()].every((slot) => !slot.wanted || this.healthy(slot.number));
  }

  /** After {@linkcode stop}: whether no process is left. */
  get done(): boolean {
    return [...this.#slots.values()].every((slot) => !slot.wanted && slot.phase === "empty");
  }

  /** Every process to ask for its status, and every slot for people to see. */
  slots(): SlotView[] {
    return [...this.#slots.values()].sort((a, b) => a.number - b.number);
  }

  /** Several run and none of them answers: more likely than that all of them hang is that the machine does. */
  get #allSilent(): boolean {
    const running = [...this.#slots.values()].filter(({ phase }) => phase === "running");
    return running.length > 1 && running.every(({ missed }) => missed > 0);
  }

  #spawn(slot: Slot): void {
    slot.phase = "spawning";
    this.#actions.push({ type: "spawn", number: slot.number });
  }

  #failed(slot: Slot, nowUs: number): void {
    slot.failures++;
    const pauseUs = Math.min(PAUSE_US_MAX, PAUSE_US_MIN * 2 ** Math.min(slot.failures - 1, 30));
    slot.phase = "empty";
    slot.deadlineUs = nowUs + pauseUs;
    if (slot.wanted && slot.failures >= FAILURES_REPORTED) {
      this.#actions.push({ type: "failing", number: slot.number, failures: slot.failures, pauseUs });
    }
  }

  /** Begins with a request, or with SIGTERM for one that does not listen, or with SIGKILL for one that hears nothing. */
  #stop(slot: Slot, nowUs: number, first: "request" | "signal" | "kill" = "request"): void {
    slot.phase = "stopping";
    slot.signals = first === "kill" ? 1 : 0;
    slot.deadlineUs = nowUs + STOP_US_MAX;
    if (first !== "request") this.#insist(slot, nowUs);
    else this.#actions.push({ type: "stop", number: slot.number, pid: slot.pid! });
  }

  /** SIGTERM, then SIGKILL again and again: a process in an uninterruptible wait dies when it leaves it. */
  #insist(slot: Slot, nowUs: number): void {
    this.#actions.push({ type: "signal", number: slot.number, pid: slot.pid!, hard: slot.signals > 0 });
    slot.signals++;
    slot.deadlineUs = nowUs + SIGNAL_US_MAX;
  }

  #slot(number: number): Slot {
    const slot = this.#slots.get(number);
    assert(slot !== undefined, `There is a slot ${number}`);
    return slot;
  }
}

export type SlotView = Readonly<Pick<Slot, "number" | "wanted" | "phase" | "pid" | "failures" | "missed" | "spawns">>;

class Slot {
  phase: Phase = "empty";
  pid: number | undefined;
  /** Processes that have lived here, adopted ones too. */
  spawns = 0;
  /** Starts that failed or ended early, in a row. */
  failures = 0;
  /** Questions without an answer, in a row. */
  missed = 0;
  ready = false;
  readyAtUs = 0;
  /** Was ready and answered for long enough. */
  served = false;
  /** Told to end because it did not answer: its end is a failure. */
  silent = false;
  /** Signals sent to the process that is being stopped. */
  signals = 0;
  /** Empty: when to spawn. Starting: when to give up waiting. Stopping: when to insist. */
  deadlineUs: number;

  constructor(readonly number: number, public wanted: boolean, nowUs: number) {
    this.deadlineUs = nowUs;
  }

  occupy(pid: number, nowUs: number): void {
    this.phase = "starting";
    this.pid = pid;
    this.spawns++;
    this.missed = 0;
    this.ready = false;
    this.readyAtUs = nowUs;
    this.served = false;
    this.silent = false;
    this.deadlineUs = nowUs + START_US_MAX;
  }

  vacate(nowUs: number): void {
    this.phase = "empty";
    this.pid = undefined;
    this.ready = false;
    this.deadlineUs = nowUs;
  }
}

/** For those that never serve: the first restart comes at once for a person's eye; the pause never exceeds what an operator would wait for. */
export const PAUSE_US_MIN = 100_000;
export const PAUSE_US_MAX = 15_000_000;
/** A process that was ready this long has served: what ends it now is no fault of how it is started. */
export const SERVED_US = 3_000_000;
/** Failures in a row from which on somebody should know. */
export const FAILURES_REPORTED = 5;
/** A process that answers nothing this long after its start is given up. One that answers "not ready" is waited for. */
export const START_US_MAX = 30_000_000;
/** Unanswered questions, one a second: from the first number on no client is sent there, at the second it is replaced. */
export const UNHEALTHY_MISSED = 2;
export const MISSED_MAX = 5;
/** How much longer where nobody answers. */
export const ALL_SILENT_FACTOR = 3;
/** Questions are a second apart; beyond this they were late. */
export const BEAT_US_LATE = 2_500_000;
/** From the request to SIGTERM, which is a little more than a server takes for itself; then from signal to signal. */
export const STOP_US_MAX = 12_000_000;
export const SIGNAL_US_MAX = 3_000_000;
