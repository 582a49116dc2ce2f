/**
 * The part of the store's contract (store.ts) for archives of history (docs/PROTOCOL.md §21, SECURITY P8): one for a user, its key
 * and its chunks sealed by clients. The store orders and bounds, and sees sizes and times.
 *
 * Each home that archives writes a stream of its own, under an id that it chose: chunks numbered from 1 without gaps, which never
 * change. So two homes are never in each other's way, and a chunk that was sent again is known.
 */
import type { UserName } from "../../shared/protocol/mod.ts";

export interface ArchiveStore {
  /**
   * Keeps an archive's key, sealed for the recovery key of now, and begins the archive where there is none. The same id again takes
   * the place of what was sealed before.
   *
   * @returns `stale` where that recovery key is not the one now, `taken` where there is an archive under another key.
   * @throws RangeError for a name nobody has.
   */
  setArchiveKey(name: UserName, key: NewArchiveKey): Promise<"set" | "stale" | "taken">;

  /** A user's archive, without its chunks; `undefined` where there is none. */
  archive(name: UserName): Promise<StoredArchive | undefined>;

  /**
   * Adds a chunk behind those of its stream. The very same again is `stored`, and changes nothing.
   *
   * @returns `none` where there is no archive under that key, `gap` where chunks before it are missing, `taken` where there is
   * another one, `full` where it would be more than the archive may take, `limit` where there are ARCHIVE_STREAMS_MAX streams.
   */
  putArchiveChunk(chunk: NewArchiveChunk): Promise<ArchivePut>;

  /** Chunks of a stream behind `after`, ascending, about READ_BYTES_MAX bytes of them, at least one where there is one. */
  archiveChunks(name: UserName, stream: Uint8Array, after: number): Promise<ArchiveChunk[]>;

  /** Ends an archive: nobody reads it from then on, and {@linkcode GroupStore.sweep} removes it. Unknown ones are fine. */
  dropArchive(name: UserName, keyId: Uint8Array): Promise<void>;
}

export interface NewArchiveKey {
  /** 16 bytes that name the key and tell nothing of it. */
  readonly keyId: Uint8Array;
  /** The client's seal of it, sealed once more under the pepper. */
  readonly sealed: Uint8Array;
  /** The recovery key that it is sealed for: hash of its proof, sealed under the pepper, as {@linkcode StoredRecovery} had it. */
  readonly recoveryProofHash: Uint8Array;
  readonly nowMs: number;
}

export interface StoredArchive {
  readonly keyId: Uint8Array;
  readonly sealed: Uint8Array;
  /** Whether the recovery key that it is sealed for is still the one now. */
  readonly isCurrent: boolean;
  /** When the archive began, milliseconds since 1970. */
  readonly madeMs: number;
  /** In order of their ids. */
  readonly streams: readonly ArchiveStream[];
}

export interface ArchiveStream {
  /** 16 bytes. */
  readonly stream: Uint8Array;
  readonly chunks: number;
  /** Of all of them. */
  readonly bytes: number;
  /** SHA-256 of the newest. */
  readonly head: Uint8Array;
  /** When that came, milliseconds since 1970. */
  readonly newestMs: number;
}

export interface NewArchiveChunk {
  readonly user: UserName;
  readonly keyId: Uint8Array;
  /** 16 bytes. */
  readonly stream: Uint8Array;
  /** From 1. */
  readonly number: number;
  readonly body: Uint8Array;
  /** SHA-256 of the body. */
  readonly hash: Uint8Array;
  /** What all chunks of the archive may take. */
  readonly archiveBytesMax: number;
  readonly nowMs: number;
}

export type ArchivePut = "stored" | "none" | "gap" | "taken" | "full" | "limit";

export interface ArchiveChunk {
  readonly number: number;
  readonly body: Uint8Array;
}

/** Whether a chunk of that number may follow, of a stream that has so many; a repeat is the caller's to judge. */
export function judgeChunk(
  { number, body, archiveBytesMax }: Pick<NewArchiveChunk, "number" | "body" | "archiveBytesMax">,
  there: { readonly chunks: number; readonly streams: number; readonly archiveBytes: number },
  streamsMax: number,
): ArchivePut {
  if (number !== there.chunks + 1) return "gap";
  if (there.chunks === 0 && there.streams >= streamsMax) return "limit";
  return there.archiveBytes + body.length > archiveBytesMax ? "full" : "stored";
}
