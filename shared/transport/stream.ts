/** One bidirectional stream: its two halves, and what the connection has to remember to do for it. */
import type { PieceBudget } from "./assembler.ts";
import { RecvStream } from "./recv_stream.ts";
import { SendStream } from "./send_stream.ts";

/** Lower is served first; within one priority streams take turns. */
export type Priority = 0 | 1 | 2;

export class Stream {
  readonly send: SendStream;
  readonly recv: RecvStream;
  /** It is in the scheduler. */
  isScheduled = false;
  /** It is in the queue of streams with control frames to send. */
  isControlQueued = false;
  /** A MAX_STREAM_DATA frame is to be sent. */
  grantPending = false;
  /** A `readable` event waits to be polled. */
  isReadableQueued = false;
  /** The application was told that the peer finished, or that it gave up. */
  endTold = false;

  constructor(
    readonly id: number,
    public priority: Priority,
    readonly isLocal: boolean,
    windows: { sendBytes: number; receiveBytes: number; budget: PieceBudget },
  ) {
    this.send = new SendStream(windows.sendBytes);
    this.recv = new RecvStream(windows.receiveBytes, windows.budget);
  }

  /** Both sides have what they will get: it can be forgotten. */
  get isDone(): boolean {
    return this.recv.isDone && this.send.isDone;
  }
}
