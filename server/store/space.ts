/**
 * What happens when the disk is full: new messages are refused, everything else goes on, until there is room again.
 *
 * Log-ins, cursors and receipts are rows too, and so is what removes old messages. So some room is held back in a file of zeros
 * while all is well, and given up when a commit finds none: it lasts for thousands of them. Messages are taken again when the
 * file could be filled again, with room to spare.
 */
import type { Logger } from "../../shared/log.ts";

/** Room that is held back. */
export interface Reserve {
  /** Takes it, or keeps it. @returns False where there is not enough. */
  take(): boolean;
  /** Gives it to whoever needs it. */
  release(): void;
}

export interface SpaceOptions {
  readonly reserves: readonly Reserve[];
  /** Makes what room it can, when there is none left: the WAL holds much that the database file has too. */
  readonly makeRoom: () => void;
  readonly logger: Logger;
  readonly retryMs?: number;
}

export class Space {
  readonly #options: SpaceOptions;
  #isFull = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** Takes the reserve at once. */
  constructor(options: SpaceOptions) {
    this.#options = options;
    if (!this.#take()) this.#fill();
  }

  /** Messages are refused. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** A commit has found no room. */
  exhausted(): void {
    if (!this.#isFull) this.#fill();
    try {
      this.#options.makeRoom();
    } catch (error) {
      this.#options.logger.log("warn", "store.no-room", { error });
    }
  }

  /** The reserve stays for the next leader. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #fill(): void {
    this.#isFull = true;
    this.#release();
    this.#options.logger.log("error", "store.full", {});
    this.#retry();
  }

  #retry(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      if (!this.#take()) {
        this.#release();
        return this.#retry();
      }
      this.#isFull = false;
      this.#options.logger.log("info", "store.room", {});
    }, this.#options.retryMs ?? RETRY_MS);
  }

  #take(): boolean {
    return this.#options.reserves.every((reserve) => reserve.take());
  }

  #release(): void {
    for (const reserve of this.#options.reserves) reserve.release();
  }
}

/** A file of zeros. It stays where the program ends, and is found again by the next one. */
export class FileReserve implements Reserve {
  readonly #path: string;
  readonly #bytes: number;
  readonly #spare: number;

  /** @param spare So much more has to be free, so that what is taken again is not used up by the first message. */
  constructor(path: string, { bytes = RESERVE_BYTES, spare = SPARE_BYTES } = {}) {
    this.#path = path;
    this.#bytes = bytes;
    this.#spare = spare;
  }

  take(): boolean {
    try {
      using file = Deno.openSync(this.#path, { read: true, write: true, create: true, mode: 0o600 });
      const { size } = file.statSync();
      if (size === this.#bytes) return true;
      try {
        file.seekSync(size, Deno.SeekMode.Start);
        const zeros = new Uint8Array(PIECE_BYTES);
        for (let missing = this.#bytes + this.#spare - size; missing > 0;) {
          missing -= file.writeSync(zeros.subarray(0, Math.min(missing, PIECE_BYTES)));
        }
        // Where room is only promised until it is written, this is when it turns out.
        file.syncDataSync();
        file.truncateSync(this.#bytes);
        return true;
      } catch {
        file.truncateSync(0);
        return false;
      }
    } catch {
      return false;
    }
  }

  release(): void {
    try {
      Deno.truncateSync(this.#path, 0);
    } catch { /* there is none */ }
  }
}

/** More than the WAL holds when a checkpoint begins (16 MiB), which then has to find room in the database. */
const RESERVE_BYTES = 24 << 20;
const SPARE_BYTES = 4 << 20;
const PIECE_BYTES = 1 << 20;
const RETRY_MS = 2000;
