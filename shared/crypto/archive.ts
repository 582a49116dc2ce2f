/**
 * An archive of history (docs/PROTOCOL.md §21, SECURITY P8): a random key that the recovery key seals, and chunks that this key
 * seals, each bound to cluster, user, stream and number, so that none opens in another's place.
 */
import { assert } from "../assert.ts";
import type { RandomSource } from "../primitives.ts";
import type { UserName } from "../protocol/mod.ts";
import { type BackupFault, openBackup, sealBackup } from "./backup.ts";
import { hkdfExpand } from "./hkdf.ts";
import { openRow, sealRow } from "./row_seal.ts";

/** Whose archive it is. */
export interface ArchiveOwner {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  readonly name: UserName;
}

/** Where a chunk stands. */
export interface ChunkPlace extends ArchiveOwner {
  /** 16 bytes. */
  readonly stream: Uint8Array;
  /** From 1. */
  readonly number: number;
}

/** 16 bytes that name an archive's key (32 bytes) and tell nothing of it. */
export function archiveKeyId(key: Uint8Array): Uint8Array {
  assert(key.length === KEY_BYTES, `An archive's key is ${KEY_BYTES} bytes, not ${key.length}`);
  return hkdfExpand(key, "fastchat/archive/1 id", 16);
}

/** @param sealKey 64 bytes, of {@linkcode RecoverySecrets}. @param key 32 bytes. */
export function sealArchiveKey(
  { sealKey, key, random, ...owner }: ArchiveOwner & {
    readonly sealKey: Uint8Array;
    readonly key: Uint8Array;
    readonly random?: RandomSource;
  },
): Uint8Array {
  assert(key.length === KEY_BYTES, `An archive's key is ${KEY_BYTES} bytes, not ${key.length}`);
  return sealBackup({ ...owner, backupKey: sealKey, by: "archive", pkcs8: key, ...(random && { random }) });
}

/** Checks the commitment first, then decrypts, as backups are opened. */
export function openArchiveKey(
  { sealKey, sealed, ...owner }: ArchiveOwner & { readonly sealKey: Uint8Array; readonly sealed: Uint8Array },
): { readonly ok: true; readonly key: Uint8Array } | { readonly ok: false; readonly reason: BackupFault } {
  const opened = openBackup({ ...owner, backupKey: sealKey, by: "archive", backup: sealed });
  if (!opened.ok) return opened;
  return opened.pkcs8.length === KEY_BYTES ? { ok: true, key: opened.pkcs8 } : { ok: false, reason: "malformed" };
}

/** @param content Padded already. */
export function sealChunk(
  { key, content, random, ...place }: ChunkPlace & {
    readonly key: Uint8Array;
    readonly content: Uint8Array;
    readonly random?: RandomSource;
  },
): Uint8Array {
  return sealRow({ key: chunkKey(key), context: contextOf(place), plaintext: content, ...(random && { random }) });
}

/** The content, or `undefined` where key, place or bytes are not what they were. */
export function openChunk(
  { key, sealed, ...place }: ChunkPlace & { readonly key: Uint8Array; readonly sealed: Uint8Array },
): Uint8Array | undefined {
  return openRow({ key: chunkKey(key), context: contextOf(place), sealed });
}

function chunkKey(key: Uint8Array): Uint8Array {
  return hkdfExpand(key, "fastchat/archive/1 chunks", 32);
}

function contextOf({ clusterId, name, stream, number }: ChunkPlace): string {
  return `fastchat/archive/1 ${clusterId.toHex()} ${name} ${stream.toHex()} ${number}`;
}

const KEY_BYTES = 32;
