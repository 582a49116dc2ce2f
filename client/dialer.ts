/**
 * From the address a person wrote to a connection whose server has proved its key: ask the balancer, shake hands. While the
 * balancer is dead, servers remembered from the last time are tried: it is not on the path of messages. Who has lost a server
 * and holds a ticket does not even ask: any other server will do, one round trip away.
 */
import { createPrimitives, fingerprint } from "../shared/crypto/mod.ts";
import { CloseCode } from "../shared/errors.ts";
import {
  connect,
  ConnectError,
  locate,
  type Located,
  LocateTimeoutError,
  NameError,
  NoServerError,
  type ResumptionTicket,
} from "../shared/net/mod.ts";
import type { Primitives } from "../shared/primitives.ts";
import { CannotReachError, NoAnswerError } from "./errors.ts";
import type { Dialed } from "./link.ts";
import { pause } from "./pause.ts";
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
  const { address, expected, excluded, remembered, signal } = request;
  const deadline = performance.now() + request.timeoutMs;
  const primitives = await (sharedPrimitives ??= createPrimitives());
  const known = remembered && expected && primitives.equal(fingerprint(remembered.clusterKey), expected)
    ? remembered
    : undefined;
  if (known !== undefined && request.returning && request.ticket) {
    const others = known.servers.filter(({ number }) => !excluded.includes(number));
    const dialed = await dialFirst(others, known, { request, primitives, deadline, staggerMs: STAGGER_MS_TICKET });
    if (dialed !== undefined) return dialed;
  }
  let located: Located;
  try {
    located = await locate({
      host: address.host,
      port: address.port,
      expectedFingerprint: expected,
      excluded,
      // Where there are servers to fall back on, a silent balancer costs a second only.
      timeoutMs: Math.min(remembered ? LOCATE_MS_REMEMBERED : LOCATE_MS, request.timeoutMs),
      signal,
      primitives,
    });
  } catch (error) {
    const explained = explainLocate(error, address);
    if (!(explained instanceof CannotReachError) || known === undefined) throw explained;
    const dialed = await dialFirst(known.servers, known, { request, primitives, deadline, staggerMs: STAGGER_MS });
    if (dialed === undefined) throw explained;
    return dialed;
  }
  return await shakeHands(located, request, primitives, deadline);
}

/**
 * Servers of last time, in any order, those that just failed last; the next is asked when the one before has not answered for a
 * while, and the first that answers is taken.
 *
 * @returns `undefined` where none of them can be reached.
 */
async function dialFirst(
  servers: RememberedCluster["servers"],
  { clusterKey, token }: RememberedCluster,
  { request, primitives, deadline, staggerMs }: {
    readonly request: DialRequest;
    readonly primitives: Primitives;
    readonly deadline: number;
    readonly staggerMs: number;
  },
): Promise<DialedServer | undefined> {
  const order = servers
    .map((server) => ({ server, rank: Number(request.excluded.includes(server.number)) + Math.random() }))
    .sort((a, b) => a.rank - b.rank)
    .slice(0, DIALED_MAX);
  const won = new AbortController();
  const signal = AbortSignal.any([request.signal, won.signal]);
  let first: DialedServer | undefined;
  const dialOne = async ({ number, host, port }: RememberedCluster["servers"][number], place: number) => {
    await pause(place * staggerMs, signal);
    const located = {
      host: host === "" ? request.address.host : host,
      port,
      serverNumber: number,
      clusterKey,
      fingerprint: fingerprint(clusterKey),
      token,
    };
    const until = Math.min(deadline, performance.now() + CONNECT_MS_REMEMBERED);
    const dialed = await shakeHands(located, { ...request, signal }, primitives, until);
    if (first === undefined) {
      first = dialed;
      won.abort();
    } else dialed.channel.close(CloseCode.none, "");
  };
  const outcomes = await Promise.allSettled(order.map(({ server }, place) => dialOne(server, place)));
  if (first !== undefined) return first;
  request.signal.throwIfAborted();
  for (const outcome of outcomes) {
    if (outcome.status === "rejected" && !(outcome.reason instanceof CannotReachError)) throw outcome.reason;
  }
  return undefined;
}

async function shakeHands(
  located: Omit<Located, "clusterId" | "versions"> & Partial<Located>,
  { signal, ticket, expected, datagramBytes }: DialRequest,
  primitives: Primitives,
  deadline: number,
): Promise<DialedServer> {
  const timeoutMs = Math.max(1, Math.min(CONNECT_MS, deadline - performance.now()));
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
    if (error instanceof ConnectError) throw new CannotReachError(`${error.message}. ${HINT}`, { cause: error });
    throw error;
  }
}

function explainLocate(error: unknown, address: ServerAddress): unknown {
  if (error instanceof NoServerError) return new CannotReachError(`${error.message}: its servers are starting or down`);
  if (error instanceof LocateTimeoutError) return new NoAnswerError(`${error.message}. ${HINT}`, { cause: error });
  if (error instanceof NameError) {
    return new NoAnswerError(`Cannot reach ${formatServerAddress(address)}: there is no address for ${address.host}`, {
      cause: error,
    });
  }
  return error;
}

let sharedPrimitives: Promise<Primitives> | undefined;

const HINT =
  "Is fastchat-balancer running there, are host and port right, and do all firewalls in between let UDP through, " +
  "to the balancer's port and to those of its servers?";
const LOCATE_MS = 5_000;
const LOCATE_MS_REMEMBERED = 1_200;
const CONNECT_MS = 5_000;
const CONNECT_MS_REMEMBERED = 2_000;
/** How long a remembered server may take before the next is asked too: a handshake with RSA, and one without. */
const STAGGER_MS = 1_000;
const STAGGER_MS_TICKET = 250;
/** Of a large cluster only some: the balancer knows better. */
const DIALED_MAX = 8;
