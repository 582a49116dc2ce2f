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
 * | ciphertexts seen                   | `ciphertextsMax`          | the oldest is forgotten: minutes at full rate |
 * | answers not yet polled             | `ANSWERS_MAX`             | dropped                                       |
 */
import { addressBytes, AddressTokens, type DecryptRequest, ServerHandshake } from "../handshake/mod.ts";
import { CONNECTIONS_MAX, DATAGRAM_BYTES, HANDSHAKE_TIMEOUT_US } from "../limits.ts";
import { isProtected, PacketType, type ServerEntry, SUPPORTED_VERSIONS } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import { Connection } from "./connection.ts";
import { DeadlineHeap } from "./deadline_heap.ts";
import type { ConnectionEvent } from "./events.ts";
import { DEFAULT_LIMITS, type TransportLimits } from "./flow_control.ts";
import { type Answer, DirtyLinks, type Endpoint, Link, type Task } from "./link.ts";
import type { Address } from "./path.ts";
import type { Rate } from "./rate_limit.ts";
import { DEFAULT_RSA_LIMITS, RsaGate, type RsaLimits } from "./rsa_gate.ts";
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
  /** What ACCEPT lists; asked for each. */
  readonly servers: () => readonly ServerEntry[];
  /** Wall clock, seconds since 1970: tokens expire by it. */
  readonly wallSeconds: () => number;
  readonly nowUs: number;
  readonly limits?: Partial<EndpointLimits>;
}

export interface EndpointLimits {
  readonly connectionsMax: number;
  readonly unconfirmedMax: number;
  readonly ciphertextsMax: number;
  readonly rsa: RsaLimits;
  readonly resets: Rate;
  readonly transport: TransportLimits;
}

export const DEFAULT_ENDPOINT_LIMITS: EndpointLimits = {
  connectionsMax: CONNECTIONS_MAX,
  unconfirmedMax: 4096,
  ciphertextsMax: 16_384,
  rsa: DEFAULT_RSA_LIMITS,
  resets: { perSecond: 50, burst: 100 },
  transport: DEFAULT_LIMITS,
};

/** What happened to datagrams that no connection had; for metrics and tests. */
export interface EndpointCounters {
  initials: number;
  retries: number;
  accepts: number;
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
  readonly accept: Uint8Array;
  readonly endUs: number;
}

export class ServerEndpoint implements Endpoint {
  readonly counters: EndpointCounters = {
    initials: 0,
    retries: 0,
    accepts: 0,
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
  readonly #slots: SlotTable<Link>;
  readonly #deadlines = new DeadlineHeap<Link>();
  readonly #dirty = new DirtyLinks();
  readonly #answers: Answer[] = [];
  /** By the INITIAL's key, oldest first: a Map keeps the order of insertion. */
  readonly #unconfirmed = new Map<string, Unconfirmed>();
  readonly #initialKeys = new Map<Link, string>();
  /** Ciphertexts that were or will be decrypted, oldest first: none is decrypted twice (SECURITY H7). */
  readonly #ciphertexts = new Set<string>();
  readonly #jobs = new Map<number, Job>();
  #nextJob = 1;
  #isRefusing = false;

  constructor(options: ServerEndpointOptions) {
    const { primitives, serverNumber, clusterKey, clusterId, tokenKey, resetKey, nowUs } = options;
    this.#options = options;
    this.#limits = { ...DEFAULT_ENDPOINT_LIMITS, ...options.limits };
    const tokens = new AddressTokens(primitives, tokenKey, clusterId);
    this.#handshake = new ServerHandshake({ primitives, versions: SUPPORTED_VERSIONS, clusterKey, tokens });
    this.#resets = new StatelessResets({ primitives, serverNumber, resetKey, rate: this.#limits.resets, nowUs });
    this.#gate = new RsaGate(this.#limits.rsa, nowUs);
    this.#slots = new SlotTable(serverNumber, this.#limits.connectionsMax, primitives.random);
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
    this.#accept(job, keySecret, nowUs);
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
    if (packet.length > DATAGRAM_BYTES) {
      this.counters.dropped++;
      return undefined;
    }
    const link = this.#slots.find(packet, 1);
    if (link !== undefined) {
      link.connection.handleDatagram(packet, packet.length, from, nowUs);
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
    else if (action.type === "retry") this.#retry(action.packet, from);
    else this.#request({ request: action.request, from }, nowUs);
  }

  /** The sender's address is proven from here on. */
  #request(job: Job, nowUs: number): void {
    const { request, from } = job;
    const known = this.#unconfirmed.get(request.key);
    if (known !== undefined) {
      // The same bytes get the same bytes: no second ephemeral key for one INITIAL (SECURITY H1).
      this.#answer(known.accept, from);
      return;
    }
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

  #accept(job: Job, keySecret: Uint8Array | undefined, nowUs: number): void {
    if (this.#isRefusing) return;
    const { request, from } = job;
    const limits = this.#limits.transport;
    const connectionId = this.#slots.newId();
    const accepted = this.#handshake.accept(request, keySecret, {
      host: from.host,
      nowSeconds: this.#options.wallSeconds(),
      connectionId,
      resetToken: this.#resets.token(connectionId),
      parameters: limits,
      servers: this.#options.servers(),
    });
    if (accepted === undefined) {
      this.counters.failures++;
      return;
    }
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
    });
    const link = new Link(connectionId, connection, secrets.bind);
    this.#slots.add(link);
    this.#unconfirmed.set(request.key, { link, accept: packet, endUs: nowUs + HANDSHAKE_TIMEOUT_US });
    this.#initialKeys.set(link, request.key);
    if (this.#unconfirmed.size > this.#limits.unconfirmedMax) {
      const [oldest] = this.#unconfirmed.values();
      this.#forget(oldest!.link);
    }
    this.#answer(packet, from);
    this.counters.accepts++;
    this.touch(link);
  }

  /** The client's first packet opened: from now on a repeated INITIAL gets nothing (SECURITY H1). */
  #confirm(link: Link): void {
    const key = this.#initialKeys.get(link);
    if (key === undefined) return;
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

  #busy(job: Job): void {
    this.counters.busy++;
    this.#retry(this.#handshake.busy(job.request.initialBytes), job.from);
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

/** Adds to a set that forgets its oldest entry beyond `max`. */
function remember(set: Set<string>, entry: string, max: number): void {
  set.add(entry);
  if (set.size <= max) return;
  const [oldest] = set;
  set.delete(oldest!);
}

/** Answers that wait for the driver: more than come in one turn of the event loop. */
const ANSWERS_MAX = 1024;
