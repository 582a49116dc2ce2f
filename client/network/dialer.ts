/**
 * From the address a person wrote to a connection whose server has proved its key: ask the balancer, shake hands. While the
 * balancer is dead, servers remembered from the last time are tried: it is not on the path of messages. Who has lost a server
 * and holds a ticket does not even ask: any other server will do, one round trip away.
 */
import { createPrimitives, fingerprint } from "../../shared/crypto/mod.ts";
import { CloseCode } from "../../shared/errors.ts";
import {
  connect,
  ConnectError,
  locate,
  type Located,
  LocateTimeoutError,
  NameError,
  NoServerError,
  type ResumptionTicket,
} from "../../shared/net/mod.ts";
import type { Primitives } from "../../shared/primitives.ts";
import { CannotReachError, NoAnswerError, REACH_HINT } from "../errors.ts";
import type { Dialed } from "./link.ts";
import { AllFailedError, firstOf } from "./race.ts";
import { formatServerAddress, type ServerAddress } from "./server_address.ts";

export interface DialRequest {
  /** The balancer. */
  readonly address: ServerAddress;
  /** SHA-256 of the cluster key that must be proved, where one is known. */
  readonly expected: Uint8Array | undefined;
  /** Numbers of servers that just failed. */
  readonly excluded: readonly number[];
  /** What an earlier connection told of the cluster. */
  readonly remembered: RememberedCluster | undefined;
  /** What to come back with; only where the key that must be proved is known. */
  readonly ticket?: Pick<ResumptionTicket, "ticket" | "secret"> | undefined;
  /** A connection was lost just now. */
  readonly returning?: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Largest datagram to send, where the path is known to carry more than 1,200 bytes (SECURITY H10). */
  readonly datagramBytes?: number | undefined;
}

export interface DialedServer extends Dialed {
  /** SHA-256 of the key that the server proved to hold, 32 bytes. */
  readonly fingerprint: Uint8Array;
  readonly remember?: RememberedCluster;
}

/** @throws NoAnswerError, CannotReachError, KeyMismatchError, or the signal's reason. */
export type DialServer = (request: DialRequest) => Promise<DialedServer>;

/** Enough to reach a cluster's servers without its balancer. */
export interface RememberedCluster {
  /** RSA-3072 SPKI DER. */
  readonly clusterKey: Uint8Array;
  /** Proves this client's address for a day. */
  readonly token: Uint8Array;
  readonly servers: readonly { readonly number: number; readonly host: string; readonly port: number }[];
}

/** {@linkcode DialServer} over UDP. */
export async function dialUdp(request: DialRequest): Promise<DialedServer> {
  const { expected, excluded, remembered, signal } = request;
  const primitives = await (sharedPrimitives ??= createPrimitives());
  const known = remembered && expected && primitives.equal(fingerprint(remembered.clusterKey), expected)
    ? remembered
    : undefined;
  const dialer = new Dialer(request, primitives, known);
  if (known === undefined || !request.returning || !request.ticket) return await dialer.askBalancer(signal);
  const others = known.servers.filter(({ number }) => !excluded.includes(number));
  const ways = dialer.remembered(others);
  // What was remembered may be old by now: where several servers are silent the balancer is asked beside the rest.
  return await dialer.first(ways.toSpliced(SERVERS_BEFORE_BALANCER, 0, dialer.askBalancer), STAGGER_MS_TICKET, signal);
}

type Way = (signal: AbortSignal) => Promise<DialedServer>;

/** One request's ways to a server. */
class Dialer {
  readonly #request: DialRequest;
  readonly #primitives: Primitives;
  readonly #known: RememberedCluster | undefined;
  readonly #deadline: number;

  constructor(request: DialRequest, primitives: Primitives, known: RememberedCluster | undefined) {
    this.#request = request;
    this.#primitives = primitives;
    this.#known = known;
    this.#deadline = performance.now() + request.timeoutMs;
  }

