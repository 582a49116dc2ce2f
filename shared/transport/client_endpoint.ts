/** A client's end: one handshake, then one connection. */
import { CloseCode } from "../errors.ts";
import { ClientHandshake, type ClientHandshakeOptions, type Connected } from "../handshake/mod.ts";
import { DATAGRAM_BYTES_MAX } from "../limits.ts";
import { isProtected } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import type { Controller } from "./congestion.ts";
import { Connection } from "./connection.ts";
import type { ConnectionEvent } from "./events.ts";
import { DEFAULT_LIMITS } from "./flow_control.ts";
import { type Answer, DirtyLinks, type Endpoint, type EndpointFailure, Link, type Task } from "./link.ts";
import type { Address } from "./path.ts";

export interface ClientEndpointOptions extends ClientHandshakeOptions {
  /** Where the server is. Answers are matched by what they prove, never by where they come from. */
  readonly server: Address;
  /** As {@linkcode ServerEndpointOptions.controller}. */
  readonly controller?: () => Controller;
  /** As {@linkcode Connection}'s option of this name. */
  readonly datagramBytes?: number | undefined;
}

export class ClientEndpoint implements Endpoint {
  readonly #primitives: Primitives;
  readonly #server: Address;
  readonly #controller: ClientEndpointOptions["controller"];
  readonly #datagramBytes: number | undefined;
  readonly #handshake: ClientHandshake;
  readonly #dirty = new DirtyLinks();
  #link: Link | undefined;
  #connected: Connected | undefined;
  #failure: EndpointFailure | undefined;
  /** The encryption that is being performed, so that it is asked for once. */
  #asked: Uint8Array | undefined;
  #task = 0;

  constructor(options: ClientEndpointOptions) {
    this.#primitives = options.primitives;
    this.#server = options.server;
    this.#controller = options.controller;
    this.#datagramBytes = options.datagramBytes;
    this.#handshake = new ClientHandshake(options);
  }

  /** What the server said in ACCEPT; `undefined` until then. */
  get connected(): Connected | undefined {
    return this.#connected;
  }

  get failure(): EndpointFailure | undefined {
    return this.#failure;
  }

  handleDatagram(datagram: Uint8Array, from: Address, nowUs: number): Link | undefined {
    const link = this.#link;
    if (link === undefined) {
      this.#handshake.handleDatagram(datagram, nowUs);
      this.#conclude(nowUs);
      return this.#link;
    }
    // A repeated ACCEPT, or anything else in clear, means nothing any more.
    if (datagram.length > DATAGRAM_BYTES_MAX || !isProtected(datagram, datagram.length)) return undefined;
    link.connection.handleDatagram(datagram, datagram.length, from, nowUs);
    this.touch(link);
    return link;
  }

  handleTimeout(nowUs: number): void {
    const link = this.#link;
    if (link === undefined) {
      this.#handshake.handleTimeout(nowUs);
      this.#conclude(nowUs);
      return;
    }
    const deadlineUs = link.connection.nextDeadlineUs();
    if (deadlineUs === undefined || deadlineUs > nowUs) return;
    link.connection.handleTimeout(nowUs);
    this.touch(link);
  }

  nextDeadlineUs(): number | undefined {
    return this.#link === undefined ? this.#handshake.nextDeadlineUs() : this.#link.connection.nextDeadlineUs();
  }

  pollAnswer(): Answer | undefined {
    const packet = this.#handshake.pollTransmit();
    return packet && { bytes: packet, to: this.#server };
  }

  pollTask(): Task | undefined {
    const encryption = this.#handshake.encryption;
    if (encryption === undefined || encryption.plaintext === this.#asked) return undefined;
    this.#asked = encryption.plaintext;
    return { type: "encrypt", id: ++this.#task, ...encryption };
  }

  completeTask(id: number, ciphertext: Uint8Array | undefined, nowUs: number): void {
    // A key that nothing can be encrypted with leads to a timeout like any other server that cannot answer.
    if (id === this.#task && ciphertext !== undefined) this.#handshake.provideCiphertext(ciphertext, nowUs);
  }

  touch(link: Link): void {
    this.#dirty.add(link);
  }

  takeDirty(): Link | undefined {
    return this.#dirty.take();
  }

  pollEvent(link: Link): ConnectionEvent | undefined {
    return link.connection.pollEvent();
  }

  settle(link: Link): void {
    if (link.connection.isGone) link.isForgotten = true;
  }

  *links(): Generator<Link> {
    if (this.#link !== undefined && !this.#link.isForgotten) yield this.#link;
  }

  #conclude(nowUs: number): void {
    const outcome = this.#handshake.outcome;
    if (outcome === undefined) return;
    if (outcome.type === "failed") {
      const reason = { code: CloseCode.handshakeTimeout, reason: FAILURE_TEXTS[outcome.reason], byPeer: false };
      this.#failure = { why: outcome.reason, reason };
      return;
    }
    const { connectionId, secrets, parameters, resetToken } = outcome;
    const connection = new Connection({
      primitives: this.#primitives,
      side: "client",
      connectionId,
      sendSecret: secrets.clientSecret,
      receiveSecret: secrets.serverSecret,
      local: DEFAULT_LIMITS,
      remote: parameters,
      peer: this.#server,
      resetToken,
      nowUs,
      controller: this.#controller?.(),
      datagramBytes: this.#datagramBytes,
    });
    this.#connected = outcome;
    this.#link = new Link(connectionId, connection, secrets.bind, secrets.resumption);
    this.#link.isReady = true;
    this.touch(this.#link);
  }
}

const FAILURE_TEXTS: Record<EndpointFailure["why"], string> = {
  timeout: "The server did not answer",
  busy: "The server is too busy to take new connections",
  version: "The server speaks none of the versions of this program",
  downgrade: "Somebody between here and the server removed newer versions from what was offered",
  malformed: "The server answered with something that this program does not understand",
};
