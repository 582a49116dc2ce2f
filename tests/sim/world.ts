/**
 * Endpoints of a whole cluster and its clients in virtual time: everything below the application, decided by one seed.
 *
 * Every host has a clock of its own, every client a bad link of its own. RSA is an event some milliseconds later; all other
 * cryptography is real, with seeded randomness. What must hold for any datagram is checked here, as it is sent.
 */
import {
  AddressTokens,
  type ClientHandshakeOptions,
  type TicketLogin,
  Tickets,
  TokenPurpose,
} from "../../shared/handshake/mod.ts";
import { DATAGRAM_BYTES } from "../../shared/limits.ts";
import type { Primitives, RandomSource } from "../../shared/primitives.ts";
import {
  type Address,
  ClientEndpoint,
  type ConnectionEvent,
  type Controller,
  type Endpoint,
  type EndpointLimits,
  Link as Connected,
  ServerEndpoint,
  type Task,
} from "../../shared/transport/mod.ts";
import { describe } from "./describe.ts";
import { type Faults, Link } from "./network.ts";
import { Prng } from "./prng.ts";
import { Witness } from "./witness.ts";

/** Where a planted fault may reach in: everything that the product is handed. */
export interface Hooks {
  random?(random: RandomSource): RandomSource;
  primitives?(primitives: Primitives): Primitives;
  controller?(): Controller;
  /** The address under which a datagram's sender appears. */
  from?(from: Address): Address;
  /** After every step. */
  tamper?(world: World): void;
}

export interface WorldOptions {
  readonly prng: Prng;
  readonly hooks?: Hooks;
  readonly trace?: ((line: string) => void) | undefined;
}

export interface Envelope {
  readonly from: Address;
  readonly to: Address;
}

/** A machine: an endpoint, while it lives, and a clock that agrees with nobody's. */
export abstract class Host<E extends Endpoint = Endpoint> {
  endpoint: E | undefined;
  /** Added to the world's time. */
  clockOffsetUs = 0;
  /** RSA under way. */
  tasks = 0;
  constructor(readonly name: string, public address: Address) {}
}

export class SimServer extends Host<ServerEndpoint> {
  constructor(readonly number: number, address: Address, readonly limits: EndpointLimits) {
    super(`server${number}`, address);
  }
}

/** What a client comes back with, and its secret. */
export type Kept = NonNullable<ClientHandshakeOptions["ticket"]>;

export class SimClient extends Host<ClientEndpoint> {
  /** Outlives its crashes. */
  kept: Kept | undefined;
  constructor(
    readonly number: number,
    address: Address,
    readonly up: Link<Envelope>,
    readonly down: Link<Envelope>,
  ) {
    super(`client${number}`, address);
  }
}

export class World {
  nowUs = 1_000_000;
  datagrams = 0;
  readonly prng: Prng;
  readonly servers: SimServer[] = [];
  readonly clients: SimClient[] = [];
  readonly primitives: Primitives;
  readonly trace: ((line: string) => void) | undefined;
  /** The application. */
  onEvent: (host: Host, link: Connected, event: ConnectionEvent) => void = () => {};
  /** A client's handshake is over: with a link, or without. */
  onConnected: (client: SimClient, link: Connected | undefined) => void = () => {};
  /** What holds at any time is checked here. */
  onStep: () => void = () => {};
  /** Sees everything sent, after the faults were drawn. */
  onSent: (bytes: Uint8Array, envelope: Envelope) => void = () => {};
  readonly #hooks: Hooks;
  readonly #tokens: AddressTokens;
  readonly #tickets: Tickets;
  readonly #clusterKey = makeSpki();
  readonly #clusterId: Uint8Array;
  readonly #tokenKey: Uint8Array;
  readonly #resetKey: Uint8Array;
  readonly #plaintexts = new Map<string, Uint8Array>();
  #agenda: { readonly atUs: number; readonly run: () => void }[] = [];
  readonly #touched = new Set<Host>();
  /** Bytes from and to addresses at which no client ever was. */
  readonly #strangers = new Map<string, { received: number; sent: number }>();
  readonly #known = new Set<string>();
  #stepsNow = 0;

  constructor(options: WorldOptions) {
    const { prng, hooks = {} } = options;
    this.prng = prng;
    this.trace = options.trace;
    this.#hooks = hooks;
    this.#clusterId = prng.bytes(16);
    this.#tokenKey = prng.bytes(32);
    this.#resetKey = prng.bytes(32);
    const random = new Prng(prng.u32());
    const witness = new Witness(hooks.random?.(random) ?? random);
    this.primitives = hooks.primitives?.(witness.primitives) ?? witness.primitives;
    this.#tokens = new AddressTokens(this.primitives, this.#tokenKey, this.#clusterId);
    const sealing = { id: prng.bytes(8), key: prng.bytes(32) };
    this.#tickets = new Tickets(this.primitives, () => ({ sealing, opening: [sealing] }));
  }

