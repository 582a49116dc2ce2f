/**
 * A person's archive of history (docs/PROTOCOL.md §21, SECURITY P8): off until they say otherwise, since it trades forward secrecy
 * for recovery. Whoever has its key can read all that is in it, and the recovery key opens that key.
 */
import {
  archiveKeyId,
  type ArchiveOwner,
  equalBytes,
  openArchiveKey,
  type RecoverySecrets,
  recoverySecrets,
  systemRandom,
} from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import type { Credentials } from "../account/credentials.ts";
import type { Database } from "../home/database.ts";
import { FastChatError, RefusedError, UsageError, WrongRecoveryKeyError } from "../errors.ts";
import type { NoticeEvent } from "../events.ts";
import type { Conversations } from "../talk/conversations.ts";
import { timeText } from "../time.ts";
import type { Link } from "../network/link.ts";
import { ArchiveBook } from "./archive_book.ts";
import { Archiver, refuseNoArchives, type ShownArchive } from "./archiver.ts";
import { readChunk } from "./chunk.ts";
import { dropArchive } from "./drop.ts";
import { type Restored, Restorer } from "./restorer.ts";
import { archiveKeyRequest } from "./sealed_key.ts";

export interface ArchiveOptions {
  readonly database: Database;
  readonly conversations: Conversations;
  readonly credentials: Credentials;
  readonly owner: ArchiveOwner;
  readonly link: Link;
  onNotice(notice: NoticeEvent): void;
}

/** How it stands with an archive. */
export interface ArchiveState {
  /** Whether this home archives. */
  readonly on: boolean;
  /** Whether this home can open it without the recovery key. */
  readonly hasKey: boolean;
  /** Messages of this home that are not in it yet. */
  readonly waiting: number;
  /** Nothing more fits. */
  readonly full: boolean;
  /** What the server has; absent where there is none. */
  readonly kept?: {
    /** RFC 3339. */
    readonly since: string;
    /** When the newest of it came; absent where there is nothing in it. */
    readonly newest?: string;
    readonly bytes: number;
    readonly chunks: number;
    /** Homes that have written into it. */
    readonly homes: number;
    /** Whether the recovery key of now opens it; otherwise the one before does. */
    readonly opensNow: boolean;
  };
  /** What it may take; 0 where the server keeps none. */
  readonly bytesMax: number;
}

/** What there is to bring back. */
export interface ArchiveOffer {
  readonly messages: number;
  readonly bytes: number;
  /** RFC 3339. */
  readonly newest: string;
}

export class Archive {
  readonly #options: ArchiveOptions;
  readonly #book: ArchiveBook;
  readonly #archiver: Archiver;

  constructor(options: ArchiveOptions) {
    const { owner, link, onNotice } = this.#options = options;
    const book = this.#book = new ArchiveBook(options);
    this.#archiver = new Archiver({ book, owner, link, onNotice });
  }

  /** @internal There is a connection. */
  connected(): void {
    this.#archiver.connected();
  }

  /** @internal The home has changed. */
  onChange(): void {
    this.#archiver.poke();
  }

  /** @internal */
  close(): void {
    this.#archiver.close();
  }

  async state(): Promise<ArchiveState> {
    const { key, streams, bytesMax } = await this.#shown(), book = this.#book, keyId = book.keyId();
    const sum = (of: (stream: typeof streams[number]) => number) =>
      streams.reduce((all, stream) => all + of(stream), 0);
    return {
      on: book.isOn,
      hasKey: key !== undefined && keyId !== undefined && equalBytes(keyId, key.keyId),
      waiting: book.waiting(),
      full: this.#archiver.isFull,
      ...(key !== undefined && {
        kept: {
          since: timeText(key.madeMs),
          ...(streams.length > 0 && { newest: newestOf(streams) }),
          bytes: sum(({ bytes }) => bytes),
          chunks: sum(({ chunks }) => chunks),
          homes: streams.length,
          opensNow: key.isCurrent,
        },
      }),
      bytesMax,
    };
  }

  /** Whether {@linkcode switchOn} takes the recovery key: this home has no key of the archive, or it is sealed by another one. */
  async needsRecoveryKey(): Promise<boolean> {
    const { key } = await this.#shown(), keyId = this.#book.keyId();
    return key === undefined || keyId === undefined || !key.isCurrent || !equalBytes(keyId, key.keyId);
  }

  /**
   * From now on this home archives: what it has, and what comes to it.
   *
   * @param recoveryKey 20 bytes.
   * @throws UsageError where the recovery key is needed and not given, WrongRecoveryKeyError; FastChatError where the server keeps
   * none.
   */
  async switchOn(recoveryKey?: Uint8Array): Promise<void> {
    const shown = await this.#shown(), book = this.#book, { key } = shown;
    refuseNoArchives(shown);
    const own = book.key(), isOwn = own !== undefined && key !== undefined && equalBytes(archiveKeyId(own), key.keyId);
    if (!isOwn || !key!.isCurrent) {
      if (recoveryKey === undefined) throw new UsageError("The recovery key is needed to switch the archive on");
      const secrets = this.#secrets(recoveryKey);
      if (key === undefined) {
        const made = systemRandom.bytes(32);
        await this.#setKey(made, secrets);
        book.keep(made);
      } else if (isOwn) {
        await this.#setKey(own, secrets);
      } else {
        this.#unlock(shown, secrets);
      }
    }
    book.switchOn();
    this.#archiver.connected();
  }

