/**
 * Empties the outbox, one process of a home at a time: whoever holds the lock file seals and sends everybody's rows.
 *
 * Rows of one conversation go out in the order of their places, without waiting for one another's answers; conversations do
 * not wait for one another at all. A row is sealed under the counter behind its predecessor's and kept in the database
 * before it leaves, so that after any crash the same bytes go out again under the same id (SECURITY M1).
 */
import { envelopeHash } from "../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../shared/errors.ts";
import { FileLock } from "../shared/host/mod.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import type { Chain } from "./history.ts";
import { asFastChatError, isTransient, retryDelayMs } from "./link.ts";
import type { Outbox, OutboxRow, SealedRow } from "./outbox.ts";
import { pause } from "./pause.ts";
import { type Remote, ServerRefusal } from "./remote.ts";

/** A conversation one can send in, as of one moment: when a device comes or goes, another one is needed. */
export interface Recipient {
  readonly conversation: ConversationId;
  readonly epoch: number;
  seal(
    message: { id: MessageId; counter: number; previous: Uint8Array; timeMs: number; text: string },
  ): Promise<Uint8Array>;
}

export interface SenderOptions {
  readonly outbox: Outbox;
  readonly lockPath: string;
  readonly self: { readonly name: UserName; readonly device: DeviceId };
  /** The connection, where there is one now. */
  remote(): Remote | undefined;
  /**
   * Whom to seal for.
   *
   * @param fresh The directory must be asked again.
   * @throws KeyChangedError, ServerRefusal (an unknown name), ConnectionLostError.
   */
  recipient(peer: UserName, remote: Remote, fresh: boolean): Promise<Recipient>;
  /** A row has met its fate, which is in the database. */
  onSettled(id: MessageId): void;
  /** The server takes nothing for now, and says why; it is tried again. */
  onHeldUp?(error: ServerRefusal): void;
}

export class Sender {
  readonly #options: SenderOptions;
  readonly #stop = new AbortController();
  #working: Promise<void> | undefined;
  #isWorking = false;
  #drain: Drain | undefined;
  #again = false;

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

  /** Resolves when nothing is under way any more. What is not settled stays in the outbox. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#drain?.wake();
    await this.#working;
  }

  async #work(): Promise<void> {
    const { outbox, lockPath } = this.#options, signal = this.#stop.signal;
    this.#isWorking = true;
    try {
      while (this.#again && !signal.aborted) {
        this.#again = false;
        const remote = this.#options.remote();
        // Without a connection the lock is left to a process that has one; with the next connection comes the next kick.
        if (remote === undefined || remote.closed || outbox.isEmpty) continue;
        const lock = await FileLock.tryAcquire(lockPath);
        if (lock === undefined) {
          await pause(LOCK_POLL_MS, signal).catch(() => {});
          this.#again = true;
          continue;
        }
        try {
          this.#drain = new Drain(remote, this.#options, signal);
          this.#drain.load();
          await this.#drain.idle();
        } finally {
          this.#drain = undefined;
          lock.release();
        }
      }
    } finally {
      // At once with the last look at #again: a kick that comes before whoever awaits this is told must not be lost.
      this.#isWorking = false;
    }
  }
}

/** One tenure of the lock over one connection: ends when nothing waits or the connection is gone. */
class Drain {
  readonly #remote: Remote;
  readonly #options: SenderOptions;
  readonly #signal: AbortSignal;
  readonly #lanes = new Map<UserName, Lane>();
  readonly #running = new Set<Promise<void>>();
  #place = 0;
  #ended = false;

  constructor(remote: Remote, options: SenderOptions, signal: AbortSignal) {
    this.#remote = remote;
    this.#options = options;
    this.#signal = signal;
  }

