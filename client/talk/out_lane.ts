/**
 * What goes to one conversation, in order, over one connection: sealed, kept together with what that used up, and sent, without
 * waiting for the answer to the row before.
 */
import { InnerType, readEnvelope } from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { type Engine, NotReadyError } from "../e2ee/engine.ts";
import { asFastChatError, isTransient, retryDelayMs } from "../network/link.ts";
import type { Outbox, OutboxRow, SealedRow } from "./outbox.ts";
import { pause } from "../pause.ts";
import { keyOf, type Recipient } from "./recipient.ts";
import { ServerRefusal } from "../network/failures.ts";
import type { Remote } from "../network/remote.ts";
import { Signal } from "./signal.ts";

export interface OutLaneOptions {
  readonly outbox: Outbox;
  readonly self: { readonly name: UserName; readonly device: DeviceId };
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
}

/** Those to whom nothing can be sent for now. */
export interface Parking {
  isParked(key: string): boolean;
  park(key: string, to: Recipient, error: NotReadyError): void;
  isReady(key: string): void;
}

export class OutLane {
  readonly changed = new Signal();
  running = false;
  readonly #to: Recipient;
  readonly #remote: Remote;
  readonly #engine: Engine;
  readonly #options: OutLaneOptions;
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
    options: OutLaneOptions,
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

/** Sealed for that commit, or one that has come since. The first form counted something else. */
function isOfEpoch({ epoch, body }: SealedRow, newest: number): boolean {
  const read = readEnvelope(body);
  return epoch >= newest && !(read.ok && read.envelope.header.innerType === InnerType.text);
}

/** The session ended under this connection: with the next one comes a new session, or the reason why there is none. */
function isSessionOver(error: unknown): boolean {
  return error instanceof ServerRefusal && error.code === ErrorCode.notAuthenticated;
}

function isStale(error: unknown): boolean {
  return error instanceof ServerRefusal && error.code === ErrorCode.staleEpoch;
}

/** What one conversation has under way: enough to fill a long path, little enough to send again. */
const IN_FLIGHT_MAX = 256;
const BYTES_IN_FLIGHT_MAX = 4 << 20;
/** Devices that come one after another are nobody's fault; an epoch that never fits is a server's. */
const STALE_AT_ONCE_MAX = 4;
/** Rows that the server speaks of and does not show. */
const STALE_WAIT_MS = 10_000;
