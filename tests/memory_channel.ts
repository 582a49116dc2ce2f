/**
 * An in-memory pair of {@linkcode Channel}s with the contract of `shared/net/channel.ts`: for tests of what stands above the
 * transport, without sockets, cryptography or time.
 *
 * Deliveries run in microtasks, one event each, in the order they were caused within one direction. Where the contract
 * leaves a choice this pair takes the harsh one: what was sent and not yet delivered when a side closes is lost, as it may
 * be on a network. `tests/shared/net/channel_contract.ts` runs one suite over this pair and over the UDP channel.
 */
import { assert } from "../shared/assert.ts";
import { CloseCode, type CloseReason } from "../shared/errors.ts";
import { type Ticket, TICKET_LIFETIME_SECONDS, type TicketLogin } from "../shared/handshake/mod.ts";
import { HINT_BYTES_MAX, HINTS_QUEUED_MAX, MESSAGE_BYTES_MAX } from "../shared/limits.ts";
import type {
  Address,
  Channel,
  ChannelHandler,
  ChannelStats,
  ChannelStream,
  ResumptionTicket,
  StreamHandler,
  StreamPriority,
} from "../shared/net/channel.ts";

export interface MemoryPairOptions {
  /** 32 bytes; by default different for every pair. */
  readonly transcriptHash?: Uint8Array;
  /** What the server sees as the client's address, and the reverse. */
  readonly clientAddress?: Address;
  readonly serverAddress?: Address;
}

export interface MemoryPair {
  readonly client: MemoryChannel;
  readonly server: MemoryChannel;
  /** Ends both sides as silence would: neither hears of a close by the other. */
  sever(reason?: Partial<CloseReason>): void;
}

/** Two channels joined to one another. */
export function memoryChannelPair(options: MemoryPairOptions = {}): MemoryPair {
  const transcriptHash = options.transcriptHash ?? nextHash();
  assert(transcriptHash.length === 32, "A transcript hash has 32 bytes");
  const client = new MemoryChannel(transcriptHash, options.serverAddress ?? { host: "127.0.0.1", port: 9001 }, 0);
  const server = new MemoryChannel(transcriptHash, options.clientAddress ?? { host: "127.0.0.1", port: 40_000 }, 1);
  client.join(server);
  server.join(client);
  return {
    client,
    server,
    sever(reason = {}) {
      const full = { code: CloseCode.idle, reason: "No packet arrived for the idle timeout", byPeer: false, ...reason };
      client.end(full);
      server.end(full);
    },
  };
}

/** What a client of a memory pair was given, read by a test's server. */
export function openMemoryTicket(sealed: Uint8Array): Ticket {
  const { user, generation, ...hex } = JSON.parse(new TextDecoder().decode(sealed));
  const bytes = Object.fromEntries(
    Object.entries(hex).map(([name, text]) => [name, Uint8Array.fromHex(text as string)]),
  );
  return { ...bytes, user, generation, issuedSeconds: 0, expirySeconds: 0 } as unknown as Ticket;
}

function sealMemoryTicket({ user, generation, ...bytes }: Omit<Ticket, "issuedSeconds" | "expirySeconds">): Uint8Array {
  const hex = Object.fromEntries(Object.entries(bytes).map(([name, value]) => [name, value.toHex()]));
  return new TextEncoder().encode(JSON.stringify({ user, generation, ...hex }));
}

/** One end of the pair. Beyond {@linkcode Channel}: `pause` and `resume`, to see what a slow network does. */
export class MemoryChannel implements Channel {
  readonly transcriptHash: Uint8Array;
  readonly connectionId: Uint8Array;
  /** Set it before the application has the channel: what the client came back with. */
  ticket: Ticket | undefined;
  /** What the application gave tickets for. */
  readonly given: TicketLogin[] = [];
  readonly #streams = new Map<number, MemoryStream>();
  /** Ids of streams that were opened here and are gone, so that late events for them do not open them again. */
  readonly #gone = new Set<number>();
  readonly #inbox: Delivery[] = [];
  readonly #counters = { datagramsSent: 0, datagramsReceived: 0, bytesSent: 0, bytesReceived: 0 };
  #other!: MemoryChannel;
  /** Given to this end, and not told yet. */
  #ticket: ResumptionTicket | undefined;
  /** On their way to this end. */
  readonly #hints: Uint8Array[] = [];
  #mayHint: boolean;
  #handler: ChannelHandler | undefined;
  #nextId: number;
  #peer: Address;
  #closed: CloseReason | undefined;
  #closeTold = false;
  #scheduled = false;
  #paused = false;

