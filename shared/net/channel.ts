/**
 * What everything above the transport sees of a connection: streams of whole messages.
 *
 * Two implementations with one contract: `connection_channel.ts` over UDP, and the in-memory pair of the tests. All
 * callbacks run on the event loop's thread, never from inside a call of the same channel's methods.
 */
import type { CloseReason } from "../errors.ts";
import type { Ticket, TicketLogin } from "../handshake/mod.ts";

/** An IP address and port. `host` is in its shortest text form, IPv4-mapped IPv6 folded to IPv4. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Lower is served first; within one priority streams take turns. */
export type StreamPriority = 0 | 1 | 2;
export const Priority = { interactive: 0, normal: 1, bulk: 2 } as const;

export interface Channel {
  /** 32 bytes: the same on both sides, different for every connection. Sign it to bind a login to it (SECURITY P6). */
  readonly transcriptHash: Uint8Array;
  readonly peer: Address;
  /** Bytes queued in all streams and not yet acknowledged by the peer. */
  readonly bufferedBytes: number;
  readonly stats: ChannelStats;
  /** Set right after the channel is handed over; events before that wait. */
  handler: ChannelHandler | undefined;
  /** Opens a stream of messages. It exists for the peer once something is sent on it. Waits inside where the peer's stream limit is reached. */
  openStream(priority?: StreamPriority): ChannelStream;
  /**
   * Sends a few bytes that may get lost, come late or out of order, and at most once: for what is worthless a moment later.
   * Dropped, without a word, once the channel has ended, on a server before {@linkcode welcome}, and where the other side has no
   * handler for it yet; of more than HINTS_QUEUED_MAX that wait the oldest goes.
   *
   * @param bytes At most HINT_BYTES_MAX; copied before the call returns.
   */
  sendHint(bytes: Uint8Array): void;
  /**
   * The application knows the peer now: it may have as much under way as anybody. Until then a server grants little, since
   * whoever can shake hands is there. Elsewhere it does nothing.
   */
  welcome(): void;
  /** Server: what the client came back with instead of RSA. It is no login before the store has said that it still is one. */
  readonly ticket?: Ticket | undefined;
  /** 8 bytes: what a ticket names this connection by. */
  readonly connectionId?: Uint8Array;
  /** Asks the peer for a sign of life; its answer shows in {@linkcode stats}. */
  ping?(): void;
  /** Server: gives the client what it may come back with, to any server of the cluster. */
  giveTicket?(login: TicketLogin): void;
  /** Ends everything at once; the peer learns the code and reason. Later calls do nothing. */
  close(code: number, reason: string): void;
}

export interface ChannelHandler {
  /** The peer opened a stream. Set its handler now. */
  onStream(stream: ChannelStream): void;
  /** Called exactly once, after which nothing else is. */
  onClose(reason: CloseReason): void;
  /** What the peer gave to `sendHint`; a server hears none before `welcome`. @param bytes Owned by the handler. */
  onHint?(bytes: Uint8Array): void;
  /** Client: a ticket for the next connection; it takes the place of the one before. */
  onTicket?(ticket: ResumptionTicket): void;
  /** Client: the server answers nothing, though it was asked several times. It may be gone, or only the network in between. */
  onSilent?(): void;
  /** Client: it answers again. */
  onHeard?(): void;
}

/** What a client comes back with, once. */
export interface ResumptionTicket {
  /** Opaque; goes in clear. */
  readonly ticket: Uint8Array;
  /** 32 bytes; never goes anywhere. */
  readonly secret: Uint8Array;
  readonly lifetimeSeconds: number;
}

export interface ChannelStream {
  /** Unique within the channel. */
  readonly id: number;
  /** Bytes sent on this stream and not yet acknowledged by the peer. */
  readonly bufferedBytes: number;
  /**
   * While there is none, nothing is read: the peer's window closes, and what it sends waits with it. Take it away and put it back to
   * hold a peer up, but not from within its own `onMessage`, which may have more at hand.
   */
  handler: StreamHandler | undefined;
  /**
   * Queues one message of at most MESSAGE_BYTES_MAX bytes; never blocks. After `finish`, `reset` or the channel's end it does nothing.
   *
   * @param message Copied before the call returns.
   */
  send(message: Uint8Array): void;
  /** No more messages from this side. The stream is gone when both sides have finished. */
  finish(): void;
  /** Gives the stream up in both directions: nothing more is sent or delivered on it. */
  reset(code: number): void;
}

export interface StreamHandler {
  /** @param message Owned by the handler. */
  onMessage(message: Uint8Array): void;
  /** The peer sent everything it had. */
  onFinish?(): void;
  /** The peer gave the stream up. Not called for the channel's own end: that is `onClose`. */
  onReset?(code: number): void;
}

/** Counters since the connection began; for `demo`, tests and benches. */
export interface ChannelStats {
  readonly datagramsSent: number;
  readonly datagramsReceived: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly packetsLost: number;
  readonly rttUs: number;
}
