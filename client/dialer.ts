/**
 * From the address a person wrote to a connection whose server has proved its key: ask the balancer, shake hands. While the
 * balancer is dead, servers remembered from the last time are tried: it is not on the path of messages.
 */
import { createPrimitives, fingerprint } from "../shared/crypto/mod.ts";
import {
  connect,
  ConnectError,
  locate,
  type Located,
  LocateTimeoutError,
  NameError,
  NoServerError,
} from "../shared/net/mod.ts";
import type { Primitives } from "../shared/primitives.ts";
import { CannotReachError, NoAnswerError } from "./errors.ts";
import type { Dialed } from "./link.ts";
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
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
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
    const isExpected = remembered && expected && primitives.equal(fingerprint(remembered.clusterKey), expected);
    if (!(explained instanceof CannotReachError) || !isExpected) throw explained;
    const dialed = await dialRemembered(request, remembered, primitives, deadline);
    if (dialed === undefined) throw explained;
    return dialed;
  }
  return await shakeHands(located, request, primitives, deadline);
}

/** Servers of last time, in any order: those that just failed come last. */
async function dialRemembered(
  request: DialRequest,
  { clusterKey, token, servers }: RememberedCluster,
  primitives: Primitives,
  deadline: number,
): Promise<DialedServer | undefined> {
  const failed = new Set(request.excluded);
  const order = servers.map((server) => ({ server, rank: Number(failed.has(server.number)) + Math.random() }))
    .sort((a, b) => a.rank - b.rank);
  for (const { server: { number, host, port } } of order) {
    request.signal.throwIfAborted();
    const located = {
      host: host === "" ? request.address.host : host,
      port,
      serverNumber: number,
      clusterKey,
      fingerprint: fingerprint(clusterKey),
      token,
    };
    try {
      return await shakeHands(
        located,
        request,
        primitives,
        Math.min(deadline, performance.now() + CONNECT_MS_REMEMBERED),
      );
    } catch (error) {
      if (!(error instanceof CannotReachError)) throw error;
    }
  }
  return undefined;
}

async function shakeHands(
  located: Omit<Located, "clusterId" | "versions"> & Partial<Located>,
  { signal }: DialRequest,
  primitives: Primitives,
  deadline: number,
): Promise<DialedServer> {
  const timeoutMs = Math.max(1, Math.min(CONNECT_MS, deadline - performance.now()));
  try {
    const { channel, addressToken, servers, ended } = await connect({ located, timeoutMs, signal, primitives });
    return {
      channel,
      ended,
      serverNumber: located.serverNumber,
      server: formatServerAddress(located),
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
