/**
 * One connection after its handshake, without sockets, clocks or tasks (docs/PROTOCOL.md §5, §6; RFC 9000, RFC 9002).
 *
 * The contract: call `handleDatagram`, `handleTimeout` or a command; then call `pollTransmit` until it gives 0 and
 * `pollEvent` until it gives `undefined`; then sleep until `nextDeadlineUs`. Several datagrams may be handled before one
 * round of polling: their acknowledgements then share a packet. Times are monotonic microseconds and never go back.
 *
 * This file only orchestrates. What is counted, ordered or decided is in the nouns it holds.
 */
import { CloseCode, type CloseReason, TransportError } from "../errors.ts";
import {
  DATAGRAM_BYTES,
  FAILED_OPENS_MAX,
  HINT_BYTES_MAX,
  KEEP_ALIVE_US,
  PACKET_NUMBER_LIMIT,
  PACKETS_IN_FLIGHT_MAX,
  PROTECTED_HEADER_BYTES,
  TAG_BYTES,
  TICKET_BYTES_MAX,
} from "../limits.ts";
import { isProtected, readPacketNumber } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import { Closing, Phase, readReason, writeReason } from "./closing.ts";
import type { Controller } from "./congestion.ts";
import { type ConnectionEvent, EventQueue } from "./events.ts";
import { ReceiveCredit, SendCredit, type TransportLimits } from "./flow_control.ts";
import { FrameCursor, FrameType, isAckEliciting, writeClose, writePath } from "./frame.ts";
import { PacketKeys } from "./key_update.ts";
import { LossDetector } from "./loss.ts";
import { NewReno } from "./new_reno.ts";
import { Outbound } from "./outbound.ts";
import { Pacer } from "./pacer.ts";
import { type Address, Path, sameAddress } from "./path.ts";
import { ReceivedPackets } from "./received_packets.ts";
import { ReplayWindow } from "./replay_window.ts";
import { INITIAL_RTT_US, RttEstimator } from "./rtt.ts";
import { type SentPacket, SentPackets } from "./sent_packets.ts";
import type { Priority, Stream } from "./stream.ts";
import { Streams } from "./streams.ts";
import { Timer, Timers } from "./timers.ts";

export interface ConnectionOptions {
  readonly primitives: Primitives;
  readonly side: "client" | "server";
  /** 8 bytes. */
  readonly connectionId: Uint8Array;
  /** 32 bytes each: secret_0 of the two directions (docs/PROTOCOL.md §4). */
  readonly sendSecret: Uint8Array;
  readonly receiveSecret: Uint8Array;
  /** What this side lets the peer do, and the other way round. */
  readonly local: TransportLimits;
  readonly remote: TransportLimits;
  /** The handshake has proved that the peer is there. */
  readonly peer: Address;
  /** 16 bytes, on a client: what a stateless reset ends with. */
  readonly resetToken?: Uint8Array | undefined;
  readonly nowUs: number;
  /** New for each connection; NewReno by default. */
  readonly controller?: Controller | undefined;
  /** What the handshake measured. */
  readonly initialRttUs?: number | undefined;
  /** For tests: smaller than the limits of the same name. */
  readonly packetsPerKeyMax?: number | undefined;
  readonly keyAgeUsMax?: number | undefined;
  readonly failedOpensMax?: number | undefined;
  readonly firstPacketNumber?: number | undefined;
}

/** Counters since the connection began, and the estimates of now. */
export interface ConnectionStats {
  datagramsSent: number;
  datagramsReceived: number;
  bytesSent: number;
  bytesReceived: number;
  /** Packets of ours that were declared lost. */
  packetsLost: number;
  /** Packets received twice: dropped. */
  duplicates: number;
  /** Packets that did not open: dropped. */
  failedOpens: number;
  /** Probe timeouts. */
  probes: number;
  /** Times the peer moved to another address. */
  moves: number;
  /** Times our sending keys changed. */
  keyUpdates: number;
  rttUs: number;
  windowBytes: number;
  bytesInFlight: number;
}

