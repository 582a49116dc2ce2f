/**
 * Resets: what a server that lost its memory answers to packets of connections it no longer knows, so that their clients
 * need not wait for a timeout (docs/PROTOCOL.md §5.4, SECURITY H4).
 *
 * The token is different for every server number and can be computed from the connection id alone. So a server must never
 * emit one for an id that is live somewhere: it answers only ids with its own number, after the look-up failed.
 */
import { assert } from "../assert.ts";
import { connectionIdServer, PROTECTED_TYPE } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import { type Rate, TokenBucket } from "./rate_limit.ts";

export class StatelessResets {
  readonly #primitives: Primitives;
  readonly #serverNumber: number;
  readonly #key: Uint8Array;
  readonly #rate: TokenBucket;

  /** @param options.resetKey 32 bytes, the cluster's. */
  constructor(options: {
    readonly primitives: Primitives;
    readonly serverNumber: number;
    readonly resetKey: Uint8Array;
    readonly rate: Rate;
    readonly nowUs: number;
  }) {
    assert(options.resetKey.length === 32, `Reset key is ${options.resetKey.length} bytes, not 32`);
    const { primitives, serverNumber } = options;
    this.#primitives = primitives;
    this.#serverNumber = serverNumber;
    this.#key = primitives.hkdfExpand(options.resetKey, `fastchat/1 reset ${serverNumber}`, 32);
    this.#rate = new TokenBucket(options.rate, options.nowUs);
  }

  /** 16 bytes, sent inside ACCEPT. @param connectionId 8 bytes. */
  token(connectionId: Uint8Array): Uint8Array {
    return this.#primitives.hmacSha256(this.#key, connectionId).slice(0, TOKEN_BYTES);
  }

  /**
   * The answer to a protected packet for whose id the look-up found nothing, or `undefined` for none.
   *
   * Always {@linkcode RESET_BYTES} long: shorter than anything it answers, so two machines cannot answer one another for ever.
   */
  answer(packet: Uint8Array, nowUs: number): Uint8Array | undefined {
    if (packet.length <= ANSWERED_BYTES_MIN || connectionIdServer(packet, 1) !== this.#serverNumber) return undefined;
    if (!this.#rate.take(nowUs)) return undefined;
    const reset = this.#primitives.random.bytes(RESET_BYTES);
    reset[0] = PROTECTED_TYPE | (reset[0]! & 0x01);
    reset.set(packet.subarray(1, 9), 1);
    reset.set(this.token(packet.slice(1, 9)), RESET_BYTES - TOKEN_BYTES);
    return reset;
  }
}

const TOKEN_BYTES = 16;
/** A packet of this size or less is never answered. */
const ANSWERED_BYTES_MIN = 43;
/** So a client makes what it wants an answer to at least this long: the server may have forgotten it (RFC 9000 §10.3). */
export const RESETTABLE_BYTES_MIN = ANSWERED_BYTES_MIN + 1;
export const RESET_BYTES = 42;
assert(RESET_BYTES < ANSWERED_BYTES_MIN, "A reset is shorter than what it answers, and earns no reset itself");
