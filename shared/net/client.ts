/** A client's way to a server: shake hands with the one that {@linkcode locate} found, and get a {@linkcode Channel}. */
import { importOaepPublic, oaepEncrypt } from "../crypto/mod.ts";
import { type Logger, silentLogger } from "../log.ts";
import { type ServerEntry, SUPPORTED_VERSIONS } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import { ClientEndpoint, type Controller, type EndpointFailure, type Task } from "../transport/mod.ts";
import type { Address, Channel, ResumptionTicket } from "./channel.ts";
import { monotonicClock } from "./clock.ts";
import { ConnectionChannel } from "./connection_channel.ts";
import { Driver } from "./driver.ts";
import type { Located } from "./locate.ts";
import { clientHost, resolveHost } from "./resolve.ts";
import { formatHostPort } from "./udp_socket.ts";

export interface ConnectOptions {
  /** What {@linkcode locate} found, or what is remembered of a server: only these are looked at. */
  readonly located: Pick<Located, "host" | "port" | "clusterKey" | "token"> & Partial<Located>;
  /** Comes back with this instead of RSA; where the server does not know it, RSA follows. */
  readonly ticket?: Pick<ResumptionTicket, "ticket" | "secret"> | undefined;
  /** For all addresses of the host together. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly primitives: Primitives;
  readonly logger?: Logger;
  /** Largest datagram to send, 1,200 to 1,452; more than 1,200 only where the path is known to carry it (SECURITY H10). */
  readonly datagramBytes?: number | undefined;
  /** What decides how much is in flight, where it is not to be the default. */
  readonly controller?: () => Controller;
}

export interface ConnectResult<L = ConnectOptions["located"]> {
  /** The server has proven that it holds the cluster's key. Set its handler now. */
  readonly channel: Channel;
  readonly located: L;
  /** For {@linkcode Located.token} next time, from this address: good for 24 hours. */
  readonly addressToken: Uint8Array;
  /** It was the ticket that was taken: the server may know already who this is. */
  readonly isResumed: boolean;
  /** The cluster's servers. An empty host is the one this client just reached. */
  readonly servers: readonly ServerEntry[];
  /** Settles when the channel has ended and its socket is closed: what a program awaits before it exits. */
  readonly ended: Promise<void>;
}

/** No connection came about. */
export class ConnectError extends Error {
  override readonly name: string = "ConnectError";
  constructor(readonly why: EndpointFailure["why"], readonly address: Address, text: string) {
    super(`Cannot connect to UDP ${formatHostPort(address.host, address.port)}: ${text}`);
  }
}

/** Nothing that proves anything came in time. */
export class ConnectTimeoutError extends ConnectError {
  override readonly name = "ConnectTimeoutError";
}

/** The server has no room now. */
export class ServerBusyError extends ConnectError {
  override readonly name = "ServerBusyError";
}

/**
 * Shakes hands with a server, trying the addresses of its host in turn.
 *
 * @throws ConnectTimeoutError, ServerBusyError, ConnectError, NameError, or the signal's reason.
 */
export async function connect<L extends ConnectOptions["located"]>(
  options: ConnectOptions & { readonly located: L },
): Promise<ConnectResult<L>> {
  options.signal?.throwIfAborted();
  const hosts = await resolveHost(options.located.host);
  const timeoutMs = options.timeoutMs / hosts.length;
  for (const [index, host] of hosts.entries()) {
    options.signal?.throwIfAborted();
    try {
      return await new Attempt(options, host, timeoutMs).run() as ConnectResult<L>;
    } catch (error) {
      if (!(error instanceof ConnectTimeoutError) || index === hosts.length - 1) throw error;
    }
  }
  throw new TypeError("A host has an address");
}

/** One handshake with one address. */
class Attempt {
  readonly #options: ConnectOptions;
  readonly #server: Address;
  readonly #driver: Driver;
  readonly #endpoint: ClientEndpoint;
  readonly #outcome = Promise.withResolvers<ConnectResult>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #abort = () => this.#fail(this.#options.signal!.reason);

  constructor(options: ConnectOptions, host: string, timeoutMs: number) {
    const { located, primitives } = options;
    this.#options = options;
    this.#server = { host, port: located.port };
    let key: Promise<CryptoKey> | undefined;
    this.#driver = new Driver({
      primitives,
      host: clientHost(host),
      port: 0,
      wildcardIsOne: true,
      clock: monotonicClock,
      logger: options.logger ?? silentLogger,
      performTask: async (task) => await encrypt(await (key ??= importOaepPublic(located.clusterKey)), task),
      onReady: (link) => {
        const driver = this.#driver;
        const channel = new ConnectionChannel({ link, driver, onEnd: () => void this.#end() });
        this.#succeed(channel);
        return channel;
      },
      onFailure: (failure) => this.#fail(this.#error(failure)),
    });
    this.#endpoint = new ClientEndpoint({
      primitives,
      versions: SUPPORTED_VERSIONS,
      ...(located.versions ? { versionsOfCluster: located.versions } : {}),
      clusterKey: located.clusterKey,
      token: located.token,
      ...(options.ticket && { ticket: options.ticket }),
      server: this.#server,
      nowUs: monotonicClock.nowUs(),
      timeoutUs: Math.round(timeoutMs * 1000),
      ...(options.controller ? { controller: options.controller } : {}),
      datagramBytes: options.datagramBytes,
    });
  }

  run(): Promise<ConnectResult> {
    this.#options.signal?.addEventListener("abort", this.#abort, { once: true });
    this.#driver.start(this.#endpoint);
    return this.#outcome.promise;
  }

  #succeed(channel: ConnectionChannel): void {
    this.#options.signal?.removeEventListener("abort", this.#abort);
    const { token, servers, isResumed, ticket } = this.#endpoint.connected!;
    // As if NEW_TICKET had brought it; it waits for the handler like any event.
    if (ticket.length > 0) channel.handleEvent({ type: "ticket", bytes: ticket });
    const { located } = this.#options;
    this.#outcome.resolve({ channel, located, addressToken: token, isResumed, servers, ended: this.#ended.promise });
  }

  #fail(error: unknown): void {
    this.#options.signal?.removeEventListener("abort", this.#abort);
    void this.#driver.close();
    this.#outcome.reject(error);
  }

  /** The channel has ended: its last words leave, then the socket goes. */
  async #end(): Promise<void> {
    await this.#driver.drained();
    await this.#driver.close();
    this.#ended.resolve();
  }

  #error({ why, reason }: EndpointFailure): ConnectError {
    if (why === "timeout") return new ConnectTimeoutError(why, this.#server, reason.reason);
    if (why === "busy") return new ServerBusyError(why, this.#server, reason.reason);
    return new ConnectError(why, this.#server, reason.reason);
  }
}

async function encrypt(key: CryptoKey, task: Task): Promise<Uint8Array | undefined> {
  return task.type === "encrypt" ? await oaepEncrypt(key, task.label, task.plaintext) : undefined;
}
