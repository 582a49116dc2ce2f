/**
 * Frames (docs/PROTOCOL.md §6): a cursor that decodes them straight from the packet, and one writer for each.
 *
 * The cursor is reused for every frame of every packet: its fields hold the frame it stands on, so decoding allocates
 * nothing. Writers take a target and an offset and return the offset behind them; the caller has checked the room with
 * the size functions.
 */
import { varintBytes, writeVarint } from "../codec/mod.ts";
import { CloseCode, TransportError } from "../errors.ts";
import { CLOSE_REASON_BYTES_MAX, HINT_BYTES_MAX, TICKET_BYTES_MAX } from "../limits.ts";
import type { RangeSet } from "./range_set.ts";

export enum FrameType {
  Padding = 0x00,
  Ping = 0x01,
  Ack = 0x02,
  ResetStream = 0x04,
  StopSending = 0x05,
  /** 0x08 to 0x0b; the cursor reports them all as this one. */
  Stream = 0x08,
  MaxData = 0x10,
  MaxStreamData = 0x11,
  MaxStreams = 0x12,
  PathChallenge = 0x1a,
  PathResponse = 0x1b,
  Close = 0x1c,
  Confirmed = 0x1e,
  Hint = 0x20,
  NewTicket = 0x21,
}

/** How a record of a sent packet notes a STREAM frame that ends its stream. */
export const STREAM_WITH_FIN = 0x09;

/** Whether a packet with a frame of this type has to be acknowledged (docs/PROTOCOL.md §6, last column). */
export function isAckEliciting(type: FrameType): boolean {
  return type !== FrameType.Padding && type !== FrameType.Ack && type !== FrameType.Close;
}

/** Walks the frames of one payload. Fields that the current frame does not have keep older values: look only at its own. */
export class FrameCursor {
  type: FrameType = FrameType.Padding;
  /** RESET_STREAM, STOP_SENDING, STREAM, MAX_STREAM_DATA. */
  streamId = 0;
  /** STREAM: where its data begins in the stream. RESET_STREAM: the final size. */
  offset = 0;
  /** STREAM: nothing follows this data. */
  fin = false;
  /** RESET_STREAM, STOP_SENDING, CLOSE: the code. MAX_*: the new limit. ACK: the delay in microseconds. */
  value = 0;
  /** STREAM, HINT, NEW_TICKET, CLOSE (reason), PATH_*: data is `bytes[dataStart, dataEnd)`. */
  dataStart = 0;
  dataEnd = 0;
  /** ACK: `[high0, low0, high1, low1, …]`, inclusive, descending; `rangeCount` pairs are valid. */
  readonly ranges: number[] = [];
  rangeCount = 0;
  bytes: Uint8Array = EMPTY;
  #at = 0;
  #end = 0;