  /** This home archives nothing any more; what the server has stays. */
  switchOff(): void {
    this.#book.switchOff();
  }

  /** Deletes what the server has, for all homes. @throws WrongPasswordError, CannotReachError, TimedOutError. */
  async remove(password: string): Promise<void> {
    const { credentials, link, database } = this.#options, { key } = await this.#shown();
    if (key !== undefined) await dropArchive({ credentials, link, password, keyId: key.keyId });
    this.#book.forget();
    // Its key is not to be found in the log.
    database.truncateLog();
  }

  /** Archives now what waits. @param onProgress Told how many messages are left. */
  async sync(onProgress: (waiting: number) => void = () => {}): Promise<void> {
    await this.#archiver.flush(() => onProgress(this.#book.waiting()));
  }

  /**
   * What there is to bring back; `undefined` where there is nothing. Keeps the archive's key in this home.
   *
   * @param recoveryKey 20 bytes; needed where this home has not that key.
   * @throws WrongRecoveryKeyError, UsageError.
   */
  async offer(recoveryKey?: Uint8Array): Promise<ArchiveOffer | undefined> {
    const shown = await this.#shown();
    if (shown.key === undefined || shown.streams.length === 0) return undefined;
    const key = this.#keyOf(shown, recoveryKey);
    let messages = 0;
    for (const { stream, chunks } of shown.streams) messages += await this.#counted(key, stream, chunks);
    const bytes = shown.streams.reduce((sum, stream) => sum + stream.bytes, 0);
    return { messages, bytes, newest: newestOf(shown.streams) };
  }

  /**
   * Brings back what is in it: into the history, as copies from one's own archive. What is there already stays as it is.
   *
   * @param options.recoveryKey As for {@linkcode offer}.
   * @param options.onProgress Told of every chunk.
   */
  async restore(
    { recoveryKey, onProgress = () => {} }: {
      readonly recoveryKey?: Uint8Array | undefined;
      readonly onProgress?: (done: number, all: number) => void;
    } = {},
  ): Promise<Restored> {
    const shown = await this.#shown(), { database, conversations, owner, link } = this.#options;
    if (shown.key === undefined) throw new UsageError("There is no archive of yours at this server");
    const key = this.#keyOf(shown, recoveryKey), remembered = this.#book.seen();
    return await new Restorer({ database, conversations, owner, key, link, onProgress }).run(shown, remembered);
  }

  /** Of the newest chunk that opens, how many messages its stream has. */
  async #counted(key: Uint8Array, stream: Uint8Array, chunks: number): Promise<number> {
    const { link, owner } = this.#options;
    const page = await link.ask<"archiveChunks">({ type: "archiveChunks", stream, after: chunks - 1 });
    for (const { number, body } of page.chunks) {
      const content = readChunk(key, { ...owner, stream, number }, body);
      if (content !== undefined) return content.messages;
    }
    return 0;
  }

  #keyOf(shown: ShownArchive, recoveryKey: Uint8Array | undefined): Uint8Array {
    const own = this.#book.key();
    if (own !== undefined && equalBytes(archiveKeyId(own), shown.key!.keyId)) return own;
    if (recoveryKey === undefined) throw new UsageError("The recovery key is needed to open the archive");
    return this.#unlock(shown, this.#secrets(recoveryKey));
  }

  /** Opens the key that the server keeps, and keeps it here. */
  #unlock({ key }: ShownArchive, { sealKey }: RecoverySecrets): Uint8Array {
    const opened = openArchiveKey({ ...this.#options.owner, sealKey, sealed: key!.sealed });
    if (opened.ok && equalBytes(archiveKeyId(opened.key), key!.keyId)) {
      this.#book.keep(opened.key);
      return opened.key;
    }
    throw new WrongRecoveryKeyError(
      key!.isCurrent
        ? "That recovery key does not open the archive's key"
        : "That recovery key does not open the archive's key, which is sealed by one before the last. Give that one, or say " +
          '"fastchat archive on" in a home that archives, with the new one',
    );
  }

  async #setKey(key: Uint8Array, secrets: RecoverySecrets): Promise<void> {
    const { link, owner } = this.#options;
    try {
      await link.ask<"setArchiveKey">(archiveKeyRequest(key, secrets, owner));
    } catch (error) {
      if (!(error instanceof RefusedError) || error.code !== ErrorCode.badCredentials) throw error;
      throw new WrongRecoveryKeyError(error.message);
    }
  }

  #secrets(recoveryKey: Uint8Array): RecoverySecrets {
    return recoverySecrets({ ...this.#options.owner, key: recoveryKey });
  }

  async #shown(): Promise<ShownArchive> {
    const shown = await this.#options.link.ask<"archive">({ type: "archive" });
    if (shown.key !== undefined || shown.streams.length === 0) return shown;
    throw new FastChatError("The server shows an archive without a key");
  }
}

function newestOf(streams: ShownArchive["streams"]): string {
  return timeText(Math.max(...streams.map(({ newestMs }) => newestMs)));
}
