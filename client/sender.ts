/**
 * Empties the outbox: the process that owns the home seals and sends everybody's rows.
 *
 * Rows of one conversation go out in the order of their places, without waiting for one another's answers; conversations do
 * not wait for one another at all. A row is sealed and kept in the database, together with what its sealing used up, before it
 * leaves: after any crash the same bytes go out again under the same id, and no key is used twice (SECURITY M1, M11). Only where
 * the server says that the conversation has moved on is it sealed anew, under the same id, when everything newer was taken.
 */
import { InnerType, readEnvelope } from "../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../shared/errors.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import { type Engine, NotReadyError } from "./e2ee/engine.ts";
import type { EngineHost } from "./engine_host.ts";
import { asFastChatError, isTransient, retryDelayMs } from "./link.ts";
import type { Outbox, OutboxRow, SealedRow } from "./outbox.ts";
import { pause } from "./pause.ts";
import { type Remote, ServerRefusal } from "./remote.ts";

export interface SenderOptions {
  readonly outbox: Outbox;
  readonly host: Pick<EngineHost, "ownership" | "get">;
  readonly self: { readonly name: UserName; readonly device: DeviceId };
  /** The connection, where there is one now. */
  remote(): Remote | undefined;
  /**
   * The conversation that rows for somebody go to, with everything taken that is known of it.
   *
   * @throws KeyChangedError, ServerRefusal (an unknown name), ConnectionLostError.
   */
  conversation(to: Recipient, remote: Remote): Promise<ConversationId>;
  /** A row has met its fate, which is in the database. */
  onSettled(id: MessageId): void;
  /** The server takes nothing for now, and says why; it is tried again. */
  onHeldUp?(error: ServerRefusal): void;
  /** Nothing can be sent to somebody for now; it is tried again. */
  onNotReady?(to: Recipient, error: NotReadyError): void;
}

/** A person, or a group. */
export type Recipient = Pick<OutboxRow, "peer" | "target">;

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

/** What a tenure needs to know of those to whom nothing can be sent. */
interface Parking {
  isParked(key: string): boolean;
  park(key: string, to: Recipient, error: NotReadyError): void;
  isReady(key: string): void;
}

