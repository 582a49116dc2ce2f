/** What arrives on streams, and what the application is told of it (RFC 9000 §3.2, §3.5, §4). */
import type { EventQueue } from "./events.ts";
import type { ReceiveCredit } from "./flow_control.ts";
import { type FrameCursor, FrameType } from "./frame.ts";
import type { Outbound } from "./outbound.ts";
import type { Stream } from "./stream.ts";
import type { Streams } from "./streams.ts";

export interface InboundParts {
  readonly streams: Streams;
  readonly receiveCredit: ReceiveCredit;
  readonly outbound: Outbound;
  readonly events: EventQueue;
}

export class Inbound {
  readonly #streams: Streams;
  readonly #receiveCredit: ReceiveCredit;
  readonly #outbound: Outbound;
  readonly #events: EventQueue;
  #repeated = false;

  constructor(parts: InboundParts) {
    this.#streams = parts.streams;
    this.#receiveCredit = parts.receiveCredit;
    this.#outbound = parts.outbound;
    this.#events = parts.events;
  }

  /** Takes a frame that is about streams or their credit. @returns Whether it was. @throws TransportError */
  handle(frame: FrameCursor): boolean {
    switch (frame.type) {
      case FrameType.Stream:
        this.#onStream(frame);
        return true;
      case FrameType.ResetStream:
        this.#onResetStream(frame);
        return true;
      case FrameType.StopSending:
        this.#onStopSending(frame);
        return true;
      case FrameType.MaxData:
        this.#outbound.raiseCredit(frame.value);
        return true;
      case FrameType.MaxStreamData:
        this.#onMaxStreamData(frame);
        return true;
      case FrameType.MaxStreams:
        this.#streams.raiseLimit(frame.value, this.#schedule);
        return true;
      default:
        return false;
    }
  }

  /** Whether stream data came that was here already: the peer misses acknowledgements. Asking again says no. */
  takeRepeated(): boolean {
    const repeated = this.#repeated;
    this.#repeated = false;
    return repeated;
  }

  /** The next contiguous bytes of a stream, owned by the caller; `undefined` where there are none now. */
  read(streamId: number): Uint8Array | undefined {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return undefined;
    stream.isReadableQueued = false;
    const chunk = stream.recv.read();
    if (chunk === undefined) return undefined;
    this.#receiveCredit.consume(chunk.length);
    this.#settle(stream);
    return chunk;
  }

  /** Nobody wants to read any more: the peer is asked to stop. */
  stop(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.recv.stop(code);
    stream.endTold = true;
    this.#outbound.schedule(stream);
    this.#settle(stream);
  }

  /** Forgets a stream that is over on both sides. */
  readonly retire = (stream: Stream): void => {
    if (this.#streams.retire(stream)) this.#outbound.forget(stream);
  };

  readonly #schedule = (stream: Stream): void => this.#outbound.schedule(stream);

  #onStream(frame: FrameCursor): void {
    const stream = this.#named(frame.streamId);
    if (stream === undefined) {
      this.#repeated = true;
      return;
    }
    const rise = stream.recv.receive(frame.offset, frame.bytes, frame.dataStart, frame.dataEnd, frame.fin);
    if (rise <= 0 && frame.dataEnd > frame.dataStart) this.#repeated = true;
    this.#receiveCredit.receive(rise);
    if (stream.recv.hasData && !stream.isReadableQueued) {
      stream.isReadableQueued = true;
      this.#events.push({ type: "readable", id: stream.id });
    }
    this.#settle(stream);
  }

  #onResetStream(frame: FrameCursor): void {
    const stream = this.#named(frame.streamId);
    if (stream === undefined) return;
    this.#receiveCredit.receive(stream.recv.receiveReset(frame.offset));
    this.#tellReset(stream, frame.value);
    this.#settle(stream);
  }

  /** RFC 9000 §3.5: who is asked to stop answers with a reset. */
  #onStopSending(frame: FrameCursor): void {
    const stream = this.#named(frame.streamId);
    if (stream === undefined) return;
    this.#outbound.reset(stream, frame.value);
    this.#tellReset(stream, frame.value);
  }

  #onMaxStreamData(frame: FrameCursor): void {
    const stream = this.#named(frame.streamId);
    if (stream !== undefined && stream.send.credit.raise(frame.value)) this.#outbound.schedule(stream);
  }

  #named(streamId: number): Stream | undefined {
    const stream = this.#streams.fromPeer(streamId);
    if (stream !== undefined && this.#streams.isNew(stream)) this.#events.push({ type: "stream", id: streamId });
    return stream;
  }

  /** After bytes arrived, were read or became unwanted: return credit, tell the end, forget what is over. */
  #settle(stream: Stream): void {
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
    if (recv.isDone) this.retire(stream);
  }

  #tellReset(stream: Stream, code: number): void {
    if (stream.endTold) return;
    stream.endTold = true;
    this.#events.push({ type: "reset", id: stream.id, code });
  }
}