  /** @param bytes Borrowed until the last {@linkcode next}. */
  start(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** Steps to the next frame; false at the end. @throws TransportError frameEncoding */
  next(): boolean {
    if (this.#at >= this.#end) return false;
    const type = this.#varint();
    this.type = type;
    switch (type) {
      case FrameType.Padding:
      case FrameType.Ping:
      case FrameType.Confirmed:
        return true;
      case FrameType.Ack:
        this.#ack();
        return true;
      case 0x08:
      case 0x09:
      case 0x0a:
      case 0x0b:
        this.type = FrameType.Stream;
        this.fin = (type & 0x01) !== 0;
        this.streamId = this.#varint();
        this.offset = this.#varint();
        this.#data((type & 0x02) !== 0 ? this.#varint() : this.#end - this.#at);
        if (this.offset + (this.dataEnd - this.dataStart) > Number.MAX_SAFE_INTEGER) this.#fail("stream is too long");
        return true;
      case FrameType.ResetStream:
        this.streamId = this.#varint();
        this.value = this.#varint();
        this.offset = this.#varint();
        return true;
      case FrameType.StopSending:
      case FrameType.MaxStreamData:
        this.streamId = this.#varint();
        this.value = this.#varint();
        return true;
      case FrameType.MaxData:
      case FrameType.MaxStreams:
        this.value = this.#varint();
        return true;
      case FrameType.PathChallenge:
      case FrameType.PathResponse:
        this.#data(PATH_DATA_BYTES);
        return true;
      case FrameType.Close:
        this.value = this.#varint();
        this.#bounded(CLOSE_REASON_BYTES_MAX);
        return true;
      case FrameType.Hint:
        this.#bounded(HINT_BYTES_MAX);
        return true;
      case FrameType.NewTicket:
        this.#bounded(TICKET_BYTES_MAX);
        return true;
      default:
        return this.#fail("type is unknown");
    }
  }

  /** A copy of the current frame's data. */
  data(): Uint8Array {
    return this.bytes.slice(this.dataStart, this.dataEnd);
  }

  /** RFC 9000 §19.3.1. */
  #ack(): void {
    let high = this.#varint();
    this.value = this.#varint();
    const gaps = this.#varint();
    let low = high - this.#varint();
    if (low < 0) this.#fail("range begins below zero");
    this.ranges[0] = high;
    this.ranges[1] = low;
    let count = 1;
    for (let i = 0; i < gaps; i++) {
      high = low - this.#varint() - 2;
      low = high - this.#varint();
      if (low < 0) this.#fail("range begins below zero");
      this.ranges[count * 2] = high;
      this.ranges[count * 2 + 1] = low;
      count++;
    }
    this.rangeCount = count;
  }

  #bounded(lengthMax: number): void {
    const length = this.#varint();
    if (length > lengthMax) this.#fail(`length is ${length}, at most ${lengthMax}`);
    this.#data(length);
  }

  #data(length: number): void {
    if (length > this.#end - this.#at) this.#fail("packet ends inside it");
    this.dataStart = this.#at;
    this.#at += length;
    this.dataEnd = this.#at;
  }

