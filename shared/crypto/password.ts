/**
 * From a password to independent keys (docs/PROTOCOL.md §11, SECURITY P1, P2): one is sent as the login secret, one seals
 * the identity backup, one what lies on this disk. The password itself never leaves this file's callers.
 */
import { scrypt } from "node:crypto";
import { assert } from "../assert.ts";
import { SCRYPT_LOG2_N_MIN } from "../limits.ts";
import type { Stretching, UserName } from "../protocol/mod.ts";
import { equalBytes, hkdfExpand, hkdfExtract, sha256 } from "./hkdf.ts";

export interface StretchOptions {
  readonly password: string;
  /** 16 bytes: the cluster this connection was shaken hands with, never merely the one an answer names. */
  readonly clusterId: Uint8Array;
  readonly name: UserName;
  /** As the server offers it. */
  readonly stretching: Stretching;
  /** The cluster id in the server's answer, where it gives one: another than `clusterId` is refused. */
  readonly offeredClusterId?: Uint8Array;
  /** How this account was last stretched here: less work, or another salt where one is known, is refused. */
  readonly lastUsed?: { readonly log2N: number; readonly salt?: Uint8Array };
  /** For tests only: a lower floor than {@linkcode SCRYPT_LOG2_N_MIN}. */
  readonly testOnlyLog2NMin?: number;
}

/** What a password yields. None of these tells anything about another. */
export interface StretchedPassword {
  /** 43 base64url characters of 32 bytes: what the server gets. */
  readonly loginSecret: string;
  /** 64 bytes: see {@linkcode sealBackup}. */
  readonly backupKey: Uint8Array;
  /**
   * A 32-byte key for what lies on this disk.
   *
   * @param localSalt At least 16 random bytes kept beside what is sealed: two homes of one person have different keys.
   */
  atRestKey(localSalt: Uint8Array): Uint8Array;
}

/** The server asked for a stretching that would give the password away too cheaply. Nothing was derived. */
export class StretchingRefused extends Error {
  override readonly name = "StretchingRefused";
}

/**
 * Stretches a password with scrypt (RFC 7914), off the main thread: some 400 ms and 128 MiB at the usual cost.
 *
 * @throws StretchingRefused before anything is derived, where the offer is below the floor, above what is sensible, or not
 * for this cluster and account.
 */
export async function stretchPassword(options: StretchOptions): Promise<StretchedPassword> {
  const fault = stretchingFault(options);
  if (fault !== undefined) throw new StretchingRefused(`Cannot stretch the password: ${fault}`);
  const { log2N, salt } = options.stretching;
  const password = TEXT_ENCODER.encode(options.password.normalize("NFKC"));
  const fullSalt = sha256(SALT_LABEL, options.clusterId, TEXT_ENCODER.encode(options.name), salt);
  const stretched = await runScrypt(password, fullSalt, 2 ** log2N);
  const root = hkdfExtract(new Uint8Array(32), stretched);
  return {
    loginSecret: hkdfExpand(root, "fastchat/pw/1 login", 32).toBase64({ alphabet: "base64url", omitPadding: true }),
    backupKey: hkdfExpand(root, "fastchat/pw/1 backup", 64),
    atRestKey: (localSalt) => {
      assert(localSalt.length >= 16, "A local salt has at least 16 bytes");
      return hkdfExpand(hkdfExtract(localSalt, stretched), "fastchat/pw/1 at rest", 32);
    },
  };
}

/** Why a server's offer is not followed, in words; `undefined` where it may be. */
function stretchingFault(options: StretchOptions): string | undefined {
  const { clusterId, offeredClusterId, lastUsed, stretching: { log2N, salt } } = options;
  const log2NMin = options.testOnlyLog2NMin ?? SCRYPT_LOG2_N_MIN;
  if (clusterId.length !== 16) return `cluster id is ${clusterId.length} bytes, not 16`;
  if (offeredClusterId !== undefined && !equalBytes(offeredClusterId, clusterId)) {
    return "the server names another cluster than the one connected to";
  }
  if (salt.length !== 16) return `salt is ${salt.length} bytes, not 16`;
  if (!Number.isInteger(log2N) || log2N < log2NMin) {
    return `the server offers 2^${log2N} rounds, at least 2^${log2NMin}`;
  }
  if (log2N > LOG2_N_MAX) return `the server asks for 2^${log2N} rounds, at most 2^${LOG2_N_MAX}`;
  if (lastUsed === undefined) return undefined;
  if (log2N < lastUsed.log2N) return `the server offers 2^${log2N} rounds, last time it was 2^${lastUsed.log2N}`;
  if (lastUsed.salt !== undefined && !equalBytes(lastUsed.salt, salt)) return "the salt is not this account's";
  return undefined;
}

function runScrypt(password: Uint8Array, salt: Uint8Array, n: number): Promise<Uint8Array> {
  const blockBytes = 128 * BLOCK_SIZE;
  // OpenSSL's rule counts 128·r·(N + p + 2) bytes; node's default ceiling of 32 MiB is far below.
  const parameters = { N: n, r: BLOCK_SIZE, p: 1, maxmem: blockBytes * (n + 64) };
  return new Promise((resolve, reject) => {
    scrypt(password, salt, STRETCHED_BYTES, parameters, (error, stretched) => {
      if (error) reject(error);
      else resolve(new Uint8Array(stretched));
    });
  });
}

const TEXT_ENCODER = new TextEncoder();
const SALT_LABEL = TEXT_ENCODER.encode("fastchat/pw/1");
const BLOCK_SIZE = 8;
const STRETCHED_BYTES = 32;
/** 1 GiB of memory: a server that asks for more is not protecting the password but stopping the client. */
const LOG2_N_MAX = 20;
