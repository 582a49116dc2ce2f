/** Asks a balancer for a server (docs/PROTOCOL.md §2.1, §2.2, SECURITY H5). */
import { fingerprint, formatFingerprint, isRsa3072Spki } from "../crypto/mod.ts";
import { decodeLocated, encodeLocate, type Located as LocatedPacket, SUPPORTED_VERSIONS } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import type { Address } from "./channel.ts";
import { clientHost, resolveHost } from "./resolve.ts";
import { formatHostPort, openUdp, type UdpSockets } from "./udp_socket.ts";

export interface LocateOptions {
  /** The balancer: a name, an IPv4 or an IPv6 address. */
  readonly host: string;
  readonly port: number;
  /** SHA-256 of the pinned cluster key, 32 bytes. Answers with another key are ignored until the search is over. */
  readonly expectedFingerprint?: Uint8Array | undefined;
  /** Numbers of servers that just failed. */
  readonly excluded?: readonly number[];
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly primitives: Primitives;
}

/** A server to go to. Nothing of it is proven yet, except that the key is the expected one where one was expected. */
export interface Located {
  /** Where the server is; a name only where the operator advertises one. */
  readonly host: string;
  readonly port: number;
  readonly serverNumber: number;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** RSA-3072 SPKI DER, and its SHA-256. */
  readonly clusterKey: Uint8Array;
  readonly fingerprint: Uint8Array;
  readonly token: Uint8Array;
  /** What the cluster speaks. */
  readonly versions: readonly number[];
}

/** Nothing answered. */
export class LocateTimeoutError extends Error {
  override readonly name: string = "LocateTimeoutError";
  constructor(readonly address: Address, readonly timeoutMs: number, message?: string) {
    super(
      message ??
        `Nothing answered at UDP ${formatHostPort(address.host, address.port)} within ${
          Math.round(timeoutMs / 100) / 10
        } s`,
    );
  }
}

/** A balancer answers, but has no server to offer. */
export class NoServerError extends LocateTimeoutError {
  override readonly name = "NoServerError";
  constructor(address: Address, timeoutMs: number) {
    super(address, timeoutMs, `${formatHostPort(address.host, address.port)} has no server available now`);
  }
}

/** What answered has another key than the pinned one: another cluster, or somebody in between. */
export class KeyMismatchError extends Error {
  override readonly name = "KeyMismatchError";
  constructor(
    readonly address: Address,
    readonly expectedFingerprint: Uint8Array,
    readonly offeredFingerprint: Uint8Array,
  ) {
    super(
      `The key of ${formatHostPort(address.host, address.port)} is ${formatFingerprint(offeredFingerprint)}, ` +
        `expected ${formatFingerprint(expectedFingerprint)}`,
    );
  }
}

/**
 * Asks until something usable answers.
 *
 * @throws LocateTimeoutError, NoServerError, KeyMismatchError (all only when the time is over), NameError, or the signal's reason.
 */
export async function locate(options: LocateOptions): Promise<Located> {
  options.signal?.throwIfAborted();
  const hosts = await resolveHost(options.host);
  options.signal?.throwIfAborted();
  return await new Promise((resolve, reject) => new Search(options, hosts, resolve, reject).begin());
}

class Search {
  readonly #options: LocateOptions;
  readonly #targets: readonly Target[];
  readonly #resolve: (located: Located) => void;
  readonly #reject: (error: unknown) => void;
  readonly #sockets = new Map<string, UdpSockets>();
  readonly #abort = () => this.#finish(() => this.#reject(this.#options.signal!.reason));
  #endTimer: ReturnType<typeof setTimeout> | undefined;
  #resendTimer: ReturnType<typeof setTimeout> | undefined;
  #resends = 0;
  #isOver = false;
  #sawNoServer = false;
  #offered: Uint8Array | undefined;

  constructor(
    options: LocateOptions,
    hosts: readonly string[],
    resolve: (located: Located) => void,
    reject: (error: unknown) => void,
  ) {
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#targets = hosts.map((host) => target(options, host));
  }

