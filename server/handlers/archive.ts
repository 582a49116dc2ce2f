/**
 * Archives of history (docs/PROTOCOL.md §21, SECURITY P8): a key that the recovery key opens, and chunks that this key opens. The
 * server has neither, sees sizes and times, and bounds what one user's may take.
 */
import { isRecoveryProof, sha256, verifyDropArchive } from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import type { RequestOf, ResponseOf } from "../../shared/protocol/mod.ts";
import type { Caller, Services } from "../context.ts";
import { sessionOf } from "../rights.ts";
import type { LogInAttempt } from "../throttles.ts";

/**
 * setArchiveKey = its id, the key sealed by the recovery key, that one's proof → ok | error badCredentials, limit, forbidden
 *
 * The proof keeps a stolen session from putting something in the key's place that nobody can open.
 */
export async function setArchiveKey(
  { keyId, sealed, proof }: RequestOf<"setArchiveKey">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user, device } = sessionOf(caller);
  // One that is there stays its user's: another recovery key may open it.
  if (services.settings.archiveBytesMax === 0 && await services.store.archive(user) === undefined) {
    throw new RequestError(ErrorCode.limit, "This server keeps no archives");
  }
  if (sealed.length === 0) throw new RequestError(ErrorCode.malformed, "An archive's key is not empty");
  const attempt: LogInAttempt = { address: caller.address, name: `archive of ${user}`, provenDevice: device };
  services.throttles.logIn(attempt, services.clock.nowUs());
  const stored = (await services.store.credentials(user))?.recovery?.proofHash;
  if (stored === undefined || !isRecoveryProof(proof, services.pepper.open("recovery", user, stored))) {
    throw new RequestError(ErrorCode.badCredentials, "This is not the recovery key that was made last");
  }
  services.throttles.clear(attempt);
  const set = await services.store.setArchiveKey(user, {
    keyId,
    sealed: services.pepper.seal("archive", user, sealed),
    recoveryProofHash: stored,
    nowMs: services.nowMs(),
  });
  if (set === "stale") throw new RequestError(ErrorCode.badCredentials, "The recovery key was changed meanwhile");
  if (set === "taken") throw new RequestError(ErrorCode.forbidden, "There is an archive under another key");
  services.logger.log("info", "archive-key-set", { name: user });
  return { type: "ok" };
}

/** archive = {} → its key and what is there of each stream; nothing where there is none */
export async function archive(
  _request: RequestOf<"archive">,
  caller: Caller,
  { store, pepper, settings }: Services,
): Promise<ResponseOf<"archive">> {
  const { user } = sessionOf(caller), stored = await store.archive(user), bytesMax = settings.archiveBytesMax;
  if (stored === undefined) return { type: "archive", key: undefined, streams: [], bytesMax };
  const { keyId, sealed, isCurrent, madeMs, streams } = stored;
  const key = { keyId, sealed: pepper.open("archive", user, sealed), isCurrent, madeMs };
  return { type: "archive", key, streams: [...streams], bytesMax };
}

/** putArchiveChunk = key's id, stream, number, body → ok | error notFound, forbidden, limit, diskFull */
export async function putArchiveChunk(
  { keyId, stream, number, body }: RequestOf<"putArchiveChunk">,
  caller: Caller,
  { store, settings, nowMs }: Services,
): Promise<ResponseOf<"ok">> {
  const { user } = sessionOf(caller);
  if (number < 1 || body.length === 0) throw new RequestError(ErrorCode.malformed, "A chunk has a number and a body");
  const put = await store.putArchiveChunk({
    user,
    keyId,
    stream,
    number,
    body,
    hash: sha256(body),
    archiveBytesMax: settings.archiveBytesMax,
    nowMs: nowMs(),
  });
  if (put === "stored") return { type: "ok" };
  const [code, message] = REFUSALS[put];
  throw new RequestError(code, message);
}

/** archiveChunks = stream, after → a page of its chunks */
export async function archiveChunks(
  { stream, after }: RequestOf<"archiveChunks">,
  caller: Caller,
  { store }: Services,
): Promise<ResponseOf<"archiveChunks">> {
  return { type: "archiveChunks", chunks: await store.archiveChunks(sessionOf(caller).user, stream, after) };
}

/** dropArchive = the key's id, the identity's signature over this connection and it → ok | error badCredentials */
export async function dropArchive(
  { keyId, identityProof }: RequestOf<"dropArchive">,
  caller: Caller,
  services: Services,
): Promise<ResponseOf<"ok">> {
  const { user } = sessionOf(caller), account = await services.store.account(user);
  if (account === undefined) throw new RequestError(ErrorCode.notAuthenticated, "Log in first");
  services.counters.rsaVerifications++;
  if (!await verifyDropArchive(account.identityKey, caller.bind, keyId, identityProof)) {
    throw new RequestError(ErrorCode.badCredentials, "The identity key did not sign that the archive goes");
  }
  await services.store.dropArchive(user, keyId);
  services.logger.log("info", "archive-dropped", { name: user });
  return { type: "ok" };
}

const REFUSALS = {
  none: [ErrorCode.notFound, "There is no archive under that key"],
  gap: [ErrorCode.forbidden, "Chunks before that one are missing"],
  taken: [ErrorCode.forbidden, "There is another chunk of that number"],
  full: [ErrorCode.limit, "The archive is full"],
  limit: [ErrorCode.limit, "The archive has as many streams as one may have"],
} as const;
