/** {@linkcode Channel} over a {@linkcode Connection}: streams of bytes become streams of messages (docs/PROTOCOL.md §6.1). */
import { varintBytes, writeVarint } from "../codec/mod.ts";
import { CloseCode, type CloseReason, TransportError } from "../errors.ts";
import { decodeGrant, type Ticket, type TicketLogin } from "../handshake/mod.ts";
import { CONNECTION_WINDOW_BYTES, HINT_BYTES_MAX, KEEP_ALIVE_US, MESSAGE_BYTES_MAX } from "../limits.ts";
import type { Connection, ConnectionEvent, Link, LinkOwner } from "../transport/mod.ts";
import type {
  Address,
  Channel,
  ChannelHandler,
  ChannelStats,
  ChannelStream,
  StreamHandler,
  StreamPriority,
} from "./channel.ts";
import type { Driver } from "./driver.ts";
import { MessageReader, ReadBudget } from "./message_reader.ts";

export interface ConnectionChannelOptions {
  readonly link: Link;
  readonly driver: Driver;
  /** What the unfinished messages of all channels together may hold. */
  readonly budget?: ReadBudget;
  /** The same of all whom the application does not know yet, and what one of them may hold. */
  readonly strangers?: { readonly budget: ReadBudget; readonly bytesMax: number };
  /** Server: gives a client what it may come back with. */
  readonly grant?: (link: Link, login: TicketLogin) => void;
  /** Told when the channel has ended, after its handler. */
  readonly onEnd?: (channel: ConnectionChannel) => void;
}

export class ConnectionChannel implements Channel, LinkOwner {
  readonly transcriptHash: Uint8Array;
  /** @ignore For its streams. */
  readonly connection: Connection;
  readonly #link: Link;
  readonly #driver: Driver;
  readonly #common: ReadBudget | undefined;
  readonly #budget: ReadBudget;
  readonly #onEnd: ConnectionChannelOptions["onEnd"];
  readonly #grant: ConnectionChannelOptions["grant"];
  readonly #streams = new Map<number, ConnectionStream>();
  #handler: ChannelHandler | undefined;
  /** Whoever is not known yet neither hears nor says anything that nobody has to answer for. */
  #mayHint: boolean;
  /** What came before there was a handler: at most one event of each kind for a stream, and streams are bounded. */
  readonly #waiting: ConnectionEvent[] = [];
  #isClosed = false;
  #isReleased = false;

  constructor(options: ConnectionChannelOptions) {
    this.#link = options.link;
    this.#driver = options.driver;
    this.#common = options.budget;
    this.#budget = options.strangers === undefined
      ? new ReadBudget(READ_BYTES_MAX, options.budget, OWN_BYTES)
      : new ReadBudget(options.strangers.bytesMax, options.strangers.budget);
    this.#onEnd = options.onEnd;
    this.#grant = options.grant;
    this.connection = options.link.connection;
    this.transcriptHash = options.link.bind;
    this.#mayHint = this.connection.side === "client";
  }

  get peer(): Address {
    const { host, port } = this.connection.peer;
    return { host, port };
  }

  get bufferedBytes(): number {
    return this.connection.bufferedBytes;
  }

  get stats(): ChannelStats {
    return this.connection.stats;
  }

