/** Address tokens: proof that somebody receives at an address, before anything is spent on them (docs/PROTOCOL.md §3). */
import { assert } from "../assert.ts";
import { Reader, Writer } from "../codec/mod.ts";
import type { Primitives } from "../primitives.ts";
import { addressBytes } from "./address.ts";

/** What a token was made for; part of what is authenticated. */
export const TokenPurpose = {
  /** In LOCATED: take this to the server. */
  locate: 1,
  /** In RETRY: come back with this. */
  retry: 2,
  /** In ACCEPT: for next time. */
  newToken: 3,
} as const;
export type TokenPurpose = (typeof TokenPurpose)[keyof typeof TokenPurpose];

/** Bytes of every token. */
export const TOKEN_BYTES = 1 + 6 + 16;

/**
 * Makes and checks the tokens of one cluster. Keeps no state: whoever has the token key can check what another made.
 *
 * A token may be used again until it expires: it proves an address, never an identity (SECURITY H6).
 */
export class AddressTokens {
  readonly #primitives: Primitives;
  readonly #key: Uint8Array;
  readonly #clusterId: Uint8Array;

  /** @param key 32 bytes. @param clusterId 16 bytes. */
  constructor(primitives: Primitives, key: Uint8Array, clusterId: Uint8Array) {
    assert(key.length === 32, `Token key is ${key.length} bytes, not 32`);
    assert(clusterId.length === 16, `Cluster id is ${clusterId.length} bytes, not 16`);
    this.#primitives = primitives;
    this.#key = new Uint8Array(key);
    this.#clusterId = new Uint8Array(clusterId);
  }

  /**
   * {@linkcode TOKEN_BYTES} bytes.
   *
   * @param host The peer's IP address as its socket reports it, in any of its text forms.
   * @param nowSeconds Whole seconds since 1970.
   * @throws TypeError Where `host` is not an IP address.
   */
  make(purpose: TokenPurpose, host: string, nowSeconds: number): Uint8Array {
    const address = addressBytes(host);
    if (!address) throw new TypeError(`Cannot make a token: ${host} is not an IP address`);
    const expirySeconds = Math.floor(nowSeconds) + LIFETIME_SECONDS[purpose];
    return this.#token(purpose, expirySeconds, address);
  }

  /** What the token was made for, or `undefined`: forged, expired, or for another address or cluster. */
  check(token: Uint8Array, host: string, nowSeconds: number): TokenPurpose | undefined {
    if (token.length !== TOKEN_BYTES) return undefined;
    const reader = new Reader(token);
    const purpose = reader.u8(), expirySeconds = reader.u48();
    if (!isPurpose(purpose)) return undefined;
    // The second half limits what a clock that was once far ahead has given out.
    if (nowSeconds >= expirySeconds || expirySeconds > nowSeconds + 2 * LIFETIME_SECONDS[purpose]) return undefined;
    const address = addressBytes(host);
    if (!address) return undefined;
    return this.#primitives.equal(this.#token(purpose, expirySeconds, address), token) ? purpose : undefined;
  }

  #token(purpose: TokenPurpose, expirySeconds: number, address: Uint8Array): Uint8Array {
    const writer = new Writer(TOKEN_BYTES);
    writer.u8(purpose);
    writer.u48(expirySeconds);
    const mac = this.#primitives.hmacSha256(this.#key, LABEL, writer.view(), this.#clusterId, address);
    writer.bytes(mac.subarray(0, MAC_BYTES));
    return writer.finish();
  }
}

function isPurpose(value: number): value is TokenPurpose {
  return value === TokenPurpose.locate || value === TokenPurpose.retry || value === TokenPurpose.newToken;
}

const LABEL = new TextEncoder().encode("fastchat/token/1");
const MAC_BYTES = 16;
const LIFETIME_SECONDS: Readonly<Record<TokenPurpose, number>> = { 1: 30, 2: 30, 3: 24 * 3600 };
