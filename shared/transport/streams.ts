/**
 * All streams of one connection: which exist, which may exist (RFC 9000 §2.1, §4.6).
 *
 * Ids count up in steps of four on each side. An id below the highest one seen is either known, not yet seen (its first
 * packet is late), or forgotten: late frames of forgotten streams are harmless and ignored.
 */
import { assert } from "../assert.ts";
import { CloseCode, TransportError } from "../errors.ts";
import { PIECES_MAX } from "../limits.ts";
import { PieceBudget } from "./assembler.ts";
import type { TransportLimits } from "./flow_control.ts";
import { type Priority, Stream } from "./stream.ts";

export class Streams {
  readonly #streams = new Map<number, Stream>();
  readonly #budget = new PieceBudget(PIECES_MAX);
  readonly #local: TransportLimits;
  readonly #remote: TransportLimits;
  /** Low two bits of the ids that this side and the peer give out. */
  readonly #localBits: number;
  readonly #remoteBits: number;
  /** Streams opened by this side, and how many it may have opened in all. */
  #opened = 0;
  #openMax: number;
  /** Highest stream count seen of the peer's, and those below it of which nothing came yet. */
  #accepted = 0;
  #unseen: Set<number> | undefined;
  #newcomer: Stream | undefined;
  /** Streams that the peer may have opened in all, as granted, and those of them that are over. */
  #granted: number;
  #over = 0;

  constructor(side: "client" | "server", local: TransportLimits, remote: TransportLimits) {
    this.#local = local;
    this.#remote = remote;
    this.#localBits = side === "client" ? 0 : 1;
    this.#remoteBits = 1 - this.#localBits;
    this.#openMax = remote.streamsOpenMax;
    this.#granted = local.streamsOpenMax;
  }

  get count(): number {
    return this.#streams.size;
  }

  get(id: number): Stream | undefined {
    return this.#streams.get(id);
  }

  /** All that exist, in the order they began. */
  values(): Iterable<Stream> {
    return this.#streams.values();
  }

  /** Opens a stream of this side. It may have to wait: {@linkcode maySend}. */
  open(priority: Priority): Stream {
    return this.#add(this.#opened++ * ID_STEP + this.#localBits, priority, true);
  }

  /** Forgets a stream that is over on both sides. @returns Whether it was. */
  retire(stream: Stream): boolean {
    if (!stream.isDone) return false;
    assert(this.#streams.delete(stream.id), "A stream is forgotten once");
    if (!stream.isLocal) this.#over++;
    return true;
  }

  /** Whether the peer lets this stream exist already. */
  maySend(stream: Stream): boolean {
    return !stream.isLocal || stream.id < this.#openMax * ID_STEP;
  }

  /** MAX_STREAMS: calls `onAllowed` for each stream that waited for it, in order. */
  raiseLimit(limit: number, onAllowed: (stream: Stream) => void): void {
    const before = this.#openMax;
    if (limit <= before) return;
    this.#openMax = limit;
    for (let index = before; index < Math.min(limit, this.#opened); index++) {
      const stream = this.#streams.get(index * ID_STEP + this.#localBits);
      if (stream !== undefined) onAllowed(stream);
    }
  }

  /**
   * The stream that a frame of the peer names; `undefined` where it is forgotten.
   *
   * @returns A new one where this is the first that comes of it: {@linkcode isNew} tells, once.
   * @throws TransportError streamState, streamLimit
   */
  fromPeer(id: number): Stream | undefined {
    const known = this.#streams.get(id);
    if (known !== undefined) return known;
    const bits = id % ID_STEP, index = (id - bits) / ID_STEP;
    if (bits === this.#localBits) {
      if (index >= this.#opened) throw new TransportError(CloseCode.streamState, "Peer names a stream not yet opened");
      return undefined;
    }
    if (bits !== this.#remoteBits) throw new TransportError(CloseCode.streamState, "Peer names an impossible stream");
    if (index >= this.#granted) {
      throw new TransportError(CloseCode.streamLimit, `Peer opens stream ${index + 1}, may open ${this.#granted}`);
    }
    if (index >= this.#accepted) {
      for (let late = this.#accepted; late < index; late++) (this.#unseen ??= new Set()).add(late);
      this.#accepted = index + 1;
    } else if (!this.#unseen?.delete(index)) {
      return undefined;
    }
    this.#newcomer = this.#add(id, 1, false);
    return this.#newcomer;
  }

  /** Whether `stream` came into being by the last {@linkcode fromPeer}; asking again says no. */
  isNew(stream: Stream): boolean {
    if (this.#newcomer !== stream) return false;
    this.#newcomer = undefined;
    return true;
  }

  /** Whether a quarter of the peer's streams is over and may be granted anew. */
  get wantsGrant(): boolean {
    const free = this.#over + this.#local.streamsOpenMax - this.#granted;
    return free > 0 && free * 4 >= this.#local.streamsOpenMax;
  }

  /** The value of a MAX_STREAMS frame sent now. */
  grant(): number {
    this.#granted = this.#over + this.#local.streamsOpenMax;
    return this.#granted;
  }

  #add(id: number, priority: Priority, isLocal: boolean): Stream {
    const stream = new Stream(id, priority, isLocal, {
      sendBytes: this.#remote.streamWindowBytes,
      receiveBytes: this.#local.streamWindowBytes,
      budget: this.#budget,
    });
    this.#streams.set(id, stream);
    return stream;
  }
}

const ID_STEP = 4;