  /** No call does anything any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  get handler(): ChannelHandler | undefined {
    return this.#handler;
  }

  set handler(handler: ChannelHandler | undefined) {
    this.#handler = handler;
    if (this.#waiting.length === 0) return;
    queueMicrotask(() => {
      while (this.#handler !== undefined && this.#waiting.length > 0) this.handleEvent(this.#waiting.shift()!);
    });
  }

  openStream(priority: StreamPriority = 1): ChannelStream {
    if (this.#isClosed) return new ConnectionStream(this, -1, this.#budget);
    const stream = new ConnectionStream(this, this.connection.openStream(priority), this.#budget);
    this.#streams.set(stream.id, stream);
    return stream;
  }

  sendHint(bytes: Uint8Array): void {
    if (bytes.length > HINT_BYTES_MAX) {
      throw new RangeError(`Cannot send hint: it has ${bytes.length} bytes, at most ${HINT_BYTES_MAX} fit`);
    }
    if (this.#isClosed || !this.#mayHint) return;
    this.connection.sendHint(bytes);
    this.touched();
  }

  welcome(): void {
    if (this.#isClosed) return;
    this.#mayHint = true;
    this.#budget.move(READ_BYTES_MAX, this.#common, OWN_BYTES);
    this.connection.widenWindow(CONNECTION_WINDOW_BYTES);
    this.touched();
  }

  get ticket(): Ticket | undefined {
    return this.#link.ticket;
  }

  get connectionId(): Uint8Array {
    return this.#link.connectionId;
  }

  ping(): void {
    this.connection.ping();
    this.touched();
  }

  giveTicket(login: TicketLogin): void {
    if (this.#isClosed) return;
    this.#grant?.(this.#link, login);
    this.#driver.schedule();
  }

  close(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.connection.close(code, reason, this.#driver.nowUs);
    this.touched();
  }

  /** Takes what the connection has to tell. */
  handleEvent(event: ConnectionEvent): void {
    if (event.type === "hint" && !this.#mayHint) return;
    if (this.#handler === undefined) {
      // A hint that waits is worthless, and nothing bounds how many come.
      if (event.type === "hint") return;
      this.#waiting.push(event);
      // Nobody may ever listen, and what belongs to the channel must go all the same.
      if (event.type === "closed") this.#release();
      return;
    }
    if (event.type === "closed") return this.#end(event.reason, this.#handler);
    if (this.#isClosed) return;
    try {
      this.#handleStreamEvent(event, this.#handler);
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
      this.close(error.code, error.message);
    }
  }

  /** @ignore Something was given to the connection. */
  touched(): void {
    this.#driver.touch(this.#link);
  }

  /** @ignore Both sides have finished with it. */
  forget(id: number): void {
    this.#streams.delete(id);
  }

  /** @ignore Runs what may break a rule of the peer's, or of the application's, outside of any event. */
  later(run: () => void): void {
    queueMicrotask(() => {
      if (this.#isClosed) return;
      try {
        run();
      } catch (error) {
        if (!(error instanceof TransportError)) throw error;
        this.close(error.code, error.message);
      }
    });
  }

  #handleStreamEvent(event: ConnectionEvent, handler: ChannelHandler): void {
    switch (event.type) {
      case "stream": {
        const stream = new ConnectionStream(this, event.id, this.#budget);
        this.#streams.set(event.id, stream);
        return handler.onStream(stream);
      }
      case "readable":
        return this.#streams.get(event.id)?.pull();
      case "finished":
        return this.#streams.get(event.id)?.peerFinished();
      case "reset":
        return this.#streams.get(event.id)?.peerReset(event.code);
      case "hint":
        return handler.onHint?.(event.bytes);
      case "ticket":
        return this.#onTicket(event.bytes, handler);
      case "silent":
        return handler.onSilent?.();
      case "heard":
        return handler.onHeard?.();
    }
  }

  #onTicket(bytes: Uint8Array, handler: ChannelHandler): void {
    const grant = decodeGrant(bytes);
    if (grant === undefined) return;
    const { ticket, lifetimeSeconds } = grant;
    const watchMs = Math.min(KEEP_ALIVE_US / 1000, Math.max(WATCH_MS_MIN, grant.watchMs));
    this.connection.keepAlive(watchMs * 1000, this.#driver.nowUs);
    this.touched();
    handler.onTicket?.({ ticket, secret: this.#link.resumption, lifetimeSeconds });
  }

  #end(reason: CloseReason, handler: ChannelHandler): void {
    this.#isClosed = true;
    for (const stream of this.#streams.values()) stream.drop();
    this.#streams.clear();
    try {
      handler.onClose(reason);
    } finally {
      this.#release();
    }
  }

  #release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#onEnd?.(this);
  }
}

class ConnectionStream implements ChannelStream {
  readonly id: number;
  readonly #channel: ConnectionChannel;
  readonly #reader: MessageReader;
  #handler: StreamHandler | undefined;
  #sentAll = false;
  #receivedAll = false;
  /** It ended, and whoever reads has not been told yet because nobody reads. */
  #end: { readonly resetCode?: number } | undefined;

  constructor(channel: ConnectionChannel, id: number, budget: ReadBudget) {
    this.#channel = channel;
    this.id = id;
    this.#reader = new MessageReader(budget);
  }

  get bufferedBytes(): number {
    return this.#channel.isClosed ? 0 : this.#channel.connection.streamBufferedBytes(this.id);
  }

  get handler(): StreamHandler | undefined {
    return this.#handler;
  }

  set handler(handler: StreamHandler | undefined) {
    const isFirst = this.#handler === undefined;
    this.#handler = handler;
    // Nothing was read while nobody wanted it.
    if (isFirst && handler !== undefined && !this.#receivedAll) this.#channel.later(() => this.pull());
  }

  send(message: Uint8Array): void {
    if (message.length > MESSAGE_BYTES_MAX) {
      throw new RangeError(`Cannot send message: it has ${message.length} bytes, at most ${MESSAGE_BYTES_MAX} fit`);
    }
    if (this.#sentAll || this.#channel.isClosed) return;
    const { connection } = this.#channel;
    connection.write(this.id, LENGTHS[varintBytes(message.length)]!(message.length));
    connection.write(this.id, message);
    this.#channel.touched();
  }

  finish(): void {
    if (this.#sentAll || this.#channel.isClosed) return;
    this.#sentAll = true;
    this.#channel.connection.write(this.id, EMPTY, true);
    this.#channel.touched();
    this.#forgetWhereDone();
  }

  reset(code: number): void {
    if (this.#channel.isClosed || (this.#sentAll && this.#receivedAll)) return;
    const { connection } = this.#channel;
    connection.resetStream(this.id, code);
    connection.stopSending(this.id, code);
    this.#channel.touched();
    this.drop();
    this.#channel.forget(this.id);
  }

  /** @ignore There is something to read. */
  pull(): void {
    const { connection } = this.#channel;
    while (this.#handler !== undefined && !this.#receivedAll && !this.#channel.isClosed) {
      const chunk = connection.read(this.id);
      if (chunk === undefined) break;
      this.#reader.push(chunk, this.#onMessage);
    }
    if (this.#handler !== undefined && this.#end !== undefined) this.#tellEnd(this.#end);
    // Reading gives credit, which the peer has to hear of.
    if (!this.#channel.isClosed) this.#channel.touched();
  }

  /** @ignore The peer finished, and everything was read. */
  peerFinished(): void {
    if (!this.#reader.isBetweenMessages) {
      throw new TransportError(CloseCode.malformedMessage, "Stream ends inside a message");
    }
    this.#endedBy({});
  }

  /** @ignore The peer gave it up: so do we. */
  peerReset(code: number): void {
    const { connection } = this.#channel;
    connection.resetStream(this.id, code);
    connection.stopSending(this.id, code);
    this.#channel.touched();
    this.#reader.drop();
    this.#endedBy({ resetCode: code });
  }

  /** @ignore Nothing more in either direction. */
  drop(): void {
    this.#sentAll = this.#receivedAll = true;
    this.#reader.drop();
  }

  #onMessage = (message: Uint8Array): boolean => {
    this.#handler?.onMessage(message);
    // The handler may have given the stream up, or the channel.
    return !this.#receivedAll && !this.#channel.isClosed;
  };

  #endedBy(end: { readonly resetCode?: number }): void {
    if (this.#receivedAll) return;
    this.#end = end;
    if (this.#handler !== undefined) this.#tellEnd(end);
  }

  #tellEnd(end: { readonly resetCode?: number }): void {
    if (this.#receivedAll) return;
    this.#end = undefined;
    this.#receivedAll = true;
    if (end.resetCode === undefined) {
      this.#forgetWhereDone();
      this.#handler?.onFinish?.();
    } else {
      this.#sentAll = true;
      this.#forgetWhereDone();
      this.#handler?.onReset?.(end.resetCode);
    }
  }

  #forgetWhereDone(): void {
    if (this.#sentAll && this.#receivedAll) this.#channel.forget(this.id);
  }
}

/** Writes a length into memory that is used again: the connection copies it before it returns. By bytes taken. */
const LENGTHS = [1, 2, 4, 8].reduce<((length: number) => Uint8Array)[]>((table, bytes) => {
  const scratch = new Uint8Array(bytes);
  table[bytes] = (length) => {
    writeVarint(scratch, 0, length);
    return scratch;
  };
  return table;
}, []);
const EMPTY = new Uint8Array(0);
/** No server makes a client speak more often than this. */
const WATCH_MS_MIN = 100;
/** What unfinished messages of one channel may hold: 28 of the longest messages at once, or three commits beside others. More closes it. */
const READ_BYTES_MAX = 32 << 20;
/** ... and of that what is never refused for the sake of the others: many messages of the usual size. */
const OWN_BYTES = 64 << 10;
