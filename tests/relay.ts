/**
 * A bad network on one machine: a UDP relay that delays, loses, duplicates and reorders, with a bottleneck if wanted.
 *
 * `deno run -A tests/relay.ts --to 127.0.0.1:9000 --delay 20 --loss 0.1 --dup 0.05 --reorder 0.1 --rate 1mbit --queue 50
 * --seed 7` prints the address to use instead and relays until interrupted.
 *
 * Each client has a source port of its own towards the server, as behind a NAT. Faults are drawn from the seed; when
 * datagrams come is up to the machine, so a run is alike under one seed, not identical.
 */
import { parseArgs } from "node:util";
import type { Address } from "../shared/net/channel.ts";
import { formatHostPort, openUdp, type Route, type UdpSockets } from "../shared/net/udp_socket.ts";
import { Prng } from "./sim/prng.ts";

/** What happens to datagrams in one direction. Rates are probabilities. */
export interface Faults {
  delayMs: number;
  /** Up to this much more delay, without changing the order. */
  jitterMs: number;
  loss: number;
  duplicate: number;
  /** Probability that a datagram is held back so that later ones overtake it. */
  reorder: number;
  /** Bits a second of the bottleneck, with UDP/IP headers; 0 = no bottleneck. */
  rateBits: number;
  /** Datagrams that wait at the bottleneck before it drops. */
  queue: number;
}

export interface RelayOptions extends Partial<Faults> {
  readonly seed?: number;
  /** Keeps every payload in {@linkcode Relay.recorded}. */
  readonly record?: boolean;
  /** Where the relay listens and the host it sends from. */
  readonly host?: string;
  /** Sends clients through the relay to the servers too: the port in every LOCATED becomes one of ours. */
  readonly rewriteLocated?: boolean;
  /** Changes a datagram on its way; `undefined` drops it. */
  rewrite?(datagram: Uint8Array, direction: Direction): Uint8Array | undefined;
}

export type Direction = "up" | "down";

export interface Recorded {
  readonly direction: Direction;
  readonly bytes: Uint8Array;
}

export class Relay {
  /** Towards the server, and towards the clients. Their faults may be changed while it runs. */
  readonly up: Link;
  readonly down: Link;
  readonly recorded: Recorded[] = [];
  readonly #options: RelayOptions;
  readonly #fronts = new Map<string, Front>();

  constructor(options: RelayOptions = {}) {
    this.#options = options;
    const prng = new Prng(options.seed ?? 1);
    const random = () => prng.float();
    this.up = new Link(faultsOf(options), random);
    this.down = new Link(faultsOf(options), random);
  }