  addServer(limits: EndpointLimits): SimServer {
    const number = this.servers.length;
    const server = new SimServer(number, { host: "203.0.113.1", port: 9001 + number }, limits);
    this.servers.push(server);
    this.start(server);
    return server;
  }

  addClient(toServer: Partial<Faults>, toClient: Partial<Faults>): SimClient {
    const number = this.clients.length, prng = this.prng;
    const address = { host: `192.0.2.${number + 1}`, port: 40_000 };
    const client = new SimClient(number, address, new Link(prng, toServer), new Link(prng, toClient));
    this.#known.add(keyOf(address));
    this.clients.push(client);
    return client;
  }

  /** A server begins with empty memory. */
  start(server: SimServer): void {
    const { number, limits } = server;
    server.clockOffsetUs = this.prng.integer(0, CLOCK_OFFSET_US_MAX);
    server.tasks = 0;
    server.endpoint = new ServerEndpoint({
      primitives: this.primitives,
      serverNumber: number,
      clusterId: this.#clusterId,
      clusterKey: this.#clusterKey,
      tokenKey: this.#tokenKey,
      resetKey: this.#resetKey,
      tickets: this.#tickets,
      servers: () => this.servers.map(({ number, address }) => ({ number, host: "", port: address.port })),
      wallSeconds: () => this.wallSeconds,
      nowUs: this.localUs(server),
      limits,
      ...this.#controllers(),
    });
    this.say(server, "starts");
  }

  /** A client begins to connect, with empty memory but for what is handed in. */
  connect(client: SimClient, server: SimServer, token: Uint8Array, ticket?: Kept): void {
    client.clockOffsetUs = this.prng.integer(0, CLOCK_OFFSET_US_MAX);
    client.tasks = 0;
    client.endpoint = new ClientEndpoint({
      primitives: this.primitives,
      versions: [1],
      clusterKey: this.#clusterKey,
      token,
      ...(ticket && { ticket }),
      server: server.address,
      nowUs: this.localUs(client),
      ...this.#controllers(),
    });
    this.say(client, `connects to ${server.name} with ${ticket === undefined ? "RSA" : "a ticket"}`);
    this.touch(client);
  }

  /** It forgets everything; what comes for it meanwhile is lost. */
  crash(host: Host): void {
    host.endpoint = undefined;
    host.tasks = 0;
    this.#touched.delete(host);
    this.say(host, "crashes");
  }

  /** Its NAT forgets it: it appears elsewhere, and what is sent to where it was is lost. */
  rebind(client: SimClient): void {
    const { host, port } = client.address;
    const moves = this.prng.chance(0.3);
    client.address = { host: moves ? `192.0.2.${this.prng.integer(10, 250)}` : host, port: port + 1 };
    this.#known.add(keyOf(client.address));
    this.say(client, `appears at ${keyOf(client.address)}`);
  }

  /** What the login of a client is to its tickets. */
  login(client: SimClient): TicketLogin {
    return { user: client.name, device: new Uint8Array(16), session: new Uint8Array(32), generation: 1 };
  }

  /** As LOCATED would have brought it. */
  token(host: string): Uint8Array {
    return this.#tokens.make(TokenPurpose.locate, host, this.wallSeconds);
  }

  get wallSeconds(): number {
    return WALL_SECONDS + Math.floor(this.nowUs / 1e6);
  }

  /** What the host's clock shows. */
  localUs(host: Host): number {
    return this.nowUs + host.clockOffsetUs;
  }

  /** The host has to be polled: its application did something. */
  touch(host: Host, link?: Connected): void {
    if (link !== undefined) host.endpoint?.touch(link);
    this.#touched.add(host);
  }

