/** A server's door: listens, shakes hands, and hands over a {@linkcode Channel} for every client that has proven its keys. */
import { importOaepPrivate, oaepDecrypt } from "../crypto/mod.ts";
import { KEY_SECRET_BYTES } from "../handshake/mod.ts";
import { type TicketKeys, type TicketLogin, Tickets } from "../handshake/mod.ts";
import { type Logger, silentLogger } from "../log.ts";
import type { ServerEntry } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import {
  DEFAULT_ENDPOINT_LIMITS,
  type EndpointCounters,
  type EndpointLimits,
  type Link,
  ServerEndpoint,
  type Task,
} from "../transport/mod.ts";
import type { Address, Channel } from "./channel.ts";
import { type Clock, monotonicClock } from "./clock.ts";
import { ConnectionChannel, type ConnectionChannelOptions } from "./connection_channel.ts";
import { Driver } from "./driver.ts";
import { ReadBudget } from "./message_reader.ts";
import type { UdpCounters } from "./udp_socket.ts";

export interface ChannelServerOptions {
  /** An address; `0.0.0.0` and `::` are all of this machine's (SECURITY H9). */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Two servers of one cluster never have the same (SECURITY H3). */
  readonly serverNumber: number;
  readonly cluster: ClusterSecrets;
  /** What seals tickets, of now; without it nobody gets any. */
  readonly ticketKeys?: (() => TicketKeys) | undefined;
  readonly primitives: Primitives;
  /** The cluster's servers as clients may reach them: ACCEPT lists them. Asked for every handshake. */
  servers(): readonly ServerEntry[];
  /** A client is there. Set the channel's handler now. */
  onChannel(channel: Channel): void;
  readonly logger?: Logger;
  readonly clock?: Clock;
  readonly limits?: Partial<EndpointLimits>;
  /** Largest datagram to send; more than 1,200 only where every client's path is known to carry it (SECURITY H10). */
  readonly datagramBytes?: number;
  /** What unfinished messages of all clients together may hold; whoever wants more is closed. */
  readonly unfinishedBytesMax?: number;
  /**
   * What a client may have under way until its channel is made {@linkcode Channel.welcome}, beyond what fits a log-in; without
   * it all are welcome at once.
   */
  readonly strangerBytesMax?: number;
}

export interface ClusterSecrets {
  /** 16 bytes. */
  readonly id: Uint8Array;
  readonly privateKeyPkcs8: Uint8Array;
  readonly spki: Uint8Array;
  /** 32 bytes each. */
  readonly tokenKey: Uint8Array;
  readonly resetKey: Uint8Array;
}

/** The same objects every time; their numbers are those of now. */
export interface ChannelServerStats {
  readonly udp: Readonly<UdpCounters>;
  readonly endpoint: Readonly<EndpointCounters>;
}

export class ChannelServer {
  readonly #endpoint: ServerEndpoint;
  readonly #driver: Driver;
  readonly #channels = new Set<ConnectionChannel>();
  #closing: Promise<void> | undefined;

  private constructor(options: ChannelServerOptions, privateKey: CryptoKey) {
    const { primitives, cluster } = options;
    const clock = options.clock ?? monotonicClock;
    const budget = new ReadBudget(options.unfinishedBytesMax ?? UNFINISHED_BYTES_MAX);
    const { strangerBytesMax } = options;
    const strangers = strangerBytesMax === undefined
      ? undefined
      : { budget: new ReadBudget(STRANGERS_BYTES_MAX), bytesMax: strangerBytesMax };
    const transport = { ...DEFAULT_ENDPOINT_LIMITS.transport, ...options.limits?.transport };
    if (strangerBytesMax !== undefined) transport.connectionWindowBytes = strangerBytesMax;
    // The same for every channel: each would keep functions of its own.
    const forAll = {
      budget,
      ...(strangers && { strangers }),
      grant: (link: Link, login: TicketLogin) => this.#endpoint.grant(link, login, this.#driver.nowUs),
      onEnd: (channel: ConnectionChannel) => this.#channels.delete(channel),
    };
    this.#driver = new Driver({
      primitives,
      host: options.host,
      port: options.port,
      clock,
      logger: options.logger ?? silentLogger,
      performTask: (task) => decrypt(privateKey, task),
      onReady: (link) => this.#open(options, { ...forAll, link }),
    });
    this.#endpoint = new ServerEndpoint({
      primitives,
      serverNumber: options.serverNumber,
      clusterId: cluster.id,
      clusterKey: cluster.spki,
      tokenKey: cluster.tokenKey,
      resetKey: cluster.resetKey,
      tickets: options.ticketKeys && new Tickets(primitives, options.ticketKeys),
      servers: () => options.servers(),
      wallSeconds: () => Math.floor(Date.now() / 1000),
      nowUs: clock.nowUs(),
      limits: { ...options.limits, transport },
      ...(options.datagramBytes === undefined ? {} : { datagramBytes: options.datagramBytes }),
    });
    this.#driver.start(this.#endpoint);
  }

  /** @throws BindError Where the address cannot be had. */
  static async listen(options: ChannelServerOptions): Promise<ChannelServer> {
    return new ChannelServer(options, await importOaepPrivate(options.cluster.privateKeyPkcs8));
  }

  get address(): Address {
    return this.#driver.sockets.address;
  }

  /** One for each of this machine's addresses, where the host is a wildcard. */
  get addresses(): Address[] {
    return this.#driver.sockets.addresses;
  }

  /** Clients that are here. */
  get connections(): number {
    return this.#channels.size;
  }

  get channels(): ReadonlySet<Channel> {
    return this.#channels;
  }

  get stats(): ChannelServerStats {
    return { udp: this.#driver.sockets.counters, endpoint: this.#endpoint.counters };
  }

  /**
   * Ends every connection and closes the sockets, after a moment for the last words to leave.
   *
   * @param code `CloseCode.goElsewhere` sends clients to another server at once.
   */
  close(code: number, reason: string): Promise<void> {
    return this.#closing ??= this.#close(code, reason);
  }

  async #close(code: number, reason: string): Promise<void> {
    const hadClients = this.#channels.size > 0;
    this.#endpoint.refuseAll();
    for (const channel of [...this.#channels]) channel.close(code, reason);
    await this.#driver.drained();
    // Packets that crossed ours, or that follow a lost CLOSE, are answered with another one.
    if (hadClients) await new Promise((resolve) => setTimeout(resolve, LINGER_MS));
    await this.#driver.close();
  }

  #open(
    options: ChannelServerOptions,
    channelOptions: Omit<ConnectionChannelOptions, "driver">,
  ): ConnectionChannel {
    const channel = new ConnectionChannel({ ...channelOptions, driver: this.#driver });
    this.#channels.add(channel);
    try {
      options.onChannel(channel);
    } catch (error) {
      this.#channels.delete(channel);
      throw error;
    }
    return channel;
  }
}

async function decrypt(key: CryptoKey, task: Task): Promise<Uint8Array | undefined> {
  if (task.type !== "decrypt") return undefined;
  const secret = await oaepDecrypt(key, task.label, task.ciphertext);
  // A plaintext of another length takes the path of one that did not open, its delay included (SECURITY H7).
  return secret?.length === KEY_SECRET_BYTES ? secret : undefined;
}

/** 256 MiB. */
const UNFINISHED_BYTES_MAX = 256 << 20;
/** 32 MiB: when strangers have used it up, only strangers feel it. */
const STRANGERS_BYTES_MAX = 32 << 20;
const LINGER_MS = 50;
