/**
 * One connection to a server, as the client speaks it (docs/PROTOCOL.md §7): a stream per request, a long-lived stream per
 * conversation it sends in, and the events of the streams that the server opens.
 *
 * Knows nothing of keys, homes or retries; a lost connection rejects everything that waits, and is not repaired here.
 */
import { decode, DecodeError, encode, unknownTag } from "../../shared/codec/mod.ts";
import { CloseCode, type CloseReason } from "../../shared/errors.ts";
import { type Channel, type ChannelStream, Priority, type ResumptionTicket } from "../../shared/net/channel.ts";
import {
  type Append,
  type ConversationId,
  type Event,
  event as eventSchema,
  type HintDown,
  hintDown,
  type HintUp,
  hintUp,
  readHint,
  type Request,
  request as requestSchema,
  type RequestOf,
  response as responseSchema,
} from "../../shared/protocol/mod.ts";
import { type AnswerTo, type Askable, isAnswerTo } from "./answers.ts";
import { AppendLane } from "./append_lane.ts";
import { ConnectionLostError, ServerRefusal, unanswered } from "./failures.ts";

export interface RemoteHandler {
  onEvent(event: Event): void;
  /** Called once; everything that waited was rejected just before. */
  onClose(reason: CloseReason): void;
  /** Something that is so for a moment; it may have got lost as well. */
  onHint?(hint: HintDown): void;
  /** What the next connection may begin with. */
  onTicket?(ticket: ResumptionTicket): void;
  /** The server answers nothing; it may be gone. */
  onSilent?(): void;
  /** It was not. */
  onHeard?(): void;
}

export class Remote {
  readonly channel: Channel;
  readonly #handler: RemoteHandler;
  /** Streams with a request that waits for its answer. */
  readonly #asked = new Set<(error: Error) => void>();
  /** In order of last use, so that the idlest is first. */
  readonly #lanes = new Map<ConversationId, AppendLane>();
  #closed: CloseReason | undefined;

  /** Takes the channel over. */
  constructor(channel: Channel, handler: RemoteHandler) {
    this.channel = channel;
    this.#handler = handler;
    channel.handler = {
      onStream: (stream) => this.#receiveEvents(stream),
      onClose: (reason) => this.#end(reason),
      onHint: (bytes) => {
        const hint = this.#closed ? undefined : readHint(hintDown, bytes);
        if (hint !== undefined) handler.onHint?.(hint);
      },
      onTicket: (ticket) => this.#closed || handler.onTicket?.(ticket),
      onSilent: () => this.#closed || handler.onSilent?.(),
      onHeard: () => this.#closed || handler.onHeard?.(),
    };
  }

  get closed(): CloseReason | undefined {
    return this.#closed;
  }

  /** Requests and appends that wait for their answer. */
  get waiting(): number {
    let sum = this.#asked.size;
    for (const lane of this.#lanes.values()) sum += lane.waiting;
    return sum;
  }

  /**
   * Asks, on a stream of its own.
   *
   * @throws ServerRefusal where the server says no. @throws ConnectionLostError where it can no longer say anything.
   */
  ask<K extends Askable>(request: RequestOf<K>, signal?: AbortSignal): Promise<AnswerTo<K>> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new ConnectionLostError(this.#closed));
      if (signal?.aborted) return reject(signal.reason);
      const stream = this.channel.openStream(Priority.normal);
      const settle = (act: () => void) => {
        if (!this.#asked.delete(fail)) return;
        signal?.removeEventListener("abort", abandon);
        act();
      };
      const fail = (error: Error) => settle(() => reject(error));
      const abandon = () => {
        stream.reset(CloseCode.none);
        fail(signal!.reason);
      };
      this.#asked.add(fail);
      signal?.addEventListener("abort", abandon, { once: true });
      stream.handler = {
        onMessage: (message) => {
          const response = this.#decode(responseSchema, message);
          if (response === undefined) return;
          if (response.type === "error") return fail(new ServerRefusal(response));
          if (!isAnswerTo((request as Request).type as Askable, response)) {
            return this.#violation("Answer is of another kind");
          }
          settle(() => resolve(response as AnswerTo<K>));
        },
        onFinish: () => fail(unanswered()),
        onReset: () => fail(unanswered()),
      };
      stream.send(encode(requestSchema, request as Request));
      stream.finish();
    });
  }

  /**
   * Appends to a conversation, in the order of the calls, without waiting for one another.
   *
   * @throws As {@linkcode ask}. After an error the server refuses what is already on its way on the same stream; the
   * conversation's next append goes on a new one.
   */
  append(append: Append): Promise<{ seq: number; timeMs: number }> {
    if (this.#closed) return Promise.reject(new ConnectionLostError(this.#closed));
    let lane = this.#lanes.get(append.conversation);
    if (lane === undefined || lane.ended) {
      this.#makeRoom();
      lane = new AppendLane(this.channel.openStream(Priority.interactive), {
        decode: (message) => this.#decode(responseSchema, message),
        violation: (what) => this.#violation(what),
      });
    }
    this.#lanes.delete(append.conversation);
    this.#lanes.set(append.conversation, lane);
    return lane.append(append);
  }

  /** Says something that may get lost. */
  hint(hint: HintUp): void {
    if (!this.#closed) this.channel.sendHint(encode(hintUp, hint));
  }

  close(code: number = CloseCode.none, reason = ""): void {
    this.channel.close(code, reason);
    // The channel tells its handler later; nobody should wait for that.
    this.#end({ code, reason, byPeer: false });
  }

  #receiveEvents(stream: ChannelStream): void {
    stream.handler = {
      onMessage: (message) => {
        const event = this.#decode(eventSchema, message, "passes over unknown");
        if (event !== undefined && !this.#closed) this.#handler.onEvent(event);
      },
      onFinish: () => stream.finish(),
    };
  }

  /** Idle lanes beyond a bound are finished: a stream at both ends is not free. */
  #makeRoom(): void {
    for (const [id, lane] of this.#lanes) {
      if (lane.ended) this.#lanes.delete(id);
    }
    if (this.#lanes.size < LANES_MAX) return;
    for (const [id, lane] of this.#lanes) {
      if (lane.waiting > 0) continue;
      lane.finish();
      this.#lanes.delete(id);
      return;
    }
  }

  /** @param manner A newer server may tell of what this version has no use for; it never answers with what was not asked. */
  #decode<T>(
    schema: Parameters<typeof decode<T>>[0],
    message: Uint8Array,
    manner?: "passes over unknown",
  ): T | undefined {
    try {
      return decode(schema, message);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      if (manner !== undefined && unknownTag(schema, message) !== undefined) return undefined;
      this.#violation(error.message);
      return undefined;
    }
  }

  #violation(what: string): void {
    if (!this.#closed) this.close(CloseCode.malformedMessage, what);
  }

  #end(reason: CloseReason): void {
    if (this.#closed) return;
    this.#closed = reason;
    for (const fail of [...this.#asked]) fail(new ConnectionLostError(reason));
    for (const lane of this.#lanes.values()) lane.end(new ConnectionLostError(reason));
    this.#lanes.clear();
    this.#handler.onClose(reason);
  }
}

/** Streams for sending that one client keeps open; well under STREAMS_OPEN_MAX, which requests need too. */
const LANES_MAX = 64;
