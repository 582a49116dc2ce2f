/**
 * What a home knows of its archive: whether it writes one, how far its stream has come, the chunk that is on its way, and what the
 * server has shown of all streams. Tables `archive_stream` and `archive_seen`.
 *
 * The chunk on its way is sealed and kept before anybody is sent it: whatever is killed, the same bytes go again until the server
 * has them, so nothing is archived twice. Several processes of a home may send it; the first that hears of it takes note.
 */
import {
  archiveKeyId,
  type ArchiveOwner,
  equalBytes,
  sealChunk,
  sha256,
  systemRandom,
} from "../../shared/crypto/mod.ts";
import { ARCHIVE_STREAMS_MAX } from "../../shared/limits.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { placeOf } from "../home/adoption.ts";
import { type CopiedMessage, COPIES_MAX, COPY_OVERHEAD_BYTES } from "../copies/copied_message.ts";
import type { Credentials } from "../account/credentials.ts";
import type { Database, Row } from "../home/database.ts";
import { ConversationKind, type Conversations } from "../talk/conversations.ts";
import { openText, SEAL_BYTES, VaultError } from "../home/vault.ts";
import { type ChunkPart, encodeChunk, type StreamHead } from "./chunk.ts";

export interface ArchiveBookOptions {
  readonly database: Database;
  readonly conversations: Conversations;
  readonly credentials: Credentials;
}

/** A chunk that the server is to have. */
export interface PendingChunk {
  /** 16 bytes. */
  readonly stream: Uint8Array;
  readonly number: number;
  readonly body: Uint8Array;
}

export class ArchiveBook {
  readonly #db: Database;
  readonly #conversations: Conversations;
  readonly #credentials: Credentials;

  constructor({ database, conversations, credentials }: ArchiveBookOptions) {
    this.#db = database;
    this.#conversations = conversations;
    this.#credentials = credentials;
  }

  /** Whether this home archives what comes to it. */
  get isOn(): boolean {
    return this.#db.meta(ON) !== undefined;
  }

  /** 32 bytes, where this home has it: also while it archives nothing. @throws LockedError */
  key(): Uint8Array | undefined {
    return this.#credentials.archiveKey();
  }

  /** The id of {@linkcode key}. @throws LockedError */
  keyId(): Uint8Array | undefined {
    const key = this.key();
    return key && archiveKeyId(key);
  }

