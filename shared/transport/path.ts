/**
 * Where the peer is, and how it moves (RFC 9000 §8.2, §9): a new address is asked to echo eight random bytes before
 * anything else goes there, and gets at most three times the bytes that came from it until it does.
 */
import type { Primitives } from "../primitives.ts";
import { PATH_DATA_BYTES } from "./frame.ts";

/** An IP address and port. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

export function sameAddress(a: Address, b: Address): boolean {
  return a === b || (a.port === b.port && a.host === b.host);
}

interface Candidate {
  readonly address: Address;
  readonly data: Uint8Array;
  receivedBytes: number;
  sentBytes: number;
  /** Deadlines set so far, and how long they were together. */
  waits: number;
  waitedUs: number;
  challengePending: boolean;
}

interface Response {
  readonly address: Address;
  readonly data: Uint8Array;
}

export class Path {
  readonly #primitives: Primitives;
  #peer: Address;
  #candidate: Candidate | undefined;
  readonly #responses: Response[] = [];

  constructor(primitives: Primitives, peer: Address) {
    this.#primitives = primitives;
    this.#peer = peer;
  }

  /** Where packets go. */
  get peer(): Address {
    return this.#peer;
  }

  get isValidating(): boolean {
    return this.#candidate !== undefined;
  }

  /**
   * A packet that opened came from elsewhere.
   *
   * @param isNewest It has the highest number so far: an older one may have been delayed on the former path.
   * @returns Whether a challenge is wanted: set a deadline.
   */
  onElsewhere(from: Address, bytes: number, isNewest: boolean): boolean {
    const candidate = this.#candidate;
    if (candidate !== undefined && sameAddress(candidate.address, from)) {
      candidate.receivedBytes += bytes;
      return false;
    }
    if (!isNewest) return false;
    this.#candidate = {
      address: from,
      data: this.#primitives.random.bytes(PATH_DATA_BYTES),
      receivedBytes: bytes,
      sentBytes: 0,
      waits: 0,
      waitedUs: 0,
      challengePending: true,
    };
    return true;
  }

  /** The newest packet came from where we think the peer is: it did not move after all. */
  onHere(): void {
    this.#candidate = undefined;
  }

  /**
   * How long to wait for an answer from now on: twice as long each time, for the new path may be many times slower than the one
   * that was measured, and whoever gives up and begins anew before the first answer is back never hears one.
   */
  nextWaitUs(probeTimeoutUs: number): number {
    const candidate = this.#candidate;
    if (candidate === undefined) return Infinity;
    const waitUs = probeTimeoutUs * 2 ** candidate.waits++;
    candidate.waitedUs += waitUs;
    return waitUs;
  }

  /** The deadline of a challenge passed. @returns Whether to set another: false gives the candidate up. */
  onDeadline(): boolean {
    const candidate = this.#candidate;
    if (candidate === undefined) return false;
    if (candidate.waits >= WAITS_MIN && candidate.waitedUs >= WAITED_US_MIN) {
      this.#candidate = undefined;
      return false;
    }
    candidate.challengePending = true;
    return true;
  }

  /** The challenge to send now in a packet of `bytes` bytes, if the amplification bound allows it; it counts as sent. */
  takeChallenge(bytes: number): Response | undefined {
    const candidate = this.#candidate;
    if (candidate === undefined || !candidate.challengePending) return undefined;
    if (candidate.sentBytes + bytes > AMPLIFICATION_MAX * candidate.receivedBytes) return undefined;
    candidate.challengePending = false;
    candidate.sentBytes += bytes;
    return candidate;
  }

  /** The peer asks whether we are here. The answer goes to where the question came from; few are kept. */
  onChallenge(data: Uint8Array, from: Address): void {
    if (this.#responses.length >= RESPONSES_MAX) this.#responses.shift();
    this.#responses.push({ address: from, data });
  }

  /** Whether {@linkcode takeChallenge} or {@linkcode takeResponse} may give something. */
  get hasSomethingToSend(): boolean {
    return this.#responses.length > 0 || (this.#candidate !== undefined && this.#candidate.challengePending);
  }

  takeResponse(): Response | undefined {
    return this.#responses.shift();
  }

  /** @returns Whether the peer has moved to the candidate by this. */
  onResponse(data: Uint8Array): boolean {
    const candidate = this.#candidate;
    if (candidate === undefined || !this.#primitives.equal(candidate.data, data)) return false;
    this.#peer = candidate.address;
    this.#candidate = undefined;
    return true;
  }
}

/** RFC 9000 §8.1. */
const AMPLIFICATION_MAX = 3;
/** RFC 9000 §8.2.4: given up after three probe timeouts, of the path that was or of one that nothing is known of (1 s each). */
const WAITS_MIN = 2;
const WAITED_US_MIN = 3_000_000;
const RESPONSES_MAX = 4;
