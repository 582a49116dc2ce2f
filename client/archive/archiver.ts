/**
 * Brings what is new in a home to its archive, in idle moments: a few seconds after the last that happened, a chunk at a time. Looks
 * first what the server has, since it may be older than what it had.
 */
import type { ArchiveOwner } from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import type { ResponseOf } from "../../shared/protocol/mod.ts";
import { equalBytes } from "../../shared/crypto/mod.ts";
import { FastChatError, RefusedError } from "../errors.ts";
import type { NoticeEvent } from "../events.ts";
import type { Link } from "../network/link.ts";
import { systemTimers, type Timers } from "../timers.ts";
import type { ArchiveBook, PendingChunk } from "./archive_book.ts";

export interface ArchiverOptions {
  readonly book: ArchiveBook;
  readonly owner: ArchiveOwner;
  readonly link: Pick<Link, "ask">;
  onNotice(notice: NoticeEvent): void;
  readonly timers?: Timers;
}

export class Archiver {
  readonly #options: ArchiverOptions;
  readonly #timers: Timers;
  /** What the server has was looked at since the last connection. */
  #hasLooked = false;
  /** No chunk fits any more; `undefined` while nobody knows better. */
  #isFull = false;
  #wasStale = false;
  #callOff: (() => void) | undefined;
  #firstMs = 0;
  #lastMs = 0;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: ArchiverOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
  }

  /** Whether what waits here does not fit at the server any more. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** There is a connection, perhaps to another server than before. */
  connected(): void {
    this.#hasLooked = false;
    this.poke();
  }

  /** Something may have changed in this home. Cheap: nothing is looked at before it has been quiet for a moment. */
  poke(): void {
    this.#lastMs = this.#timers.nowMs();
    if (this.#callOff !== undefined || this.#closed) return;
    this.#firstMs = this.#lastMs;
    this.#arm(IDLE_MS);
  }

  /**
   * Archives all that waits, now.
   *
   * @param onChunk Told of every chunk that the server has taken.
   * @throws What the server or the link says.
   */
  async flush(onChunk: () => void = () => {}): Promise<void> {
    await this.#running?.catch(() => {});
    this.#hasLooked = false;
    await this.#once(() => this.#upload({ paceMs: 0, onChunk }));
  }

  /** Resolves when nothing is under way any more; a chunk that is on its way goes again at the next start. */
  close(): void {
    this.#closed = true;
    this.#callOff?.();
    this.#callOff = undefined;
  }

  #arm(ms: number): void {
    this.#callOff = this.#timers.after(ms, () => {
      this.#callOff = undefined;
      if (this.#closed) return;
      const nowMs = this.#timers.nowMs(), quietMs = nowMs - this.#lastMs;
      if (quietMs < IDLE_MS && nowMs - this.#firstMs < WAIT_MS_MAX) return this.#arm(IDLE_MS - quietMs);
      this.#once(() => this.#upload({ paceMs: PACE_MS, onChunk: () => {} })).catch(() => {
        // The next connection, or the next message, tries again.
      });
    });
  }

  #once(work: () => Promise<void>): Promise<void> {
    return this.#running ??= work().finally(() => this.#running = undefined);
  }

  async #upload({ paceMs, onChunk }: { paceMs: number; onChunk: () => void }): Promise<void> {
    const { book, owner, link } = this.#options;
    if (!book.isOn) return;
    if (!this.#hasLooked) await this.#look();
    for (let mended = 0; !this.#closed && !this.#isFull;) {
      const chunk = book.next(owner);
      if (chunk === undefined) return;
      try {
        const { stream, number, body } = chunk, keyId = book.keyId()!;
        await link.ask<"putArchiveChunk">({ type: "putArchiveChunk", keyId, stream, number, body });
        if (this.#closed) return;
        book.took(chunk);
        onChunk();
      } catch (error) {
        if (!(error instanceof RefusedError) || this.#closed) throw error;
        if (error.code === ErrorCode.limit) return this.#full();
        const isHealed = error.code === ErrorCode.forbidden && mended++ < MENDED_MAX && await this.#mend(chunk);
        if (error.code === ErrorCode.notFound) return await this.#look();
        if (!isHealed) throw error;
      }
      if (paceMs > 0) await new Promise<void>((resolve) => void this.#timers.after(paceMs, resolve));
    }
  }

  /** Compares what the server shows with what it has shown. */
  async #look(): Promise<void> {
    const { book, link } = this.#options, shown = await link.ask<"archive">({ type: "archive" });
    if (this.#closed) return;
    this.#hasLooked = true;
    const { key, streams, bytesMax } = shown, keyId = book.keyId();
    if (key === undefined || keyId === undefined || !equalBytes(key.keyId, keyId)) {
      book.switchOff();
      return this.#notice(key === undefined ? GONE : OTHER);
    }
    if (!key.isCurrent && !this.#wasStale) this.#notice(STALE);
    this.#wasStale = !key.isCurrent;
    const lost = book.compare(streams), own = book.own();
    if (lost.length > 0) {
      book.accept(streams);
      const isOwn = lost.some(({ stream }) => own !== undefined && equalBytes(stream, own.stream));
      if (isOwn) book.beginAgain(own!.stream, true);
      this.#notice(`${LESS}${isOwn ? AGAIN : ""}`);
    }
    const isFull = streams.reduce((sum, { bytes }) => sum + bytes, 0) + CHUNK_BYTES_LEAST > bytesMax;
    if (isFull && book.hasMore()) this.#full();
    this.#isFull = isFull;
  }

  /** The server has another chunk in that place, or none before it: this home was put back, or the server was. */
  async #mend({ stream, number }: PendingChunk): Promise<boolean> {
    const { book } = this.#options;
    await this.#look();
    const own = book.own();
    if (!book.isOn || own === undefined) return false;
    // Where the server has less the look has seen to it.
    if (equalBytes(own.stream, stream) && own.chunks === number - 1) book.beginAgain(stream, false);
    return true;
  }

  #full(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    if (this.#options.book.noteFull()) this.#notice(FULL);
  }

  #notice(text: string): void {
    this.#options.onNotice({ type: "notice", code: "archive", text });
  }
}

/** What the server shows of an archive. */
export type ShownArchive = ResponseOf<"archive">;

/** Of an archive that a server does not keep. */
export function refuseNoArchives({ bytesMax }: ShownArchive): void {
  if (bytesMax === 0) throw new FastChatError("This server keeps no archives");
}

const GONE =
  "The server has no archive of yours: it was deleted on another device of yours, or the server is older than it, " +
  "or lies. Nothing is archived here any more: fastchat archive on begins a new one";
const OTHER =
  "The server has an archive of yours under another key than this home's: it was begun anew on another device of " +
  "yours, or the server is older than it, or lies. Nothing is archived here any more: fastchat archive on";
const STALE =
  "Your archive does not open with the recovery key that was made last: fastchat archive on, with that key, " +
  "mends it; until then only the one before it opens the archive";
const LESS = "The server has less of your archive than it had: it was restored from a backup, or it lies";
const AGAIN = ". What is in this home is archived again";
const FULL =
  "Your archive is full: what is new is not archived any more. fastchat archive status says how much is in it";

/** So long nothing has happened, and so long it waits for that. */
const IDLE_MS = 5_000;
const WAIT_MS_MAX = 30_000;
/** Between two chunks. */
const PACE_MS = 250;
/** How often in one go a stream is given up for a new one. */
const MENDED_MAX = 3;
/** Of a chunk that says next to nothing, sealed. */
const CHUNK_BYTES_LEAST = 297;