  /** Keeps a key; one of another archive begins anew. */
  keep(key: Uint8Array): void {
    this.#db.transaction(() => {
      const known = this.key();
      if (known !== undefined && equalBytes(known, key)) return;
      this.#forget();
      this.#credentials.saveArchiveKey(key);
    });
  }

  /** From now on this home archives: everything that it has, and what comes. */
  switchOn(): void {
    this.#db.transaction(() => {
      this.#db.setMeta(ON, "on");
      if (this.#row() === undefined) this.#begin(0, 0);
    });
  }

  /** The key stays: a new recovery key made here seals it. */
  switchOff(): void {
    this.#db.transaction(() => this.#db.setMeta(ON, undefined));
  }

  /** The archive is full. @returns Whether that is news. */
  noteFull(): boolean {
    return this.#db.transaction(() => {
      if (this.#db.meta(FULL) !== undefined) return false;
      this.#db.setMeta(FULL, "1");
      return true;
    });
  }

  /** There is no archive any more. */
  forget(): void {
    this.#db.transaction(() => this.#forget());
  }

  /** How many messages of this home no chunk has that the server took. */
  waiting(): number {
    const row = this.#db.get(`SELECT count(*) AS count FROM messages WHERE position > ? AND ${ARCHIVED}`, this.#upTo());
    return row!["count"] as number;
  }

  /** Whether there is anything for the server. */
  hasMore(): boolean {
    if (this.#row()?.["pending"]) return true;
    return this.#db.get(`SELECT 1 FROM messages WHERE position > ? AND ${ARCHIVED} LIMIT 1`, this.#upTo()) !==
      undefined;
  }

  /**
   * The chunk that the server is to have next: the one on its way, or a new one of what comes first and fits.
   *
   * @returns `undefined` where nothing is left to archive, or nothing is archived here.
   * @throws LockedError
   */
  next(owner: ArchiveOwner): PendingChunk | undefined {
    const known = this.#pending();
    if (known !== undefined || !this.isOn) return this.isOn ? known : undefined;
    if (!this.hasMore()) return undefined;
    return this.#db.transaction(() => this.#pending() ?? this.#make(owner));
  }

  /** The server has a chunk. */
  took({ stream, number, body }: PendingChunk): void {
    this.#db.transaction(() => {
      const row = this.#row();
      // Another process heard of it first.
      if (row === undefined || row["stream"] !== stream.toHex() || row["chunks"] !== number - 1) return;
      const head = sha256(body);
      this.#db.setMeta(FULL, undefined);
      this.#db.run(
        `UPDATE archive_stream SET chunks = ?, head = ?, position = pending_position, messages = pending_messages,
         pending = NULL, pending_position = NULL, pending_messages = NULL`,
        number,
        head,
      );
      this.#see({ stream, chunks: number, head });
    });
  }

  /**
   * Goes on with another stream: this one is not at the server as it is here.
   *
   * @param isLost The server has less of it: all is archived again.
   */
  beginAgain(stream: Uint8Array, isLost: boolean): void {
    this.#db.transaction(() => {
      const row = this.#row();
      if (row?.["stream"] !== stream.toHex()) return;
      this.#begin(isLost ? 0 : row["position"] as number, isLost ? 0 : row["messages"] as number);
    });
  }

  /** How far this home's stream has come, as far as the server has said so. */
  own(): (StreamHead & { readonly messages: number }) | undefined {
    const row = this.#row();
    return row && {
      stream: Uint8Array.fromHex(row["stream"] as string),
      chunks: row["chunks"] as number,
      head: row["head"] as Uint8Array,
      messages: row["messages"] as number,
    };
  }

  /** Takes note of what the server shows. @returns Streams of which it showed more before, as they were. */
  compare(shown: readonly StreamHead[]): StreamHead[] {
    const now = new Map(shown.map((head) => [head.stream.toHex(), head]));
    return this.#db.transaction(() => {
      const lost = this.seen().filter(({ stream, chunks, head }) => {
        const there = now.get(stream.toHex());
        return there === undefined || there.chunks < chunks ||
          (there.chunks === chunks && !equalBytes(there.head, head));
      });
      for (const head of shown) this.#see(head);
      return lost;
    });
  }

  /** What the server has shown of all streams, the most of each. */
  seen(): StreamHead[] {
    return this.#db.all("SELECT stream, chunks, head FROM archive_seen ORDER BY stream").map(toHead);
  }

  /** What the server shows now is what counts: it was told that more is missing. */
  accept(shown: readonly StreamHead[]): void {
    this.#db.transaction(() => {
      this.#db.run("DELETE FROM archive_seen");
      for (const head of shown) this.#see(head);
    });
  }

  #make({ clusterId, name }: ArchiveOwner): PendingChunk | undefined {
    const row = this.#row(), key = this.key();
    if (row === undefined || key === undefined) return undefined;
    const { parts, count, position } = this.#collect(row["position"] as number);
    const stream = Uint8Array.fromHex(row["stream"] as string), number = row["chunks"] as number + 1;
    if (count === 0) {
      // What is left cannot be read, or is gone.
      this.#db.run("UPDATE archive_stream SET position = ?", position);
      return undefined;
    }
    const messages = row["messages"] as number + count;
    const content = encodeChunk({ previous: row["head"] as Uint8Array, messages, others: this.#untold(stream), parts });
    const body = sealChunk({ key, clusterId, name, stream, number, content });
    this.#db.run(
      "UPDATE archive_stream SET pending = ?, pending_position = ?, pending_messages = ?",
      body,
      position,
      messages,
    );
    this.#db.run("UPDATE archive_seen SET told = chunks WHERE stream <> ?", stream.toHex());
    return { stream, number, body };
  }

  /** Messages behind a position, as many as a chunk holds; at least one, however long. */
  #collect(after: number): { parts: ChunkPart[]; count: number; position: number } {
    const found = new Map<ConversationId, CopiedMessage[]>();
    let count = 0, position = after, room = CHUNK_BYTES;
    const rows = this.#db.all(
      `SELECT position, conversation, seq, id, sender, device, time_ms, sealed FROM messages
       WHERE position > ? AND position <= ? AND ${ARCHIVED} ORDER BY position`,
      after,
      this.#reach(after),
    );
    for (const row of rows) {
      const conversation = row["conversation"] as ConversationId, text = this.#text(row);
      if (text !== undefined) {
        const isFirst = !found.has(conversation);
        room -= new TextEncoder().encode(text).length + COPY_OVERHEAD_BYTES + (isFirst ? PART_BYTES : 0);
        if (room < 0 && count > 0) break;
        const entries = found.get(conversation) ?? [];
        found.set(conversation, entries);
        entries.push({
          seq: row["seq"] as number,
          id: row["id"] as MessageId,
          sender: row["sender"] as UserName,
          device: row["device"] as DeviceId,
          timeMs: row["time_ms"] as number,
          text,
        });
        count++;
      }
      position = row["position"] as number;
    }
    const parts = [...found].map(([conversation, entries]) => ({
      conversation,
      ...this.#named(conversation),
      entries: entries.sort((a, b) => a.seq - b.seq),
    }));
    return { parts, count, position };
  }

  /** How far a chunk can come at most: texts of a mebibyte are not read a thousand at a time. */
  #reach(after: number): number {
    const rows = this.#db.all(
      `SELECT position, length(sealed) AS bytes FROM messages WHERE position > ? AND ${ARCHIVED} ORDER BY position LIMIT ?`,
      after,
      ROWS_MAX,
    );
    let reach = after, bytes = 0;
    for (const row of rows) {
      if (bytes > CHUNK_BYTES) break;
      bytes += Math.max(0, (row["bytes"] as number | null ?? 0) - SEAL_BYTES);
      reach = row["position"] as number;
    }
    return reach;
  }

  #named(id: ConversationId): Pick<ChunkPart, "kind" | "name"> {
    const known = this.#conversations.get(id);
    const kind = known?.kind ?? ConversationKind.group;
    return { kind, name: kind === ConversationKind.direct ? known!.peer : known?.name ?? "" };
  }

  /** A row that is damaged is left out, and takes none of the others with it. */
  #text(row: Row): string | undefined {
    const { conversation, device, id } = row as { conversation: string; device: string; id: string };
    const sealed = row["sealed"] as Uint8Array | null;
    if (sealed === null) return undefined;
    try {
      return openText(this.#db.vault, sealed, placeOf.text({ conversation, device, id }));
    } catch (error) {
      if (error instanceof VaultError) return undefined;
      throw error;
    }
  }

  #untold(own: Uint8Array): StreamHead[] {
    return this.#db.all(
      "SELECT stream, chunks, head FROM archive_seen WHERE stream <> ? AND chunks > told ORDER BY stream LIMIT ?",
      own.toHex(),
      ARCHIVE_STREAMS_MAX,
    ).map(toHead);
  }

  #pending(): PendingChunk | undefined {
    const row = this.#row(), body = row?.["pending"] as Uint8Array | null | undefined;
    if (!body) return undefined;
    return { stream: Uint8Array.fromHex(row!["stream"] as string), number: row!["chunks"] as number + 1, body };
  }

  #upTo(): number {
    return this.#row()?.["position"] as number | undefined ?? 0;
  }

  #row(): Row | undefined {
    return this.#db.get("SELECT * FROM archive_stream");
  }

  #begin(position: number, messages: number): void {
    this.#db.run(
      `INSERT OR REPLACE INTO archive_stream (one, stream, chunks, head, position, messages)
       VALUES (1, ?, 0, zeroblob(32), ?, ?)`,
      systemRandom.bytes(16).toHex(),
      position,
      messages,
    );
    this.#db.run("UPDATE archive_seen SET told = 0");
  }

  #see({ stream, chunks, head }: StreamHead): void {
    this.#db.run(
      `INSERT INTO archive_seen (stream, chunks, head) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET chunks = excluded.chunks, head = excluded.head WHERE excluded.chunks > chunks`,
      stream.toHex(),
      chunks,
      head,
    );
  }

  #forget(): void {
    this.#db.setMeta(ON, undefined);
    this.#db.setMeta(FULL, undefined);
    this.#credentials.saveArchiveKey(undefined);
    this.#db.run("DELETE FROM archive_stream");
    this.#db.run("DELETE FROM archive_seen");
  }
}

function toHead(row: Row): StreamHead {
  return {
    stream: Uint8Array.fromHex(row["stream"] as string),
    chunks: row["chunks"] as number,
    head: row["head"] as Uint8Array,
  };
}

/** Messages that can be read, and are nobody's copy. */
const ARCHIVED = "kind = 1 AND text IS NOT NULL AND copy_from IS NULL";
const ON = "archive";
const FULL = "archive-full";
/** Of texts and what goes with them in one chunk; what is longer has one for itself. */
const CHUNK_BYTES = 44 << 10;
/** What a conversation takes beside its messages, at most. */
const PART_BYTES = 300;
/** Of the shortest messages more do not fit. */
const ROWS_MAX = Math.min(COPIES_MAX, 1_000);
