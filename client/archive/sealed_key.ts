/** An archive's key for the server to keep: sealed by a recovery key, and sealed anew for each that takes its place. */
import {
  archiveKeyId,
  type ArchiveOwner,
  equalBytes,
  type RecoverySecrets,
  sealArchiveKey,
} from "../../shared/crypto/mod.ts";
import { RequestError } from "../../shared/errors.ts";
import type { RequestOf } from "../../shared/protocol/mod.ts";
import type { Remote } from "../network/remote.ts";

/** @param key 32 bytes. */
export function archiveKeyRequest(
  key: Uint8Array,
  { proof, sealKey }: RecoverySecrets,
  { clusterId, name }: ArchiveOwner,
): RequestOf<"setArchiveKey"> {
  const sealed = sealArchiveKey({ sealKey, key, clusterId, name });
  return { type: "setArchiveKey", keyId: archiveKeyId(key), sealed, proof };
}

/**
 * A recovery key was made, and from now on it opens the archive of that key, if there is one.
 *
 * What the server refuses is no reason to lose the recovery key: a notice tells of it at the next connection.
 */
export async function sealArchiveAnew(
  key: Uint8Array,
  secrets: RecoverySecrets,
  owner: ArchiveOwner,
  remote: Remote,
): Promise<void> {
  try {
    const { key: there } = await remote.ask<"archive">({ type: "archive" });
    if (there === undefined || !equalBytes(there.keyId, archiveKeyId(key))) return;
    await remote.ask<"setArchiveKey">(archiveKeyRequest(key, secrets, owner));
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
  }
}
