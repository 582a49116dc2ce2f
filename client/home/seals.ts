/**
 * How a home's key lies on the disk (docs/PROTOCOL.md §12.1, SECURITY P11): sealed by what the password yields, or by a token.
 * Any number of seals may hold the same key; each opens it alone.
 *
 * A seal commits to its key, so none can be made that opens under two passwords, and carries a checksum that everybody can
 * verify: a damaged one is told from a wrong password.
 */
import { bytes, decode, DecodeError, encode, fixedBytes, struct, u8 } from "../../shared/codec/mod.ts";
import {
  equalBytes,
  hkdfExpand,
  hkdfExtract,
  hmacSha256,
  openRow,
  ROW_SEAL_BYTES,
  sealRow,
  sha256,
  type StretchedPassword,
  systemRandom,
} from "../../shared/crypto/mod.ts";
import { parseUserName, type Stretching, type UserName } from "../../shared/protocol/mod.ts";
import { VaultError } from "./vault.ts";

/** Whose password, and how it is stretched: not secret. */
export interface PasswordOwner {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  readonly name: UserName;
  readonly stretching: Stretching;
}

/** Seals a home's key by a password that was stretched for `owner`. */
export function sealByPassword(key: Uint8Array, stretched: StretchedPassword, owner: PasswordOwner): Uint8Array {
  const localSalt = systemRandom.bytes(SALT_BYTES);
  const { clusterId, name, stretching: { log2N, salt } } = owner;
  const header = encode(PASSWORD_HEADER, {
    clusterId,
    name: TEXT_ENCODER.encode(name),
    log2N,
    salt: new Uint8Array(salt),
    localSalt,
  });
  return seal(key, stretched.atRestKey(localSalt), header);
}

/** For whom a password has to be stretched before {@linkcode openByPassword}. @throws VaultError where the seal is damaged. */
export function ownerOf(sealed: Uint8Array): PasswordOwner {
  const { clusterId, name, log2N, salt } = passwordHeader(sealed);
  return { clusterId, name, stretching: { log2N, salt } };
}

/** The home's key; `undefined` for another password. @throws VaultError where the seal is damaged. */
export function openByPassword(sealed: Uint8Array, stretched: StretchedPassword): Uint8Array | undefined {
  return open(sealed, stretched.atRestKey(passwordHeader(sealed).localSalt));
}

/** @param token 32 random bytes, of this seal alone. */
export function sealByToken(key: Uint8Array, token: Uint8Array): Uint8Array {
  return seal(key, tokenRoot(token), new Uint8Array());
}

/** The home's key; `undefined` for another token. @throws VaultError where the seal is damaged. */
export function openByToken(sealed: Uint8Array, token: Uint8Array): Uint8Array | undefined {
  return open(sealed, tokenRoot(token));
}

/** Tells homes' keys apart without telling anything of them: 16 bytes. */
export function keyIdOf(key: Uint8Array): Uint8Array {
  return hmacSha256(key, TEXT_ENCODER.encode("fastchat/home/1 id")).subarray(0, 16);
}

function seal(key: Uint8Array, root: Uint8Array, header: Uint8Array): Uint8Array {
  const { sealKey, commitKey } = keysOf(root);
  const wrapped = sealRow({ key: sealKey, context: contextOf(header), plaintext: key });
  const commitment = hmacSha256(commitKey, header, wrapped);
  const content = encode(CONTENT, { version: VERSION, header, wrapped, commitment });
  const sealed = new Uint8Array(content.length + CHECK_BYTES);
  sealed.set(content);
  sealed.set(sha256(content).subarray(0, CHECK_BYTES), content.length);
  return sealed;
}

function open(sealed: Uint8Array, root: Uint8Array): Uint8Array | undefined {
  const { header, wrapped, commitment } = read(sealed), { sealKey, commitKey } = keysOf(root);
  if (!equalBytes(hmacSha256(commitKey, header, wrapped), commitment)) return undefined;
  const key = openRow({ key: sealKey, context: contextOf(header), sealed: wrapped });
  if (key?.length !== KEY_BYTES) throw damaged();
  return key;
}

function read(sealed: Uint8Array): { header: Uint8Array; wrapped: Uint8Array; commitment: Uint8Array } {
  const content = sealed.subarray(0, Math.max(0, sealed.length - CHECK_BYTES));
  if (!equalBytes(sha256(content).subarray(0, CHECK_BYTES), sealed.subarray(content.length))) throw damaged();
  if (content[0] !== VERSION) throw new VaultError("The key of this home was sealed by a newer fastchat: use that one");
  try {
    return decode(CONTENT, content);
  } catch (error) {
    if (error instanceof DecodeError) throw damaged(error);
    throw error;
  }
}

function passwordHeader(sealed: Uint8Array): PasswordHeader {
  const { header } = read(sealed);
  try {
    const { name, ...rest } = decode(PASSWORD_HEADER, header);
    const parsed = parseUserName(TEXT_DECODER.decode(name));
    if (parsed !== undefined) return { name: parsed, ...rest };
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
  }
  throw damaged();
}

function damaged(cause?: Error): VaultError {
  return new VaultError(
    "The sealed key of this home is damaged: only a copy of the home can help, or logging in again in an empty home",
    { cause },
  );
}

function keysOf(root: Uint8Array): { sealKey: Uint8Array; commitKey: Uint8Array } {
  return {
    sealKey: hkdfExpand(root, "fastchat/home/1 seal", 32),
    commitKey: hkdfExpand(root, "fastchat/home/1 commit", 32),
  };
}

function tokenRoot(token: Uint8Array): Uint8Array {
  return hkdfExtract(TEXT_ENCODER.encode("fastchat/home/1 token"), token);
}

function contextOf(header: Uint8Array): string {
  return `seals.sealed ${header.toHex()}`;
}

interface PasswordHeader {
  readonly clusterId: Uint8Array;
  readonly name: UserName;
  readonly log2N: number;
  readonly salt: Uint8Array;
  readonly localSalt: Uint8Array;
}

const TEXT_ENCODER = new TextEncoder();
const TEXT_DECODER = new TextDecoder();
const VERSION = 1;
const KEY_BYTES = 32;
const SALT_BYTES = 16;
/** Of an unkeyed hash: it finds damage, and keeps nobody from anything. */
const CHECK_BYTES = 8;

const PASSWORD_HEADER = struct({
  clusterId: fixedBytes(16),
  name: bytes(32),
  log2N: u8,
  salt: fixedBytes(16),
  localSalt: fixedBytes(SALT_BYTES),
});
const CONTENT = struct({
  version: u8,
  header: bytes(128),
  wrapped: fixedBytes(KEY_BYTES + ROW_SEAL_BYTES),
  commitment: fixedBytes(32),
});