  constructor(transcriptHash: Uint8Array, peer: Address, firstId: 0 | 1) {
    this.transcriptHash = transcriptHash.slice();
    this.connectionId = transcriptHash.slice(0, 8);
    this.#peer = peer;
    this.#nextId = firstId;
    this.#mayHint = firstId === 0;
  }

  get handler(): ChannelHandler | undefined {
    return this.#handler;
  }

  set handler(handler: ChannelHandler | undefined) {
    this.#handler = handler;
    this.#tellTicket();
    this.schedule();
  }

  get peer(): Address {
    return this.#peer;
  }

  /** Only hints wait for it: nothing else is bounded here. */
  welcome(): void {
    this.#mayHint = true;
  }

  sendHint(bytes: Uint8Array): void {
    if (bytes.length > HINT_BYTES_MAX) {
      throw new RangeError(`Cannot send hint: it has ${bytes.length} bytes, at most ${HINT_BYTES_MAX} fit`);
    }
    const other = this.#other;
    if (this.closed || other.closed || !this.#mayHint) return;
    if (other.#hints.push(bytes.slice()) > HINTS_QUEUED_MAX) other.#hints.shift();
    queueMicrotask(() => other.#tellHints());
  }

  get bufferedBytes(): number {
    let sum = 0;
    for (const stream of this.#streams.values()) sum += stream.bufferedBytes;
    return sum;
  }

  get stats(): ChannelStats {
    return { ...this.#counters, packetsLost: 0, rttUs: 0 };
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** Streams that are not gone: a test can see that nothing leaks. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** As the transport tells of a peer that answers nothing, and of one that does again. */
  tell(what: "silent" | "heard"): void {
    queueMicrotask(() => what === "silent" ? this.#handler?.onSilent?.() : this.#handler?.onHeard?.());
  }

  /** The other end answers, unless it is paused. */
  ping(): void {
    if (this.#closed === undefined && !this.#other.#paused) this.#counters.datagramsReceived++;
  }

  /** A ticket here is its content as it is: {@linkcode openMemoryTicket} reads it. */
  giveTicket(login: TicketLogin): void {
    this.given.push(login);
    const secret = this.transcriptHash.slice();
    const { user, device, session, generation } = login, { connectionId } = this;
    const ticket = sealMemoryTicket({ user, device, session, generation, secret, connectionId });
    this.#other.#ticket = { ticket, secret, lifetimeSeconds: TICKET_LIFETIME_SECONDS };
    this.#other.#tellTicket();
  }

  openStream(_priority?: StreamPriority): ChannelStream {
    const stream = new MemoryStream(this, this.#nextId, false);
    this.#nextId += 4;
    if (this.#closed === undefined) this.#streams.set(stream.id, stream);
    return stream;
  }

  close(code: number, reason: string): void {
    if (this.#closed !== undefined) return;
    this.end({ code, reason, byPeer: false });
    this.#other.end({ code, reason, byPeer: true });
  }

  /** Holds back everything on its way to this end, a close excepted, until {@linkcode resume}. The sender's `bufferedBytes` grow meanwhile. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.schedule();
    queueMicrotask(() => this.#tellHints());
  }

  /** As if the peer's address had changed. */
  movePeer(address: Address): void {
    this.#peer = address;
  }

  /** @ignore For the pair. */
  join(other: MemoryChannel): void {
    this.#other = other;
  }

  /** @ignore Ends this side only. */
  end(reason: CloseReason): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    this.#inbox.length = 0;
    this.#hints.length = 0;
    for (const stream of this.#streams.values()) stream.drop();
    this.#streams.clear();
    this.schedule();
  }

  /** @ignore Sends to the other end. */
  post(delivery: Delivery): void {
    if (this.#closed !== undefined || this.#other.#closed !== undefined) return;
    this.#counters.datagramsSent++;
    this.#counters.bytesSent += delivery.message?.length ?? 0;
    this.#other.#inbox.push(delivery);
    this.#other.schedule();
  }

  /** @ignore The stream is gone at this end. */
  forget(id: number): void {
    if (this.#streams.delete(id)) this.#gone.add(id);
  }

  /** @ignore Takes back what the other end has not yet had of a stream. */
  unpost(id: number): void {
    const inbox = this.#other.#inbox;
    for (let i = inbox.length - 1; i >= 0; i--) if (inbox[i]!.id === id) inbox.splice(i, 1);
  }

  /** @ignore Something may be deliverable. */
  schedule(): void {
    if (this.#scheduled || this.#handler === undefined) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#deliverOne();
    });
  }

  /** It waits for the handler. */
  #tellTicket(): void {
    queueMicrotask(() => {
      const ticket = this.#ticket;
      if (ticket === undefined || this.#handler === undefined || this.#closed !== undefined) return;
      this.#ticket = undefined;
      this.#handler.onTicket?.(ticket);
    });
  }

  /** One that finds no handler is lost. */
  #tellHints(): void {
    if (this.#paused) return;
    for (const bytes of this.#hints.splice(0)) {
      if (this.closed || !this.#mayHint) return;
      this.#handler?.onHint?.(bytes);
    }
  }

  #deliverOne(): void {
    const handler = this.#handler;
    if (handler === undefined || this.#closeTold) return;
    if (this.#closed !== undefined) {
      this.#closeTold = true;
      handler.onClose(this.#closed);
      return;
    }
    const at = this.#paused ? -1 : this.#inbox.findIndex((delivery) => this.#ready(delivery));
    if (at < 0) return;
    const [delivery] = this.#inbox.splice(at, 1);
    // Before the handler, so that one that throws does not stop those behind it.
    this.schedule();
    this.#deliver(delivery!, handler);
  }

  /** A stream of ours whose handler is not set yet keeps its events waiting, and only its own. */
  #ready(delivery: Delivery): boolean {
    const stream = this.#streams.get(delivery.id);
    return stream === undefined || stream.handler !== undefined;
  }

  #deliver(delivery: Delivery, handler: ChannelHandler): void {
    let stream = this.#streams.get(delivery.id);
    if (stream === undefined) {
      const ours = delivery.id % 4 === this.#nextId % 4;
      if (ours || this.#gone.has(delivery.id)) return;
      stream = new MemoryStream(this, delivery.id, true);
      this.#streams.set(stream.id, stream);
      this.#inbox.unshift(delivery);
      handler.onStream(stream);
      return;
    }
    this.#counters.datagramsReceived++;
    if (delivery.message !== undefined) {
      this.#counters.bytesReceived += delivery.message.length;
      delivery.from.delivered(delivery.message.length);
      stream.handler?.onMessage(delivery.message);
    } else if (delivery.resetCode !== undefined) {
      stream.drop();
      this.forget(stream.id);
      stream.handler?.onReset?.(delivery.resetCode);
    } else {
      stream.peerFinished();
      stream.handler?.onFinish?.();
    }
  }
}

/** One of: a message, a reset, or (neither) the end of the stream. */
interface Delivery {
  readonly id: number;
  readonly from: MemoryStream;
  readonly message?: Uint8Array;
  readonly resetCode?: number;
}

class MemoryStream implements ChannelStream {
  readonly id: number;
  readonly #channel: MemoryChannel;
  #handler: StreamHandler | undefined;
  #bufferedBytes = 0;
  /** Whether the peer knows of this stream, or will: nothing is said of one that it never heard of. */
  #known: boolean;
  #sentAll = false;
  #receivedAll = false;

  constructor(channel: MemoryChannel, id: number, byPeer: boolean) {
    this.#channel = channel;
    this.id = id;
    this.#known = byPeer;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  get handler(): StreamHandler | undefined {
    return this.#handler;
  }

  set handler(handler: StreamHandler | undefined) {
    this.#handler = handler;
    this.#channel.schedule();
  }

  send(message: Uint8Array): void {
    if (message.length > MESSAGE_BYTES_MAX) {
      throw new RangeError(`Cannot send message: it has ${message.length} bytes, at most ${MESSAGE_BYTES_MAX} fit`);
    }
    if (this.#sentAll || this.#channel.closed) return;
    this.#known = true;
    this.#bufferedBytes += message.length;
    this.#channel.post({ id: this.id, from: this, message: message.slice() });
  }

  finish(): void {
    if (this.#sentAll || this.#channel.closed) return;
    this.#known = true;
    this.#sentAll = true;
    this.#channel.post({ id: this.id, from: this });
    if (this.#receivedAll) this.#channel.forget(this.id);
  }

  reset(code: number): void {
    if (this.#channel.closed || (this.#sentAll && this.#receivedAll)) return;
    this.drop();
    this.#channel.forget(this.id);
    this.#channel.unpost(this.id);
    if (this.#known) this.#channel.post({ id: this.id, from: this, resetCode: code });
  }

  /** @ignore The other end has these bytes. */
  delivered(bytes: number): void {
    this.#bufferedBytes = Math.max(0, this.#bufferedBytes - bytes);
  }

  /** @ignore */
  peerFinished(): void {
    this.#receivedAll = true;
    if (this.#sentAll) this.#channel.forget(this.id);
  }

  /** @ignore Nothing more in either direction. */
  drop(): void {
    this.#sentAll = true;
    this.#receivedAll = true;
    this.#bufferedBytes = 0;
  }
}

let pairs = 0;

function nextHash(): Uint8Array {
  const hash = new Uint8Array(32).fill(0x5a);
  new DataView(hash.buffer).setUint32(0, ++pairs);
  return hash;
}
