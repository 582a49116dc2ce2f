/**
 * UDP sockets: the only caller of `Deno.listenDatagram`.
 *
 * What Deno does and does not do, measured on 2.9.6, and what follows from it:
 * - A receive without a buffer takes 1,024 bytes and cuts the rest off: every receive here brings its own buffer.
 * - `send` reads the bytes *after* it has returned, so they must rest until its promise settles: see {@linkcode UdpSocket.send}.
 * - It cannot tell to which local address a datagram came, nor choose one to answer from. So a wildcard host is one socket
 *   for each local address, looked at again every 30 s (SECURITY H9), and answers leave from the socket asked.
 * - An ICMP error for an earlier datagram can fail a later send or receive (on Windows): it is counted and never ends the loop.
 */
import type { Address } from "./channel.ts";

/** A peer's address together with the local socket it was heard on, which is the one to answer from. */
export interface Route extends Address {
  readonly socket: UdpSocket;
}

export interface UdpOptions {
  /** An address or name; `0.0.0.0` is every local IPv4 address, `::` every local IPv4 and IPv6 address (link-local IPv6 excepted). */
  readonly host: string;
  /** 0 takes a free one, the same for all sockets. */
  readonly port: number;
  /** @param bytes Borrowed until the call returns; longer than any packet of ours where the sender sent more. */
  onDatagram(bytes: Uint8Array, from: Route): void;
  /** Where received bytes go: `primitives.packetBuffer` lets packets be opened in place. Called once for each socket. */
  buffer?(bytes: number): Uint8Array;
  /** A receive buffer that will not be used again. */
  onBufferFree?(buffer: Uint8Array): void;
  /** For a client, which only asks: a wildcard host is then one socket, and the system chooses the source address. */
  readonly wildcardIsOne?: boolean;
}

export interface UdpCounters {
  sent: number;
  received: number;
  sendErrors: number;
  receiveErrors: number;
}

/** Why a socket could not be opened, for people. */
export class BindError extends Error {
  override readonly name = "BindError";
  constructor(
    readonly why: "in use" | "not available" | "permission" | "other",
    readonly host: string,
    readonly port: number,
    cause: unknown,
  ) {
    super(`Cannot listen on UDP ${formatHostPort(host, port)}: ${BIND_TEXTS[why] ?? messageOf(cause)}`, { cause });
  }
}

/** Opens the socket or, for a wildcard host, the sockets. @throws {BindError} */
export function openUdp(options: UdpOptions): UdpSockets {
  return new UdpSockets(options);
}

/** All sockets of one `host:port`. */
export class UdpSockets {
  readonly counters: UdpCounters = { sent: 0, received: 0, sendErrors: 0, receiveErrors: 0 };
  readonly #options: UdpOptions;
  readonly #sockets = new Map<string, UdpSocket>();
  readonly #wildcard: boolean;
  readonly #port: number;
  readonly #host: string;
  #refreshTimer: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(options: UdpOptions) {
    this.#options = options;
    this.#wildcard = isWildcard(options.host) && options.wildcardIsOne !== true;
    this.#port = this.#wildcard ? this.#openAll() : this.#open(options.host, options.port).address.port;
    this.#host = this.#wildcard ? options.host : this.first.address.host;
    if (this.#wildcard) {
      this.#refreshTimer = setInterval(() => this.refresh(), REFRESH_MS);
      Deno.unrefTimer(this.#refreshTimer as unknown as number);
    }
  }

