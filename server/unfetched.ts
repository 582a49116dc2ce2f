/**
 * What answers of all connections of this server hold that clients have not fetched yet. Pure.
 *
 * Each connection has bounds of its own ({@linkcode Turns}); but where a thousand members of a group are told of a commit of a megabyte,
 * each of them may have it, and all at once they would be a gigabyte. So large answers wait for one another.
 */
import type { Channel } from "../shared/net/channel.ts";

type Buffered = Pick<Channel, "bufferedBytes">;

export class Unfetched {
  /** Large requests that are being answered. */
  #answering = 0;
  /** What the answer to one of them has, by those of late: most that may be large are not. */
  #expectedBytes = SMALL_BYTES;
  /** What waited to be fetched when it was looked at last. */
  #bufferedBytes = 0;
  readonly #channels = new Set<Buffered>();
  /** Beyond the bound there is still one turn a tick: whoever fetches nothing must not keep everybody from reading. */
  #hasSpare = true;

  /** Whether a request of this weight may be answered now. */
  isFreeFor(weight: number): boolean {
    return weight < LARGE_BYTES || this.#hasSpare || this.#hasRoom;
  }

  begin(weight: number): void {
    if (weight < LARGE_BYTES) return;
    if (!this.#hasRoom) this.#hasSpare = false;
    this.#answering++;
  }

  /** @param channel Where the answer waits to be fetched. */
  done(weight: number, channel: Buffered): void {
    if (weight < LARGE_BYTES) return;
    this.#answering--;
    const { bufferedBytes } = channel;
    this.#expectedBytes = Math.max(SMALL_BYTES, bufferedBytes, this.#expectedBytes * FORGETTING);
    if (bufferedBytes < SMALL_BYTES || this.#channels.has(channel)) return;
    this.#channels.add(channel);
    this.#bufferedBytes += bufferedBytes;
  }

  /** Looks at what was fetched meanwhile. Costs nothing where nobody has anything large waiting. */
  tick(): void {
    this.#hasSpare = true;
    this.#bufferedBytes = 0;
    for (const channel of this.#channels) {
      if (channel.bufferedBytes < SMALL_BYTES) this.#channels.delete(channel);
      else this.#bufferedBytes += channel.bufferedBytes;
    }
  }

  /** The connection has ended. */
  forget(channel: Buffered): void {
    this.#channels.delete(channel);
  }

  get #hasRoom(): boolean {
    return (this.#answering + 1) * this.#expectedBytes + this.#bufferedBytes <= UNFETCHED_BYTES_MAX;
  }
}

/** Of all connections of a server together. */
export const UNFETCHED_BYTES_MAX = 64 << 20;
/** What cannot be larger is never waited with. */
const LARGE_BYTES = 256 << 10;
const SMALL_BYTES = 64 << 10;
const FORGETTING = 0.9;
