/**
 * Everything that waits to be sent, and how it gets into a packet: control frames, hints, then streams by priority.
 *
 * What is pending is state, not a queue of frames: a limit that changes twice before it leaves is sent once, and nothing a
 * peer does makes this grow.
 */
import { varintBytes } from "../codec/mod.ts";
import { HINTS_QUEUED_MAX, STREAM_WINDOW_BYTES_MAX } from "../limits.ts";
import type { ReceiveCredit, SendCredit } from "./flow_control.ts";
import {
  CONTROL_FRAME_BYTES_MAX,
  FrameType,
  STREAM_WITH_FIN,
  streamHeaderBytes,
  writeBare,
  writeBlob,
  writeLimit,
  writeResetStream,
  writeStreamHeader,
  writeStreamValue,
} from "./frame.ts";
import type { Copy } from "./redundancy.ts";
import type { RttEstimator } from "./rtt.ts";
import { Scheduler } from "./scheduler.ts";
import type { SentPacket } from "./sent_packets.ts";
import type { Stream } from "./stream.ts";
import type { Streams } from "./streams.ts";

export class Outbound {
  readonly #streams: Streams;
  readonly #sendCredit: SendCredit;
  readonly #receiveCredit: ReceiveCredit;
  readonly #rtt: RttEstimator;
  readonly #scheduler = new Scheduler();
  /** Streams with a reset, a stop or a grant to send. */
  #control: Stream[] = [];
  readonly #hints: Uint8Array[] = [];
  #ticket: Uint8Array | undefined;
  /** Counts tickets, so that the loss of an older one is not answered with the newer one. */
  #ticketNumber = 0;
  #ticketPending = false;
  #pingPending = false;
  #confirmedPending = false;
  #maxDataPending = false;
  #maxStreamsPending = false;
  #bufferedBytes = 0;

  constructor(parts: { streams: Streams; sendCredit: SendCredit; receiveCredit: ReceiveCredit; rtt: RttEstimator }) {
    this.#streams = parts.streams;
    this.#sendCredit = parts.sendCredit;
    this.#receiveCredit = parts.receiveCredit;
    this.#rtt = parts.rtt;
  }

  /** Stream bytes written and not yet acknowledged. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** Whether {@linkcode fill} may find something: streams that turn out to lack credit count too. */
  get hasWork(): boolean {
    return !this.#scheduler.isEmpty || this.#control.length > 0 || this.#pingPending || this.#confirmedPending ||
      this.#maxDataPending || this.#maxStreamsPending || this.#ticketPending || this.#hints.length > 0 ||
      this.#receiveCredit.wantsUpdate || this.#streams.wantsGrant;
  }

  ping(): void {
    this.#pingPending = true;
  }

  confirm(): void {
    this.#confirmedPending = true;
  }

  /** A newer ticket replaces one that was not delivered yet. */
  ticket(bytes: Uint8Array): void {
    this.#ticket = bytes;
    this.#ticketNumber++;
    this.#ticketPending = true;
  }

