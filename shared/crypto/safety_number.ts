/**
 * Safety numbers (docs/PROTOCOL.md §19): 60 digits that two people compare to know that they hold each other's identities and
 * nobody is in between. The shape is Signal's numeric fingerprint: 30 digits for each person, in an order both sides agree on.
 */
import { createHash } from "node:crypto";
import { assert } from "../assert.ts";
import type { UserName } from "../protocol/mod.ts";

/** One of the two. */
export interface SafetyPerson {
  readonly name: UserName;
  /** Fingerprint of the identity, 32 bytes. */
  readonly identity: Uint8Array;
}

/**
 * The number of two people: 60 digits, the same whoever comes first. Takes some ten milliseconds, on purpose: it is what a
 * search for a key with the same digits costs at every try.
 *
 * @param clusterId 16 bytes: the same names elsewhere are other people.
 */
export function safetyNumber(clusterId: Uint8Array, one: SafetyPerson, other: SafetyPerson): string {
  assert(clusterId.length === 16, "A cluster id has 16 bytes");
  assert(one.name !== other.name, "A safety number is of two people");
  const [first, second] = one.name < other.name ? [one, other] : [other, one];
  return half(clusterId, first) + half(clusterId, second);
}

/** Twelve groups of five digits. */
export function formatSafetyNumber(number: string): string {
  return number.match(/\d{5}/g)!.join(" ");
}

/** Reads what somebody typed or pasted: white space, dots and dashes between digits do not count. `undefined` where it is none. */
export function parseSafetyNumber(input: string): string | undefined {
  const digits = input.replace(/[\s.\-\u00a0]/g, "");
  return /^[0-9]{60}$/.test(digits) ? digits : undefined;
}

/** 30 digits that depend on one person only. §19 */
function half(clusterId: Uint8Array, { name, identity }: SafetyPerson): string {
  assert(identity.length === 32, "A fingerprint has 32 bytes");
  const nameBytes = TEXT_ENCODER.encode(name);
  let hash = sha512(LABEL, clusterId, new Uint8Array([nameBytes.length]), nameBytes, identity);
  for (let i = 0; i < ITERATIONS; i++) hash = sha512(hash, identity);
  let digits = "";
  for (let at = 0; at < 30; at += 5) {
    // 40 bits, big-endian: exact in a number. The bias of the remainder is below 2^-23.
    let value = 0;
    for (const byte of hash.subarray(at, at + 5)) value = value * 256 + byte;
    digits += String(value % 100_000).padStart(5, "0");
  }
  return digits;
}

function sha512(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** As Signal has it: makes each guess 5,200 times as dear as one hash. */
const ITERATIONS = 5_200;
const TEXT_ENCODER = new TextEncoder();
const LABEL = TEXT_ENCODER.encode("fastchat/safety/1");
