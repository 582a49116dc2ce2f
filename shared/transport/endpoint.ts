/**
 * A server's end: many connections behind one address.
 *
 * Routes datagrams to connections by id, answers INITIALs, and forgets what is over. It keeps nothing for a sender whose
 * address is not proven, and every table it has is bounded:
 *
 * | grows with                         | bound                     | when full                                     |
 * | ---------------------------------- | ------------------------- | --------------------------------------------- |
 * | connections                        | `connectionsMax`          | RETRY "busy"                                  |
 * | unconfirmed ones, stored ACCEPTs   | `unconfirmedMax`          | the oldest is forgotten                       |
 * | RSA in flight, queued, rates       | `rsa`                     | see {@linkcode RsaGate}; RETRY "busy"         |
 * | ciphertexts and ticket uses seen   | `ciphertextsMax`          | the oldest is forgotten: minutes at full rate |
 * | resumption rates                   | `resumption`              | see {@linkcode ResumeGate}; RETRY "busy"      |
 * | answers not yet polled             | `ANSWERS_MAX`             | dropped                                       |
 */
import {
  addressBytes,
  AddressTokens,
  type DecryptRequest,
  type InitialRequest,
  type ResumeRequest,
  ServerHandshake,
  type Ticket,
  type TicketLogin,
  type Tickets,
} from "../handshake/mod.ts";
import { kept } from "../kept.ts";
import { CONNECTIONS_MAX, DATAGRAM_BYTES_MAX, HANDSHAKE_TIMEOUT_US } from "../limits.ts";
import { isProtected, PacketType, RetryReason, type ServerEntry, SUPPORTED_VERSIONS } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import type { Controller } from "./congestion.ts";
import { Connection } from "./connection.ts";
import { DeadlineHeap } from "./deadline_heap.ts";
import type { ConnectionEvent } from "./events.ts";
import { DEFAULT_LIMITS, type TransportLimits } from "./flow_control.ts";
import { type Grant, Grants } from "./grants.ts";
import { type Answer, DirtyLinks, type Endpoint, Link, type Task } from "./link.ts";
import type { Address } from "./path.ts";
import type { Rate } from "./rate_limit.ts";
import { DEFAULT_RSA_LIMITS, RsaGate, type RsaLimits } from "./rsa_gate.ts";
import { DEFAULT_RESUMPTION_LIMITS, ResumeGate, type ResumptionLimits } from "./resume_gate.ts";
import { SlotTable } from "./slot_table.ts";
import { StatelessResets } from "./stateless_reset.ts";

export interface ServerEndpointOptions {
  readonly primitives: Primitives;
  readonly serverNumber: number;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** RSA-3072 SPKI DER. */
  readonly clusterKey: Uint8Array;
  /** 32 bytes each. */
  readonly tokenKey: Uint8Array;
  readonly resetKey: Uint8Array;
  /** Without them no tickets are given and none are known. */
  readonly tickets?: Tickets | undefined;
  /** What ACCEPT lists; asked for each. */
  readonly servers: () => readonly ServerEntry[];
  /** Wall clock, seconds since 1970: tokens expire by it. */
  readonly wallSeconds: () => number;
  readonly nowUs: number;
  readonly limits?: Partial<EndpointLimits>;
  /** What decides how much each new connection has in flight, where it is not to be the default. */
  readonly controller?: () => Controller;
  /** As {@linkcode Connection}'s option of this name. */
  readonly datagramBytes?: number;
}

export interface EndpointLimits {
  readonly connectionsMax: number;
  readonly unconfirmedMax: number;
  readonly ciphertextsMax: number;
  readonly rsa: RsaLimits;
  readonly resumption: ResumptionLimits;
  readonly resets: Rate;
  readonly transport: TransportLimits;
}

export const DEFAULT_ENDPOINT_LIMITS: EndpointLimits = {
  connectionsMax: CONNECTIONS_MAX,
  unconfirmedMax: 4096,
  ciphertextsMax: 16_384,
  rsa: DEFAULT_RSA_LIMITS,
  resumption: DEFAULT_RESUMPTION_LIMITS,
  resets: { perSecond: 50, burst: 100 },
  transport: DEFAULT_LIMITS,
};

/** What happened to datagrams that no connection had; for metrics and tests. */
export interface EndpointCounters {
  initials: number;
  retries: number;
  /** ACCEPTs after RSA. */
  accepts: number;
  /** ACCEPTs after a ticket. */
  resumptions: number;
  /** Tickets that did not open, or were used before: answered by RETRY. */
  ticketsUnknown: number;
  confirmed: number;
  resets: number;
  /** INITIALs that were refused as "busy". */
  busy: number;
  /** RSA that failed, or whose plaintext was wrong. */
  failures: number;
  /** Malformed, unknown, or not for us. */
  dropped: number;
}

