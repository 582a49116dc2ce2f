/** Two connections joined by two links in virtual time. */
import { createPrimitives } from "../../shared/crypto/mod.ts";
import { DATAGRAM_BYTES_MAX } from "../../shared/limits.ts";
import type { Primitives } from "../../shared/primitives.ts";
import {
  type Address,
  Connection,
  type ConnectionEvent,
  type ConnectionOptions,
  DEFAULT_LIMITS,
  sameAddress,
  type TransportLimits,
} from "../../shared/transport/mod.ts";
import { type Faults, Link } from "./network.ts";
import { Prng } from "./prng.ts";

/** What one side has seen of one stream. */
export interface Inbox {
  readonly chunks: Uint8Array[];
  bytes: number;
  finished: boolean;
  resetCode: number | undefined;
}

/** One connection with an application that reads all it can. */
export class Peer {
  readonly events: ConnectionEvent[] = [];
  readonly inboxes = new Map<number, Inbox>();
  closed = 0;
  /** False leaves what arrives unread. */
  reads = true;
  /** Called after something of stream `id` was read. */
  onRead: ((id: number, chunk: Uint8Array) => void) | undefined;
  constructor(readonly connection: Connection, readonly out: Link<Address>) {}

  inbox(id: number): Inbox {
    let inbox = this.inboxes.get(id);
    if (inbox === undefined) {
      this.inboxes.set(id, inbox = { chunks: [], bytes: 0, finished: false, resetCode: undefined });
    }
    return inbox;
  }

  /** All that was read of a stream. */
  text(id: number): Uint8Array {
    const inbox = this.inbox(id), all = new Uint8Array(inbox.bytes);
    let at = 0;
    for (const chunk of inbox.chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }

  has(type: ConnectionEvent["type"]): boolean {
    return this.events.some((event) => event.type === type);
  }

  drainEvents(): void {
    for (let event = this.connection.pollEvent(); event !== undefined; event = this.connection.pollEvent()) {
      if (this.closed > 0) throw new Error(`Event ${event.type} after the end`);
      this.events.push(event);
      if (event.type === "readable" && this.reads) this.read(event.id);
      else if (event.type === "finished") this.inbox(event.id).finished = true;
      else if (event.type === "reset") this.inbox(event.id).resetCode = event.code;
      else if (event.type === "closed") this.closed++;
    }
  }

  read(id: number): void {
    const inbox = this.inbox(id);
    for (let chunk = this.connection.read(id); chunk !== undefined; chunk = this.connection.read(id)) {
      inbox.chunks.push(chunk);
      inbox.bytes += chunk.length;
      this.onRead?.(id, chunk);
    }
  }
}

export interface PairOptions {
  readonly seed?: number;
  readonly toServer?: Partial<Faults>;
  readonly toClient?: Partial<Faults>;
  readonly clientLimits?: Partial<TransportLimits>;
  readonly serverLimits?: Partial<TransportLimits>;
  readonly client?: Partial<ConnectionOptions>;
  readonly server?: Partial<ConnectionOptions>;
}

export class Pair {
  readonly prng: Prng;
  readonly client: Peer;
  readonly server: Peer;
  nowUs = 1_000_000;
  /** Every datagram sent, if wanted. */
  recorded: { toServer: boolean; bytes: Uint8Array; to: Address }[] | undefined;
  /** As the server sees it; {@linkcode rebind} changes it. */
  clientAddress: Address = { host: "192.0.2.1", port: 40_000 };
  readonly serverAddress: Address = { host: "203.0.113.1", port: 9001 };
  readonly resetToken: Uint8Array;
  #standing = 0;