  /** Listens for a server: datagrams to the returned address go to it. The same address again for the same server. */
  map(host: string, port: number, listenPort = 0): Address {
    const key = formatHostPort(host, port);
    let front = this.#fronts.get(key);
    if (front === undefined) {
      front = new Front(this.#options.host ?? "127.0.0.1", listenPort, { host, port }, {
        up: (bytes, send) => this.#carry("up", bytes, send),
        down: (bytes, send) => this.#carry("down", bytes, send),
      });
      this.#fronts.set(key, front);
    }
    return front.address;
  }

  /** Sends what was for one server to another from now on, as if another process had taken its port. */
  retarget(port: number, toPort: number): void {
    for (const front of this.#fronts.values()) {
      if (front.target.port === port) front.target = { ...front.target, port: toPort };
    }
  }

  /** Every client appears to the servers with a new source port from now on, as after a NAT forgot it. */
  rebind(): void {
    for (const front of this.#fronts.values()) front.rebind();
  }

  close(): void {
    this.up.close();
    this.down.close();
    for (const front of this.#fronts.values()) front.close();
  }

  #carry(direction: Direction, received: Uint8Array, send: (bytes: Uint8Array) => void): void {
    let bytes: Uint8Array | undefined = received.slice();
    if (this.#options.record) this.recorded.push({ direction, bytes: bytes.slice() });
    if (direction === "down" && this.#options.rewriteLocated) this.#rewriteLocated(bytes);
    if (this.#options.rewrite) bytes = this.#options.rewrite(bytes, direction);
    if (bytes !== undefined) this[direction].carry(bytes, send);
  }

  /** PROTOCOL.md §2.2: LOCATED is in clear, so the relay can put its own port in. */
  #rewriteLocated(bytes: Uint8Array): void {
    if (bytes[0] !== 0x02 || bytes.length < 60) return;
    const versions = bytes[35]!;
    const hostLengthAt = 36 + 2 * versions + 1;
    const portAt = hostLengthAt + 1 + bytes[hostLengthAt]!;
    const port = bytes[portAt]! << 8 | bytes[portAt + 1]!;
    if (port === 0) return;
    const ours = this.map(this.#options.host ?? "127.0.0.1", port).port;
    bytes[portAt] = ours >>> 8;
    bytes[portAt + 1] = ours;
  }
}

/** One direction: faults first, then the bottleneck, then the delay. */
export class Link {
  readonly counters = { carried: 0, lost: 0, duplicated: 0, reordered: 0, overflowed: 0 };
  readonly #random: () => number;
  /** Sorted by due time. */
  readonly #pending: { dueMs: number; send: () => void }[] = [];
  #freeAtMs = 0;
  #lastDueMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly faults: Faults, random: () => number) {
    this.#random = random;
  }

  carry(bytes: Uint8Array, send: (bytes: Uint8Array) => void): void {
    if (this.#random() < this.faults.loss) {
      this.counters.lost++;
      return;
    }
    const copies = this.#random() < this.faults.duplicate ? 2 : 1;
    this.counters.duplicated += copies - 1;
    for (let copy = 0; copy < copies; copy++) this.#queue(bytes, () => send(bytes));
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#pending.length = 0;
  }

  #queue(bytes: Uint8Array, send: () => void): void {
    const { delayMs, jitterMs, reorder, rateBits, queue } = this.faults;
    const nowMs = performance.now();
    let leavesMs = nowMs;
    if (rateBits > 0) {
      const eachMs = (bytes.length + HEADER_BYTES) * 8 * 1000 / rateBits;
      if ((this.#freeAtMs - nowMs) / eachMs > queue) {
        this.counters.overflowed++;
        return;
      }
      leavesMs = this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + eachMs;
    }
    let dueMs = leavesMs + delayMs + jitterMs * this.#random();
    if (this.#random() < reorder) {
      this.counters.reordered++;
      dueMs += REORDER_MS + this.#random() * Math.max(REORDER_MS, delayMs / 2);
    } else {
      dueMs = this.#lastDueMs = Math.max(dueMs, this.#lastDueMs);
    }
    this.counters.carried++;
    if (dueMs <= nowMs) return send();
    let at = this.#pending.length;
    while (at > 0 && this.#pending[at - 1]!.dueMs > dueMs) at--;
    this.#pending.splice(at, 0, { dueMs, send });
    if (at === 0) this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const next = this.#pending[0];
    if (next === undefined) return;
    this.#timer = setTimeout(() => {
      const nowMs = performance.now();
      while (this.#pending.length > 0 && this.#pending[0]!.dueMs <= nowMs) this.#pending.shift()!.send();
      this.#arm();
    }, Math.max(0, next.dueMs - performance.now()));
  }
}

/** One listening port, for one server, with an outgoing socket for each client. */
class Front {
  readonly #front: UdpSockets;
  readonly #clients = new Map<string, { back: UdpSockets; route: Route }>();

  constructor(
    readonly host: string,
    port: number,
    public target: Address,
    readonly links: Record<Direction, (bytes: Uint8Array, send: (bytes: Uint8Array) => void) => void>,
  ) {
    this.#front = openUdp({ host, port, onDatagram: (bytes, from) => this.#up(bytes, from) });
  }

  get address(): Address {
    return this.#front.address;
  }

  rebind(): void {
    for (const client of this.#clients.values()) {
      client.back.close();
      client.back = this.#openBack(client.route);
    }
  }

  close(): void {
    this.#front.close();
    for (const { back } of this.#clients.values()) back.close();
  }

  #up(bytes: Uint8Array, route: Route): void {
    const key = formatHostPort(route.host, route.port);
    let client = this.#clients.get(key);
    if (client === undefined) {
      client = { back: this.#openBack(route), route };
      this.#clients.set(key, client);
    }
    const { back } = client;
    this.links.up(bytes, (carried) => {
      // A rebinding closed the socket meanwhile: the datagram leaves from the new port.
      const now = this.#clients.get(key)?.back ?? back;
      now.first.send(carried, this.target, ignore);
    });
  }

  #openBack(route: Route): UdpSockets {
    return openUdp({
      host: this.host,
      port: 0,
      onDatagram: (bytes) => this.links.down(bytes, (carried) => route.socket.send(carried, route, ignore)),
    });
  }
}

/** `1mbit`, `500kbit` or a number of bits a second. */
export function parseRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(k|m|g)?(?:bit)?$/i.exec(text);
  if (match === null) throw new RangeError(`Cannot read rate: ${text} is not like 1mbit`);
  return Number(match[1]) * ({ k: 1e3, m: 1e6, g: 1e9 }[match[2]?.toLowerCase() ?? ""] ?? 1);
}

function faultsOf(options: RelayOptions): Faults {
  const { delayMs = 0, jitterMs = 0, loss = 0, duplicate = 0, reorder = 0, rateBits = 0, queue = 50 } = options;
  return { delayMs, jitterMs, loss, duplicate, reorder, rateBits, queue };
}

function ignore(): void {}

/** IPv4 and UDP headers, which a link carries too. */
const HEADER_BYTES = 28;
/** Least time by which a datagram is held back to be overtaken. */
const REORDER_MS = 3;

if (import.meta.main) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: {
      to: text,
      listen: { ...text, default: "0" },
      delay: { ...text, default: "0" },
      jitter: { ...text, default: "0" },
      loss: { ...text, default: "0" },
      dup: { ...text, default: "0" },
      reorder: { ...text, default: "0" },
      rate: { ...text, default: "0" },
      queue: { ...text, default: "50" },
      seed: { ...text, default: "1" },
      "rewrite-located": { type: "boolean", default: true },
    },
    allowNegative: true,
  });
  const target = /^\[?(.+?)\]?:(\d+)$/.exec(values.to ?? "");
  if (target === null) {
    console.error(
      "Usage: deno run -A tests/relay.ts --to HOST:PORT [--listen PORT] [--delay MS] [--jitter MS] [--loss P]",
    );
    console.error("       [--dup P] [--reorder P] [--rate 1mbit] [--queue N] [--seed N] [--no-rewrite-located]");
    Deno.exit(2);
  }
  const relay = new Relay({
    delayMs: Number(values.delay),
    jitterMs: Number(values.jitter),
    loss: Number(values.loss),
    duplicate: Number(values.dup),
    reorder: Number(values.reorder),
    rateBits: parseRate(values.rate),
    queue: Number(values.queue),
    seed: Number(values.seed),
    rewriteLocated: values["rewrite-located"],
  });
  const address = relay.map(target[1]!, Number(target[2]), Number(values.listen));
  console.log(`relay ${formatHostPort(address.host, address.port)} -> ${values.to}`);
  Deno.addSignalListener("SIGINT", () => {
    console.log(JSON.stringify({ up: relay.up.counters, down: relay.down.counters }));
    relay.close();
    Deno.exit(0);
  });
}