export class Connection {
  readonly side: "client" | "server";
  readonly #keys: PacketKeys;
  readonly #path: Path;
  readonly #resetToken: Uint8Array | undefined;
  readonly #primitives: Primitives;
  readonly #replays = new ReplayWindow();
  readonly #received = new ReceivedPackets();
  readonly #ledger = new SentPackets();
  readonly #rtt: RttEstimator;
  readonly #loss: LossDetector;
  readonly #controller: Controller;
  readonly #pacer: Pacer;
  readonly #timers = new Timers();
  readonly #streams: Streams;
  readonly #sendCredit: SendCredit;
  readonly #receiveCredit: ReceiveCredit;
  readonly #outbound: Outbound;
  readonly #events = new EventQueue();
  readonly #closing = new Closing();
  readonly #cursor = new FrameCursor();
  readonly #idleTimeoutUs: number;
  readonly #failedOpensMax: number;

  #nextPacketNumber: number;
  /** A packet of the peer's opened: it has the keys. */
  #peerSeen = false;
  #confirmed = false;
  /** An ack-eliciting packet left since the last one arrived: the next does not restart the idle timer. */
  #spoken = false;
  /** Told that the peer is silent, and not yet that it was heard again. */
  #silent = false;
  /** Silence after which a client asks for a sign of life. */
  #keepAliveUs = KEEP_ALIVE_US;
  /** The window was not what kept us from sending more. */
  #appLimited = true;
  #probesPending = 0;
  #transmitTo: Address;
  /** Reused for what an ACK or a timeout finishes. */
  readonly #finished: SentPacket[] = [];
  readonly #tail = new Uint8Array(TAG_BYTES);
  readonly #stats: ConnectionStats = {
    datagramsSent: 0,
    datagramsReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    packetsLost: 0,
    duplicates: 0,
    failedOpens: 0,
    probes: 0,
    moves: 0,
    keyUpdates: 0,
    rttUs: 0,
    windowBytes: 0,
    bytesInFlight: 0,
  };

  constructor(options: ConnectionOptions) {
    this.side = options.side;
    this.#primitives = options.primitives;
    this.#keys = new PacketKeys(options);
    this.#path = new Path(options.primitives, options.peer);
    this.#transmitTo = options.peer;
    this.#resetToken = options.resetToken;
    this.#rtt = new RttEstimator(options.initialRttUs ?? INITIAL_RTT_US);
    this.#loss = new LossDetector(this.#ledger, this.#rtt);
    this.#controller = options.controller ?? new NewReno();
    this.#pacer = new Pacer(options.nowUs);
    this.#streams = new Streams(options.side, options.local, options.remote);
    this.#sendCredit = new SendCredit(options.remote.connectionWindowBytes);
    this.#receiveCredit = new ReceiveCredit(options.local.connectionWindowBytes);
    this.#outbound = new Outbound({
      streams: this.#streams,
      sendCredit: this.#sendCredit,
      receiveCredit: this.#receiveCredit,
    });
    this.#idleTimeoutUs = Math.min(options.local.idleTimeoutUs, options.remote.idleTimeoutUs);
    this.#failedOpensMax = options.failedOpensMax ?? FAILED_OPENS_MAX;
    this.#nextPacketNumber = options.firstPacketNumber ?? 0;
    this.#restartIdle(options.nowUs);
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
    if (!isProtected(packet, packetBytes)) return false;
    if (this.#resetToken !== undefined) this.#tail.set(packet.subarray(packetBytes - TAG_BYTES, packetBytes));
    const packetNumber = readPacketNumber(packet);
    if (this.#replays.has(packetNumber)) {
      this.#stats.duplicates++;
      this.#checkReset();
      return false;
    }
    const payloadBytes = this.#keys.open(packet, packetBytes, packetNumber, nowUs, 3 * this.#rtt.probeTimeoutUs);
    if (payloadBytes < 0) {
      this.#onFailedOpen(nowUs);
      return false;
    }
    this.#replays.add(packetNumber);
    if (!this.#closing.isOpen) {
      this.#closing.onPacket();
      if (this.#closing.phase === Phase.Closing) this.#readClose(packet, payloadBytes, nowUs);
      return true;
    }
    this.#onOpened(packetNumber, packetBytes, from, nowUs);
    try {
      const ackEliciting = this.#handlePayload(packet, payloadBytes, from, nowUs);
      this.#received.add(packetNumber, ackEliciting, nowUs);
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
    if (timers.take(Timer.Idle, nowUs)) {
      return this.#end({ code: CloseCode.idle, reason: "Idle timeout", byPeer: false });
    }
    if (timers.take(Timer.Loss, nowUs)) this.#onLossDeadline(nowUs);
    if (timers.take(Timer.Path, nowUs) && this.#path.onDeadline()) this.#armPath(nowUs);
    if (timers.take(Timer.KeepAlive, nowUs)) {
      this.#outbound.ping();
      timers.set(Timer.KeepAlive, nowUs + this.#keepAliveUs);
    }
    this.#onSilence(nowUs);
    // Ack and Pacing only wake the caller, who then polls: what is due is found there.
    timers.take(Timer.Pacing, nowUs);
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
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return undefined;
    stream.isReadableQueued = false;
    const chunk = stream.recv.read();
    if (chunk === undefined) return undefined;
    this.#receiveCredit.consume(chunk.length);
    this.#afterReceive(stream);
    return chunk;
  }

  /** Gives up sending: what was not delivered never will be. */
  resetStream(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined && this.#closing.isOpen) this.#outbound.reset(stream, code);
  }

  /** Gives up reading: the peer is asked to stop. */
  stopSending(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined || !this.#closing.isOpen) return;
    stream.recv.stop(code);
    stream.endTold = true;
    this.#outbound.schedule(stream);
    this.#afterReceive(stream);
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
    this.#keepAliveUs = us;
    if (this.#closing.isOpen && this.side === "client") this.#timers.set(Timer.KeepAlive, nowUs + us);
  }

  /** Changes the sending keys if the last change is settled. @returns Whether it did. */
  updateKeys(nowUs: number): boolean {
    return this.#closing.isOpen && this.#keys.update(nowUs);
  }

  /** Ends the connection at once; the peer learns why. Poll and keep the timers until {@linkcode isGone}. */
  close(code: number, reason: string, nowUs: number): void {
    if (!this.#closing.isOpen) return;
    this.#shut({ code, reason, byPeer: false }, nowUs);
  }

  // What leaves.

  /**
   * Writes at most one datagram, to be sent to {@linkcode transmitTo}.
   *
   * @param buffer At least DATAGRAM_BYTES; `Primitives.packetBuffer` makes sealing free of copies.
   * @returns Its bytes, or 0: nothing to send now.
   */
  pollTransmit(buffer: Uint8Array, nowUs: number): number {
    if (!this.#closing.isOpen) return this.#closing.packetPending ? this.#transmitClose(buffer, nowUs) : 0;
    if (this.side === "server" && !this.#peerSeen) return 0;
    if (this.#nextPacketNumber >= PACKET_NUMBER_LIMIT - CLOSE_PACKETS_RESERVED) {
      this.close(CloseCode.aeadLimit, "Out of packet numbers", nowUs);
      return this.#transmitClose(buffer, nowUs);
    }
    return this.#transmitPath(buffer, nowUs) || this.#transmitFrames(buffer, nowUs);
  }

  /** Where the datagram of the last {@linkcode pollTransmit} goes. */
  get transmitTo(): Address {
    return this.#transmitTo;
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
    stats.probes = this.#loss.probesTotal;
    stats.keyUpdates = this.#keys.updates;
    stats.rttUs = this.#rtt.hasSample ? Math.round(this.#rtt.smoothedUs) : 0;
    stats.windowBytes = this.#controller.windowBytes;
    stats.bytesInFlight = this.#ledger.bytesInFlight;
    return stats;
  }

  // Receiving.

  /** Forgeries close nothing and earn no reply, unless there are so many that guessing a tag comes into reach (SECURITY H2). */
  #onFailedOpen(nowUs: number): void {
    this.#stats.failedOpens++;
    this.#checkReset();
    if (this.#closing.isOpen && this.#stats.failedOpens >= this.#failedOpensMax) {
      this.close(CloseCode.aeadLimit, "Too many packets failed to open", nowUs);
    }
  }

  /** A stateless reset looks like a packet that does not open (docs/PROTOCOL.md §5.4). */
  #checkReset(): void {
    if (this.#resetToken === undefined || !this.#primitives.equal(this.#tail, this.#resetToken)) return;
    this.#end({ code: CloseCode.reset, reason: "Peer does not know this connection", byPeer: true });
  }

  /** An authentic, new packet: the peer lives, has the keys, and is where it came from. */
  #onOpened(packetNumber: number, packetBytes: number, from: Address, nowUs: number): void {
    this.#spoken = false;
    this.#timers.clear(Timer.Silence);
    if (this.#silent) {
      this.#silent = false;
      this.#events.push({ type: "heard" });
    }
    this.#restartIdle(nowUs);
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

  /** @returns Whether the packet has to be acknowledged. @throws TransportError */
  #handlePayload(packet: Uint8Array, payloadBytes: number, from: Address, nowUs: number): boolean {
    if (payloadBytes === 0) throw new TransportError(CloseCode.protocolViolation, "Payload is empty");
    const cursor = this.#cursor;
    cursor.start(packet, PROTECTED_HEADER_BYTES, PROTECTED_HEADER_BYTES + payloadBytes);
    let ackEliciting = false;
    while (cursor.next()) {
      if (isAckEliciting(cursor.type)) ackEliciting = true;
      this.#handleFrame(cursor, from, nowUs);
      if (!this.#closing.isOpen) break;
    }
    return ackEliciting;
  }

  #handleFrame(frame: FrameCursor, from: Address, nowUs: number): void {
    switch (frame.type) {
      case FrameType.Padding:
      case FrameType.Ping:
        return;
      case FrameType.Ack:
        return this.#onAck(frame, nowUs);
      case FrameType.Stream:
        return this.#onStream(frame);
      case FrameType.ResetStream:
        return this.#onResetStream(frame);
      case FrameType.StopSending:
        return this.#onStopSending(frame);
      case FrameType.MaxData:
        if (this.#sendCredit.raise(frame.value)) this.#outbound.onCredit();
        return;
      case FrameType.MaxStreamData:
        return this.#onMaxStreamData(frame);
      case FrameType.MaxStreams:
        return this.#streams.raiseLimit(frame.value, (stream) => this.#outbound.schedule(stream));
      case FrameType.PathChallenge:
        return this.#path.onChallenge(frame.data(), from);
      case FrameType.PathResponse:
        if (this.#path.onResponse(frame.data())) this.#onMoved(nowUs);
        return;
      case FrameType.Close: {
        const reason = readReason(frame.bytes.subarray(frame.dataStart, frame.dataEnd));
        return this.#onClose({ code: frame.value, reason, byPeer: true }, nowUs);
      }
      case FrameType.Confirmed:
        this.#expectServer(frame);
        return this.#onConfirmed();
      case FrameType.Hint:
        return this.#events.push({ type: "hint", bytes: frame.data() });
      case FrameType.NewTicket:
        this.#expectServer(frame);
        return this.#events.push({ type: "ticket", bytes: frame.data() });
    }
  }

  #onStream(frame: FrameCursor): void {
    const stream = this.#fromPeer(frame.streamId);
    if (stream === undefined) return;
    const rise = stream.recv.receive(frame.offset, frame.bytes, frame.dataStart, frame.dataEnd, frame.fin);
    this.#receiveCredit.receive(rise);
    if (stream.recv.hasData && !stream.isReadableQueued) {
      stream.isReadableQueued = true;
      this.#events.push({ type: "readable", id: stream.id });
    }
    this.#afterReceive(stream);
  }

  #onResetStream(frame: FrameCursor): void {
    const stream = this.#fromPeer(frame.streamId);
    if (stream === undefined) return;
    this.#receiveCredit.receive(stream.recv.receiveReset(frame.offset));
    this.#tellReset(stream, frame.value);
    this.#afterReceive(stream);
  }

  /** RFC 9000 §3.5: who is asked to stop answers with a reset. */
  #onStopSending(frame: FrameCursor): void {
    const stream = this.#fromPeer(frame.streamId);
    if (stream === undefined) return;
    this.#outbound.reset(stream, frame.value);
    this.#tellReset(stream, frame.value);
  }

  #onMaxStreamData(frame: FrameCursor): void {
    const stream = this.#fromPeer(frame.streamId);
    if (stream !== undefined && stream.send.credit.raise(frame.value)) this.#outbound.schedule(stream);
  }

  #fromPeer(streamId: number): Stream | undefined {
    const stream = this.#streams.fromPeer(streamId);
    if (stream !== undefined && this.#streams.isNew(stream)) this.#events.push({ type: "stream", id: streamId });
    return stream;
  }

  /** After bytes arrived, were read or became unwanted: return credit, tell the end, forget what is over. */
  #afterReceive(stream: Stream): void {
    const recv = stream.recv;
    this.#receiveCredit.consume(recv.takeUnwanted());
    if (recv.isDone && !stream.endTold) {
      stream.endTold = true;
      this.#events.push({ type: "finished", id: stream.id });
    }
    if (recv.isOpen && recv.credit.wantsUpdate && !stream.grantPending) {
      stream.grantPending = true;
      this.#outbound.schedule(stream);
    }
    if (recv.isDone) this.#retire(stream);
  }

  #tellReset(stream: Stream, code: number): void {
    if (stream.endTold) return;
    stream.endTold = true;
    this.#events.push({ type: "reset", id: stream.id, code });
  }

  #retire(stream: Stream): void {
    if (this.#streams.retire(stream)) this.#outbound.forget(stream);
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
    if (largest >= this.#nextPacketNumber) {
      throw new TransportError(CloseCode.protocolViolation, "Peer acknowledges what was never sent", frame.type);
    }
    let count = 0;
    for (let i = frame.rangeCount - 1; i >= 0; i--) {
      count = this.#ledger.acknowledge(frame.ranges[i * 2 + 1]!, frame.ranges[i * 2]!, this.#finished, count);
    }
    if (count === 0) return;
    const newest = this.#finished[count - 1]!;
    if (newest.number === largest) this.#rtt.update(nowUs - newest.sentUs, frame.value, nowUs);
    this.#keys.onAcked(largest);
    this.#loss.onAcked(largest);
    this.#probesPending = 0;
    for (let i = 0; i < count; i++) {
      const packet = this.#finished[i]!;
      this.#controller.onAcked(packet.bytes, packet.sentUs, this.#appLimited);
      if (packet.ackLargest >= 0) this.#received.onAckAcked(packet.ackLargest);
      this.#outbound.onAcked(packet, this.#retireSent);
    }
    this.#ledger.trim();
    this.#detectLosses(nowUs);
  }

  readonly #retireSent = (stream: Stream) => this.#retire(stream);

  #detectLosses(nowUs: number): void {
    const count = this.#loss.detect(nowUs, this.#finished);
    if (count === 0) return;
    // What of a round trip is longer than the shortest one was spent in queues, and so was that share of what is in flight.
    const { minUs, smoothedUs, hasSample } = this.#rtt;
    const backlogBytes = hasSample ? this.#controller.windowBytes * Math.max(0, 1 - minUs / smoothedUs) : Infinity;
    this.#controller.onLost(this.#finished[count - 1]!.sentUs, nowUs, backlogBytes);
    if (this.#loss.isPersistent) this.#controller.onPersistentCongestion();
    this.#resend(count);
  }

  /** The first `count` packets of `#finished` are lost: their content is to be sent again. */
  #resend(count: number): void {
    this.#stats.packetsLost += count;
    for (let i = 0; i < count; i++) this.#outbound.onLost(this.#finished[i]!);
    this.#ledger.trim();
  }

  /** RFC 9002 §6.2.4: two probes, the first with what has waited longest for its acknowledgement. */
  #onLossDeadline(nowUs: number): void {
    if (this.#loss.onDeadline(nowUs)) {
      this.#probesPending = PROBES;
      const oldest = this.#ledger.oldest();
      if (oldest !== undefined) this.#outbound.onLost(oldest);
    } else {
      this.#detectLosses(nowUs);
    }
    this.#rearmLoss();
  }

  #rearmLoss(): void {
    if (this.#closing.isOpen) this.#timers.set(Timer.Loss, this.#loss.deadlineUs);
  }

  /** RFC 9000 §9.4. What was in flight went to where the peer no longer is. */
  #onMoved(nowUs: number): void {
    this.#stats.moves++;
    this.#timers.clear(Timer.Path);
    this.#rtt.reset();
    this.#controller.reset();
    this.#resend(this.#loss.abandon(this.#finished));
    this.#probesPending = 0;
    this.#outbound.ping();
    this.#restartIdle(nowUs);
  }

  // Sending.

  /** PATH_CHALLENGE and PATH_RESPONSE go alone, to where they are meant for, and are neither counted as in flight nor repeated by loss. */
  #transmitPath(buffer: Uint8Array, nowUs: number): number {
    if (this.side === "client" && !this.#path.hasResponse) return 0;
    const challenge = this.#path.takeChallenge(PATH_PACKET_BYTES);
    const frame = challenge ?? this.#path.takeResponse();
    if (frame === undefined) return 0;
    const type = challenge === undefined ? FrameType.PathResponse : FrameType.PathChallenge;
    const end = writePath(buffer, PROTECTED_HEADER_BYTES, type, frame.data);
    this.#transmitTo = frame.address;
    return this.#seal(buffer, end, nowUs);
  }

  #transmitFrames(buffer: Uint8Array, nowUs: number): number {
    const mayElicit = this.#mayElicit(nowUs);
    if (!mayElicit && this.#received.dueUs > nowUs) return 0;
    const packet = this.#ledger.begin();
    let at = PROTECTED_HEADER_BYTES;
    if (this.#received.isOwed) {
      at = this.#received.write(buffer, at, PAYLOAD_END, nowUs);
      packet.ackLargest = this.#received.largest;
      this.#timers.clear(Timer.Ack);
    }
    if (mayElicit) at = this.#fill(buffer, at, packet);
    if (at === PROTECTED_HEADER_BYTES) {
      this.#ledger.release(packet);
      return 0;
    }
    this.#transmitTo = this.#path.peer;
    const packetNumber = this.#nextPacketNumber;
    const bytes = this.#seal(buffer, at, nowUs);
    if (packet.frameCount === 0) this.#ledger.release(packet);
    else this.#onElicitingSent(packet, packetNumber, bytes, nowUs);
    return bytes;
  }

  /** Whether a packet that has to be acknowledged may leave now; sets the pacing timer where it has to wait. */
  #mayElicit(nowUs: number): boolean {
    if (this.#probesPending > 0) return true;
    if (!this.#outbound.hasWork) {
      this.#appLimited = true;
      return false;
    }
    if (this.#ledger.size >= PACKETS_IN_FLIGHT_MAX) return false;
    const windowBytes = this.#controller.windowBytes;
    if (this.#ledger.bytesInFlight + DATAGRAM_BYTES > windowBytes) {
      this.#appLimited = false;
      return false;
    }
    const delayUs = this.#pacer.delayUs(nowUs, windowBytes, this.#rtt.smoothedUs);
    if (delayUs === 0) return true;
    this.#appLimited = false;
    this.#timers.set(Timer.Pacing, nowUs + delayUs);
    return false;
  }

  #fill(buffer: Uint8Array, at: number, packet: SentPacket): number {
    const behind = this.#outbound.fill(buffer, at, PAYLOAD_END, packet);
    if (packet.frameCount > 0) return behind;
    if (this.#probesPending === 0) {
      this.#appLimited = true;
      return behind;
    }
    this.#outbound.ping();
    return this.#outbound.fill(buffer, behind, PAYLOAD_END, packet);
  }

  #onElicitingSent(packet: SentPacket, packetNumber: number, bytes: number, nowUs: number): void {
    this.#ledger.add(packet, packetNumber, nowUs, bytes);
    this.#pacer.onSent(bytes);
    if (this.#probesPending > 0) this.#probesPending--;
    if (!this.#spoken) {
      this.#spoken = true;
      if (this.side === "client") this.#timers.set(Timer.Silence, nowUs + this.#patienceUs);
      this.#restartIdle(nowUs);
    }
    this.#rearmLoss();
  }

  /** Seals what was written up to `end`. @returns Bytes of the datagram. */
  #seal(buffer: Uint8Array, end: number, nowUs: number): number {
    const bytes = this.#keys.seal(buffer, end - PROTECTED_HEADER_BYTES, this.#nextPacketNumber++, nowUs);
    this.#stats.datagramsSent++;
    this.#stats.bytesSent += bytes;
    return bytes;
  }

  // Timers and the end.

  /** RFC 9000 §10.1: never less than three probe timeouts. */
  #restartIdle(nowUs: number): void {
    this.#timers.set(Timer.Idle, nowUs + Math.max(this.#idleTimeoutUs, 3 * this.#rtt.probeTimeoutUs));
    if (this.side === "client") this.#timers.set(Timer.KeepAlive, nowUs + this.#keepAliveUs);
  }

  /** Three probe timeouts: what we said was repeated twice by then. */
  get #patienceUs(): number {
    return Math.max(SILENCE_US_MIN, 3 * this.#rtt.probeTimeoutUs);
  }

  #onSilence(nowUs: number): void {
    const dueUs = this.#timers.get(Timer.Silence);
    if (!this.#timers.take(Timer.Silence, nowUs)) return;
    // Whoever looks this late was away itself: answers may lie unread. We ask again, and listen.
    if (nowUs - dueUs > SILENCE_US_MIN) {
      this.#outbound.ping();
      this.#timers.set(Timer.Silence, nowUs + this.#patienceUs);
    } else if (!this.#silent) {
      this.#silent = true;
      this.#events.push({ type: "silent" });
    }
  }

  #armPath(nowUs: number): void {
    this.#timers.set(Timer.Path, nowUs + this.#rtt.probeTimeoutUs);
  }

  /** While we close only the peer's CLOSE still means something: then nobody needs to hear more. */
  #readClose(packet: Uint8Array, payloadBytes: number, nowUs: number): void {
    const cursor = this.#cursor;
    cursor.start(packet, PROTECTED_HEADER_BYTES, PROTECTED_HEADER_BYTES + payloadBytes);
    try {
      while (cursor.next()) if (cursor.type === FrameType.Close) return this.#drain(nowUs);
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
    }
  }

  #onClose(reason: CloseReason, nowUs: number): void {
    this.#closing.drain(reason);
    this.#afterClose(reason);
    this.#drain(nowUs);
  }

  #drain(nowUs: number): void {
    if (this.#closing.reason !== undefined) this.#closing.drain(this.#closing.reason);
    this.#timers.set(Timer.Close, nowUs + 3 * this.#rtt.probeTimeoutUs);
  }

  #shut(reason: CloseReason, nowUs: number): void {
    this.#closing.begin(reason);
    this.#afterClose(reason);
    this.#timers.set(Timer.Close, nowUs + 3 * this.#rtt.probeTimeoutUs);
  }

  /** Ends without a word: there is nobody to tell. */
  #end(reason: CloseReason): void {
    const wasOpen = this.#closing.isOpen;
    this.#closing.forget(reason);
    this.#timers.clearAll();
    if (wasOpen) this.#afterClose(reason);
  }

  #afterClose(reason: CloseReason): void {
    this.#timers.clearAll();
    this.#events.push({ type: "closed", reason });
  }

  #transmitClose(buffer: Uint8Array, nowUs: number): number {
    const reason = this.#closing.reason!;
    this.#closing.onPacketSent();
    if (this.#nextPacketNumber >= PACKET_NUMBER_LIMIT) return 0;
    const end = writeClose(buffer, PROTECTED_HEADER_BYTES, reason.code, writeReason(reason.reason));
    this.#transmitTo = this.#path.peer;
    return this.#seal(buffer, end, nowUs);
  }
}

/** RFC 9002 §6.2.4. */
const PROBES = 2;
/** Below this a busy machine is taken for a dead one. */
const SILENCE_US_MIN = 200_000;
/** Where the payload ends in a full datagram: the tag follows. */
const PAYLOAD_END = DATAGRAM_BYTES - TAG_BYTES;
/** Header, one frame of nine bytes, tag. */
const PATH_PACKET_BYTES = PROTECTED_HEADER_BYTES + 9 + TAG_BYTES;
/** Packet numbers kept back to say goodbye with. */
const CLOSE_PACKETS_RESERVED = 16;