/** An INITIAL that waits for RSA. */
interface Job {
  readonly request: DecryptRequest;
  readonly from: Address;
}

/** A connection whose client has proven nothing yet but its address. */
interface Unconfirmed {
  readonly link: Link;
  readonly ticketKey: string | undefined;
  readonly accept: Uint8Array;
  readonly endUs: number;
}

export class ServerEndpoint implements Endpoint {
  readonly counters: EndpointCounters = {
    initials: 0,
    retries: 0,
    accepts: 0,
    resumptions: 0,
    ticketsUnknown: 0,
    confirmed: 0,
    resets: 0,
    busy: 0,
    failures: 0,
    dropped: 0,
  };
  readonly failure = undefined;
  readonly #options: ServerEndpointOptions;
  readonly #limits: EndpointLimits;
  readonly #handshake: ServerHandshake;
  readonly #resets: StatelessResets;
  readonly #gate: RsaGate<Job>;
  readonly #grants: Grants | undefined;
  readonly #slots: SlotTable<Link>;
  readonly #deadlines = new DeadlineHeap<Link>();
  readonly #dirty = new DirtyLinks();
  readonly #answers: Answer[] = [];
  /** By the INITIAL's key, oldest first: a Map keeps the order of insertion. */
  readonly #unconfirmed = new Map<string, Unconfirmed>();
  readonly #initialKeys = new Map<Link, string>();
  /** Ciphertexts that were or will be decrypted, oldest first: none is decrypted twice (SECURITY H7). */
  readonly #ciphertexts = new Set<string>();
  readonly #resumeGate: ResumeGate;
  /** INITIALs with a ticket that were answered, oldest first: none is answered anew (SECURITY H1). */
  readonly #resumed = new Set<string>();
  /** Tickets with which a client of ours was let in, oldest first: they were for once. */
  readonly #usedTickets = new Set<string>();
  readonly #jobs = new Map<number, Job>();
  #nextJob = 1;
  #isRefusing = false;

  constructor(options: ServerEndpointOptions) {
    const { primitives, serverNumber, clusterKey, clusterId, tokenKey, resetKey, nowUs } = options;
    this.#options = options;
    this.#limits = { ...DEFAULT_ENDPOINT_LIMITS, ...options.limits };
    const tokens = new AddressTokens(primitives, tokenKey, clusterId);
    const { tickets } = options;
    this.#handshake = new ServerHandshake({ primitives, versions: SUPPORTED_VERSIONS, clusterKey, tokens, tickets });
    this.#resets = new StatelessResets({ primitives, serverNumber, resetKey, rate: this.#limits.resets, nowUs });
    this.#gate = new RsaGate(this.#limits.rsa, nowUs);
    this.#resumeGate = new ResumeGate(this.#limits.resumption, nowUs);
    this.#slots = new SlotTable(serverNumber, this.#limits.connectionsMax, primitives.random);
    const { wallSeconds } = options;
    this.#grants = tickets && new Grants({ tickets, wallSeconds, clients: () => this.#slots.size });
  }

  /** Connections of every state. */
  get size(): number {
    return this.#slots.size;
  }

  /** No new connections from now on. */
  refuseAll(): void {
    this.#isRefusing = true;
  }

  handleDatagram(datagram: Uint8Array, from: Address, nowUs: number): Link | undefined {
    if (isProtected(datagram, datagram.length)) return this.#handleProtected(datagram, from, nowUs);
    if (datagram[0] === PacketType.initial) this.#handleInitial(datagram, from, nowUs);
    else this.counters.dropped++;
    return undefined;
  }

  handleTimeout(nowUs: number): void {
    for (;;) {
      const link = this.#deadlines.takeDue(nowUs);
      if (link === undefined) break;
      const deadlineUs = link.connection.nextDeadlineUs();
      if (deadlineUs !== undefined && deadlineUs > nowUs) {
        // It moved later since it was put in.
        this.#deadlines.set(link, deadlineUs, nowUs);
        continue;
      }
      link.connection.handleTimeout(nowUs);
      this.touch(link);
    }
    for (const { link, endUs } of this.#unconfirmed.values()) {
      if (endUs > nowUs) break;
      this.#forget(link);
    }
  }