  /** Takes up what has come into the outbox, unless the tenure is over: then the next one does. */
  load(): void {
    while (!this.#ended) {
      const rows = this.#options.outbox.waiting(this.#place, PAGE_ROWS);
      for (const { place, id, peer } of rows) {
        this.#place = place;
        let lane = this.#lanes.get(peer);
        if (lane === undefined) {
          this.#lanes.set(peer, lane = new Lane(peer, this.#remote, this.#options, this.#signal));
        }
        lane.push(id);
        this.#start(lane);
      }
      if (rows.length < PAGE_ROWS) return;
    }
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

/** What goes to one peer, in order. */
class Lane {
  readonly changed = new Signal();
  running = false;
  readonly #peer: UserName;
  readonly #remote: Remote;
  readonly #options: SenderOptions;
  readonly #signal: AbortSignal;
  #queue: MessageId[] = [];
  readonly #settled = new Set<MessageId>();
  #inFlight = 0;
  #bytesInFlight = 0;
  /** Why this pass sends no more: what is in flight is awaited, then everything unsettled is sent again, in order. */
  #trouble: unknown;

  constructor(peer: UserName, remote: Remote, options: SenderOptions, signal: AbortSignal) {
    this.#peer = peer;
    this.#remote = remote;
    this.#options = options;
    this.#signal = signal;
  }

  get isDone(): boolean {
    return this.#queue.length === 0 || this.#remote.closed !== undefined || this.#signal.aborted;
  }

  push(id: MessageId): void {
    this.#queue.push(id);
    this.changed.fire();
  }

  async run(): Promise<void> {
    let fresh = false;
    for (let attempt = 0; !this.isDone; attempt++) {
      this.#trouble = undefined;
      try {
        await this.#pass(await this.#options.recipient(this.#peer, this.#remote, fresh));
      } catch (error) {
        this.#trouble = error;
        if (isSessionOver(error)) this.#remote.close(CloseCode.none, "");
        // Nobody to seal for: an unknown name, a changed key. It holds for everything that waits for them.
        else if (!isTransient(error)) this.#failAll(error);
      }
      this.#queue = this.#queue.filter((id) => !this.#settled.has(id));
      this.#settled.clear();
      fresh = isStale(this.#trouble);
      if (!fresh && !isTransient(this.#trouble)) attempt = -1;
      if (attempt < 0 || (fresh && attempt < STALE_AT_ONCE_MAX) || this.isDone) continue;
      await pause(retryDelayMs(attempt, this.#trouble), this.#signal).catch(() => {});
    }
  }

  /** Sends what is queued, and what is queued meanwhile, until all of it is answered. */
  async #pass(recipient: Recipient): Promise<void> {
    let chain = this.#options.outbox.chain(recipient.conversation);
    for (let next = 0;;) {
      if (this.#trouble === undefined && !this.#signal.aborted && next < this.#queue.length && this.#hasRoom) {
        chain = await this.#sendOne(this.#queue[next++]!, recipient, chain);
      } else if (this.#inFlight > 0) {
        await this.changed.wait();
      } else return;
    }
  }

  /** @returns The chain behind what was sent. */
  async #sendOne(id: MessageId, recipient: Recipient, chain: Chain): Promise<Chain> {
    const row = this.#options.outbox.row(id);
    // Withdrawn, or a delivery said that it is stored.
    if (row === undefined) return this.#settle(id), chain;
    const sealed = row.sealed?.epoch === recipient.epoch ? row.sealed : await this.#seal(row, recipient, chain);
    if (sealed === undefined) return this.#settle(id), chain;
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
    return { counter: sealed.counter, hash: envelopeHash(sealed.body) };
  }

  /** `undefined` where the row was withdrawn meanwhile: its counter is then free for the next one. */
  async #seal(row: OutboxRow, recipient: Recipient, chain: Chain): Promise<SealedRow | undefined> {
    const { outbox } = this.#options, { conversation, epoch } = recipient;
    const counter = row.sealed?.counter ?? Math.max(chain.counter, outbox.lastCounter(conversation)) + 1;
    const body = await recipient.seal({
      id: row.id,
      counter,
      previous: chain.hash,
      timeMs: row.createdMs,
      text: row.text,
    });
    const sealed = { conversation, counter, epoch, body };
    return outbox.seal(row.id, sealed) ? sealed : undefined;
  }

  #refused(id: MessageId, error: unknown): void {
    // What came behind a refusal on the same stream is refused because of it, and sent again.
    if (this.#trouble !== undefined) return;
    this.#trouble = error;
    if (isSessionOver(error)) return this.#remote.close(CloseCode.none, "");
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
