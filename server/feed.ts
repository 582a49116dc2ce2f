/**
 * What is delivered to one connection. Pure. One stream per conversation, opened when there is something to deliver and
 * finished when it was idle, and one for all other events.
 */
import { SEND_BUFFER_BYTES_MAX, STREAMS_OPEN_MAX } from "../shared/limits.ts";
import { type Channel, type ChannelStream, Priority } from "../shared/net/channel.ts";
import type { ConversationId } from "../shared/protocol/mod.ts";

export class Feed {
  readonly #channel: Channel;
  #streams: Map<ConversationId, Delivery> | undefined;
  /** Conversation → newest seq that was left out. */
  #missed: Map<ConversationId, number> | undefined;
  #events: ChannelStream | undefined;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Whether a record must be left out: too much is waiting, or an earlier one of the conversation was left out. */
  isOverfull(conversation: ConversationId): boolean {
    return this.#channel.bufferedBytes > SEND_BUFFER_BYTES_MAX ||
      (this.#missed !== undefined && this.#missed.has(conversation));
  }

  /** Half of the bound, so that a connection at its edge does not swing with every packet. */
  get hasRoom(): boolean {
    return this.#channel.bufferedBytes <= SEND_BUFFER_BYTES_MAX / 2;
  }

  /** @param message Borrowed; copied by the stream. */
  deliver(conversation: ConversationId, message: Uint8Array, nowUs: number): void {
    const streams = this.#streams ??= new Map();
    let delivery = streams.get(conversation);
    if (delivery === undefined) {
      if (streams.size >= DELIVERY_STREAMS_MAX) this.#finishOldest(streams);
      const opened: Delivery = { stream: this.#open(() => this.#forget(conversation, opened)), usedUs: nowUs };
      streams.set(conversation, delivery = opened);
    }
    delivery.usedUs = nowUs;
    delivery.stream.send(message);
  }

  /** Any other event. @param message Borrowed. */
  announce(message: Uint8Array): void {
    this.#events ??= this.#open(() => this.#events = undefined);
    this.#events.send(message);
  }

  miss(conversation: ConversationId, head: number): void {
    const missed = this.#missed ??= new Map();
    missed.set(conversation, Math.max(head, missed.get(conversation) ?? 0));
  }

  /** What was left out since the last call. */
  takeMissed(): Iterable<[ConversationId, number]> {
    const missed = this.#missed ?? [];
    this.#missed = undefined;
    return missed;
  }

  finishIdle(beforeUs: number): void {
    if (this.#streams === undefined) return;
    for (const [conversation, delivery] of this.#streams) {
      if (delivery.usedUs >= beforeUs) continue;
      this.#streams.delete(conversation);
      delivery.stream.finish();
    }
    if (this.#streams.size === 0) this.#streams = undefined;
  }

  /** Only that one: meanwhile the conversation may have another stream. */
  #forget(conversation: ConversationId, gone: Delivery): void {
    if (this.#streams?.get(conversation) === gone) this.#streams.delete(conversation);
  }

  /** The peer allows so many streams at once, and one that waits for that would hold its conversation up. */
  #finishOldest(streams: Map<ConversationId, Delivery>): void {
    let oldest: [ConversationId, Delivery] | undefined;
    for (const entry of streams) if (oldest === undefined || entry[1].usedUs < oldest[1].usedUs) oldest = entry;
    if (oldest === undefined) return;
    streams.delete(oldest[0]);
    oldest[1].stream.finish();
  }

  /** @param gone The client gave the stream up: the next event opens another. */
  #open(gone: () => void): ChannelStream {
    const stream = this.#channel.openStream(Priority.normal);
    // A client has nothing to say on these streams; what it says anyway is not looked at.
    stream.handler = { onMessage() {}, onReset: gone };
    return stream;
  }
}

interface Delivery {
  readonly stream: ChannelStream;
  usedUs: number;
}

/** Half of what the peer allows: the other half is for those that are finished and not yet gone. */
const DELIVERY_STREAMS_MAX = STREAMS_OPEN_MAX / 2;
