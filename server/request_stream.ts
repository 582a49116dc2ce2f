/**
 * One stream of requests (docs/PROTOCOL.md §7): they are answered in order, one after the other; appends alone are pipelined. It
 * holds what waits within the connection's bounds, and refuses so that no append overtakes one that was refused.
 */
import { DecodeError, decodeOwn, unknownTag, write, Writer } from "../shared/codec/mod.ts";
import { ErrorCode, RequestError } from "../shared/errors.ts";
import { COMMIT_BYTES_MAX, STRANGER_BYTES_MAX } from "../shared/limits.ts";
import type { ChannelStream, StreamHandler } from "../shared/net/channel.ts";
import {
  type DeviceId,
  type Request,
  request as requestSchema,
  type RequestOf,
  type RequestType,
  type Response,
  response as responseSchema,
  type UserName,
} from "../shared/protocol/mod.ts";
import type { Appender, AppendQueue } from "./append_queue.ts";
import { type Command, commands, type Handler } from "./commands.ts";
import type { Caller, Services } from "./context.ts";
import { busy, BUSY_MS, explain, NOT_LOGGED_IN, type Refusal } from "./refusal.ts";
import { checkRights } from "./rights.ts";
import type { Session } from "./sessions.ts";
import type { AppendResult, StoreAppend } from "./store/store.ts";
import type { Held, Turns } from "./turns.ts";

/** The connection that the stream is one of. */
export interface RequestConnection extends Caller {
  readonly options: { readonly services: Services; readonly appends: AppendQueue };
  readonly turns: Turns;
  /** Takes from this connection's bucket: 0, or the milliseconds to wait. */
  takeToken(rate: "request" | "append"): number;
  /** A message that its schema refuses: the peer is no client of ours, or not of this version. */
  malformed(reason: string): void;
  /** Our own bug: this connection ends, the server goes on. */
  failed(error: unknown): void;
}

/** One stream of requests. */
export class RequestStream implements StreamHandler, Appender, Held {
  readonly #stream: ChannelStream;
  readonly #connection: RequestConnection;
  /** Requests that wait for those before them. */
  readonly #queue: { readonly request: Asked; readonly bytes: number }[] = [];
  /** A request other than an append is being answered. */
  #busy = false;
  /** Appends that the store has not judged yet. */
  #appending = 0;
  /** What the first refused append was told: all behind it on this stream hear the same, so that none overtakes it. */
  #refusal: Refusal | undefined;
  /** A refusal to be sent when the appends before it are answered; nothing behind it is read. */
  #late: { readonly record: StoreAppend; readonly refusal: Refusal } | undefined;
  /** The store is too slow to read on. */
  #isHeld = false;
  /** The peer sends nothing more, or must not. */
  #inputEnded = false;
  #gone = false;

  constructor(stream: ChannelStream, connection: RequestConnection) {
    this.#stream = stream;
    this.#connection = connection;
  }

