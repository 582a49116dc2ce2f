/**
 * The link between a server and the leader: frames over a local stream.
 *
 *     frame = u32 length ‖ kind u8 ‖ what the kind says
 *
 * What is sent in one turn of the event loop, and while the write before it is under way, leaves as one write. Nothing is
 * ever half there: a stream that breaks a bound or a schema is closed, and both ends begin anew.
 */
import { setImmediate } from "node:timers";
import { DecodeError, Reader, Writer } from "../../shared/codec/mod.ts";

/** First byte of every frame. */
export enum FrameKind {
  /** Server to leader, first: version u16, server number u8. */
  Hello = 1,
  /** Leader to server, first: version u16, leadership varint. */
  Welcome,
  /** Server to leader: id varint, operation u8, its arguments. */
  Request,
  /** Leader to server: id varint, {@linkcode AnswerStatus} u8, the result or a reason as text. */
  Answer,
  /** Server to leader: user, online bool. */
  Announce,
  /** Leader to server: varint count, that many committed records. */
  Committed,
  /** Leader to server: one change. */
  DevicesChanged,
  /** Leader to server: one user's sessions. */
  SessionsEnded,
  /** Leader to server: varint count, that many receipts and who hears of each. */
  Receipts,
  /** Server to leader: user, whether it is watched bool. */
  Watch,
  /** Leader to server: user, online bool. */
  Presence,
  /** Both ways: somebody types. */
  Typing,
  /** Leader to server: something about who is in a conversation. */
  GroupNews,
}

/** How a request ended. */
export enum AnswerStatus {
  Ok,
  Unavailable,
  Full,
  /** The caller's mistake: a RangeError there too. */
  Refused,
  Failed,
}

/** Raised with every change of what frames hold. Servers of one cluster run one version; another is turned away. */
export const LINK_VERSION = 6;

export interface LinkHandlers {
  /** A frame's kind and the reader behind it, whose bytes are given over. May throw DecodeError. */
  onFrame(kind: FrameKind, reader: Reader, frameBytes: number): void;
  /** Called once, whoever closed and for whatever reason. */
  onClosed(reason: unknown): void;
}

export class Link {
  readonly #stream: Deno.Conn;
  readonly #handlers: LinkHandlers;
  /** Frames of this turn; swapped with `#spare` when they are written. */
  #out = new Writer(OUT_BYTES);
  #spare = new Writer(OUT_BYTES);
  readonly #scratch = new Writer();
  #scheduled = false;
  #writing = false;
  #closed = false;
  #paused: PromiseWithResolvers<void> | undefined;
  #flushed: PromiseWithResolvers<void> | undefined;

  /** @param stream Owned from now on. */
  constructor(stream: Deno.Conn, handlers: LinkHandlers) {
    this.#stream = stream;
    this.#handlers = handlers;
  }

  /** Begins to read. Frames before this wait in the stream. */
  start(): void {
    this.#read().then(() => this.close(), (error) => this.close(error));
  }

