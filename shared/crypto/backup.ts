/**
 * The identity key as the server keeps it (docs/PROTOCOL.md §12, SECURITY P8): sealed by a key that only the password, or
 * only the recovery key, yields, and committed to, so that no backup can be made that opens under two of them.
 */
import { bytes, decode, DecodeError, encode, fixedBytes, struct, u8 } from "../codec/mod.ts";
import { assert } from "../assert.ts";
import { BACKUP_BYTES_MAX } from "../limits.ts";
import type { RandomSource } from "../primitives.ts";
import type { UserName } from "../protocol/mod.ts";
import { concatBytes } from "./bytes.ts";
import { equalBytes, hmacSha256 } from "./hkdf.ts";
import { systemRandom } from "./random.ts";
import { aeadOpen, aeadSeal } from "./sealed_bytes.ts";

interface BackupOwner {
  /** 64 bytes from {@linkcode stretchPassword} or {@linkcode recoverySecrets}. */
  readonly backupKey: Uint8Array;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  readonly name: UserName;
  /** What is sealed, by what: one kind never opens as the other. The identity by the password by default. */
  readonly by?: "password" | "recovery" | "archive";
}

/** Why a backup was not opened. A wrong key and changed bytes look alike, on purpose. */
export type BackupFault = "unknown version" | "malformed" | "wrong key or changed";

/** Seals an identity key's PKCS#8 DER. */
export function sealBackup(
  options: BackupOwner & { readonly pkcs8: Uint8Array; readonly random?: RandomSource },
): Uint8Array {
  const { sealKey, commitKey } = keysOf(options.backupKey);
  const nonce = (options.random ?? systemRandom).bytes(12);
  const ciphertext = aeadSeal({ key: sealKey, nonce, aad: associatedData(options), plaintext: options.pkcs8 });
  const committed = encode(CONTENT, { version: VERSION, nonce, ciphertext });
  const backup = concatBytes(committed, hmacSha256(commitKey, committed));
  assert(backup.length <= BACKUP_BYTES_MAX, "An identity key fits its backup");
  return backup;
}

/** Opens a backup: checks the commitment first, then decrypts. The key is not yet compared with what others were shown. */
export function openBackup(
  options: BackupOwner & { readonly backup: Uint8Array },
): { readonly ok: true; readonly pkcs8: Uint8Array } | { readonly ok: false; readonly reason: BackupFault } {
  const { backup } = options;
  if (backup.length > 0 && backup[0] !== VERSION) return { ok: false, reason: "unknown version" };
  const committed = backup.subarray(0, Math.max(0, backup.length - COMMITMENT_BYTES));
  const content = readContent(committed);
  if (content === undefined) return { ok: false, reason: "malformed" };
  const { sealKey, commitKey } = keysOf(options.backupKey);
  if (!equalBytes(hmacSha256(commitKey, committed), backup.subarray(committed.length))) {
    return { ok: false, reason: "wrong key or changed" };
  }
  const { nonce, ciphertext } = content;
  const pkcs8 = aeadOpen({ key: sealKey, nonce, aad: associatedData(options), sealed: ciphertext });
  // Another cluster's or another name's: the commitment is by the key alone.
  if (pkcs8 === undefined) return { ok: false, reason: "wrong key or changed" };
  return { ok: true, pkcs8 };
}

function readContent(committed: Uint8Array): { nonce: Uint8Array; ciphertext: Uint8Array } | undefined {
  try {
    return decode(CONTENT, committed);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function keysOf(backupKey: Uint8Array): { sealKey: Uint8Array; commitKey: Uint8Array } {
  assert(backupKey.length === 64, `Backup key is ${backupKey.length} bytes, not 64`);
  return { sealKey: backupKey.subarray(0, 32), commitKey: backupKey.subarray(32) };
}

function associatedData(owner: BackupOwner): Uint8Array {
  return concatBytes(LABELS[owner.by ?? "password"], owner.clusterId, TEXT_ENCODER.encode(owner.name));
}

const VERSION = 1;
const COMMITMENT_BYTES = 32;
const TEXT_ENCODER = new TextEncoder();
const LABELS = {
  password: TEXT_ENCODER.encode("fastchat/backup/1"),
  recovery: TEXT_ENCODER.encode("fastchat/recovery-backup/1"),
  /** An archive's key, by the recovery key: {@linkcode file://./archive.ts}. */
  archive: TEXT_ENCODER.encode("fastchat/archive-key/1"),
};

const CONTENT = struct({ version: u8, nonce: fixedBytes(12), ciphertext: bytes(BACKUP_BYTES_MAX) });