  begin(): void {
    const { signal, timeoutMs } = this.#options;
    signal?.addEventListener("abort", this.#abort, { once: true });
    this.#endTimer = setTimeout(() => this.#timeOut(), timeoutMs);
    // The first address of each family at once: a name often has one that nothing listens on (localhost).
    for (const family of [false, true]) {
      const first = this.#targets.find(({ host }) => host.includes(":") === family);
      if (first !== undefined) this.#send(first);
    }
    this.#waitToResend(FIRST_WAIT_MS);
  }

  #waitToResend(waitMs: number): void {
    this.#resendTimer = setTimeout(() => {
      this.#resends++;
      for (const each of this.#targets) this.#send(each);
      this.#waitToResend(Math.min(waitMs * 2, WAIT_MS_MAX));
    }, waitMs);
  }

  #send(to: Target): void {
    try {
      this.#socketFor(to.host).first.send(to.packet, { host: to.host, port: this.#options.port }, () => {});
    } catch {
      // No socket of this family on this machine: as if nothing answered there.
    }
  }

  #socketFor(host: string): UdpSockets {
    const local = clientHost(host);
    let sockets = this.#sockets.get(local);
    if (sockets === undefined) {
      sockets = openUdp({ host: local, port: 0, wildcardIsOne: true, onDatagram: (bytes) => this.#onDatagram(bytes) });
      this.#sockets.set(local, sockets);
    }
    return sockets;
  }

  /** Matched by the nonce alone, never by where it came from (SECURITY H5). */
  #onDatagram(bytes: Uint8Array): void {
    if (this.#isOver) return;
    const { primitives, expectedFingerprint } = this.#options;
    const packet = decodeLocated(bytes);
    if (packet === undefined || !isRsa3072Spki(packet.clusterKey)) return;
    const asked = this.#targets.find(({ nonce }) => primitives.equal(nonce, packet.nonce));
    if (asked === undefined) return;
    const offered = fingerprint(packet.clusterKey);
    if (expectedFingerprint !== undefined && !primitives.equal(offered, expectedFingerprint)) {
      this.#offered = offered;
    } else if (packet.port === 0) {
      this.#sawNoServer = true;
    } else {
      this.#finish(() => this.#resolve(located(packet, asked.host, offered)));
    }
  }

  #timeOut(): void {
    const { host, port, timeoutMs, expectedFingerprint } = this.#options;
    const address = { host, port };
    this.#finish(() => {
      // A true balancer without servers says more than whoever shouts beside it.
      if (this.#sawNoServer) this.#reject(new NoServerError(address, timeoutMs));
      else if (this.#offered) this.#reject(new KeyMismatchError(address, expectedFingerprint!, this.#offered));
      else this.#reject(new LocateTimeoutError(address, timeoutMs));
    });
  }

  #finish(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#endTimer);
    clearTimeout(this.#resendTimer);
    this.#options.signal?.removeEventListener("abort", this.#abort);
    for (const sockets of this.#sockets.values()) sockets.close();
    settle();
  }
}

/** One of the balancer's addresses, with a nonce of its own: so its answer says which of them was reached. */
interface Target {
  readonly host: string;
  readonly nonce: Uint8Array;
  readonly packet: Uint8Array;
}

function target(options: LocateOptions, host: string): Target {
  const nonce = options.primitives.random.bytes(NONCE_BYTES);
  const versions = SUPPORTED_VERSIONS;
  const excluded = (options.excluded ?? []).slice(0, EXCLUDED_MAX);
  return { host, nonce, packet: encodeLocate({ version: versions[0]!, nonce, versions, excluded }) };
}

function located(packet: LocatedPacket, reached: string, offered: Uint8Array): Located {
  const { port, serverNumber, clusterId, clusterKey, token, versions } = packet;
  const host = packet.host === "" ? reached : packet.host;
  return { host, port, serverNumber, clusterId, clusterKey, fingerprint: offered, token, versions };
}

const NONCE_BYTES = 16;
const EXCLUDED_MAX = 255;
const FIRST_WAIT_MS = 250;
const WAIT_MS_MAX = 2000;