  onMessage(message: Uint8Array): void {
    if (this.#inputEnded) return;
    const request = this.#decode(message);
    if (request === undefined) return;
    const { turns, standing } = this.#connection;
    if (request.type === "append" && !this.#busy && this.#queue.length === 0 && !turns.isBehind) {
      return this.#append(request);
    }
    const bytesMax = standing.rights === "session" ? QUEUE_BYTES_MAX : STRANGER_BYTES_MAX;
    if (this.#queue.length >= QUEUE_MAX || turns.queuedBytes + message.length > bytesMax) return this.#giveUp();
    turns.queuedBytes += message.length;
    this.#queue.push({ request, bytes: message.length });
    this.#advance();
  }

  onFinish(): void {
    this.#inputEnded = true;
    this.#finishIfDone();
  }

  onReset(): void {
    this.#inputEnded = true;
    this.#gone = true;
    this.#dropQueue();
  }

  /** A turn has come. */
  resume(): void {
    this.#advance();
  }

  get refusing(): boolean {
    return this.#refusal !== undefined;
  }

  settled(record: StoreAppend, result: AppendResult): void {
    const { standing, options } = this.#connection;
    if (result.status === "stored") {
      options.services.counters.stored += result.duplicate ? 0 : 1;
      if (result.duplicate && standing.rights === "session") standing.session.sent.delete(record.messageId);
      this.#answerAppend(
        { type: "stored", messageId: record.messageId, seq: result.seq, timeMs: result.timeMs },
      );
      return;
    }
    if (result.status === "not-member") {
      return this.refused(record, ErrorCode.forbidden, "You are not in this conversation");
    }
    this.#refuse(record, {
      code: ErrorCode.staleEpoch,
      message: "The conversation has moved on: read it, and seal again",
      epoch: result.epoch,
      retryAfterMs: 0,
    });
  }

  refused(record: StoreAppend, code: ErrorCode, message: string): void {
    this.#refuse(record, { code, message, epoch: 0, retryAfterMs: 0 });
  }

  #refuse(record: StoreAppend, refusal: Refusal): void {
    this.#refusal ??= refusal;
    const { standing } = this.#connection;
    if (standing.rights === "session") standing.session.sent.delete(record.messageId);
    this.#answerAppend({ type: "error", ...this.#refusal, messageId: record.messageId });
  }

  #answerAppend(response: Response): void {
    this.#appending--;
    this.#send(response);
    if (this.#appending === 0) this.#advance();
  }

  #decode(message: Uint8Array): Asked | undefined {
    try {
      const request = decodeOwn(requestSchema, message);
      const { bytesMax } = commands[request.type];
      if (message.length <= bytesMax) return request;
      this.#connection.malformed(`${request.type} has ${message.length} bytes, at most ${bytesMax}`);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      if (unknownTag(requestSchema, message) !== undefined) return UNKNOWN;
      this.#connection.malformed(error.message);
    }
    this.#inputEnded = true;
    return undefined;
  }

  /** Hands an append to the store's next batch; the hot path of the whole server. */
  #append(append: RequestOf<"append">): void {
    const { standing, options } = this.#connection;
    const { conversation, messageId, expectedEpoch, body } = append;
    const session = standing.rights === "session" ? standing.session : undefined;
    const record: StoreAppend = {
      conversation,
      messageId,
      expectedEpoch,
      body,
      user: session?.user ?? NO_USER,
      device: session?.device ?? NO_DEVICE,
      nowMs: options.services.nowMs(),
    };
    this.#appending++;
    if (this.#refusal !== undefined && this.#appending === 1) return this.#refuse(record, this.#refusal);
    // Behind a refusal, and behind others that wait, the queue refuses it in its turn.
    const refusal = this.#refusal === undefined ? this.#judge(session) : undefined;
    if (refusal !== undefined) return this.#refuseBehind(record, refusal);
    if (!options.appends.submit(record, this)) return this.#refuseBehind(record, busy(BUSY_MS));
    if (options.appends.isCongested) this.#holdReading();
    if (session === undefined) return;
    if (session.sent.size >= SENT_MARKS_MAX) session.sent.clear();
    session.sent.add(messageId);
  }

  /** Nobody reads from this stream until the store has caught up: the client's window closes, and it sends no more. */
  #holdReading(): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    // Behind what is being read at this moment.
    queueMicrotask(() => this.#stream.handler = undefined);
    this.#connection.options.appends.whenRoom(() => {
      this.#isHeld = false;
      this.#stream.handler = this;
    });
  }

  #judge(session: Session | undefined): Refusal | undefined {
    if (session === undefined) return NOT_LOGGED_IN;
    const waitMs = this.#connection.takeToken("append");
    return waitMs > 0 ? busy(waitMs) : undefined;
  }

  /** Refuses an append that was not handed in, while others of this stream may be under way: its answer comes behind theirs. */
  #refuseBehind(record: StoreAppend, refusal: Refusal): void {
    if (this.#appending === 1) return this.#refuse(record, refusal);
    this.#appending--;
    this.#inputEnded = true;
    this.#dropQueue();
    this.#late = { record, refusal };
  }

  /** Takes up what waits, as far as its turn has come. */
  #advance(): void {
    if (this.#late !== undefined && this.#appending === 0) {
      const { record, refusal } = this.#late;
      this.#late = undefined;
      this.#appending++;
      return this.#refuse(record, refusal);
    }
    const { turns } = this.#connection;
    while (!this.#busy && this.#queue.length > 0) {
      const { request, bytes } = this.#queue[0]!, weight = bytes + answerBytesMax(request);
      if (request.type !== "append" && this.#appending > 0) return;
      if (request.type === "append" ? turns.isBehind : !turns.isFreeFor(weight)) return turns.hold(this);
      this.#queue.shift();
      turns.queuedBytes -= bytes;
      if (request.type === "append") {
        this.#append(request);
      } else {
        this.#busy = true;
        turns.begin(weight);
        this.#answer(request, weight);
      }
    }
    this.#finishIfDone();
  }

  async #answer(request: Exclude<Asked, { type: "append" }>, weight: number): Promise<void> {
    let response: Response;
    try {
      response = await this.#perform(request);
    } catch (error) {
      const { response: refusal, isOurs } = explain(error);
      if (isOurs) {
        this.#connection.options.services.logger.log("error", "request-failed", { request: request.type, error });
      }
      response = refusal;
    }
    this.#busy = false;
    try {
      this.#send(response);
    } catch (error) {
      // An answer that its own schema refuses is our bug; it must not end the connections of everybody else.
      this.#connection.failed(error);
    }
    this.#connection.turns.done(weight);
    this.#advance();
  }

  #perform(request: Exclude<Asked, { type: "append" }>): Response | Promise<Response> {
    if (request.type === UNKNOWN.type) return this.#refuseUnknown();
    const command = commands[request.type] as Command<RequestType>;
    checkRights(command.rights, this.#connection.standing);
    this.#takeToken(command.rate);
    return (command.handle as Handler<RequestType>)(request, this.#connection, this.#connection.options.services);
  }

  /** Whatever it is, a newer client asks it: it hears so from whoever it is to, logged in or not, and its connection goes on. */
  #refuseUnknown(): never {
    this.#takeToken("request");
    throw new RequestError(ErrorCode.unsupported, "This server is too old for that request");
  }

  #takeToken(rate: "request" | "append"): void {
    const waitMs = this.#connection.takeToken(rate);
    if (waitMs > 0) throw new RequestError(ErrorCode.busy, "Too many requests: wait a moment", waitMs);
  }

  #send(response: Response): void {
    if (this.#gone) return;
    WRITER.reset();
    write(responseSchema, WRITER, response);
    this.#stream.send(WRITER.view());
  }

  /** The peer has finished and has all its answers: so have we. */
  #finishIfDone(): void {
    if (!this.#inputEnded || this.#gone || this.#busy || this.#appending > 0 || this.#queue.length > 0) return;
    this.#gone = true;
    this.#stream.finish();
  }

  /** Far more than a client of ours ever has under way. */
  #giveUp(): void {
    this.#inputEnded = true;
    this.#gone = true;
    this.#dropQueue();
    this.#stream.reset(ErrorCode.busy);
  }

  #dropQueue(): void {
    for (const { bytes } of this.#queue.splice(0)) this.#connection.turns.queuedBytes -= bytes;
  }
}

/** What came on a stream: a request, or one of a kind that this version does not have. */
type Asked = Request | typeof UNKNOWN;

function answerBytesMax({ type }: Asked): number {
  return type === UNKNOWN.type ? 0 : commands[type].answerBytesMax ?? 0;
}

const UNKNOWN = { type: "unknown" } as const;
const NO_USER = "" as UserName;
const NO_DEVICE = "" as DeviceId;
/** Responses are copied by the stream that sends them, so one buffer serves all. */
const WRITER = new Writer(4096);
/** Requests that may wait on one stream, and their bytes on all streams of a connection. */
const QUEUE_MAX = 1024;
const QUEUE_BYTES_MAX = COMMIT_BYTES_MAX + (8 << 20);
/** Above this a connection's own records come back to it as deliveries too, which it recognises. */
const SENT_MARKS_MAX = 16_384;
