/** The calls to the leader that are about archives of history. Tags 60 to 64. */
import { array, bool, bytes, fixedBytes, optional, type Schema, struct, text, varint } from "../../shared/codec/mod.ts";
import { u48 } from "../../shared/codec/mod.ts";
import {
  ARCHIVE_CHUNK_BYTES_MAX,
  ARCHIVE_KEY_BYTES_MAX,
  ARCHIVE_STREAMS_MAX,
  READ_BYTES_MAX,
} from "../../shared/limits.ts";
import { userName } from "../../shared/protocol/mod.ts";
import type { ArchiveChunk, ArchivePut, NewArchiveChunk, NewArchiveKey, StoredArchive } from "./archives.ts";
import { empty, LIST_ITEMS_MAX, operation, shaped } from "./operation.ts";

/** Under the pepper it is a few bytes longer. */
const sealedKey = bytes(ARCHIVE_KEY_BYTES_MAX + 256);
const proofHash = bytes(512);

const newArchiveKey: Schema<NewArchiveKey> = struct({
  keyId: fixedBytes(16),
  sealed: sealedKey,
  recoveryProofHash: proofHash,
  nowMs: u48,
});

const archive = shaped<StoredArchive>()(struct({
  keyId: fixedBytes(16),
  sealed: sealedKey,
  isCurrent: bool,
  madeMs: u48,
  streams: array(
    struct({ stream: fixedBytes(16), chunks: varint, bytes: varint, head: fixedBytes(32), newestMs: u48 }),
    ARCHIVE_STREAMS_MAX,
  ),
}));

const newChunk: Schema<NewArchiveChunk> = struct({
  user: userName,
  keyId: fixedBytes(16),
  stream: fixedBytes(16),
  number: varint,
  body: bytes(ARCHIVE_CHUNK_BYTES_MAX),
  hash: fixedBytes(32),
  archiveBytesMax: varint,
  nowMs: u48,
});

const chunks = shaped<ArchiveChunk[]>()(
  array(struct({ number: varint, body: bytes(ARCHIVE_CHUNK_BYTES_MAX) }), LIST_ITEMS_MAX),
);

export const archiveOperations = {
  setArchiveKey: operation(
    60,
    struct({ name: userName, key: newArchiveKey }),
    text(16) as Schema<"set" | "stale" | "taken">,
    ({ store }, { name, key }) => store.setArchiveKey(name, key),
  ),
  archive: operation(
    61,
    struct({ name: userName }),
    optional(archive),
    ({ store }, { name }) => store.archive(name),
  ),
  putArchiveChunk: operation(
    62,
    newChunk,
    text(16) as Schema<ArchivePut>,
    ({ store }, chunk) => store.putArchiveChunk(chunk),
  ),
  archiveChunks: operation(
    63,
    struct({ name: userName, stream: fixedBytes(16), after: varint }),
    chunks,
    ({ store }, { name, stream, after }) => store.archiveChunks(name, stream, after),
    READ_BYTES_MAX + ARCHIVE_CHUNK_BYTES_MAX,
  ),
  dropArchive: operation(
    64,
    struct({ name: userName, keyId: fixedBytes(16) }),
    struct({}),
    ({ store }, { name, keyId }) => store.dropArchive(name, keyId).then(empty),
  ),
};
