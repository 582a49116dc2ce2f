/**
 * What one connection may have under way: requests that wait, that are being answered, and answers that it has not fetched. Pure.
 *
 * Who asks without reading would otherwise fill the memory: a `read` of a few bytes brings a megabyte, and a commit holds eight. Beyond the bounds
 * streams wait for their turn, which comes when an answer is done or, by {@linkcode Turns.resume} with the ticking of the
 * server, when the client has fetched what was there.
 */
import { SEND_BUFFER_BYTES_MAX } from "../shared/limits.ts";
import type { Channel } from "../shared/net/channel.ts";
import { Unfetched } from "./unfetched.ts";

/** Somebody who waits for a turn. */
export interface Held {
  resume(): void;
}

export class Turns {
  readonly #channel: Pick<Channel, "bufferedBytes">;
  readonly #waiting: Set<Turns>;
  readonly #unfetched: Unfetched;
  #held: Set<Held> | undefined;
  #answering = 0;
  /** Of the requests that are being answered, and of what their answers may hold. */
  #answeringBytes = 0;
  /** Bytes of requests that wait, over all streams. */
  queuedBytes = 0;

  /**
   * @param waiting Where those enter themselves whose streams have to be resumed.
   * @param unfetched What all connections share.
   */
  constructor(channel: Pick<Channel, "bufferedBytes">, waiting: Set<Turns>, unfetched: Unfetched = new Unfetched()) {
    this.#channel = channel;
    this.#waiting = waiting;
    this.#unfetched = unfetched;
  }

  /** Too many answers wait to be fetched: nothing more is begun. */
  get isBehind(): boolean {
    return this.#channel.bufferedBytes > UNFETCHED_BYTES_MAX;
  }

  /** Whether one more request of this weight may be answered now, beside those that are; alone it may have any. */
  isFreeFor(bytes: number): boolean {
    return this.#answering < ANSWERING_MAX && !this.isBehind && this.#unfetched.isFreeFor(bytes) &&
      (this.#answering === 0 || this.#answeringBytes + bytes <= ANSWERING_BYTES_MAX);
  }

  begin(bytes: number): void {
    this.#answering++;
    this.#answeringBytes += bytes;
    this.#unfetched.begin(bytes);
  }

  done(bytes: number): void {
    this.#answering--;
    this.#answeringBytes -= bytes;
    this.#unfetched.done(bytes, this.#channel);
    if (this.#held !== undefined) this.resume();
  }

  /** Resumes `held` when its turn has come; it may ask to be held again. */
  hold(held: Held): void {
    (this.#held ??= new Set()).add(held);
    this.#waiting.add(this);
  }

  /** Gives turns as far as there are any, in the order in which they were asked for. */
  resume(): void {
    for (const held of [...this.#held ?? []]) {
      if (!this.isFreeFor(0)) return;
      this.#held?.delete(held);
      held.resume();
    }
    if (this.#held !== undefined && this.#held.size > 0) return;
    this.#held = undefined;
    this.#waiting.delete(this);
  }

  /** The connection has ended. */
  close(): void {
    this.#held = undefined;
    this.#waiting.delete(this);
    this.#unfetched.forget(this.#channel);
  }
}

/** As much as is delivered live to a client that does not read, once more. */
const UNFETCHED_BYTES_MAX = 2 * SEND_BUFFER_BYTES_MAX;
const ANSWERING_MAX = 16;
const ANSWERING_BYTES_MAX = 16 << 20;
