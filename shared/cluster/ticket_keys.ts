/**
 * The keys of resumption tickets (SECURITY H8), in a file of their own, DIR/keys/tickets.json: whoever reads it can open tickets of
 * the last day, and nothing else; whoever loses it makes clients log in by their session once.
 *
 * The balancer makes a new one every 12 hours and keeps the one before; a ticket therefore opens for 12 to 24 hours, though it
 * would be good for 7 days. Where no balancer runs, servers do it themselves an hour later. Everybody reads the file anew when
 * it changes.
 */
import { join } from "node:path";
import { systemRandom } from "../crypto/mod.ts";
import { TICKET_KEY_BYTES, TICKET_KEY_ID_BYTES, type TicketKey, type TicketKeys } from "../handshake/mod.ts";
import { FileLock, readPrivateText, writePrivateFile } from "../host/mod.ts";
import { type Logger, silentLogger } from "../log.ts";
import { dataPaths } from "./paths.ts";

export interface TicketKeyOptions {
  readonly dataDir: string;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  /** Who notices first that the newest key is older than this makes another. */
  readonly maxAgeMs: number;
  readonly logger?: Logger;
}

/** The keys of now, for as long as the program runs. */
export class TicketKeyFile {
  readonly #options: TicketKeyOptions;
  readonly #path: string;
  #stored: readonly StoredKey[] = [];
  /** Of the file that was read: it is replaced by another whenever it changes. */
  #stamp: string | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  private constructor(options: TicketKeyOptions) {
    this.#options = options;
    this.#path = join(dataPaths(options.dataDir).keys, FILE);
  }

  /** Reads the keys, makes them where there are none, and looks after them from now on. DIR/keys must be there. */
  static async open(options: TicketKeyOptions): Promise<TicketKeyFile> {
    const file = new TicketKeyFile(options);
    await file.refresh();
    file.#timer = setInterval(() => void file.#refreshLater(), REFRESH_MS);
    // Looking after keys keeps no program alive.
    Deno.unrefTimer(file.#timer);
    return file;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /**
   * A fresh key opens at once and seals only when every server must have read it: else one that has not would send clients
   * of another back to RSA.
   */
  get keys(): TicketKeys {
    const nowMs = this.#options.nowMs();
    const sealing = this.#stored.find(({ madeMs }) => nowMs - madeMs >= SETTLED_MS) ?? this.#stored.at(-1)!;
    return { sealing, opening: this.#stored };
  }

  /** Takes over what others changed, and makes a new key where it is time. */
  async refresh(): Promise<void> {
    await this.#read();
    if (!this.#isDue) return;
    using _lock = await FileLock.acquire(`${dataPaths(this.#options.dataDir).keys}.lock`);
    // Somebody else may have been quicker.
    await this.#read();
    if (!this.#isDue) return;
    const made = { id: systemRandom.bytes(TICKET_KEY_ID_BYTES), key: systemRandom.bytes(TICKET_KEY_BYTES) };
    const stored = [{ ...made, madeMs: this.#options.nowMs() }, ...this.#stored].slice(0, KEYS_KEPT);
    await writePrivateFile(this.#path, format(stored));
    this.#stamp = undefined;
    await this.#read();
  }

  /** A key from the future is one that a clock made which was wrong. */
  get #isDue(): boolean {
    const newest = this.#stored[0], nowMs = this.#options.nowMs();
    return newest === undefined || nowMs - newest.madeMs >= this.#options.maxAgeMs || newest.madeMs > nowMs + HOUR_MS;
  }

  async #refreshLater(): Promise<void> {
    try {
      await this.refresh();
    } catch (error) {
      (this.#options.logger ?? silentLogger).log("warn", "ticket-keys-failed", { error });
    }
  }

  async #read(): Promise<void> {
    try {
      const { mtime, ino, size } = await Deno.stat(this.#path);
      const stamp = [mtime?.getTime(), ino, size].join();
      if (stamp === this.#stamp) return;
      // A damaged file is as good as none: what it held is lost anyway, and costs nobody more than a log-in by session.
      this.#stored = parse(await readPrivateText(this.#path)) ?? [];
      this.#stamp = stamp;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      this.#stored = [];
      this.#stamp = undefined;
    }
  }
}

interface StoredKey extends TicketKey {
  readonly madeMs: number;
}

function format(keys: readonly StoredKey[]): string {
  const stored = keys.map(({ id, key, madeMs }) => ({
    id: id.toHex(),
    key: key.toHex(),
    made: new Date(madeMs).toISOString(),
  }));
  return JSON.stringify({ format: 1, keys: stored }, null, 2) + "\n";
}

function parse(text: string): StoredKey[] | undefined {
  try {
    const { keys } = JSON.parse(text) as { keys: { id: string; key: string; made: string }[] };
    const parsed = keys.map(({ id, key, made }) => ({
      id: Uint8Array.fromHex(id),
      key: Uint8Array.fromHex(key),
      madeMs: Date.parse(made),
    }));
    const isWhole = parsed.every(({ id, key, madeMs }) =>
      id.length === TICKET_KEY_ID_BYTES && key.length === TICKET_KEY_BYTES && Number.isFinite(madeMs)
    );
    return isWhole ? parsed.slice(0, KEYS_KEPT) : undefined;
  } catch {
    return undefined;
  }
}

/** {@linkcode TicketKeyOptions.maxAgeMs} of a balancer, and of a server: only where there is no balancer. */
export const TICKET_KEY_AGE_MS = 12 * 3600 * 1000;
export const TICKET_KEY_AGE_MS_UNATTENDED = 13 * 3600 * 1000;
const KEYS_KEPT = 2;
const REFRESH_MS = 60_000;
/** Two looks of every server, and a little. */
const SETTLED_MS = 150_000;
const HOUR_MS = 3600 * 1000;
const FILE = "tickets.json";
