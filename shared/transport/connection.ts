/**
 * One connection after its handshake, without sockets, clocks or tasks (docs/PROTOCOL.md §5, §6; RFC 9000, RFC 9002).
 *
 * The contract: call `handleDatagram`, `handleTimeout` or a command; then call `pollTransmit` until it gives 0 and
 * `pollEvent` until it gives `undefined`; then sleep until `nextDeadlineUs`. Several datagrams may be handled before one
 * round of polling: their acknowledgements then share a packet. Times are monotonic microseconds and never go back.
 *
 * This file only orchestrates. What is counted, ordered or decided is in the nouns it holds.
 */
import { assert } from "../assert.ts";
import { CloseCode, type CloseReason, TransportError } from "../errors.ts";
import { HINT_BYTES_MAX, PROTECTED_HEADER_BYTES, TICKET_BYTES_MAX } from "../limits.ts";
import { Closing, Phase, readReason } from "./closing.ts";
import type { Controller } from "./congestion.ts";
import { type ConnectionOptions, type ConnectionStats, newStats } from "./connection_options.ts";
import { type ConnectionEvent, EventQueue } from "./events.ts";
import { ReceiveCredit, SendCredit } from "./flow_control.ts";
import { FrameCursor, FrameType, isAckEliciting } from "./frame.ts";
import { Inbound } from "./inbound.ts";
import { PacketKeys } from "./key_update.ts";
import { Liveness } from "./liveness.ts";
import { Illinois } from "./illinois.ts";
import { DatagramSize } from "./mtu.ts";
import { Outbound } from "./outbound.ts";
import { PacketOpener, Refusal } from "./packet_opener.ts";
import { PacketSender } from "./packet_sender.ts";
import { type Address, Path, sameAddress } from "./path.ts";
import { ReceivedPackets } from "./received_packets.ts";
import { type Cargo, Recovery } from "./recovery.ts";
import { Redundancy } from "./redundancy.ts";
import { INITIAL_RTT_US, RttEstimator } from "./rtt.ts";
import type { Priority } from "./stream.ts";
import { RESETTABLE_BYTES_MIN } from "./stateless_reset.ts";
import { Streams } from "./streams.ts";
import { Timer, Timers } from "./timers.ts";

export class Connection {
  readonly side: "client" | "server";
  readonly #keys: PacketKeys;
  readonly #path: Path;
  readonly #opener: PacketOpener;
  readonly #sender: PacketSender;
  readonly #received = new ReceivedPackets();
  readonly #rtt: RttEstimator;
  readonly #controller: Controller;
  readonly #timers = new Timers();
  readonly #streams: Streams;
  readonly #receiveCredit: ReceiveCredit;
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  readonly #recovery: Recovery;
  readonly #redundancy = new Redundancy();
  readonly #size: DatagramSize;
  readonly #liveness: Liveness;
  readonly #events = new EventQueue();
  readonly #closing: Closing;
  /** A packet of the peer's opened: it has the keys. */
  #peerSeen = false;
  #confirmed = false;
  /** Whether the packet being handled has to be acknowledged, and whether at once. */
  #ackEliciting = false;
  #asked = false;
  readonly #stats = newStats();