  nextDeadlineUs(): number | undefined {
    const heapUs = this.#deadlines.nextUs;
    if (this.#unconfirmed.size === 0) return heapUs;
    const [oldest] = this.#unconfirmed.values();
    return heapUs === undefined ? oldest!.endUs : Math.min(heapUs, oldest!.endUs);
  }

  pollAnswer(): Answer | undefined {
    return this.#answers.length === 0 ? undefined : this.#answers.shift();
  }

  pollTask(): Task | undefined {
    const job = this.#gate.begin();
    if (job === undefined) return undefined;
    const id = this.#nextJob++;
    this.#jobs.set(id, job);
    return { type: "decrypt", id, label: job.request.label, ciphertext: job.request.ciphertext };
  }

  completeTask(id: number, keySecret: Uint8Array | undefined, nowUs: number): void {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    this.#jobs.delete(id);
    this.#gate.done();
    if (this.#isRefusing) return;
    if (this.#accept(job, { keySecret }, nowUs)) this.counters.accepts++;
    else this.counters.failures++;
  }

  /** Gives the client of this link what lets it come back without RSA and password, now and whenever that gets stale. */
  grant(link: Link, login: TicketLogin, nowUs: number): void {
    const grant = this.#grants?.make(login, { connectionId: link.connectionId, secret: link.resumption, nowUs });
    if (grant === undefined) return;
    link.granted = grant.granted;
    link.connection.sendTicket(grant.bytes);
    this.touch(link);
  }

  touch(link: Link): void {
    this.#dirty.add(link);
  }

  takeDirty(): Link | undefined {
    return this.#dirty.take();
  }

  pollEvent(link: Link): ConnectionEvent | undefined {
    const event = link.connection.pollEvent();
    if (event === undefined) return undefined;
    if (event.type === "confirmed") this.#confirm(link);
    return event;
  }

  settle(link: Link, nowUs: number): void {
    if (link.connection.isGone) this.#forget(link);
    else this.#deadlines.set(link, link.connection.nextDeadlineUs(), nowUs);
  }

  links(): Iterable<Link> {
    return this.#slots;
  }

  #handleProtected(packet: Uint8Array, from: Address, nowUs: number): Link | undefined {
    if (packet.length > DATAGRAM_BYTES_MAX) {
      this.counters.dropped++;
      return undefined;
    }
    const link = this.#slots.find(packet, 1);
    if (link !== undefined) {
      link.connection.handleDatagram(packet, packet.length, from, nowUs);
      const { granted } = link;
      if (granted !== undefined && link.isReady && this.#grants!.isStale(granted, nowUs)) {
        this.grant(link, granted.login, nowUs);
      }
      this.touch(link);
      return link;
    }
    this.counters.dropped++;
    const reset = this.#resets.answer(packet, nowUs);
    if (reset !== undefined && this.#answer(reset, from)) this.counters.resets++;
    return undefined;
  }

  #handleInitial(datagram: Uint8Array, from: Address, nowUs: number): void {
    this.counters.initials++;
    if (this.#isRefusing) return;
    const action = this.#handshake.receive(datagram, from.host, this.#options.wallSeconds());
    if (action === undefined) this.counters.dropped++;
    else if (action.type === "retry") {
      if (action.reason === RetryReason.ticket) this.counters.ticketsUnknown++;
      this.#retry(action.packet, from);
    } else if (!this.#repeat(action.request, from)) {
      // The sender's address is proven.
      if (action.type === "resume") this.#resume(action.request, from, nowUs);
      else this.#decrypt({ request: action.request, from }, nowUs);
    }
  }

  /** The same bytes get the same bytes: no second ephemeral key for one INITIAL (SECURITY H1). */
  #repeat({ key }: InitialRequest, from: Address): boolean {
    const known = this.#unconfirmed.get(key);
    if (known !== undefined) this.#answer(known.accept, from);
    return known !== undefined;
  }

  /** No RSA, so no waiting: answered at once. Nothing counts before the client's first packet opened (SECURITY H8). */
  #resume(request: ResumeRequest, from: Address, nowUs: number): void {
    const { ticket, ticketKey, initial, initialBytes } = request;
    if (this.#resumed.has(request.key)) return;
    if (this.#usedTickets.has(ticketKey)) {
      this.counters.ticketsUnknown++;
      return this.#retry(this.#handshake.unknownTicket(initialBytes, initial.token).packet, from);
    }
    const waitMs = this.#hasRoom ? this.#resumeGate.admit(ticketKey, nowUs) : ROOM_WAIT_MS;
    if (waitMs > 0) return this.#busy({ request, from }, waitMs);
    if (!this.#accept({ request, from }, { keySecret: ticket.secret, ticket, ticketKey }, nowUs)) return;
    remember(this.#resumed, request.key, this.#limits.ciphertextsMax);
    this.counters.resumptions++;
  }

  #decrypt(job: Job, nowUs: number): void {
    const { request, from } = job;
    if (this.#ciphertexts.has(request.ciphertextKey)) return;
    const address = addressBytes(from.host)?.toHex() ?? from.host;
    if (!this.#hasRoom || !this.#gate.admit(address, nowUs)) return this.#busy(job);
    remember(this.#ciphertexts, request.ciphertextKey, this.#limits.ciphertextsMax);
    const displaced = this.#gate.queue(job);
    if (displaced === undefined) return;
    this.#ciphertexts.delete(displaced.request.ciphertextKey);
    this.#busy(displaced);
  }

  /**
   * Whoever waits for RSA has a place: to turn a client away after its decryption would be for good, since its INITIAL comes
   * again with the same ciphertext, which is not decrypted twice.
   */
  get #hasRoom(): boolean {
    return this.#slots.size + this.#gate.inFlight + this.#gate.queued < this.#limits.connectionsMax;
  }

  /** @returns Whether it was answered by ACCEPT. */
  #accept(initial: { request: InitialRequest; from: Address }, by: Key, nowUs: number): boolean {
    const { request, from } = initial;
    const limits = this.#limits.transport;
    const connectionId = this.#slots.newId();
    const { ticket } = by;
    let grant: Grant | undefined;
    const accepted = this.#handshake.accept(request, by.keySecret, {
      host: from.host,
      nowSeconds: this.#options.wallSeconds(),
      connectionId,
      resetToken: this.#resets.token(connectionId),
      parameters: limits,
      servers: this.#options.servers(),
      grant: ticket &&
        ((secret) => (grant = this.#grants!.make(ticket, { connectionId, secret, nowUs })).bytes),
    });
    if (accepted === undefined) return false;
    const { secrets, packet } = accepted;
    const connection = new Connection({
      primitives: this.#options.primitives,
      side: "server",
      connectionId,
      sendSecret: secrets.serverSecret,
      receiveSecret: secrets.clientSecret,
      local: limits,
      remote: DEFAULT_LIMITS,
      peer: from,
      nowUs,
      controller: this.#options.controller?.(),
      datagramBytes: this.#options.datagramBytes,
    });
    const link = new Link(connectionId, connection, kept(secrets.bind), kept(secrets.resumption), ticket);
    link.granted = grant?.granted;
    this.#slots.add(link);
    const endUs = nowUs + HANDSHAKE_TIMEOUT_US;
    this.#unconfirmed.set(request.key, { link, accept: packet, endUs, ticketKey: by.ticketKey });
    this.#initialKeys.set(link, request.key);
    if (this.#unconfirmed.size > this.#limits.unconfirmedMax) {
      const [oldest] = this.#unconfirmed.values();
      this.#forget(oldest!.link);
    }
    this.#answer(packet, from);
    this.touch(link);
    return true;
  }

  /** The client's first packet opened: from now on a repeated INITIAL gets nothing (SECURITY H1). */
  #confirm(link: Link): void {
    const key = this.#initialKeys.get(link);
    if (key === undefined) return;
    const ticketKey = this.#unconfirmed.get(key)?.ticketKey;
    if (ticketKey !== undefined) remember(this.#usedTickets, ticketKey, this.#limits.ciphertextsMax);
    this.#initialKeys.delete(link);
    this.#unconfirmed.delete(key);
    link.isReady = true;
    this.counters.confirmed++;
  }

  #forget(link: Link): void {
    const key = this.#initialKeys.get(link);
    if (key !== undefined) {
      this.#initialKeys.delete(link);
      this.#unconfirmed.delete(key);
    }
    this.#deadlines.remove(link);
    if (link.isForgotten) return;
    link.isForgotten = true;
    this.#slots.remove(link);
  }

  #busy({ request, from }: { request: InitialRequest; from: Address }, waitMs?: number): void {
    this.counters.busy++;
    this.#retry(this.#handshake.busy(request.initialBytes, waitMs), from);
  }

  #retry(packet: Uint8Array, to: Address): void {
    if (this.#answer(packet, to)) this.counters.retries++;
  }

  #answer(bytes: Uint8Array, to: Address): boolean {
    if (this.#answers.length >= ANSWERS_MAX) return false;
    this.#answers.push({ bytes, to });
    return true;
  }
}

/** What an INITIAL was opened with. */
interface Key {
  /** `undefined` where RSA failed. */
  readonly keySecret: Uint8Array | undefined;
  readonly ticket?: Ticket;
  readonly ticketKey?: string;
}

/** Adds to a set that forgets its oldest entry beyond `max`. */
function remember(set: Set<string>, entry: string, max: number): void {
  set.add(entry);
  if (set.size <= max) return;
  const [oldest] = set;
  set.delete(oldest!);
}

/** Answers that wait for the driver: more than come in one turn of the event loop. */
const ANSWERS_MAX = 1024;
/** A server that is full may not be in a moment. */
const ROOM_WAIT_MS = 1000;
