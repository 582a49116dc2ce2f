/** Endpoints on a network in virtual time: everything that happens is decided by a seed. RSA is a table look-up here. */
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import {
  AddressTokens,
  type TicketKey,
  type TicketKeys,
  Tickets,
  TokenPurpose,
} from "../../../shared/handshake/mod.ts";
import { DATAGRAM_BYTES } from "../../../shared/limits.ts";
import {
  type Address,
  ClientEndpoint,
  type ConnectionEvent,
  type Endpoint,
  type EndpointLimits,
  type Link,
  ServerEndpoint,
  type Task,
} from "../../../shared/transport/mod.ts";
import { Prng } from "../../sim/prng.ts";

const WALL_SECONDS = 1_800_000_000;
const RSA_US = 5_000;
const DELAY_US = 10_000;

export interface Packet {
  readonly bytes: Uint8Array;
  readonly from: Address;
  readonly to: Address;
}

export interface Node<E extends Endpoint = Endpoint> {
  readonly address: Address;
  readonly endpoint: E;
  readonly events: { readonly link: Link; readonly event: ConnectionEvent }[];
  readonly sent: Packet[];
}

export class World {
  nowUs = 1_000_000;
  loss = 0;
  /** Sees every packet; false drops it. */
  filter: (packet: Packet) => boolean = () => true;
  /** Fails every RSA decryption. */
  isRsaBroken = false;
  rsaDecryptions = 0;
  readonly prng: Prng;
  readonly clusterId = new Uint8Array(16).fill(7);
  readonly tokenKey = new Uint8Array(32).fill(8);
  readonly resetKey = new Uint8Array(32).fill(9);
  readonly clusterKey = makeSpki();
  readonly ticketKey: TicketKey = { id: new Uint8Array(8).fill(10), key: new Uint8Array(32).fill(11) };
  readonly #primitives: Awaited<ReturnType<typeof createPrimitives>>;
  readonly #nodes = new Map<string, Node>();
  #pending: { dueUs: number; order: number; run: () => void }[] = [];
  #order = 0;
  readonly #rsa = new Map<string, Uint8Array>();

  private constructor(prng: Prng, primitives: Awaited<ReturnType<typeof createPrimitives>>) {
    this.prng = prng;
    this.#primitives = primitives;
  }

  static async create(seed: number): Promise<World> {
    const prng = new Prng(seed);
    return new World(prng, await createPrimitives({ random: prng }));
  }

  get primitives() {
    return this.#primitives;
  }