  constructor(options: PairOptions = {}) {
    this.prng = new Prng(options.seed ?? 1);
    const toServer = new Link<Address>(this.prng, options.toServer);
    const toClient = new Link<Address>(this.prng, options.toClient);
    const connectionId = this.prng.bytes(8), clientSecret = this.prng.bytes(32), serverSecret = this.prng.bytes(32);
    this.resetToken = this.prng.bytes(16);
    const clientLimits = { ...DEFAULT_LIMITS, ...options.clientLimits };
    const serverLimits = { ...DEFAULT_LIMITS, ...options.serverLimits };
    const seeded: Primitives = { ...primitives, random: this.prng };
    const common = { primitives: seeded, connectionId, nowUs: this.nowUs, initialRttUs: 50_000 };
    this.client = new Peer(
      new Connection({
        ...common,
        side: "client",
        sendSecret: clientSecret,
        receiveSecret: serverSecret,
        local: clientLimits,
        remote: serverLimits,
        peer: this.serverAddress,
        resetToken: this.resetToken,
        ...options.client,
      }),
      toServer,
    );
    this.server = new Peer(
      new Connection({
        ...common,
        side: "server",
        sendSecret: serverSecret,
        receiveSecret: clientSecret,
        local: serverLimits,
        remote: clientLimits,
        peer: this.clientAddress,
        ...options.server,
      }),
      toClient,
    );
  }

  /** The client's NAT forgets it: it appears under another address, and what is sent to the old one is lost. */
  rebind(): void {
    const host = this.prng.chance(0.5) ? this.clientAddress.host : `192.0.2.${this.prng.integer(2, 250)}`;
    this.clientAddress = { host, port: this.clientAddress.port + 1 };
  }

  /** Sends what both have to send and takes their events, at the present time. */
  pump(): void {
    this.#transmit(this.client);
    this.#transmit(this.server);
  }

  /** Moves to the next thing that happens. @returns false where nothing will, or not until `untilUs`. */
  step(untilUs = Infinity): boolean {
    this.pump();
    const nextUs = Math.min(
      this.client.out.nextUs,
      this.server.out.nextUs,
      this.client.connection.nextDeadlineUs() ?? Infinity,
      this.server.connection.nextDeadlineUs() ?? Infinity,
    );
    if (nextUs === Infinity || nextUs > untilUs) return false;
    // A deadline in the past that handling does not move would spin a real driver for ever.
    this.#standing = nextUs > this.nowUs ? 0 : this.#standing + 1;
    if (this.#standing > 1000) throw new Error(`Time stands still at ${this.nowUs} µs`);
    this.nowUs = Math.max(this.nowUs, nextUs);
    this.#deliver(this.client, this.server);
    this.#deliver(this.server, this.client);
    for (const peer of [this.client, this.server]) {
      if ((peer.connection.nextDeadlineUs() ?? Infinity) <= this.nowUs) peer.connection.handleTimeout(this.nowUs);
    }
    this.pump();
    return true;
  }

  /** Steps until `done`, or for `forUs`. @returns Whether it was done. */
  run(done: () => boolean, forUs = 60_000_000): boolean {
    const untilUs = this.nowUs + forUs;
    this.pump();
    while (!done()) if (!this.step(untilUs)) return done();
    return true;
  }

  /** Lets `forUs` pass, whatever happens. */
  sleep(forUs: number): void {
    const untilUs = this.nowUs + forUs;
    while (this.step(untilUs));
    this.nowUs = untilUs;
  }

  #transmit(peer: Peer): void {
    peer.drainEvents();
    const isClient = peer === this.client;
    for (let sent = 0;; sent++) {
      if (sent > 100_000) throw new Error("pollTransmit does not end");
      const bytes = peer.connection.pollTransmit(BUFFER, this.nowUs);
      if (bytes === 0) break;
      if (bytes > peer.connection.stats.datagramBytes) throw new Error(`Datagram of ${bytes} bytes`);
      const to = peer.connection.transmitTo;
      const datagram = BUFFER.subarray(0, bytes);
      this.recorded?.push({ toServer: isClient, bytes: datagram.slice(), to });
      // What a server sends to an address that the client has left goes nowhere.
      if (!isClient && !sameAddress(to, this.clientAddress)) continue;
      peer.out.send(isClient ? this.clientAddress : this.serverAddress, datagram, this.nowUs);
    }
    peer.drainEvents();
  }

  #deliver(from: Peer, to: Peer): void {
    for (let delivery = from.out.take(this.nowUs); delivery; delivery = from.out.take(this.nowUs)) {
      INPUT.set(delivery.bytes);
      to.connection.handleDatagram(INPUT, delivery.bytes.length, delivery.from, this.nowUs);
      to.drainEvents();
    }
  }
}

const primitives = await createPrimitives();
const BUFFER = primitives.packetBuffer(DATAGRAM_BYTES_MAX);
const INPUT = primitives.packetBuffer(DATAGRAM_BYTES_MAX);
