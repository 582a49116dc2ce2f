/**
 * A LOCATE in, a LOCATED or nothing out (docs/PROTOCOL.md §2.1, §2.2, SECURITY H5). PURE and without state: whoever asks
 * twice is answered twice, and nothing about the asker is kept.
 */
import { DATAGRAM_BYTES } from "../shared/limits.ts";
import { decodeLocate, encodeLocated, SUPPORTED_VERSIONS } from "../shared/packet/mod.ts";
import type { Candidate, Strategy } from "./strategy.ts";

/** A server that clients may be sent to now. */
export interface LocatableServer extends Candidate {
  /** What to tell clients, or "" for the host that they reached. */
  readonly host: string;
  readonly port: number;
}

/** What an answer is made of. */
export interface LocateView {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** RSA-3072 SPKI DER. */
  readonly clusterKey: Uint8Array;
  /** The healthy ones, in order of their numbers. */
  readonly servers: readonly LocatableServer[];
  readonly choose: Strategy;
  /** An address token of purpose `locate` for that host (PROTOCOL.md §3). */
  makeToken(host: string): Uint8Array;
}

export interface LocateAnswer {
  /** Never longer than the question, so that a forged sender address gains nothing. */
  readonly datagram: Uint8Array;
  /** The server handed out; `undefined` where none is available. */
  readonly server: LocatableServer | undefined;
}

/**
 * Answers one datagram. Anything but a well-formed LOCATE of exactly 1,200 bytes is met with silence.
 *
 * @param question Borrowed until the call returns.
 * @param host The sender's IP address.
 */
export function answerLocate(question: Uint8Array, host: string, view: LocateView): LocateAnswer | undefined {
  if (question.length !== DATAGRAM_BYTES) return undefined;
  const locate = decodeLocate(question);
  if (locate === undefined) return undefined;
  const server = chooseServer(locate.excluded, view);
  const datagram = encodeLocated({
    version: SUPPORTED_VERSIONS[0]!,
    nonce: locate.nonce,
    clusterId: view.clusterId,
    versions: SUPPORTED_VERSIONS,
    serverNumber: server?.number ?? 0,
    host: server?.host ?? "",
    // 0: none is available, ask again. The key is told all the same: the client may not have it yet.
    port: server?.port ?? 0,
    token: view.makeToken(host),
    clusterKey: view.clusterKey,
  });
  return { datagram, server };
}

/**
 * Without those that failed this client. If only those are left, one of them: they may be new processes under an old number,
 * and a client that goes there in vain has lost no more than one that is told to wait.
 */
function chooseServer(excluded: readonly number[], view: LocateView): LocatableServer | undefined {
  const others = excluded.length === 0
    ? view.servers
    : view.servers.filter((server) => !excluded.includes(server.number));
  const candidates = others.length > 0 ? others : view.servers;
  return candidates.length === 0 ? undefined : view.choose(candidates);
}
