/** Which stream sends next: the lowest priority number first, and within one priority in turns. */
import type { Stream } from "./stream.ts";

export class Scheduler {
  readonly #queues = [new Queue(), new Queue(), new Queue()] as const;
  /** Streams that only wait for the connection's credit. */
  #blocked: Set<Stream> | undefined;

  get isEmpty(): boolean {
    return this.#queues[0].isEmpty && this.#queues[1].isEmpty && this.#queues[2].isEmpty;
  }

  /** Puts a stream with something to send behind those of its priority. One that is queued keeps its place. */
  add(stream: Stream): void {
    if (stream.isScheduled) return;
    this.#blocked?.delete(stream);
    stream.isScheduled = true;
    this.#queues[stream.priority].push(stream);
  }

  /** The stream whose turn it is; it leaves the queue. */
  take(): Stream | undefined {
    for (let priority = 0; priority < this.#queues.length; priority++) {
      const stream = this.#queues[priority]!.shift();
      if (stream === undefined) continue;
      stream.isScheduled = false;
      return stream;
    }
    return undefined;
  }

  /** Sets a stream aside until {@linkcode unblock}, or until it is added again. */
  block(stream: Stream): void {
    (this.#blocked ??= new Set()).add(stream);
  }

  /** The connection has credit again. */
  unblock(): void {
    const blocked = this.#blocked;
    if (blocked === undefined) return;
    this.#blocked = undefined;
    for (const stream of blocked) this.add(stream);
  }

  /** A stream that is over. One in a queue is skipped when its turn comes, because it has nothing to send. */
  forget(stream: Stream): void {
    this.#blocked?.delete(stream);
  }
}

/** First in, first out, without moving what waits. */
class Queue {
  #items: Stream[] = [];
  #head = 0;

  get isEmpty(): boolean {
    return this.#head === this.#items.length;
  }

  push(stream: Stream): void {
    this.#items.push(stream);
  }

  shift(): Stream | undefined {
    if (this.isEmpty) return undefined;
    const stream = this.#items[this.#head++]!;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > COMPACT_AT && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return stream;
  }
}

const COMPACT_AT = 256;