  /** Bytes that the peer has not taken yet, but for what is being written. */
  get bufferedBytes(): number {
    return this.#out.length;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Sends one frame. Too much waiting closes the link: a peer that does not read must not fill our memory.
   *
   * @param write Adds the frame's content; where it throws, nothing is sent.
   * @returns Bytes of the frame.
   */
  send(kind: FrameKind, write: (writer: Writer) => void): number {
    const scratch = this.#scratch;
    scratch.reset();
    scratch.u8(kind);
    write(scratch);
    if (scratch.length > FRAME_BYTES_MAX) throw new RangeError(`Cannot send: frame is ${scratch.length} bytes`);
    if (this.#closed) return scratch.length;
    this.#out.u32(scratch.length);
    this.#out.bytes(scratch.view());
    if (this.#out.length > WAITING_BYTES_MAX) this.close(new Error("Too much is waiting for the peer to read"));
    else this.#schedule();
    return scratch.length;
  }

  /** Stops reading until {@linkcode resume}: the peer's writes then wait in its own memory. */
  pause(): void {
    this.#paused ??= Promise.withResolvers<void>();
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  /** Resolves once everything sent so far has left, or the link is closed. */
  flushed(): Promise<void> {
    if (this.#closed || (this.#out.length === 0 && !this.#writing)) return Promise.resolve();
    return (this.#flushed ??= Promise.withResolvers<void>()).promise;
  }

  close(reason?: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.resume();
    this.#flushed?.resolve();
    try {
      this.#stream.close();
    } catch { /* closed already */ }
    this.#handlers.onClosed(reason);
  }

  #schedule(): void {
    if (this.#scheduled || this.#writing) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#write().catch((error) => this.close(error));
    });
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#out.length > 0 && !this.#closed) {
      const full = this.#out, view = full.view();
      this.#out = this.#spare;
      for (let at = 0; at < view.length;) at += await this.#stream.write(at === 0 ? view : view.subarray(at));
      // A burst's memory is not kept for good.
      if (full.length > OUT_BYTES_KEPT) this.#spare = new Writer(OUT_BYTES);
      else full.reset(), this.#spare = full;
    }
    this.#writing = false;
    this.#flushed?.resolve();
    this.#flushed = undefined;
  }

  async #read(): Promise<void> {
    const frames = new FrameBuffer();
    while (!this.#closed) {
      const count = await this.#stream.read(frames.room());
      if (count === null) return;
      frames.filled(count);
      for (let frame = frames.next(); frame !== undefined; frame = frames.next()) {
        // One copy for all that is in it: a frame of a busy link holds hundreds of bodies.
        const reader = new Reader(frame.slice(), 0, frame.length, true);
        this.#handlers.onFrame(reader.u8(), reader, frame.length);
        if (this.#closed) return;
        if (this.#paused) await this.#paused.promise;
      }
    }
  }
}

/** Cuts a stream of bytes into frames. Grows only as far as the frame that it waits for, in steps as its bytes arrive. */
export class FrameBuffer {
  #bytes = new Uint8Array(IN_BYTES);
  #start = 0;
  #end = 0;

  /** Where the next bytes of the stream go; never empty. */
  room(): Uint8Array {
    if (this.#start === this.#end) {
      this.#start = this.#end = 0;
      if (this.#bytes.length > IN_BYTES_KEPT) this.#bytes = new Uint8Array(IN_BYTES);
    } else if (this.#end === this.#bytes.length) {
      const held = this.#end - this.#start;
      // Moving pays only where much comes free; else there is one large frame, and the buffer doubles.
      const bytes = held > this.#bytes.length / 2 ? new Uint8Array(this.#bytes.length * 2) : this.#bytes;
      bytes.set(this.#bytes.subarray(this.#start, this.#end));
      this.#bytes = bytes;
      this.#start = 0;
      this.#end = held;
    }
    return this.#bytes.subarray(this.#end);
  }

  /** Says how much of {@linkcode room} was filled. */
  filled(count: number): void {
    this.#end += count;
  }

  /** The next whole frame, borrowed until the next {@linkcode room}. @throws DecodeError for a length out of bounds. */
  next(): Uint8Array | undefined {
    if (this.#end - this.#start < LENGTH_BYTES) return undefined;
    const length = new Reader(this.#bytes, this.#start, this.#end).u32();
    if (length < 1 || length > FRAME_BYTES_MAX) {
      throw new DecodeError(`Frame is ${length} bytes, at most ${FRAME_BYTES_MAX}`);
    }
    const from = this.#start + LENGTH_BYTES;
    if (this.#end - from < length) return undefined;
    this.#start = from + length;
    return this.#bytes.subarray(from, this.#start);
  }
}

/** The longest list of records or users that fits a call's bounds, with room to spare. */
export const FRAME_BYTES_MAX = 16 << 20;
const WAITING_BYTES_MAX = 64 << 20;
const LENGTH_BYTES = 4;
const OUT_BYTES = 16 << 10;
const OUT_BYTES_KEPT = 1 << 20;
const IN_BYTES = 64 << 10;
const IN_BYTES_KEPT = 1 << 20;
