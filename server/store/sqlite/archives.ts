/**
 * Archives of history (docs/PROTOCOL.md §21): tables `archives`, `archive_streams` and `archive_chunks`. One that was dropped has
 * no user any more, and goes a few chunks at a time.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { ARCHIVE_PAGE_MAX, ARCHIVE_STREAMS_MAX, READ_BYTES_MAX } from "../../../shared/limits.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import {
  type ArchiveChunk,
  type ArchivePut,
  judgeChunk,
  type NewArchiveChunk,
  type NewArchiveKey,
  type StoredArchive,
} from "../archives.ts";
import { sameBytes } from "../bytes.ts";
import { RefusedError } from "./errors.ts";

export class Archives {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
    this.#sql = prepare(database);
  }

  setKey(name: UserName, { keyId, sealed, recoveryProofHash, nowMs }: NewArchiveKey): "set" | "stale" | "taken" {
    const user = this.#sql.user.get(name);
    if (user === undefined) throw new RefusedError(`Cannot keep an archive's key: there is no user ${name}`);
    const proofHash = user["proof_hash"] as Uint8Array | null;
    if (proofHash === null || !sameBytes(proofHash, recoveryProofHash)) return "stale";
    const known = this.#sql.archive.get(name);
    if (known === undefined) {
      this.#sql.begin.run(user["id"]!, keyId, sealed, proofHash, nowMs);
      return "set";
    }
    if (!sameBytes(known["key_id"] as Uint8Array, keyId)) return "taken";
    this.#sql.reseal.run(sealed, proofHash, known["id"]!);
    return "set";
  }

  of(name: UserName): StoredArchive | undefined {
    const row = this.#sql.archive.get(name);
    if (row === undefined) return undefined;
    const proofHash = row["proof_hash"] as Uint8Array | null;
    return {
      keyId: row["key_id"] as Uint8Array,
      sealed: row["sealed_key"] as Uint8Array,
      isCurrent: proofHash !== null && sameBytes(proofHash, row["recovery_hash"] as Uint8Array),
      madeMs: row["made_ms"] as number,
      streams: this.#sql.streams.all(row["id"]!).map((stream) => ({
        stream: stream["stream"] as Uint8Array,
        chunks: stream["chunks"] as number,
        bytes: stream["bytes"] as number,
        head: stream["head"] as Uint8Array,
        newestMs: stream["newest_ms"] as number,
      })),
    };
  }

  put(chunk: NewArchiveChunk): ArchivePut {
    const { user, keyId, stream, number, body, hash, nowMs } = chunk;
    const archive = this.#sql.archive.get(user), id = archive?.["id"] as number;
    if (archive === undefined || !sameBytes(archive["key_id"] as Uint8Array, keyId)) return "none";
    const known = this.#sql.stream.get(id, stream), chunks = known?.["chunks"] as number | undefined ?? 0;
    if (number >= 1 && number <= chunks) {
      const there = this.#sql.chunk.get(id, stream, number);
      return there !== undefined && sameBytes(there["body"] as Uint8Array, body) ? "stored" : "taken";
    }
    const { streams, bytes } = this.#sql.sums.get(id)!;
    const there = { chunks, streams: streams as number, archiveBytes: bytes as number };
    const judged = judgeChunk(chunk, there, ARCHIVE_STREAMS_MAX);
    if (judged !== "stored") return judged;
    this.#sql.addChunk.run(id, stream, number, body);
    this.#sql.setStream.run(
      id,
      stream,
      number,
      (known?.["bytes"] as number | undefined ?? 0) + body.length,
      hash,
      nowMs,
    );
    return "stored";
  }

  chunks(name: UserName, stream: Uint8Array, after: number): ArchiveChunk[] {
    const archive = this.#sql.archive.get(name), chunks: ArchiveChunk[] = [];
    let bytes = 0;
    for (const row of archive === undefined ? [] : this.#sql.chunks.iterate(archive["id"]!, stream, after)) {
      const body = row["body"] as Uint8Array;
      if (chunks.length === ARCHIVE_PAGE_MAX || (chunks.length > 0 && bytes + body.length > READ_BYTES_MAX)) break;
      bytes += body.length;
      chunks.push({ number: row["number"] as number, body });
    }
    return chunks;
  }

  drop(name: UserName, keyId: Uint8Array): void {
    const archive = this.#sql.archive.get(name);
    if (archive !== undefined && sameBytes(archive["key_id"] as Uint8Array, keyId)) this.#sql.drop.run(archive["id"]!);
  }

  /** Removes some of what was dropped. @returns Whether there may be more. */
  sweep(_nowMs: number): boolean {
    const dropped = this.#sql.dropped.get();
    if (dropped === undefined) return false;
    const { changes } = this.#sql.removeChunks.run(dropped["id"]!, CHUNKS_MAX);
    if (changes === 0) this.#sql.remove.run(dropped["id"]!);
    return true;
  }
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    user: sql("SELECT id, proof_hash FROM users LEFT JOIN recoveries ON recoveries.user = users.id WHERE name = ?"),
    archive: sql(
      `SELECT archives.*, recoveries.proof_hash FROM archives JOIN users ON users.id = archives.user
       LEFT JOIN recoveries ON recoveries.user = archives.user WHERE name = ?`,
    ),
    begin: sql(
      "INSERT INTO archives (user, key_id, sealed_key, recovery_hash, made_ms) VALUES (?, ?, ?, ?, ?)",
    ),
    reseal: sql("UPDATE archives SET sealed_key = ?, recovery_hash = ? WHERE id = ?"),
    streams: sql("SELECT * FROM archive_streams WHERE archive = ? ORDER BY stream"),
    stream: sql("SELECT chunks, bytes FROM archive_streams WHERE archive = ? AND stream = ?"),
    sums: sql("SELECT count(*) AS streams, coalesce(sum(bytes), 0) AS bytes FROM archive_streams WHERE archive = ?"),
    setStream: sql(
      `INSERT OR REPLACE INTO archive_streams (archive, stream, chunks, bytes, head, newest_ms)
       VALUES (?, ?, ?, ?, ?, ?)`,
    ),
    chunk: sql("SELECT body FROM archive_chunks WHERE archive = ? AND stream = ? AND number = ?"),
    addChunk: sql("INSERT INTO archive_chunks (archive, stream, number, body) VALUES (?, ?, ?, ?)"),
    chunks: sql(
      "SELECT number, body FROM archive_chunks WHERE archive = ? AND stream = ? AND number > ? ORDER BY number",
    ),
    drop: sql("UPDATE archives SET user = NULL, sealed_key = x'', recovery_hash = x'' WHERE id = ?"),
    dropped: sql("SELECT id FROM archives WHERE user IS NULL LIMIT 1"),
    removeChunks: sql(
      "DELETE FROM archive_chunks WHERE rowid IN (SELECT rowid FROM archive_chunks WHERE archive = ? LIMIT ?)",
    ),
    remove: sql("DELETE FROM archives WHERE id = ?"),
  };
}

/** What one transaction removes: a few milliseconds' worth. */
const CHUNKS_MAX = 32;