  /** Queues an unreliable datagram; too many waiting drop the oldest. */
  hint(bytes: Uint8Array): void {
    if (this.#hints.length >= HINTS_QUEUED_MAX) this.#hints.shift();
    this.#hints.push(bytes);
  }

  write(stream: Stream, bytes: Uint8Array, fin: boolean): void {
    if (stream.send.isFinished) return;
    stream.send.write(bytes);
    this.#bufferedBytes += bytes.length;
    if (fin) stream.send.finish();
    this.schedule(stream);
  }

  reset(stream: Stream, code: number): void {
    this.#bufferedBytes -= stream.send.reset(code);
    this.schedule(stream);
  }

  /** Queues whatever the stream has to send, once the peer lets the stream exist. */
  schedule(stream: Stream): void {
    if (!this.#streams.maySend(stream)) return;
    if (stream.send.hasWork) this.#scheduler.add(stream);
    const control = stream.send.resetPending || stream.recv.stopPending || stream.grantPending;
    if (control && !stream.isControlQueued) {
      stream.isControlQueued = true;
      this.#control.push(stream);
    }
  }

  /** MAX_DATA: the peer lets the connection send more in all. */
  raiseCredit(limitBytes: number): void {
    if (this.#sendCredit.raise(limitBytes)) this.#scheduler.unblock();
  }

  forget(stream: Stream): void {
    this.#scheduler.forget(stream);
  }

  /**
   * Writes as many frames as fit into `target[at, limit)` and notes them in `packet`, which knows when it is sent.
   *
   * @returns The offset behind the last one.
   */
  fill(target: Uint8Array, at: number, limit: number, packet: SentPacket): number {
    at = this.#fillConnection(target, at, limit, packet);
    if (this.#control.length > 0) at = this.#fillControl(target, at, limit, packet);
    if (this.#hints.length > 0) at = this.#fillHints(target, at, limit, packet);
    return this.#fillStreams(target, at, limit, packet);
  }

  /**
   * Writes what nobody has acknowledged of a piece that was sent before.
   *
   * @returns The offset behind it: `at` where it is not needed any more, -1 where there is no room for it.
   */
  fillCopy(target: Uint8Array, at: number, limit: number, packet: SentPacket, copy: Copy): number {
    const { streamId, end } = copy, stream = this.#streams.get(streamId);
    if (stream === undefined) return at;
    const offset = stream.send.unackedFrom(copy.offset, end, copy.fin);
    if (offset < 0) return at;
    const bytes = end - offset;
    if (streamHeaderBytes(streamId, offset) + varintBytes(bytes) + bytes > limit - at) return -1;
    const fin = copy.fin;
    at = writeStreamHeader(target, at, { streamId, offset, length: bytes, fin });
    stream.send.copyTo(target, at, offset, bytes);
    packet.note(fin ? STREAM_WITH_FIN : FrameType.Stream, streamId, offset, end);
    return at + bytes;
  }

  /** Content of a lost packet that is still of use will be sent again. */
  onLost(packet: SentPacket): void {
    const frames = packet.frames;
    for (let i = 0; i < packet.frameCount * 4; i += 4) {
      const type = frames[i]!;
      switch (type) {
        case FrameType.Confirmed:
          this.#confirmedPending = true;
          break;
        case FrameType.MaxData:
          this.#maxDataPending = true;
          break;
        case FrameType.MaxStreams:
          this.#maxStreamsPending = true;
          break;
        case FrameType.NewTicket:
          if (frames[i + 1] === this.#ticketNumber && this.#ticket !== undefined) this.#ticketPending = true;
          break;
        default: {
          const stream = this.#streams.get(frames[i + 1]!);
          if (stream === undefined) break;
          if (type === FrameType.Stream) stream.send.onLost(frames[i + 2]!, frames[i + 3]!, false);
          else if (type === STREAM_WITH_FIN) stream.send.onLost(frames[i + 2]!, frames[i + 3]!, true);
          else if (type === FrameType.ResetStream) stream.send.onResetLost();
          else if (type === FrameType.StopSending) stream.recv.onStopLost();
          else if (type === FrameType.MaxStreamData) stream.grantPending = stream.recv.isOpen;
          this.schedule(stream);
        }
      }
    }
  }

  /** @param onDone Called for each stream whose sending half ended by this. */
  onAcked(packet: SentPacket, onDone: (stream: Stream) => void): void {
    const frames = packet.frames;
    for (let i = 0; i < packet.frameCount * 4; i += 4) {
      const type = frames[i]!;
      if (type === FrameType.NewTicket && frames[i + 1] === this.#ticketNumber) this.#ticket = undefined;
      if (type !== FrameType.Stream && type !== STREAM_WITH_FIN && type !== FrameType.ResetStream) continue;
      const stream = this.#streams.get(frames[i + 1]!);
      if (stream === undefined) continue;
      if (type === FrameType.ResetStream) stream.send.onResetAcked();
      else this.#bufferedBytes -= stream.send.onAcked(frames[i + 2]!, frames[i + 3]!, type === STREAM_WITH_FIN);
      if (stream.send.isDone) onDone(stream);
    }
  }

  /** Frames that are about the connection. */
  #fillConnection(target: Uint8Array, at: number, limit: number, packet: SentPacket): number {
    if (this.#pingPending && at < limit) {
      this.#pingPending = false;
      packet.note(FrameType.Ping);
      at = writeBare(target, at, FrameType.Ping);
    }
    if (this.#confirmedPending && at < limit) {
      this.#confirmedPending = false;
      packet.note(FrameType.Confirmed);
      at = writeBare(target, at, FrameType.Confirmed);
    }
    if ((this.#maxDataPending || this.#receiveCredit.wantsUpdate) && limit - at >= CONTROL_FRAME_BYTES_MAX) {
      this.#maxDataPending = false;
      packet.note(FrameType.MaxData);
      at = writeLimit(target, at, FrameType.MaxData, this.#receiveCredit.grant());
    }
    if ((this.#maxStreamsPending || this.#streams.wantsGrant) && limit - at >= CONTROL_FRAME_BYTES_MAX) {
      this.#maxStreamsPending = false;
      packet.note(FrameType.MaxStreams);
      at = writeLimit(target, at, FrameType.MaxStreams, this.#streams.grant());
    }
    const ticket = this.#ticket;
    if (this.#ticketPending && ticket !== undefined && limit - at >= ticket.length + BLOB_HEADER_BYTES_MAX) {
      this.#ticketPending = false;
      packet.note(FrameType.NewTicket, this.#ticketNumber);
      at = writeBlob(target, at, FrameType.NewTicket, ticket);
    }
    return at;
  }

  /** Frames that are about one stream, except its data. */
  #fillControl(target: Uint8Array, at: number, limit: number, packet: SentPacket): number {
    let done = 0;
    for (; done < this.#control.length && limit - at >= 3 * CONTROL_FRAME_BYTES_MAX; done++) {
      const stream = this.#control[done]!, streamId = stream.id;
      stream.isControlQueued = false;
      if (stream.send.resetPending) {
        stream.send.onResetSent();
        packet.note(FrameType.ResetStream, streamId);
        const frame = { streamId, code: stream.send.resetCode, finalSize: stream.send.sentBytes };
        at = writeResetStream(target, at, frame);
      }
      if (stream.recv.stopPending) {
        stream.recv.onStopSent();
        packet.note(FrameType.StopSending, streamId);
        at = writeStreamValue(target, at, FrameType.StopSending, streamId, stream.recv.stopCode);
      }
      if (stream.grantPending) {
        stream.grantPending = false;
        this.#growWindow(stream.recv.credit, packet.sentUs);
        packet.note(FrameType.MaxStreamData, streamId);
        at = writeStreamValue(target, at, FrameType.MaxStreamData, streamId, stream.recv.credit.grant());
      }
    }
    this.#control = done === this.#control.length ? [] : this.#control.slice(done);
    return at;
  }

  /** Half of the connection's window at most: the other half is for everybody else. */
  #growWindow(credit: ReceiveCredit, nowUs: number): void {
    const windowBytesMax = Math.min(STREAM_WINDOW_BYTES_MAX, Math.floor(this.#receiveCredit.windowBytes / 2));
    if (this.#rtt.hasSample) credit.grow(nowUs, this.#rtt.smoothedUs, windowBytesMax);
  }

  #fillHints(target: Uint8Array, at: number, limit: number, packet: SentPacket): number {
    while (this.#hints.length > 0 && limit - at >= this.#hints[0]!.length + BLOB_HEADER_BYTES_MAX) {
      packet.note(FrameType.Hint);
      at = writeBlob(target, at, FrameType.Hint, this.#hints.shift()!);
    }
    return at;
  }

  #fillStreams(target: Uint8Array, at: number, limit: number, packet: SentPacket): number {
    while (limit - at >= STREAM_ROOM_BYTES_MIN) {
      const stream = this.#scheduler.take();
      if (stream === undefined) break;
      const send = stream.send;
      if (!send.prepare(this.#sendCredit.available)) {
        // With credit of its own it waits for the connection's; otherwise MAX_STREAM_DATA schedules it.
        if (send.hasWork && send.credit.available > 0) this.#scheduler.block(stream);
        continue;
      }
      const offset = send.pieceOffset, room = limit - at - streamHeaderBytes(stream.id, offset);
      // A frame that has no room for a length reaches to the end of the packet, and is its last.
      const isLast = send.pieceBytes + varintBytes(send.pieceBytes) > room;
      const bytes = Math.min(send.pieceBytes, room), end = offset + bytes, fin = send.finAt(end);
      at = writeStreamHeader(target, at, { streamId: stream.id, offset, length: isLast ? undefined : bytes, fin });
      this.#sendCredit.use(send.send(target, at, bytes));
      at += bytes;
      packet.note(fin ? STREAM_WITH_FIN : FrameType.Stream, stream.id, offset, end);
      if (send.hasWork) this.#scheduler.add(stream);
      if (isLast) break;
    }
    return at;
  }
}

/** Header of a STREAM frame at its largest, and some data that makes it worth while. */
const STREAM_ROOM_BYTES_MIN = 32;
const BLOB_HEADER_BYTES_MAX = 3;