  /** RFC 9000 §16, inline: this is the hottest loop of receiving. */
  #varint(): number {
    const bytes = this.bytes, at = this.#at;
    if (at >= this.#end) this.#fail("packet ends inside it");
    const first = bytes[at]!;
    if (first < 0x40) {
      this.#at = at + 1;
      return first;
    }
    const length = 1 << (first >>> 6);
    if (length > this.#end - at) this.#fail("packet ends inside it");
    this.#at = at + length;
    if (length === 2) return (first & 0x3f) << 8 | bytes[at + 1]!;
    const high = ((first & 0x3f) << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0;
    if (length === 4) return high;
    const low = (bytes[at + 4]! << 24 | bytes[at + 5]! << 16 | bytes[at + 6]! << 8 | bytes[at + 7]!) >>> 0;
    const value = high * 2 ** 32 + low;
    if (value > Number.MAX_SAFE_INTEGER) this.#fail("varint is above 2^53-1");
    return value;
  }

  #fail(what: string): never {
    throw new TransportError(CloseCode.frameEncoding, `Cannot decode frame: ${what}`, this.type);
  }
}

/** Bytes of a STREAM frame before its length and data. */
export function streamHeaderBytes(streamId: number, offset: number): number {
  return 1 + varintBytes(streamId) + varintBytes(offset);
}

/** The data follows; without a length it reaches to the end of the packet. */
export function writeStreamHeader(
  target: Uint8Array,
  at: number,
  frame: { streamId: number; offset: number; length: number | undefined; fin: boolean },
): number {
  target[at++] = FrameType.Stream | (frame.fin ? 0x01 : 0) | (frame.length === undefined ? 0 : 0x02);
  at = writeVarint(target, at, frame.streamId);
  at = writeVarint(target, at, frame.offset);
  return frame.length === undefined ? at : writeVarint(target, at, frame.length);
}

/**
 * Acknowledges `received`, newest first, as many ranges as fit below `limit`.
 *
 * @param received Not empty.
 * @param delayUs How long the largest has been held back.
 * @returns `at` where not even one range fits.
 */
export function writeAck(target: Uint8Array, at: number, limit: number, received: RangeSet, delayUs: number): number {
  let index = received.count - 1;
  const largest = received.end(index) - 1;
  const first = largest - received.start(index);
  const fixedBytes = 1 + varintBytes(largest) + varintBytes(delayUs) + 2 + varintBytes(first);
  if (at + fixedBytes > limit) return at;
  const room = limit - at - fixedBytes;
  let gaps = 0, gapsBytes = 0;
  for (let i = index; i > 0 && gaps < 0x3fff; i--) {
    const bytes = varintBytes(received.start(i) - received.end(i - 1) - 1) +
      varintBytes(received.end(i - 1) - 1 - received.start(i - 1));
    if (gapsBytes + bytes > room) break;
    gapsBytes += bytes;
    gaps++;
  }
  target[at++] = FrameType.Ack;
  at = writeVarint(target, at, largest);
  at = writeVarint(target, at, delayUs);
  at = writeVarint(target, at, gaps);
  at = writeVarint(target, at, first);
  for (; gaps > 0; gaps--, index--) {
    const start = received.start(index - 1), end = received.end(index - 1);
    at = writeVarint(target, at, received.start(index) - end - 1);
    at = writeVarint(target, at, end - 1 - start);
  }
  return at;
}

/** PING, CONFIRMED. */
export function writeBare(target: Uint8Array, at: number, type: FrameType): number {
  target[at] = type;
  return at + 1;
}

/** MAX_DATA, MAX_STREAMS: at most 9 bytes. */
export function writeLimit(target: Uint8Array, at: number, type: FrameType, limit: number): number {
  target[at] = type;
  return writeVarint(target, at + 1, limit);
}

/** MAX_STREAM_DATA, STOP_SENDING: at most 17 bytes. */
export function writeStreamValue(
  target: Uint8Array,
  at: number,
  type: FrameType,
  streamId: number,
  value: number,
): number {
  target[at] = type;
  return writeVarint(target, writeVarint(target, at + 1, streamId), value);
}

/** At most 25 bytes. */
export function writeResetStream(
  target: Uint8Array,
  at: number,
  frame: { streamId: number; code: number; finalSize: number },
): number {
  target[at++] = FrameType.ResetStream;
  at = writeVarint(target, at, frame.streamId);
  at = writeVarint(target, at, frame.code);
  return writeVarint(target, at, frame.finalSize);
}

/** PATH_CHALLENGE, PATH_RESPONSE: 9 bytes. @param data 8 bytes. */
export function writePath(target: Uint8Array, at: number, type: FrameType, data: Uint8Array): number {
  target[at] = type;
  target.set(data, at + 1);
  return at + 1 + PATH_DATA_BYTES;
}

/** HINT, NEW_TICKET: 3 bytes and the data at most. */
export function writeBlob(target: Uint8Array, at: number, type: FrameType, data: Uint8Array): number {
  target[at] = type;
  at = writeVarint(target, at + 1, data.length);
  target.set(data, at);
  return at + data.length;
}

/** @param reason UTF-8, at most CLOSE_REASON_BYTES_MAX. */
export function writeClose(target: Uint8Array, at: number, code: number, reason: Uint8Array): number {
  target[at] = FrameType.Close;
  at = writeVarint(target, at + 1, code);
  at = writeVarint(target, at, reason.length);
  target.set(reason, at);
  return at + reason.length;
}

/** Bytes of the data in PATH_CHALLENGE and PATH_RESPONSE. */
export const PATH_DATA_BYTES = 8;
/** No control frame without a blob is larger than this. */
export const CONTROL_FRAME_BYTES_MAX = 25;
const EMPTY = new Uint8Array(0);