  constructor(options: ConnectionOptions) {
    this.side = options.side;
    this.#closing = new Closing(this.#timers, this.#events);
    this.#keys = new PacketKeys(options);
    this.#path = new Path(options.primitives, options.peer);
    this.#opener = new PacketOpener({ ...options, keys: this.#keys });
    this.#rtt = new RttEstimator(options.initialRttUs ?? INITIAL_RTT_US);
    this.#controller = options.controller ?? new Illinois();
    this.#size = new DatagramSize(options.datagramBytes);
    this.#recovery = new Recovery({
      rtt: this.#rtt,
      controller: this.#controller,
      cargo: this.#cargo(),
      redundancy: this.#redundancy,
      size: this.#size,
      nowUs: options.nowUs,
    });
    this.#streams = new Streams(options.side, options.local, options.remote);
    this.#receiveCredit = new ReceiveCredit(options.local.connectionWindowBytes);
    this.#outbound = new Outbound({
      streams: this.#streams,
      sendCredit: new SendCredit(options.remote.connectionWindowBytes),
      receiveCredit: this.#receiveCredit,
      rtt: this.#rtt,
    });
    this.#inbound = new Inbound({
      streams: this.#streams,
      receiveCredit: this.#receiveCredit,
      outbound: this.#outbound,
      events: this.#events,
    });
    this.#liveness = new Liveness({
      isClient: options.side === "client",
      idleTimeoutUs: Math.min(options.local.idleTimeoutUs, options.remote.idleTimeoutUs),
      timers: this.#timers,
      rtt: this.#rtt,
      events: this.#events,
      ping: () => this.#outbound.ping(),
    });
    this.#sender = new PacketSender({
      keys: this.#keys,
      path: this.#path,
      received: this.#received,
      recovery: this.#recovery,
      outbound: this.#outbound,
      redundancy: this.#redundancy,
      size: this.#size,
      liveness: this.#liveness,
      timers: this.#timers,
      firstPacketNumber: options.firstPacketNumber,
      elicitingBytesMin: options.side === "client" ? RESETTABLE_BYTES_MIN : 0,
    });
    this.#liveness.restart(options.nowUs);
    // The server says nothing before it has heard from us (§6), so the client speaks even with nothing to say.
    if (options.side === "client") this.#outbound.ping();
  }

  // What arrives.

  /**
   * Takes one datagram that carries this connection's id.
   *
   * @param packet Opened in place; borrowed until the call returns.
   * @param packetBytes Bytes of it that are the datagram.
   * @returns Whether it was authentic and new.
   */
  handleDatagram(packet: Uint8Array, packetBytes: number, from: Address, nowUs: number): boolean {
    if (this.#closing.phase === Phase.Gone) return false;
    this.#stats.datagramsReceived++;
    this.#stats.bytesReceived += packetBytes;
    const payloadBytes = this.#opener.open(packet, packetBytes, nowUs, 3 * this.#rtt.probeTimeoutUs);
    if (payloadBytes < 0) {
      this.#onRefused(payloadBytes, nowUs);
      return false;
    }
    if (!this.#closing.isOpen) {
      CURSOR.start(packet, PROTECTED_HEADER_BYTES, PROTECTED_HEADER_BYTES + payloadBytes);
      this.#closing.handlePayload(CURSOR, this.#lingerUs(nowUs));
      return true;
    }
    const packetNumber = this.#opener.packetNumber;
    this.#onOpened(packetNumber, packetBytes, from, nowUs);
    try {
      this.#handlePayload(packet, payloadBytes, from, nowUs);
      const isAsked = this.#inbound.takeRepeated() || this.#asked;
      this.#received.add(packetNumber, this.#ackEliciting, nowUs, isAsked);
      if (this.#closing.isOpen) this.#timers.set(Timer.Ack, this.#received.dueUs);
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
      this.close(error.code, error.message, nowUs);
    }
    this.#rearmLoss();
    return true;
  }

  handleTimeout(nowUs: number): void {
    const timers = this.#timers;
    if (timers.take(Timer.Close, nowUs)) this.#closing.forget();
    if (!this.#closing.isOpen) return;
    if (this.#liveness.handleTimeout(nowUs)) {
      return this.#closing.forget({ code: CloseCode.idle, reason: "Idle timeout", byPeer: false });
    }
    if (timers.take(Timer.Loss, nowUs)) {
      this.#recovery.handleDeadline(nowUs);
      this.#rearmLoss();
    }
    if (timers.take(Timer.Path, nowUs) && this.#path.onDeadline()) this.#armPath(nowUs);
    // Ack and Pacing only wake the caller, who then polls: what is due is found there.
    timers.take(Timer.Pacing, nowUs);
    timers.take(Timer.Copy, nowUs);
    this.#keys.expire(nowUs);
  }

  // Commands.

  /** Opens a stream. It exists for the peer once something is written; beyond the peer's limit it waits inside. */
  openStream(priority: Priority = 1): number {
    return this.#streams.open(priority).id;
  }

  /** In which order a stream's data leaves; streams of the peer begin as 1. */
  setPriority(streamId: number, priority: Priority): void {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) stream.priority = priority;
  }

  /**
   * Queues bytes on a stream. Takes all of them; watch {@linkcode bufferedBytes}. Does nothing once the stream has ended.
   *
   * @param bytes Copied.
   * @param fin Nothing follows.
   */
  write(streamId: number, bytes: Uint8Array, fin = false): void {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined && this.#closing.isOpen) this.#outbound.write(stream, bytes, fin);
  }

  /** The next contiguous bytes of a stream, owned by the caller; `undefined` where there are none now. */
  read(streamId: number): Uint8Array | undefined {
    return this.#inbound.read(streamId);
  }

  /** Gives up sending: what was not delivered never will be. */
  resetStream(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined && this.#closing.isOpen) this.#outbound.reset(stream, code);
  }

  /** Gives up reading: the peer is asked to stop. */
  stopSending(streamId: number, code: number): void {
    if (this.#closing.isOpen) this.#inbound.stop(streamId, code);
  }

  /** Sends a datagram that may get lost. @param bytes At most HINT_BYTES_MAX; copied. */
  sendHint(bytes: Uint8Array): void {
    if (bytes.length > HINT_BYTES_MAX) throw new RangeError(`Hint is ${bytes.length} bytes, at most ${HINT_BYTES_MAX}`);
    if (this.#closing.isOpen) this.#outbound.hint(bytes.slice());
  }

  /** Server: hands the client a resumption ticket. @param bytes At most TICKET_BYTES_MAX; copied. */
  sendTicket(bytes: Uint8Array): void {
    if (bytes.length > TICKET_BYTES_MAX) {
      throw new RangeError(`Ticket is ${bytes.length} bytes, at most ${TICKET_BYTES_MAX}`);
    }
    if (this.#closing.isOpen) this.#outbound.ticket(bytes.slice());
  }

  /** Asks the peer for a sign of life: after this side's address changed, say. */
  ping(): void {
    if (this.#closing.isOpen) this.#outbound.ping();
  }

  /** Lets the peer have so many bytes under way from now on; never fewer than it may already. */
  widenWindow(bytes: number): void {
    this.#receiveCredit.widen(bytes);
  }

  /**
   * Client: how long the server may be silent before it is asked for a sign of life. A quick look finds a dead server soon, and
   * costs either side two packets each time.
   */
  keepAlive(us: number, nowUs: number): void {
    if (this.#closing.isOpen) this.#liveness.keepAlive(us, nowUs);
  }

  /** Changes the sending keys if the last change is settled. @returns Whether it did. */
  updateKeys(nowUs: number): boolean {
    return this.#closing.isOpen && this.#keys.update(nowUs);
  }

  /** Ends the connection at once; the peer learns why. Poll and keep the timers until {@linkcode isGone}. */
  close(code: number, reason: string, nowUs: number): void {
    this.#closing.begin({ code, reason, byPeer: false }, this.#lingerUs(nowUs));
  }

  // What leaves.

  /**
   * Writes at most one datagram, to be sent to {@linkcode transmitTo}.
   *
   * @param buffer At least as long as the largest datagram; `Primitives.packetBuffer` makes sealing free of copies.
   * @returns Its bytes, or 0: nothing to send now.
   */
  pollTransmit(buffer: Uint8Array, nowUs: number): number {
    const closing = this.#closing, sender = this.#sender;
    if (closing.isOpen) {
      if (this.side === "server" && !this.#peerSeen) return 0;
      if (!sender.isExhausted) return sender.transmit(buffer, nowUs);
      this.close(CloseCode.aeadLimit, "Out of packet numbers", nowUs);
    }
    if (!closing.packetPending) return 0;
    closing.onPacketSent();
    return sender.transmitClose(buffer, closing.reason!, nowUs);
  }

  /** Where the datagram of the last {@linkcode pollTransmit} goes. */
  get transmitTo(): Address {
    return this.#sender.to;
  }

  pollEvent(): ConnectionEvent | undefined {
    return this.#events.poll();
  }

  /** When to call {@linkcode handleTimeout} and poll again, at the latest; `undefined` for never. */
  nextDeadlineUs(): number | undefined {
    return this.#timers.nextDeadlineUs();
  }

  // Queries.

  /** Where the peer is. */
  get peer(): Address {
    return this.#path.peer;
  }

  /** The peer has proved that it holds the keys. */
  get isConfirmed(): boolean {
    return this.#confirmed;
  }

  get isOpen(): boolean {
    return this.#closing.isOpen;
  }

  /** Closed, and nothing more to send or to wait for: forget it. */
  get isGone(): boolean {
    return this.#closing.phase === Phase.Gone;
  }

  /** Why it ended; `undefined` while it is open. */
  get closeReason(): CloseReason | undefined {
    return this.#closing.reason;
  }

  /** Stream bytes written and not yet acknowledged. */
  get bufferedBytes(): number {
    return this.#outbound.bufferedBytes;
  }

  /** The same of one stream. */
  streamBufferedBytes(streamId: number): number {
    return this.#streams.get(streamId)?.send.bufferedBytes ?? 0;
  }

  /** Streams that are not over on both sides. */
  get streamsOpen(): number {
    return this.#streams.count;
  }

  /** The same object every time; its numbers are those of now. */
  get stats(): Readonly<ConnectionStats> {
    const stats = this.#stats;
    stats.datagramsSent = this.#sender.datagrams;
    stats.bytesSent = this.#sender.bytes;
    stats.duplicates = this.#opener.duplicates;
    stats.failedOpens = this.#opener.failedOpens;
    stats.packetsLost = this.#recovery.packetsLost;
    stats.spurious = this.#recovery.spurious;
    stats.copyBytes = this.#redundancy.bytes;
    stats.probes = this.#recovery.probes;
    stats.keyUpdates = this.#keys.updates;
    stats.rttUs = this.#rtt.hasSample ? Math.round(this.#rtt.smoothedUs) : 0;
    stats.datagramBytes = this.#size.bytes;
    stats.windowBytes = this.#controller.windowBytes;
    stats.bytesInFlight = this.#recovery.bytesInFlight;
    return stats;
  }

  // Receiving.

  #onRefused(refusal: Refusal, nowUs: number): void {
    if (refusal === Refusal.Reset) {
      this.#closing.forget({ code: CloseCode.reset, reason: "Peer does not know this connection", byPeer: true });
    } else if (refusal === Refusal.TooMany) {
      this.close(CloseCode.aeadLimit, "Too many packets failed to open", nowUs);
    }
  }

  /** An authentic, new packet: the peer lives, has the keys, and is where it came from. */
  #onOpened(packetNumber: number, packetBytes: number, from: Address, nowUs: number): void {
    this.#liveness.onHeard(nowUs);
    if (!this.#peerSeen) {
      this.#peerSeen = true;
      if (this.side === "server") {
        this.#outbound.confirm();
        this.#onConfirmed();
      }
    }
    if (this.side === "client") return;
    const isNewest = packetNumber > this.#received.largest;
    if (sameAddress(from, this.#path.peer)) {
      if (isNewest && this.#path.isValidating) this.#path.onHere();
    } else if (this.#path.onElsewhere(from, packetBytes, isNewest)) {
      this.#armPath(nowUs);
    }
  }

  /** @throws TransportError */
  #handlePayload(packet: Uint8Array, payloadBytes: number, from: Address, nowUs: number): void {
    if (payloadBytes === 0) throw new TransportError(CloseCode.protocolViolation, "Payload is empty");
    const cursor = CURSOR;
    cursor.start(packet, PROTECTED_HEADER_BYTES, PROTECTED_HEADER_BYTES + payloadBytes);
    this.#ackEliciting = this.#asked = false;
    while (cursor.next()) {
      if (isAckEliciting(cursor.type)) this.#ackEliciting = true;
      this.#handleFrame(cursor, from, nowUs);
      if (!this.#closing.isOpen) break;
    }
  }

  #handleFrame(frame: FrameCursor, from: Address, nowUs: number): void {
    switch (frame.type) {
      case FrameType.Padding:
        return;
      case FrameType.Ping:
        this.#asked = true;
        return;
      case FrameType.Ack:
        return this.#onAck(frame, nowUs);
      case FrameType.PathChallenge:
        return this.#path.onChallenge(frame.data(), from);
      case FrameType.PathResponse:
        if (this.#path.onResponse(frame.data())) this.#onMoved(nowUs);
        return;
      case FrameType.Close: {
        const reason = readReason(frame.bytes.subarray(frame.dataStart, frame.dataEnd));
        return this.#closing.drain({ code: frame.value, reason, byPeer: true }, this.#lingerUs(nowUs));
      }
      case FrameType.Confirmed:
        this.#expectServer(frame);
        return this.#onConfirmed();
      case FrameType.Hint:
        return this.#events.push({ type: "hint", bytes: frame.data() });
      case FrameType.NewTicket:
        this.#expectServer(frame);
        return this.#events.push({ type: "ticket", bytes: frame.data() });
      default:
        assert(this.#inbound.handle(frame), "Every frame that is decoded is handled");
    }
  }

  #onConfirmed(): void {
    if (this.#confirmed) return;
    this.#confirmed = true;
    this.#events.push({ type: "confirmed" });
  }

  #expectServer(frame: FrameCursor): void {
    if (this.side === "client") return;
    throw new TransportError(CloseCode.protocolViolation, "Only a server sends this frame", frame.type);
  }

  // Acknowledgements and losses.

  #onAck(frame: FrameCursor, nowUs: number): void {
    const largest = frame.ranges[0]!;
    if (largest >= this.#sender.nextPacketNumber) {
      throw new TransportError(CloseCode.protocolViolation, "Peer acknowledges what was never sent", frame.type);
    }
    if (this.#recovery.handleAck(frame, nowUs)) this.#keys.onAcked(largest);
  }

  #cargo(): Cargo {
    return {
      onAcked: (packet) => {
        if (packet.ackLargest >= 0) this.#received.onAckAcked(packet.ackLargest);
        this.#outbound.onAcked(packet, this.#inbound.retire);
      },
      onLost: (packet) => this.#outbound.onLost(packet),
    };
  }

  #rearmLoss(): void {
    if (this.#closing.isOpen) this.#timers.set(Timer.Loss, this.#recovery.deadlineUs);
  }

  /** RFC 9000 §9.4. What was in flight went to where the peer no longer is. */
  #onMoved(nowUs: number): void {
    this.#stats.moves++;
    this.#timers.clear(Timer.Path);
    this.#recovery.handleMove(nowUs);
    this.#outbound.ping();
    this.#liveness.restart(nowUs);
  }

  // Timers and the end.

  #armPath(nowUs: number): void {
    this.#timers.set(Timer.Path, nowUs + this.#path.nextWaitUs(this.#rtt.probeTimeoutUs));
  }

  /** RFC 9000 §10.2. */
  #lingerUs(nowUs: number): number {
    return nowUs + 3 * this.#rtt.probeTimeoutUs;
  }
}

/** Reads one packet at a time, whosever it is. */
const CURSOR = new FrameCursor();
