/** Archives of history, in memory: the twin of sqlite/archives.ts. */
import { ARCHIVE_PAGE_MAX, ARCHIVE_STREAMS_MAX, READ_BYTES_MAX } from "../../../shared/limits.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import {
  type ArchiveChunk,
  type ArchivePut,
  type ArchiveStream,
  judgeChunk,
  type NewArchiveChunk,
  type NewArchiveKey,
  type StoredArchive,
} from "../archives.ts";
import { sameBytes } from "../bytes.ts";

interface Archive {
  readonly keyId: Uint8Array;
  sealed: Uint8Array;
  recoveryProofHash: Uint8Array;
  readonly madeMs: number;
  /** By their ids, as hex. */
  readonly streams: Map<string, { stand: ArchiveStream; readonly chunks: ArchiveChunk[] }>;
}

export class MemoryArchives {
  readonly #archives = new Map<UserName, Archive>();
  /** Hash of the proof of a user's recovery key now; `undefined` where there is none. */
  readonly #recovery: (name: UserName) => Uint8Array | undefined;

  constructor(recovery: (name: UserName) => Uint8Array | undefined) {
    this.#recovery = recovery;
  }

  setKey(name: UserName, { keyId, sealed, recoveryProofHash, nowMs }: NewArchiveKey): "set" | "stale" | "taken" {
    if (!this.#isNow(name, recoveryProofHash)) return "stale";
    const known = this.#archives.get(name);
    if (known !== undefined && !sameBytes(known.keyId, keyId)) return "taken";
    if (known !== undefined) Object.assign(known, { sealed, recoveryProofHash });
    else this.#archives.set(name, { keyId, sealed, recoveryProofHash, madeMs: nowMs, streams: new Map() });
    return "set";
  }

  of(name: UserName): StoredArchive | undefined {
    const known = this.#archives.get(name);
    if (known === undefined) return undefined;
    const { keyId, sealed, recoveryProofHash, madeMs } = known;
    const streams = [...known.streams].sort(([a], [b]) => a < b ? -1 : 1).map(([, { stand }]) => ({ ...stand }));
    return { keyId, sealed, isCurrent: this.#isNow(name, recoveryProofHash), madeMs, streams };
  }

  put(chunk: NewArchiveChunk): ArchivePut {
    const { user, keyId, stream, number, body, hash, nowMs } = chunk, archive = this.#archives.get(user);
    if (archive === undefined || !sameBytes(archive.keyId, keyId)) return "none";
    const known = archive.streams.get(stream.toHex()), chunks = known?.chunks ?? [];
    const there = chunks[number - 1];
    if (there !== undefined) return sameBytes(there.body, body) ? "stored" : "taken";
    let archiveBytes = 0;
    for (const { stand } of archive.streams.values()) archiveBytes += stand.bytes;
    const judged = judgeChunk(
      chunk,
      { chunks: chunks.length, streams: archive.streams.size, archiveBytes },
      ARCHIVE_STREAMS_MAX,
    );
    if (judged !== "stored") return judged;
    const bytes = (known?.stand.bytes ?? 0) + body.length;
    archive.streams.set(stream.toHex(), {
      stand: { stream, chunks: number, bytes, head: hash, newestMs: nowMs },
      chunks: [...chunks, { number, body }],
    });
    return "stored";
  }

  chunks(name: UserName, stream: Uint8Array, after: number): ArchiveChunk[] {
    const chunks: ArchiveChunk[] = [];
    let bytes = 0;
    for (const chunk of this.#archives.get(name)?.streams.get(stream.toHex())?.chunks ?? []) {
      if (chunk.number <= after) continue;
      const isFull = chunks.length > 0 && bytes + chunk.body.length > READ_BYTES_MAX;
      if (isFull || chunks.length === ARCHIVE_PAGE_MAX) break;
      bytes += chunk.body.length;
      chunks.push(chunk);
    }
    return chunks;
  }

  drop(name: UserName, keyId: Uint8Array): void {
    const known = this.#archives.get(name);
    if (known !== undefined && sameBytes(known.keyId, keyId)) this.#archives.delete(name);
  }

  #isNow(name: UserName, proofHash: Uint8Array): boolean {
    const now = this.#recovery(name);
    return now !== undefined && sameBytes(now, proofHash);
  }
}