  later(us: number, run: () => void): void {
    const entry = { atUs: this.nowUs + us, run };
    let index = this.#agenda.length;
    while (index > 0 && this.#agenda[index - 1]!.atUs > entry.atUs) index--;
    this.#agenda.splice(index, 0, entry);
  }

  /** A datagram from anybody, under any name, arrives now. */
  inject(bytes: Uint8Array, envelope: Envelope): void {
    this.trace?.(this.#line("  forged", bytes, envelope));
    this.#arrive(bytes, envelope);
  }

  /** Lets `us` pass. */
  pass(us: number): void {
    const untilUs = this.nowUs + us;
    while (this.step(untilUs));
    this.nowUs = untilUs;
  }

  /** Moves to the next thing that happens. @returns false where that is not until `untilUs`. */
  step(untilUs: number): boolean {
    this.#pollTouched();
    const nextUs = this.#nextUs();
    if (nextUs > untilUs) return false;
    if (nextUs > this.nowUs) this.#stepsNow = 0;
    else if (++this.#stepsNow > STEPS_AT_ONCE_MAX) throw new Error("Time does not go on: a deadline stays due");
    this.nowUs = Math.max(this.nowUs, nextUs);
    while (this.#agenda.length > 0 && this.#agenda[0]!.atUs <= this.nowUs) this.#agenda.shift()!.run();
    for (const client of this.clients) {
      this.#drain(client.up);
      this.#drain(client.down);
    }
    this.#expire(this.servers);
    this.#expire(this.clients);
    this.#pollTouched();
    this.#hooks.tamper?.(this);
    this.onStep();
    return true;
  }

  say(host: Host, text: string): void {
    this.trace?.(`${this.#time} ${host.name} ${text}`);
  }

  get #time(): string {
    return (this.nowUs / 1e6).toFixed(6);
  }

  #line(what: string, bytes: Uint8Array, { from, to }: Envelope): string {
    return `${this.#time} ${what} ${keyOf(from)} -> ${keyOf(to)} ${describe(bytes)}`;
  }

  #nextUs(): number {
    let nextUs = this.#agenda[0]?.atUs ?? Infinity;
    for (const client of this.clients) {
      nextUs = Math.min(nextUs, client.up.nextUs, client.down.nextUs, this.#deadlineUs(client));
    }
    for (const server of this.servers) nextUs = Math.min(nextUs, this.#deadlineUs(server));
    return nextUs;
  }

  /** In the world's time. */
  #deadlineUs(host: Host): number {
    const deadlineUs = host.endpoint?.nextDeadlineUs();
    return deadlineUs === undefined ? Infinity : deadlineUs - host.clockOffsetUs;
  }

  #expire(hosts: readonly Host[]): void {
    for (const host of hosts) {
      if (this.#deadlineUs(host) > this.nowUs) continue;
      host.endpoint!.handleTimeout(this.localUs(host));
      this.#touched.add(host);
    }
  }

  #drain(link: Link<Envelope>): void {
    for (let delivery = link.take(this.nowUs); delivery; delivery = link.take(this.nowUs)) {
      this.trace?.(this.#line("  arrives", delivery.bytes, delivery.from));
      this.#arrive(delivery.bytes, delivery.from);
    }
  }

  #arrive(bytes: Uint8Array, { from, to }: Envelope): void {
    const host = this.#at(to);
    if (host?.endpoint === undefined) return;
    if (host instanceof SimServer) this.#strange(from, bytes.length, 0);
    INPUT.set(bytes);
    const seen = this.#hooks.from?.(from) ?? from;
    host.endpoint.handleDatagram(INPUT.subarray(0, bytes.length), seen, this.localUs(host));
    this.#touched.add(host);
  }

  #at(address: Address): Host | undefined {
    const is = (host: Host) => host.address.port === address.port && host.address.host === address.host;
    return this.servers.find(is) ?? this.clients.find(is);
  }