/** One tenure of the home over one connection: ends when nothing waits, the connection is gone or others want the home. */
class Drain {
  readonly #remote: Remote;
  readonly #engine: Engine;
  readonly #options: SenderOptions;
  readonly #signal: AbortSignal;
  readonly #parking: Parking;
  readonly #lanes = new Map<string, Lane>();
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
            lane = new Lane(to, this.#remote, this.#engine, this.#options, this.#signal, this.#parking),
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

  #start(lane: Lane): void {
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

/** What goes to one conversation, in order. */
class Lane {
  readonly changed = new Signal();
  running = false;
  readonly #to: Recipient;
  readonly #remote: Remote;
  readonly #engine: Engine;
  readonly #options: SenderOptions;
  readonly #signal: AbortSignal;
  readonly #parking: Parking;
  #queue: MessageId[] = [];
  readonly #settled = new Set<MessageId>();
  #inFlight = 0;
  #bytesInFlight = 0;
  /** The newest commit that the server named when it refused a row: what was sealed for another one is sealed anew. */
  #newest: number | undefined;
  #isParked = false;
  /** Why this pass sends no more: what is in flight is awaited, then everything unsettled is sent again, in order. */
  #trouble: unknown;

  constructor(
    to: Recipient,
    remote: Remote,
    engine: Engine,
    options: SenderOptions,
    signal: AbortSignal,
    parking: Parking,
  ) {
    this.#to = to;
    this.#remote = remote;
    this.#engine = engine;
    this.#options = options;
    this.#signal = signal;
    this.#parking = parking;
  }

  get isDone(): boolean {
    return this.#queue.length === 0 || this.#isParked || this.#remote.closed !== undefined || this.#signal.aborted;
  }

  push(id: MessageId): void {
    this.#queue.push(id);
    this.changed.fire();
  }

  async run(): Promise<void> {
    for (let attempt = 0; !this.isDone; attempt++) {
      this.#trouble = undefined;
      try {
        const conversation = await this.#options.conversation(this.#to, this.#remote);
        if (this.#newest !== undefined) await this.#catchUp(conversation, this.#newest);
        await this.#engine.prepare(conversation);
        this.#parking.isReady(keyOf(this.#to));
        await this.#pass(conversation);
      } catch (error) {
        this.#trouble = error;
        if (isSessionOver(error)) this.#remote.close(CloseCode.none, "");
        else if (error instanceof NotReadyError) this.#park(error);
        // Nobody to seal for: an unknown name, a changed key. It holds for everything that waits for them.
        else if (!isTransient(error) && !isStale(error)) this.#failAll(error);
      }
      this.#queue = this.#queue.filter((id) => !this.#settled.has(id));
      this.#settled.clear();
      const isNew = isStale(this.#trouble) && attempt < STALE_AT_ONCE_MAX;
      if (!isStale(this.#trouble) && !isTransient(this.#trouble)) attempt = -1;
      if (attempt < 0 || isNew || this.isDone) continue;
      await pause(retryDelayMs(attempt, this.#trouble), this.#signal).catch(() => {});
    }
  }

  /** Rows up to there are taken before anything is sealed anew: what was stored after all is found among them. */
  async #catchUp(conversation: ConversationId, newest: number): Promise<void> {
    const gone = new AbortController(), signal = AbortSignal.any([this.#signal, gone.signal]);
    const patience = pause(STALE_WAIT_MS, signal).catch(() => {});
    try {
      await Promise.race([this.#engine.stale(conversation, newest), patience]);
    } finally {
      gone.abort();
    }
  }

  #park(error: NotReadyError): void {
    this.#isParked = true;
    this.#parking.park(keyOf(this.#to), this.#to, error);
  }

  /** Sends what is queued, and what is queued meanwhile, until all of it is answered. */
  async #pass(conversation: ConversationId): Promise<void> {
    for (let next = 0;;) {
      if (this.#trouble === undefined && !this.#signal.aborted && next < this.#queue.length && this.#hasRoom) {
        await this.#sendOne(this.#queue[next++]!, conversation);
      } else if (this.#inFlight > 0) {
        await this.changed.wait();
      } else return;
    }
  }

  async #sendOne(id: MessageId, conversation: ConversationId): Promise<void> {
    const row = this.#options.outbox.row(id);
    // Withdrawn, or a delivery said that it is stored.
    if (row === undefined) return this.#settle(id);
    const isGood = row.sealed && (this.#newest === undefined || isOfEpoch(row.sealed, this.#newest));
    const sealed = isGood ? row.sealed : await this.#seal(row, conversation);
    if (sealed === undefined) return this.#settle(id);
    this.#inFlight++;
    this.#bytesInFlight += sealed.body.length;
    this.#remote.append({
      conversation: sealed.conversation,
      messageId: id,
      expectedEpoch: sealed.epoch,
      body: sealed.body,
    }).then((stored) => {
      this.#options.outbox.stored(id, stored, this.#options.self);
      this.#settle(id);
    }, (error) => this.#refused(id, error)).finally(() => {
      this.#inFlight--;
      this.#bytesInFlight -= sealed.body.length;
      this.changed.fire();
    });
  }

  /** `undefined` where the row was withdrawn meanwhile. */
  async #seal(
    { id, createdMs: timeMs, text }: OutboxRow,
    conversation: ConversationId,
  ): Promise<SealedRow | undefined> {
    const { body, epoch, counter, step } = await this.#engine.seal(conversation, { id, timeMs, text });
    const sealed = { conversation, counter, epoch, body };
    let isKept: boolean;
    try {
      isKept = this.#options.outbox.seal(id, sealed, () => step.write());
    } catch (error) {
      step.undo();
      throw error;
    }
    if (isKept) step.done();
    else step.undo();
    return isKept ? sealed : undefined;
  }

  #refused(id: MessageId, error: unknown): void {
    // What came behind a refusal on the same stream is refused because of it, and sent again.
    if (this.#trouble !== undefined) return;
    this.#trouble = error;
    if (isSessionOver(error)) return this.#remote.close(CloseCode.none, "");
    if (error instanceof ServerRefusal && isStale(error)) this.#newest = error.response.epoch;
    if (isTransient(error) && error instanceof ServerRefusal) this.#options.onHeldUp?.(error);
    if (isTransient(error) || isStale(error)) return;
    this.#options.outbox.fail(id, asFastChatError(error), true);
    this.#settle(id);
  }

  #failAll(error: unknown): void {
    for (const id of this.#queue) {
      this.#options.outbox.fail(id, asFastChatError(error));
      this.#settle(id);
    }
  }

  #settle(id: MessageId): void {
    this.#settled.add(id);
    this.#options.onSettled(id);
  }

  get #hasRoom(): boolean {
    return this.#inFlight < IN_FLIGHT_MAX && this.#bytesInFlight < BYTES_IN_FLIGHT_MAX;
  }
}

/** Wakes whoever waits; firing while nobody does is remembered once. */
class Signal {
  #fired = false;
  #resolve: (() => void) | undefined;

  fire(): void {
    this.#fired = true;
    this.#resolve?.();
  }

  async wait(): Promise<void> {
    if (!this.#fired) await new Promise<void>((resolve) => this.#resolve = resolve);
    this.#fired = false;
    this.#resolve = undefined;
  }
}

/** Sealed for that commit, or one that has come since. The first form counted something else. */
function isOfEpoch({ epoch, body }: SealedRow, newest: number): boolean {
  const read = readEnvelope(body);
  return epoch >= newest && !(read.ok && read.envelope.header.innerType === InnerType.text);
}

function keyOf({ peer, target }: Recipient): string {
  return target ?? `@${peer}`;
}

/** The session ended under this connection: with the next one comes a new session, or the reason why there is none. */
function isSessionOver(error: unknown): boolean {
  return error instanceof ServerRefusal && error.code === ErrorCode.notAuthenticated;
}

function isStale(error: unknown): boolean {
  return error instanceof ServerRefusal && error.code === ErrorCode.staleEpoch;
}

const LOCK_POLL_MS = 50;
const PAGE_ROWS = 256;
/** What one conversation has under way: enough to fill a long path, little enough to send again. */
const IN_FLIGHT_MAX = 256;
const BYTES_IN_FLIGHT_MAX = 4 << 20;
/** Devices that come one after another are nobody's fault; an epoch that never fits is a server's. */
const STALE_AT_ONCE_MAX = 4;
/** Rows that the server speaks of and does not show. */
const STALE_WAIT_MS = 10_000;
/** Whoever nothing could be sent to is tried again after so long, twice that, and so on. */
const PARKED_MS = 1_000;
const PARKED_MS_MAX = 60_000;
