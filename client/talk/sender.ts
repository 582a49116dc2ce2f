/**
 * Empties the outbox: the process that owns the home seals and sends everybody's rows.
 *
 * Rows of one conversation go out in the order of their places, without waiting for one another's answers; conversations do
 * not wait for one another at all. A row is sealed and kept in the database, together with what its sealing used up, before it
 * leaves: after any crash the same bytes go out again under the same id, and no key is used twice (SECURITY M1, M11). Only where
 * the server says that the conversation has moved on is it sealed anew, under the same id, when everything newer was taken.
 */
import type { Engine, NotReadyError } from "../e2ee/engine.ts";
import type { EngineHost } from "./engine_host.ts";
import { asFastChatError, isTransient } from "../network/link.ts";
import { OutLane, type OutLaneOptions, type Parking } from "./out_lane.ts";
import type { Outbox } from "./outbox.ts";
import { pause } from "../pause.ts";
import { keyOf, type Recipient } from "./recipient.ts";
import type { Remote } from "../network/remote.ts";

export interface SenderOptions extends OutLaneOptions {
  readonly host: Pick<EngineHost, "ownership" | "get">;
  /** The connection, where there is one now. */
  remote(): Remote | undefined;
  /** Nothing can be sent to somebody for now; it is tried again. */
  onNotReady?(to: Recipient, error: NotReadyError): void;
}

export class Sender {
  readonly #options: SenderOptions;
  readonly #stop = new AbortController();
  #working: Promise<void> | undefined;
  #isWorking = false;
  #drain: Drain | undefined;
  #again = false;
  /** Who nothing can be sent to for now: their rows wait without keeping the home. */
  readonly #parked = new Set<string>();
  /** How often in a row nothing could be sent to them. */
  readonly #attempts = new Map<string, number>();

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** There may be something to send, or a connection to send it over. Cheap; call it whenever either is so. */
  kick(): void {
    if (this.#stop.signal.aborted) return;
    this.#again = true;
    if (this.#drain) this.#drain.load();
    else if (!this.#isWorking) this.#working = this.#work();
  }

  /** Something has changed in a conversation: what could not be sent may be sent now. */
  unpark(): void {
    this.#parked.clear();
    this.kick();
  }

  /** Resolves when nothing more can be sent for now, whoever has left it in the outbox. */
  async idle(): Promise<void> {
    while (this.#isWorking && !this.#stop.signal.aborted) await this.#working;
  }

  /** Resolves when nothing is under way any more. What is not settled stays in the outbox. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#drain?.wake();
    await this.#working;
  }

  async #work(): Promise<void> {
    const { outbox, host: { ownership } } = this.#options, signal = this.#stop.signal;
    this.#isWorking = true;
    try {
      while (this.#again && !signal.aborted) {
        this.#again = false;
        const remote = this.#options.remote();
        // Without a connection the home is left to a process that has one; with the next connection comes the next kick.
        if (remote === undefined || remote.closed || !this.#hasWork()) continue;
        const hold = await ownership.tryHold();
        if (hold === undefined) {
          await pause(LOCK_POLL_MS, signal).catch(() => {});
          this.#again = true;
          continue;
        }
        try {
          this.#drain = new Drain(remote, await this.#options.host.get(), this.#options, signal, {
            isParked: (key) => this.#parked.has(key),
            park: (key, to, error) => this.#park(key, to, error),
            isReady: (key) => void this.#attempts.delete(key),
          });
          this.#drain.load();
          await this.#drain.idle();
          // Others were let in; what has come meanwhile is next.
          if (this.#drain.isCut) this.#again = true;
        } catch (error) {
          // No engine without a connection, and no connection for long: the next kick tries again.
          if (!isTransient(error)) this.#failAll(outbox, error);
        } finally {
          this.#drain = undefined;
          hold.release();
        }
      }
    } finally {
      // At once with the last look at #again: a kick that comes before whoever awaits this is told must not be lost.
      this.#isWorking = false;
    }
  }

  /** Whether anything waits that is not for somebody to whom nothing can be sent. */
  #hasWork(): boolean {
    const { outbox } = this.#options;
    if (this.#parked.size === 0) return !outbox.isEmpty;
    return outbox.recipients().some((to) => !this.#parked.has(keyOf(to)));
  }

  #park(key: string, to: Recipient, error: NotReadyError): void {
    this.#parked.add(key);
    this.#options.onNotReady?.(to, error);
    const goOn = () => {
      if (this.#parked.delete(key)) this.kick();
    };
    const attempt = this.#attempts.get(key) ?? 0;
    this.#attempts.set(key, attempt + 1);
    pause(Math.min(PARKED_MS_MAX, PARKED_MS << Math.min(attempt, 8)), this.#stop.signal).then(goOn, () => {});
    error.ready.then(goOn, goOn);
  }

  #failAll(outbox: Outbox, error: unknown): void {
    for (const { id } of outbox.waiting(0, PAGE_ROWS)) {
      outbox.fail(id, asFastChatError(error));
      this.#options.onSettled(id);
    }
  }
}

/** One tenure of the home over one connection: ends when nothing waits, the connection is gone or others want the home. */
class Drain {
  readonly #remote: Remote;
  readonly #engine: Engine;
  readonly #options: SenderOptions;
  readonly #signal: AbortSignal;
  readonly #parking: Parking;
  readonly #lanes = new Map<string, OutLane>();
  readonly #running = new Set<Promise<void>>();
  #place = 0;
  #ended = false;
  /** Nothing more is taken up: others wait for the home. */
  isCut = false;

  constructor(remote: Remote, engine: Engine, options: SenderOptions, signal: AbortSignal, parking: Parking) {
    this.#remote = remote;
    this.#engine = engine;
    this.#options = options;
    this.#signal = signal;
    this.#parking = parking;
  }

  /** Takes up what has come into the outbox, unless the tenure is over: then the next one does. */
  load(): void {
    while (!this.#ended && !this.isCut) {
      const rows = this.#options.outbox.waiting(this.#place, PAGE_ROWS);
      for (const { place, id, ...to } of rows) {
        this.#place = place;
        const key = keyOf(to);
        if (this.#parking.isParked(key)) continue;
        let lane = this.#lanes.get(key);
        if (lane === undefined) {
          this.#lanes.set(
            key,
            lane = new OutLane(to, this.#remote, this.#engine, this.#options, this.#signal, this.#parking),
          );
        }
        lane.push(id);
        this.#start(lane);
      }
      if (rows.length < PAGE_ROWS) break;
    }
    void this.#options.host.ownership.isWanted().then((isWanted) => this.isCut ||= isWanted);
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    this.#ended = true;
  }

  wake(): void {
    for (const lane of this.#lanes.values()) lane.changed.fire();
  }

  #start(lane: OutLane): void {
    if (lane.running || lane.isDone) return;
    lane.running = true;
    const run = lane.run().finally(() => {
      lane.running = false;
      this.#running.delete(run);
      // Something may have come between the lane's last look and now.
      this.#start(lane);
    });
    this.#running.add(run);
  }
}

const LOCK_POLL_MS = 50;
const PAGE_ROWS = 256;
/** Whoever nothing could be sent to is tried again after so long, twice that, and so on. */
const PARKED_MS = 1_000;
const PARKED_MS_MAX = 60_000;