  /**
   * To the server that the balancer names, and to another one beside it where that is silent: it may have died since the
   * balancer last heard of it. Where the balancer itself is silent, to those of last time.
   */
  readonly askBalancer: Way = async (signal) => {
    const { excluded } = this.#request, known = this.#known;
    let located: Located;
    try {
      located = await this.#locate(excluded, signal);
    } catch (error) {
      if (!(error instanceof CannotReachError) || known === undefined) throw error;
      try {
        return await this.first(this.remembered(known.servers), STAGGER_MS, signal);
      } catch (none) {
        // What the balancer's silence means is the better advice.
        throw none instanceof CannotReachError ? error : none;
      }
    }
    const another: Way = async (signal) => {
      const other = await this.#locate([...excluded, located.serverNumber], signal);
      if (other.serverNumber === located.serverNumber) throw new CannotReachError("There is no other server");
      return await this.#shakeHands(other, signal);
    };
    // An RSA decryption may have to wait its turn, and should not be asked for twice because of that.
    const staggerMs = this.#request.ticket && this.#request.expected ? STAGGER_MS_NAMED : STAGGER_MS_NAMED_RSA;
    return await this.first([(signal) => this.#shakeHands(located, signal), another], staggerMs, signal);
  };

  /** To servers of last time, in any order, those that just failed last. */
  remembered(servers: RememberedCluster["servers"]): Way[] {
    const { excluded, address } = this.#request, { clusterKey, token } = this.#known!;
    return servers
      .map((server) => ({ server, rank: Number(excluded.includes(server.number)) + Math.random() }))
      .sort((a, b) => a.rank - b.rank)
      .slice(0, DIALED_MAX)
      .map(({ server: { number, host, port } }) => (signal) =>
        this.#shakeHands(
          {
            host: host === "" ? address.host : host,
            port,
            serverNumber: number,
            clusterKey,
            fingerprint: fingerprint(clusterKey),
            token,
          },
          signal,
          CONNECT_MS_REMEMBERED,
        )
      );
  }

  /** @throws What is more than a server that cannot be reached, else the first way's error. */
  async first(ways: readonly Way[], staggerMs: number, signal: AbortSignal): Promise<DialedServer> {
    try {
      const discard = ({ channel }: DialedServer) => channel.close(CloseCode.none, "");
      return await firstOf(ways, { staggerMs, signal, discard });
    } catch (error) {
      if (!(error instanceof AllFailedError)) throw error;
      const worse = error.errors.find((one) => !(one instanceof CannotReachError));
      throw worse ?? error.errors[0] ?? new CannotReachError(`Nobody remembers a server. ${REACH_HINT}`);
    }
  }

  async #locate(excluded: readonly number[], signal: AbortSignal): Promise<Located> {
    const { address, expected, remembered, timeoutMs } = this.#request;
    try {
      return await locate({
        host: address.host,
        port: address.port,
        expectedFingerprint: expected,
        excluded,
        // Where there are servers to fall back on, a silent balancer costs a second only.
        timeoutMs: Math.min(remembered ? LOCATE_MS_REMEMBERED : LOCATE_MS, timeoutMs),
        signal,
        primitives: this.#primitives,
      });
    } catch (error) {
      throw explainLocate(error, address);
    }
  }

  #shakeHands(to: Server, signal: AbortSignal, withinMs = CONNECT_MS): Promise<DialedServer> {
    const timeoutMs = Math.max(1, Math.min(withinMs, this.#deadline - performance.now()));
    return shakeHands(to, { ...this.#request, signal, timeoutMs }, this.#primitives);
  }
}

/** What has to be known of a server. */
type Server = Omit<Located, "clusterId" | "versions"> & Partial<Located>;

async function shakeHands(
  located: Server,
  { signal, ticket, expected, datagramBytes, timeoutMs }: DialRequest,
  primitives: Primitives,
): Promise<DialedServer> {
  try {
    const known = expected && primitives.equal(expected, located.fingerprint);
    const { channel, addressToken, isResumed, servers, ended } = await connect({
      located,
      ticket: known ? ticket : undefined,
      timeoutMs,
      signal,
      primitives,
      datagramBytes,
    });
    return {
      channel,
      ended,
      serverNumber: located.serverNumber,
      server: formatServerAddress(located),
      isResumed,
      fingerprint: located.fingerprint,
      remember: { clusterKey: located.clusterKey, token: addressToken, servers },
    };
  } catch (error) {
    if (error instanceof ConnectError) throw new CannotReachError(`${error.message}. ${REACH_HINT}`, { cause: error });
    throw error;
  }
}

function explainLocate(error: unknown, address: ServerAddress): unknown {
  if (error instanceof NoServerError) return new CannotReachError(`${error.message}: its servers are starting or down`);
  if (error instanceof LocateTimeoutError) {
    return new NoAnswerError(`${error.message}. ${REACH_HINT}`, { cause: error });
  }
  if (error instanceof NameError) {
    return new NoAnswerError(`Cannot reach ${formatServerAddress(address)}: there is no address for ${address.host}`, {
      cause: error,
    });
  }
  return error;
}

let sharedPrimitives: Promise<Primitives> | undefined;

const LOCATE_MS = 5_000;
const LOCATE_MS_REMEMBERED = 1_200;
const CONNECT_MS = 5_000;
const CONNECT_MS_REMEMBERED = 2_000;
/** How long a remembered server may take before the next is asked too: a handshake that may need RSA, and one that does not. */
const STAGGER_MS = 1_000;
const STAGGER_MS_TICKET = 250;
/** The same of a server that the balancer named. */
const STAGGER_MS_NAMED = 500;
const STAGGER_MS_NAMED_RSA = 2_000;
const SERVERS_BEFORE_BALANCER = 2;
/** Of a large cluster only some: the balancer knows better. */
const DIALED_MAX = 8;
