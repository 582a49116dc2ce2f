/** One connection as an endpoint holds it, and what a driver asks of either side's endpoint. */
import type { CloseReason } from "../errors.ts";
import type { Ticket } from "../handshake/mod.ts";
import type { Connection } from "./connection.ts";
import type { Timed } from "./deadline_heap.ts";
import type { ConnectionEvent } from "./events.ts";
import type { Granted } from "./grants.ts";
import type { Address } from "./path.ts";
import type { Slotted } from "./slot_table.ts";

export class Link implements Slotted, Timed {
  heapIndex = -1;
  heapUs = 0;
  /** Waits in the endpoint's queue of those to be polled. */
  isDirty = false;
  /** Both sides have proven their keys: the application may have it. */
  isReady = false;
  /** The endpoint no longer knows it. */
  isForgotten = false;
  /** What its client may come back with; a server's. */
  granted: Granted | undefined;
  /** What stands on it; the driver's. */
  owner: LinkOwner | undefined;

  constructor(
    /** 8 bytes. */
    readonly connectionId: Uint8Array,
    readonly connection: Connection,
    /** 32 bytes: what the application calls the transcript hash (docs/PROTOCOL.md §4, `bind`). */
    readonly bind: Uint8Array,
    /** 32 bytes: the secret of the ticket that this connection brings (§4, `resumption`). */
    readonly resumption: Uint8Array,
    /** At a server: what the connection was resumed with. It is no login yet: that is for the application to check. */
    readonly ticket?: Ticket,
  ) {}
}

/** Links that have to be polled, each once, in the order in which they came. */
export class DirtyLinks {
  #links: Link[] = [];
  #head = 0;

  add(link: Link): void {
    if (link.isDirty || link.isForgotten) return;
    link.isDirty = true;
    this.#links.push(link);
  }

  take(): Link | undefined {
    if (this.#head === this.#links.length) return undefined;
    const link = this.#links[this.#head++]!;
    if (this.#head === this.#links.length) this.#links.length = this.#head = 0;
    link.isDirty = false;
    return link;
  }
}

/** Takes what a connection has to tell. */
export interface LinkOwner {
  handleEvent(event: ConnectionEvent): void;
}

/** A datagram that belongs to no connection. */
export interface Answer {
  readonly bytes: Uint8Array;
  readonly to: Address;
}

/** RSA, which the pure layers only ask for; its result goes to {@linkcode Endpoint.completeTask}. */
export type Task =
  | { readonly type: "decrypt"; readonly id: number; readonly label: string; readonly ciphertext: Uint8Array }
  | { readonly type: "encrypt"; readonly id: number; readonly label: string; readonly plaintext: Uint8Array };

/**
 * What moves a server's many connections or a client's one. After every call that takes `nowUs`: poll answers and tasks,
 * poll every dirty link (events first, then datagrams), settle it, then ask for the next deadline.
 */
export interface Endpoint {
  /**
   * @param datagram Exactly the datagram. Opened in place: its content is undefined afterwards.
   * @param from The same object comes back as the address to send to.
   * @returns The connection that it was for.
   */
  handleDatagram(datagram: Uint8Array, from: Address, nowUs: number): Link | undefined;
  handleTimeout(nowUs: number): void;
  /** May be earlier than needed, never later. */
  nextDeadlineUs(): number | undefined;
  pollAnswer(): Answer | undefined;
  pollTask(): Task | undefined;
  /** @param result `undefined` where RSA failed. */
  completeTask(id: number, result: Uint8Array | undefined, nowUs: number): void;
  /** The application did something with this link: it has to be polled. */
  touch(link: Link): void;
  takeDirty(): Link | undefined;
  pollEvent(link: Link): ConnectionEvent | undefined;
  /** Everything was polled: notes the link's deadline, forgets it where it is over. */
  settle(link: Link, nowUs: number): void;
  /** Every connection that is not over. */
  links(): Iterable<Link>;
  /** Set where the endpoint as a whole has failed (a client's handshake). */
  readonly failure: EndpointFailure | undefined;
}

export interface EndpointFailure {
  readonly why: "timeout" | "busy" | "version" | "downgrade" | "malformed";
  readonly reason: CloseReason;
}