  server(
    number: number,
    limits: Partial<EndpointLimits> = {},
    ticketKey: TicketKey | (() => TicketKeys) = this.ticketKey,
  ): Node<ServerEndpoint> {
    const keys = typeof ticketKey === "function" ? ticketKey : () => ({ sealing: ticketKey, opening: [ticketKey] });
    const endpoint = new ServerEndpoint({
      primitives: this.#primitives,
      serverNumber: number,
      clusterId: this.clusterId,
      clusterKey: this.clusterKey,
      tokenKey: this.tokenKey,
      resetKey: this.resetKey,
      tickets: new Tickets(this.#primitives, keys),
      servers: () => [{ number, host: "", port: 9000 + number }],
      wallSeconds: () => WALL_SECONDS + Math.floor(this.nowUs / 1_000_000),
      nowUs: this.nowUs,
      limits,
    });
    return this.#add({ host: "10.0.0.1", port: 9000 + number }, endpoint);
  }

  /** Begins to connect at once. @param token By default one that LOCATED would have brought. */
  client(
    host: string,
    server: Node,
    token: Uint8Array = this.token(host),
    clusterKey: Uint8Array = this.clusterKey,
    ticket?: { readonly ticket: Uint8Array; readonly secret: Uint8Array },
  ): Node<ClientEndpoint> {
    const endpoint = new ClientEndpoint({
      primitives: this.#primitives,
      versions: [1],
      clusterKey,
      token,
      ...(ticket && { ticket }),
      server: server.address,
      nowUs: this.nowUs,
    });
    const node = this.#add({ host, port: 40_000 + this.#nodes.size }, endpoint);
    this.poll(node);
    return node;
  }

  token(host: string): Uint8Array {
    const tokens = new AddressTokens(this.#primitives, this.tokenKey, this.clusterId);
    return tokens.make(TokenPurpose.locate, host, WALL_SECONDS + Math.floor(this.nowUs / 1_000_000));
  }

  /** Puts a packet on the network, from whomever. */
  send(packet: Packet): void {
    if (!this.filter(packet) || this.prng.chance(this.loss)) return;
    const bytes = packet.bytes.slice();
    this.#later(DELAY_US, () => this.deliver({ ...packet, bytes }));
  }

  /** Brings a packet to its receiver now. */
  deliver(packet: Packet): void {
    const node = this.#nodes.get(key(packet.to));
    if (node === undefined) return;
    node.endpoint.handleDatagram(packet.bytes.slice(), packet.from, this.nowUs);
    this.poll(node);
  }

  /** What a driver does. */
  poll(node: Node): void {
    const { endpoint } = node;
    for (let task = endpoint.pollTask(); task; task = endpoint.pollTask()) this.#perform(node, task);
    for (let answer = endpoint.pollAnswer(); answer; answer = endpoint.pollAnswer()) {
      this.#emit(node, answer.bytes, answer.to);
    }
    const buffer = new Uint8Array(DATAGRAM_BYTES);
    for (let link = endpoint.takeDirty(); link; link = endpoint.takeDirty()) {
      for (let event = endpoint.pollEvent(link); event; event = endpoint.pollEvent(link)) {
        node.events.push({ link, event });
      }
      for (;;) {
        const bytes = link.connection.pollTransmit(buffer, this.nowUs);
        if (bytes === 0) break;
        this.#emit(node, buffer.slice(0, bytes), link.connection.transmitTo);
      }
      endpoint.settle(link, this.nowUs);
    }
  }

  /** Runs until the condition holds. @returns Whether it did within the time. */
  run(condition: () => boolean, forUs = 30_000_000): boolean {
    const endUs = this.nowUs + forUs;
    while (!condition()) {
      const nextUs = this.#nextUs();
      if (nextUs > endUs) {
        this.nowUs = endUs;
        return condition();
      }
      this.nowUs = Math.max(this.nowUs, nextUs);
      const due = this.#pending.filter(({ dueUs }) => dueUs <= this.nowUs);
      this.#pending = this.#pending.filter(({ dueUs }) => dueUs > this.nowUs);
      for (const { run } of due.sort((a, b) => a.dueUs - b.dueUs || a.order - b.order)) run();
      for (const node of this.#nodes.values()) {
        if ((node.endpoint.nextDeadlineUs() ?? Infinity) > this.nowUs) continue;
        node.endpoint.handleTimeout(this.nowUs);
        this.poll(node);
      }
    }
    return true;
  }

  pass(us: number): void {
    this.run(() => false, us);
  }

  /** As a process that died: its address is free for another. */
  remove(node: Node): void {
    this.#nodes.delete(key(node.address));
  }

  #add<E extends Endpoint>(address: Address, endpoint: E): Node<E> {
    const node = { address, endpoint, events: [], sent: [] };
    this.#nodes.set(key(address), node);
    return node;
  }

  #emit(node: Node, bytes: Uint8Array, to: Address): void {
    const packet = { bytes, from: node.address, to };
    node.sent.push(packet);
    this.send(packet);
  }

  #perform(node: Node, task: Task): void {
    let result: Uint8Array | undefined;
    if (task.type === "encrypt") {
      result = this.prng.bytes(384);
      result[0] = 0;
      this.#rsa.set(result.toHex(), task.plaintext.slice());
    } else {
      this.rsaDecryptions++;
      result = this.isRsaBroken ? undefined : this.#rsa.get(task.ciphertext.toHex());
    }
    this.#later(RSA_US, () => {
      node.endpoint.completeTask(task.id, result, this.nowUs);
      this.poll(node);
    });
  }

  #later(us: number, run: () => void): void {
    this.#pending.push({ dueUs: this.nowUs + us, order: this.#order++, run });
  }

  #nextUs(): number {
    let nextUs = Infinity;
    for (const { dueUs } of this.#pending) nextUs = Math.min(nextUs, dueUs);
    for (const node of this.#nodes.values()) nextUs = Math.min(nextUs, node.endpoint.nextDeadlineUs() ?? Infinity);
    return nextUs;
  }
}

function key({ host, port }: Address): string {
  return `${host} ${port}`;
}

/** The layout of an RSA-3072 SPKI; nobody computes with it here. */
function makeSpki(): Uint8Array {
  const prefix = Uint8Array.fromHex("308201a2300d06092a864886f70d01010105000382018f003082018a0282018100");
  return new Uint8Array([...prefix, ...new Uint8Array(384).fill(0xff), 2, 3, 1, 0, 1]);
}