  /** One round for each host: what arrives at one instant is answered together. */
  #pollTouched(): void {
    for (const host of this.#touched) {
      this.#touched.delete(host);
      if (host.endpoint !== undefined) this.#poll(host, host.endpoint);
    }
  }

  /** What a driver does. */
  #poll(host: Host, endpoint: Endpoint): void {
    const isConnecting = host instanceof SimClient && host.endpoint!.connected === undefined;
    for (let task = endpoint.pollTask(); task; task = endpoint.pollTask()) this.#perform(host, endpoint, task);
    let answers = 0;
    for (let answer = endpoint.pollAnswer(); answer; answer = endpoint.pollAnswer()) {
      if (++answers > ANSWERS_MAX) throw new Error("Answers do not end");
      this.#send(host, answer.bytes, answer.to);
    }
    if (host instanceof SimClient) this.#conclude(host);
    if (isConnecting && host.endpoint === undefined) return;
    for (let link = endpoint.takeDirty(); link; link = endpoint.takeDirty()) {
      this.#takeEvents(host, endpoint, link);
      this.#transmit(host, link);
      this.#takeEvents(host, endpoint, link);
      if (host.endpoint !== endpoint) return;
      endpoint.settle(link, this.localUs(host));
    }
  }

  readonly #told = new WeakSet<Endpoint>();

  #conclude(client: SimClient): void {
    const endpoint = client.endpoint;
    if (endpoint === undefined || this.#told.has(endpoint)) return;
    const [link] = endpoint.links();
    if (link === undefined && endpoint.failure === undefined) return;
    this.#told.add(endpoint);
    if (link === undefined) this.say(client, `fails to connect: ${endpoint.failure!.why}`);
    this.onConnected(client, link);
  }

  #takeEvents(host: Host, endpoint: Endpoint, link: Connected): void {
    for (let event = endpoint.pollEvent(link); event; event = endpoint.pollEvent(link)) {
      if (this.trace !== undefined) this.say(host, `is told ${tell(event)}`);
      this.onEvent(host, link, event);
    }
  }

  #transmit(host: Host, link: Connected): void {
    for (let sent = 0;; sent++) {
      if (sent > DATAGRAMS_AT_ONCE_MAX) throw new Error("pollTransmit does not end");
      const bytes = link.connection.pollTransmit(OUTPUT, this.localUs(host));
      if (bytes === 0) return;
      this.#send(host, OUTPUT.subarray(0, bytes), link.connection.transmitTo);
    }
  }

  #send(host: Host, bytes: Uint8Array, to: Address): void {
    if (bytes.length > DATAGRAM_BYTES) throw new Error(`Datagram of ${bytes.length} bytes`);
    this.datagrams++;
    const envelope = { from: host.address, to };
    const link = host instanceof SimClient ? host.up : (this.#at(to) as SimClient | undefined)?.down;
    if (host instanceof SimServer) this.#strange(to, 0, bytes.length);
    const arrives = link?.send(envelope, bytes, this.nowUs) ?? false;
    this.trace?.(this.#line(arrives ? "sends" : "loses", bytes, envelope));
    this.onSent(bytes, envelope);
  }

  /** RFC 9000 §8: who never proved an address gets at most three times what came from it. */
  #strange(address: Address, received: number, sent: number): void {
    const key = keyOf(address);
    if (this.#known.has(key)) return;
    let account = this.#strangers.get(key);
    if (account === undefined) this.#strangers.set(key, account = { received: 0, sent: 0 });
    account.received += received;
    account.sent += sent;
    if (account.sent <= AMPLIFICATION_MAX * account.received) return;
    throw new Error(`${key} sent ${account.received} bytes, proved nothing and was sent ${account.sent}`);
  }

  /** RSA: OAEP is a table look-up here, and takes as long as it takes. */
  #perform(host: Host, endpoint: Endpoint, task: Task): void {
    let result: Uint8Array | undefined;
    host.tasks++;
    if (task.type === "encrypt") {
      result = this.prng.bytes(384);
      // Less than the modulus.
      result[0] = 0;
      this.#plaintexts.set(result.toHex(), task.plaintext.slice());
    } else {
      result = this.#plaintexts.get(task.ciphertext.toHex());
      const { inFlightMax } = (host as SimServer).limits.rsa;
      if (host.tasks > inFlightMax) throw new Error(`${host.tasks} RSA decryptions at once, at most ${inFlightMax}`);
    }
    this.later(this.prng.integer(1_000, 20_000), () => {
      if (host.endpoint !== endpoint) return;
      host.tasks--;
      endpoint.completeTask(task.id, result, this.localUs(host));
      this.#touched.add(host);
    });
  }

  #controllers() {
    const controller = this.#hooks.controller;
    return controller === undefined ? {} : { controller };
  }
}

export function keyOf({ host, port }: Address): string {
  return `${host}:${port}`;
}

function tell(event: ConnectionEvent): string {
  switch (event.type) {
    case "closed":
      return `closed ${event.reason.code} ${event.reason.reason}`;
    case "stream":
    case "readable":
    case "finished":
    case "reset":
      return `${event.type} ${event.id}`;
    default:
      return event.type;
  }
}

/** The layout of an RSA-3072 SPKI; nobody computes with it here. */
function makeSpki(): Uint8Array {
  const prefix = Uint8Array.fromHex("308201a2300d06092a864886f70d01010105000382018f003082018a0282018100");
  return new Uint8Array([...prefix, ...new Uint8Array(384).fill(0xff), 2, 3, 1, 0, 1]);
}

const WALL_SECONDS = 1_800_000_000;
const CLOCK_OFFSET_US_MAX = 10_000_000_000;
const AMPLIFICATION_MAX = 3;
const STEPS_AT_ONCE_MAX = 10_000;
const DATAGRAMS_AT_ONCE_MAX = 100_000;
const ANSWERS_MAX = 2048;
const spare = new Witness(new Prng(1)).primitives;
const OUTPUT = spare.packetBuffer(DATAGRAM_BYTES);
const INPUT = spare.packetBuffer(2 * DATAGRAM_BYTES);
