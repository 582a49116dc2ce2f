/** Appends of one conversation on their way, on one stream; answered in order. */
import { encode } from "../../shared/codec/mod.ts";
import type { ChannelStream } from "../../shared/net/channel.ts";
import { type Append, type MessageId, request as requestSchema, type Response } from "../../shared/protocol/mod.ts";
import { ServerRefusal, unanswered } from "./failures.ts";

export class AppendLane {
  readonly #stream: ChannelStream;
  readonly #waiting: {
    readonly id: MessageId;
    readonly resolve: (stored: { seq: number; timeMs: number }) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  #ended = false;

  constructor(
    stream: ChannelStream,
    owner: { decode(message: Uint8Array): Response | undefined; violation(what: string): void },
  ) {
    this.#stream = stream;
    stream.handler = {
      onMessage: (message) => {
        const response = owner.decode(message);
        if (response !== undefined && !this.#answer(response)) owner.violation("Answer fits no append");
      },
      onFinish: () => this.end(unanswered()),
      onReset: () => this.end(unanswered()),
    };
  }

  /** No more goes on this one. */
  get ended(): boolean {
    return this.#ended;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  append(append: Append): Promise<{ seq: number; timeMs: number }> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id: append.messageId, resolve, reject });
      this.#stream.send(encode(requestSchema, { type: "append", ...append }));
    });
  }

  finish(): void {
    this.#ended = true;
    this.#stream.finish();
  }

  /** Rejects what waits. */
  end(error: Error): void {
    this.finish();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  #answer(response: Response): boolean {
    const first = this.#waiting.shift();
    if (first === undefined) return false;
    if (response.type === "error") {
      // What follows on this stream is refused as well; what comes next goes on a new one.
      if (!this.#ended) this.finish();
      first.reject(new ServerRefusal(response));
      return true;
    }
    if (response.type !== "stored" || response.messageId !== first.id) {
      first.reject(unanswered());
      return false;
    }
    first.resolve({ seq: response.seq, timeMs: response.timeMs });
    return true;
  }
}