  /** What was asked for, with the port that was given. For a wildcard the host stays the wildcard. */
  get address(): Address {
    return { host: this.#host, port: this.#port };
  }

  /** Where datagrams can be sent to from this machine: one for each local address. */
  get addresses(): Address[] {
    return [...this.#sockets.values()].map((socket) => socket.address);
  }

  /** Any socket: the only one, unless the host is a wildcard. */
  get first(): UdpSocket {
    const [socket] = this.#sockets.values();
    if (socket === undefined) throw new TypeError("Cannot take a socket: all are closed");
    return socket;
  }

  /** Follows the machine's addresses: opens sockets for new ones, closes those of addresses that are gone (SECURITY H9). */
  refresh(): void {
    if (this.#closed || !this.#wildcard) return;
    const wanted = new Set(localAddresses(this.#options.host));
    for (const [host, socket] of this.#sockets) {
      if (wanted.has(host)) continue;
      this.#sockets.delete(host);
      socket.close();
    }
    for (const host of wanted) {
      if (this.#sockets.has(host)) continue;
      try {
        this.#open(host, this.#port);
      } catch {
        // Not usable yet (IPv6 still looks for duplicates): the next look tries again.
      }
    }
  }

  /** @returns When the port is free again: a receive that is under way holds the socket a moment longer. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#refreshTimer);
    const sockets = [...this.#sockets.values()];
    this.#sockets.clear();
    await Promise.all(sockets.map((socket) => socket.close()));
  }

  /** @returns The port all sockets share. */
  #openAll(): number {
    const { host, port } = this.#options;
    for (let attempt = 1;; attempt++) {
      try {
        return this.#openEach(localAddresses(host), port);
      } catch (error) {
        for (const socket of this.#sockets.values()) socket.close();
        this.#sockets.clear();
        // A free port on the first address may be taken on the next one: then another port is tried.
        const another = port === 0 && error instanceof BindError && error.why === "in use" && attempt < ATTEMPTS_MAX;
        if (!another) throw error;
      }
    }
  }

  #openEach(hosts: readonly string[], wantedPort: number): number {
    let port = wantedPort, unavailable: unknown;
    for (const host of hosts) {
      try {
        port = this.#open(host, port).address.port;
      } catch (error) {
        if (!(error instanceof BindError) || error.why !== "not available") throw error;
        unavailable = error;
      }
    }
    if (this.#sockets.size === 0) {
      throw new BindError("not available", this.#options.host, wantedPort, unavailable);
    }
    return port;
  }

  #open(host: string, port: number): UdpSocket {
    const socket = new UdpSocket(host, port, this.counters, this.#options);
    this.#sockets.set(host, socket);
    return socket;
  }
}

/** One socket on one local address. */
export class UdpSocket {
  readonly address: Address;
  readonly #conn: Deno.DatagramConn;
  readonly #counters: UdpCounters;
  readonly #options: UdpOptions;
  readonly #receiving: Promise<void>;
  #closed = false;

  /** @ignore Opened by {@linkcode openUdp}. */
  constructor(host: string, port: number, counters: UdpCounters, options: UdpOptions) {
    this.#counters = counters;
    this.#options = options;
    this.#conn = bind(host, port);
    const address = this.#conn.addr as Deno.NetAddr;
    this.address = { host: foldHost(address.hostname), port: address.port };
    const buffer = options.buffer?.(RECEIVE_BUFFER_BYTES) ?? new Uint8Array(RECEIVE_BUFFER_BYTES);
    // Only when the last receive has ended does nobody write into the buffer any more.
    this.#receiving = this.#receive(buffer).finally(() => options.onBufferFree?.(buffer));
  }

  /**
   * Sends one datagram. Never throws: a lost datagram is what UDP is, so failures are only counted.
   *
   * @param bytes Must not be changed until `released` is called.
   * @param released Called once, later, when the system has taken the bytes or refused them.
   */
  send(bytes: Uint8Array, to: Address, released: () => void): void {
    if (this.#closed) {
      this.#counters.sendErrors++;
      queueMicrotask(released);
      return;
    }
    this.#counters.sent++;
    this.#conn.send(bytes, { transport: "udp", hostname: to.host, port: to.port }).then(released, () => {
      this.#counters.sendErrors++;
      released();
    });
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#conn.close();
    }
    return this.#receiving;
  }

  /** One receive is under way at a time: Deno hands over all that is there within one turn anyway (about 8 of a burst). */
  async #receive(buffer: Uint8Array): Promise<void> {
    let failures = 0;
    while (!this.#closed) {
      let bytes: Uint8Array, from: Deno.NetAddr;
      try {
        [bytes, from] = await this.#conn.receive(buffer) as [Uint8Array, Deno.NetAddr];
      } catch {
        if (this.#closed) return;
        this.#counters.receiveErrors++;
        // An error that repeats at once must not spin.
        if (++failures >= FAILURES_IN_A_ROW_MAX) await new Promise((resolve) => setTimeout(resolve, FAILURE_PAUSE_MS));
        continue;
      }
      if (this.#closed) return;
      failures = 0;
      this.#counters.received++;
      this.#options.onDatagram(bytes, { host: foldHost(from.hostname), port: from.port, socket: this });
    }
  }
}

/** `1.2.3.4:5` or `[::1]:5`. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** An IPv4 address mapped into IPv6 in its IPv4 form, anything else as it is. */
export function foldHost(host: string): string {
  return host.charCodeAt(0) === COLON && host.startsWith("::ffff:") && host.includes(".") ? host.slice(7) : host;
}

/** Whether this host stands for all local addresses. */
export function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

/** This machine's addresses that a wildcard stands for. Link-local IPv6 ones need a scope, which Deno cannot be given. */
function localAddresses(wildcard: string): string[] {
  const hosts = new Set<string>();
  for (const { family, address } of Deno.networkInterfaces()) {
    if (family === "IPv4") hosts.add(address);
    else if (wildcard === "::" && !/^fe[89ab]/i.test(address)) hosts.add(address);
  }
  // IPv4 first: its sockets open everywhere, so they choose the port.
  return [...hosts].sort((a, b) => Number(a.includes(":")) - Number(b.includes(":")));
}

function bind(host: string, port: number): Deno.DatagramConn {
  try {
    return Deno.listenDatagram({ transport: "udp", hostname: host, port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw new BindError("in use", host, port, error);
    if (error instanceof Deno.errors.AddrNotAvailable) throw new BindError("not available", host, port, error);
    if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) {
      throw new BindError("permission", host, port, error);
    }
    throw new BindError("other", host, port, error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const BIND_TEXTS: Record<string, string | undefined> = {
  "in use": "another program uses this port",
  "not available": "this machine does not have that address",
  "permission": "not permitted (ports below 1024 need privileges)",
};
const COLON = 58;
/** More than any datagram of ours (1,200), so that a longer one is seen to be longer. */
const RECEIVE_BUFFER_BYTES = 2048;
const REFRESH_MS = 30_000;
const ATTEMPTS_MAX = 16;
const FAILURES_IN_A_ROW_MAX = 32;
const FAILURE_PAUSE_MS = 20;
