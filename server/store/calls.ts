/**
 * Calls to the leader, whoever that is now: over a link, or in this process where we lead ourselves.
 *
 * A call that waits for its answer when the leader dies is made again to the next one, in the old order and before anything
 * newer; every operation bears that. After ten seconds it fails with StoreUnavailableError.
 */
import { Reader, write } from "../../shared/codec/mod.ts";
import { AnswerStatus, FrameKind, type Link } from "./link.ts";
import type { Operation, Served } from "./operations.ts";
import { RefusedError } from "./sqlite/errors.ts";
import { StoreFullError, StoreUnavailableError } from "./store.ts";

export interface CallsOptions {
  /** How long a call waits for a leader's answer, over however many leaders. */
  readonly callMsMax?: number;
  /** How often that is looked at. */
  readonly watchMs?: number;
}

/** What calls need of a link. */
export type CallLink = Pick<Link, "send">;

export class Calls {
  readonly #options: Required<CallsOptions>;
  /** In the order they were made. */
  readonly #pending = new Map<number, Pending>();
  #pendingBytes = 0;
  #nextId = 1;
  #leader: { readonly link: CallLink } | { readonly served: Served } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor({ callMsMax = CALL_MS_MAX, watchMs = WATCH_MS }: CallsOptions = {}) {
    this.#options = { callMsMax, watchMs };
  }

  /** @param bytes About how much the call holds in memory while it waits. */
  call<A, R>(operation: Operation<A, R>, args: A, bytes = 0): Promise<R> {
    if (this.#closed) return Promise.reject(new StoreUnavailableError("Cannot use the store: it is closed"));
    const leader = this.#leader;
    if (leader !== undefined && "served" in leader) return operation.perform(leader.served, args);
    if (this.#pendingBytes + bytes > PENDING_BYTES_MAX) {
      return Promise.reject(new StoreUnavailableError("Cannot use the store now: too much is waiting for the leader"));
    }
    return new Promise<R>((resolve, reject) => {
      const pending = { operation, args, resolve, reject, bytes: bytes + PENDING_BYTES, sinceMs: performance.now() };
      const id = this.#nextId++;
      this.#pending.set(id, pending as unknown as Pending);
      this.#pendingBytes += pending.bytes;
      this.#watch();
      if (leader !== undefined) this.#send(leader.link, id, pending as unknown as Pending);
    });
  }

  /** The leader is at the other end of this link: everything that waits goes there. */
  follow(link: CallLink): void {
    this.#leader = { link };
    for (const [id, pending] of [...this.#pending]) this.#send(link, id, pending);
  }

  /** We lead: everything that waits is performed here. */
  lead(served: Served): void {
    this.#leader = { served };
    for (const [id, { operation, args, resolve, reject }] of [...this.#pending]) {
      this.#take(id);
      operation.perform(served, args).then(resolve, reject);
    }
  }

  /** There is no leader now; calls wait for the next one. */
  lose(): void {
    this.#leader = undefined;
  }

  /** An answer from the link. @throws DecodeError */
  answered(reader: Reader): void {
    const pending = this.#take(reader.varint());
    const status: AnswerStatus = reader.u8();
    // Too late: the call was given up.
    if (pending === undefined) return;
    try {
      if (status === AnswerStatus.Ok) {
        const result = pending.operation.readResult(reader);
        reader.finish();
        return pending.resolve(result);
      }
    } catch (error) {
      pending.reject(new StoreUnavailableError("Cannot read the leader's answer", { cause: error }));
      throw error;
    }
    pending.reject(errorOf(status, new TextDecoder().decode(reader.view(reader.remaining))));
  }

  close(): void {
    this.#closed = true;
    this.#leader = undefined;
    this.#giveUp(Infinity);
    clearTimeout(this.#timer);
  }

  #send(link: CallLink, id: number, { operation, args }: Pending): void {
    try {
      link.send(FrameKind.Request, (writer) => {
        writer.varint(id);
        writer.u8(operation.tag);
        write(operation.args, writer, args);
      });
    } catch (error) {
      // What its schema refuses is this call's fault alone.
      this.#take(id)?.reject(error);
    }
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    this.#pending.delete(id);
    this.#pendingBytes -= pending.bytes;
    return pending;
  }

  /** One timer for all calls, only while any waits. */
  #watch(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#giveUp(performance.now() - this.#options.callMsMax);
      if (this.#pending.size > 0) this.#watch();
    }, this.#options.watchMs);
  }

  #giveUp(sinceMsMax: number): void {
    for (const [id, { sinceMs, reject }] of this.#pending) {
      // Oldest first: behind the first young one all are younger.
      if (sinceMs > sinceMsMax) return;
      this.#take(id);
      reject(new StoreUnavailableError("Cannot use the store now: no leader answered in time"));
    }
  }
}

function errorOf(status: AnswerStatus, reason: string): Error {
  switch (status) {
    case AnswerStatus.Unavailable:
      return new StoreUnavailableError(reason);
    case AnswerStatus.Full:
      return new StoreFullError(reason);
    case AnswerStatus.Refused:
      return new RefusedError(reason);
    default:
      return new Error(reason);
  }
}

interface Pending {
  readonly operation: Operation<unknown, unknown>;
  readonly args: unknown;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly bytes: number;
  readonly sinceMs: number;
}

const CALL_MS_MAX = 10_000;
const WATCH_MS = 500;
const PENDING_BYTES_MAX = 64 << 20;
/** About what a waiting call costs beside its arguments. */
const PENDING_BYTES = 256;
