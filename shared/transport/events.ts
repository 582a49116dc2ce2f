/** What a connection tells whoever drives it. */
import type { CloseReason } from "../errors.ts";
import { HINTS_QUEUED_MAX } from "../limits.ts";

export type ConnectionEvent =
  /** The peer has proved to hold the keys: the handshake is over. */
  | { readonly type: "confirmed" }
  /** The peer opened a stream. */
  | { readonly type: "stream"; readonly id: number }
  /** There is something to read; told once until it was read. */
  | { readonly type: "readable"; readonly id: number }
  /** The peer finished, and everything was read. */
  | { readonly type: "finished"; readonly id: number }
  /** The peer gave the stream up, or wants no more of it. */
  | { readonly type: "reset"; readonly id: number; readonly code: number }
  /** An unreliable datagram. */
  | { readonly type: "hint"; readonly bytes: Uint8Array }
  /** A resumption ticket. */
  | { readonly type: "ticket"; readonly bytes: Uint8Array }
  /** Client: the server answers nothing, though asked again: it may be gone, or the network in between. */
  | { readonly type: "silent" }
  /** Client: it was not. */
  | { readonly type: "heard" }
  /** Always the last one. */
  | { readonly type: "closed"; readonly reason: CloseReason };

export class EventQueue {
  #events: ConnectionEvent[] = [];
  #head = 0;
  #hints = 0;
  #isClosed = false;

  /** Nothing follows `closed`, though what arrived before may still be read; hints beyond the bound are dropped. */
  push(event: ConnectionEvent): void {
    if (this.#isClosed || (event.type === "hint" && ++this.#hints > HINTS_QUEUED_MAX)) return;
    if (event.type === "closed") this.#isClosed = true;
    this.#events.push(event);
  }

  poll(): ConnectionEvent | undefined {
    if (this.#head === this.#events.length) return undefined;
    const event = this.#events[this.#head++]!;
    if (this.#head === this.#events.length) {
      this.#events = [];
      this.#head = 0;
      this.#hints = 0;
    }
    return event;
  }
}
