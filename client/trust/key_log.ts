/**
 * The cluster's key log as this home knows it (docs/PROTOCOL.md §16, SECURITY M13): the whole chain by hashes, and the entries
 * about oneself and everybody one has to do with, each judged before it counts. Tables `key_log`, `key_entries`, `key_followed`.
 *
 * What a server showed once it must go on showing. One that takes an entry back, or shows somebody else another log, is named,
 * and nothing is sent until a person has looked into it.
 */
import { DecodeError } from "../../shared/codec/mod.ts";
import {
  applyStatement,
  decodeKeyStatement,
  EMPTY_KEY_LOG,
  equalBytes,
  isUsable,
  judgeStatement,
  type KeyHistory,
  type KeyStatement,
  nextKeyLogHead,
  sha256,
} from "../../shared/crypto/mod.ts";
import { KEY_ENTRIES_MAX } from "../../shared/limits.ts";
import type { DeviceId, DirectoryEntry, RequestOf, ResponseOf, UserName } from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";
import { KeyLogError } from "../errors.ts";

/** An entry that has come, in the order of the log. */
export interface KeyLogNews {
  readonly user: UserName;
  readonly number: number;
  /** `undefined` where it cannot be read. */
  readonly said: KeyStatement | undefined;
  /** Why it does not count. */
  readonly fault: string | undefined;
  /** What was known of the user before. */
  readonly before: KeyHistory | undefined;
}

export interface KeyLogOptions {
  readonly database: Database;
  readonly self: { readonly name: UserName; /** 16 bytes. */ readonly clusterId: Uint8Array };
  /** Milliseconds since 1970; the clock's, unless given. */
  nowMs?(): number;
  /** Asks the server over whatever connection there is. */
  ask(request: RequestOf<"keyLog">): Promise<ResponseOf<"keyLog">>;
  ask(request: RequestOf<"keyEntries">): Promise<ResponseOf<"keyEntries">>;
  /** Entries about people whom this home followed before; not what it learns of somebody for the first time. */
  onNews(news: readonly KeyLogNews[]): void;
  /** The server does not show one log to all, or not for long. Told once; nothing is to be sent from then on. */
  onFork(text: string): void;
}

export class KeyLog {
  readonly #options: KeyLogOptions;
  readonly #db: Database;
  /** Heads that were asked for and are not here, as hex: those that the next catching up may bring, and those that it did not. */
  #asked = new Set<string>();
  readonly #absent = new Set<string>();
  readonly #histories = new Map<UserName, { readonly newest: number; readonly history: KeyHistory | undefined }>();
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(options: KeyLogOptions) {
    this.#options = options;
    this.#db = options.database;
  }

  /** Entries that this home knows of. */
  get length(): number {
    return this.#last()?.number ?? 0;
  }

  /** Behind the last of them: 32 bytes, zeros where there is none. */
  get head(): Uint8Array {
    return this.#last()?.head ?? EMPTY_KEY_LOG;
  }

  /** Why nothing may be sent, until a person says otherwise ({@linkcode accept}). */
  get fork(): string | undefined {
    return this.#db.meta(FORK);
  }

  /** @throws KeyLogError while {@linkcode fork} says something. */
  requireOne(): void {
    const fork = this.fork;
    if (fork !== undefined) throw new KeyLogError(fork);
  }

  /**
   * Whether the log that this home was shown has gone through a head; that of an empty log it always has.
   *
   * @returns `undefined` where only {@linkcode catchUp} can tell. Ask again after it.
   */
  knows(head: Uint8Array): boolean | undefined {
    if (equalBytes(head, EMPTY_KEY_LOG)) return true;
    if (this.#db.get("SELECT 1 FROM key_log WHERE head = ?", head) !== undefined) return true;
    const text = head.toHex();
    if (this.#absent.has(text)) return false;
    if (this.#asked.size < ASKED_MAX) this.#asked.add(text);
    return undefined;
  }

  /**
   * Reads what is new, and what is missing of those whom this home follows.
   *
   * @param atLeast Returns at once where the log is that long already.
   * @throws KeyLogError where the server shows another log than before; what asking throws.
   */
  catchUp(atLeast?: number): Promise<void> {
    if (atLeast !== undefined && this.length >= atLeast && this.#missing(1).length === 0) return Promise.resolve();
    // One that runs already may have asked too early.
    if (this.#running !== undefined) return this.#next ??= this.#running.then(() => this.#begin(), () => this.#begin());
    return this.#begin();
  }

  /** From now on entries about these are read and judged; resolves when those that there are have been. */
  async follow(names: readonly UserName[]): Promise<void> {
    const isNew = this.#db.transaction(() =>
      names.map((name) => this.#db.run("INSERT OR IGNORE INTO key_followed (user) VALUES (?)", name)).some(Boolean)
    );
    if (isNew || this.length === 0 || this.#missing(1).length > 0) await this.catchUp();
  }

  /**
   * What the log says of a user, up to an entry where that is given; `undefined` where it says nothing, or this home does not
   * follow them.
   */
  history(user: UserName, uptoEntries?: number): KeyHistory | undefined {
    const newest = this.#db.get("SELECT max(number) AS number FROM key_entries WHERE user = ?", user)
      ?.["number"] as number | null ?? 0;
    if (uptoEntries !== undefined && uptoEntries < newest) return this.#fold(user, uptoEntries);
    const known = this.#histories.get(user);
    if (known?.newest === newest) return known.history;
    const history = this.#fold(user, newest);
    if (this.#histories.size >= HISTORIES_MAX) this.#histories.clear();
    this.#histories.set(user, { newest, history });
    return history;
  }

  /**
   * Whether a device is its user's no longer: revoked, or certified by an identity that was replaced. The same for everybody who
   * asks for the same number of entries.
   */
  isRevoked(user: UserName, device: DeviceId, uptoEntries?: number): boolean {
    return this.history(user, uptoEntries)?.devices.get(device)?.endedAt !== undefined;
  }

  /**
   * The identity by which somebody goes, for one by which they go or went, as hex; any other is given back as it is. The same for
   * everybody who asks for the same number of entries.
   */
  identityOf(user: UserName, identity: string, uptoEntries?: number): string {
    const history = this.history(user, uptoEntries);
    const isEarlier = history?.earlier.some((earlier) => earlier.toHex() === identity) ?? false;
    return isEarlier ? history!.identity.toHex() : identity;
  }

  /**
   * Whether a device may be sealed for: it is in the log, has not ended, and waits for nobody's approval (SECURITY P9). The same
   * for everybody who asks for the same number of entries.
   */
  isUsable(user: UserName, device: DeviceId, uptoEntries?: number): boolean {
    const history = this.history(user, uptoEntries), known = history?.devices.get(device);
    return history !== undefined && known !== undefined && isUsable(history, known);
  }

  /**
   * What a directory says of somebody, with those devices only that the log vouches for; asks for what is new where it does not.
   *
   * @throws KeyLogError where it shows another identity than the log.
   */
  async vet(entry: DirectoryEntry): Promise<DirectoryEntry> {
    this.requireOne();
    await this.follow([entry.name]);
    const vetted = this.#vouched(entry);
    if (vetted?.certificates.length === entry.certificates.length) return vetted;
    await this.catchUp();
    const again = this.#vouched(entry);
    if (again !== undefined) return again;
    throw new KeyLogError(
      `The server shows another key of ${entry.name} in its directory than in its key log: nothing is sent to it`,
    );
  }

  /** Entries about a user that do not count, with the reason. */
  faults(user: UserName): { readonly number: number; readonly fault: string }[] {
    return this.#db.all(
      "SELECT number, fault FROM key_entries WHERE user = ? AND fault IS NOT NULL ORDER BY number",
      user,
    )
      .map((row) => ({ number: row["number"] as number, fault: row["fault"] as string }));
  }

  /** When this home first saw an entry, by its own clock. */
  seenMs(number: number): number | undefined {
    return this.#db.get("SELECT seen_ms FROM key_entries WHERE number = ?", number)?.["seen_ms"] as number | undefined;
  }

  /** Somebody was shown another log than this home: nothing is sent from now on. Repeating it is fine. */
  reportFork(text: string): void {
    const isNews = this.#db.transaction(() => {
      if (this.#db.meta(FORK) !== undefined) return false;
      this.#db.setMeta(FORK, text);
      return true;
    });
    if (isNews) this.#options.onFork(text);
  }

  /** A person takes what the server shows now for the right one: where there was a fork, the log is read anew. */
  static accept(database: Database): void {
    database.transaction(() => {
      if (database.meta(FORK) === undefined) return;
      for (const table of ["key_log", "key_entries"]) database.run(`DELETE FROM ${table}`);
      database.setMeta(FORK, undefined);
    });
  }

  /** `undefined` where the identities differ. */
  #vouched(entry: DirectoryEntry): DirectoryEntry | undefined {
    const history = this.history(entry.name);
    if (history === undefined) return undefined;
    if (!equalBytes(history.identity, sha256(entry.identityKey))) {
      // Replaced between one answer and the other: it has no devices any more.
      const isPast = history.earlier.some((earlier) => equalBytes(earlier, sha256(entry.identityKey)));
      return isPast ? { ...entry, certificates: [] } : undefined;
    }
    const usable = new Set(
      [...history.devices.values()].filter((device) => isUsable(history, device)).map(({ certificateHash }) =>
        certificateHash.toHex()
      ),
    );
    return {
      ...entry,
      certificates: entry.certificates.filter((certificate) => usable.has(sha256(certificate).toHex())),
    };
  }

  #begin(): Promise<void> {
    this.#next = undefined;
    return this.#running = this.#catchUp().finally(() => this.#running = undefined);
  }

  async #catchUp(): Promise<void> {
    this.requireOne();
    const known = new Set(this.#db.all("SELECT DISTINCT user FROM key_entries").map((row) => row["user"] as UserName));
    const asked = this.#asked;
    this.#asked = new Set();
    try {
      while (await this.#readPage());
    } catch (error) {
      for (const head of asked) this.#asked.add(head);
      throw error;
    }
    for (const head of asked) {
      if (this.#absent.size >= ASKED_MAX) this.#absent.clear();
      if (this.knows(Uint8Array.fromHex(head)) === undefined) this.#absent.add(head);
    }
    for (let numbers = this.#missing(KEY_ENTRIES_MAX); numbers.length > 0; numbers = this.#missing(KEY_ENTRIES_MAX)) {
      await this.#readEntries(numbers, known);
    }
  }

  /** @returns Whether there is more. */
  async #readPage(): Promise<boolean> {
    const { number: after, head: before } = this.#last() ?? { number: 0, head: EMPTY_KEY_LOG };
    const { entries, head, length } = await this.#options.ask({ type: "keyLog", after });
    const isShorter = length < after + entries.length;
    const heads: Uint8Array[] = [];
    let last = before;
    for (const { user, hash } of entries) heads.push(last = nextKeyLogHead(last, user, hash));
    // Another process of this home may have been quicker.
    const outcome = this.#db.transaction(() => {
      if (this.length !== after) return "moved";
      if (isShorter || !equalBytes(last, head)) return "other";
      for (const [at, { user, hash }] of entries.entries()) {
        this.#db.run(
          "INSERT INTO key_log (number, user, hash, head) VALUES (?, ?, ?, ?)",
          after + 1 + at,
          user,
          hash,
          heads[at]!,
        );
      }
      return "added";
    });
    if (outcome === "other") {
      throw this.#forked(
        isShorter
          ? `The server shows different key logs: the one it shows now has ${length} entries, it had shown ${after}`
          : `The server shows different key logs: what it shows now does not go on from the ${after} entries it had shown`,
      );
    }
    return outcome === "moved" || (entries.length > 0 && after + entries.length < length);
  }

  /** @param known Whose entries this home has read before: what is new about them is told. */
  async #readEntries(numbers: readonly number[], known: ReadonlySet<UserName>): Promise<void> {
    const { entries } = await this.#options.ask({ type: "keyEntries", numbers: [...numbers] });
    const given = new Map(entries.map(({ number, entry }) => [number, entry]));
    const news: KeyLogNews[] = [];
    for (const number of numbers) {
      const row = this.#db.get("SELECT user, hash FROM key_log WHERE number = ?", number), entry = given.get(number);
      if (row === undefined) return;
      if (entry === undefined) throw this.#forked(`The server shows different key logs: it holds back entry ${number}`);
      if (!equalBytes(sha256(entry), row["hash"] as Uint8Array)) {
        throw this.#forked(`The server shows different key logs: entry ${number} is not the one in the chain`);
      }
      const judged = await this.#keep(row["user"] as UserName, number, entry);
      if (judged !== undefined && (known.has(judged.user) || judged.fault !== undefined)) news.push(judged);
    }
    if (news.length > 0) this.#options.onNews(news);
  }

  /** @returns `undefined` where another process was quicker. */
  async #keep(user: UserName, number: number, entry: Uint8Array): Promise<KeyLogNews | undefined> {
    const before = this.history(user), { clusterId } = this.#options.self;
    const said = read(entry);
    const fault = said === undefined ? "it cannot be read" : await judgeStatement(before, said, { clusterId, user });
    return this.#db.transaction(() => {
      const added = this.#db.run(
        "INSERT OR IGNORE INTO key_entries (number, user, entry, fault, seen_ms) VALUES (?, ?, ?, ?, ?)",
        number,
        user,
        entry,
        fault ?? null,
        (this.#options.nowMs ?? Date.now)(),
      );
      if (added === 0) return undefined;
      this.#histories.delete(user);
      return { user, number, said, fault, before };
    });
  }

  #forked(text: string): KeyLogError {
    const whole = `${text}. Nothing is sent until you have asked whoever runs it why. ` +
      `If it was set back to a backup, accept what it shows now with: fastchat trust --server HOST:PORT`;
    this.reportFork(whole);
    return new KeyLogError(whole);
  }

  #fold(user: UserName, upto: number): KeyHistory | undefined {
    let history: KeyHistory | undefined;
    const rows = this.#db.all(
      "SELECT number, entry FROM key_entries WHERE user = ? AND number <= ? AND fault IS NULL ORDER BY number",
      user,
      upto,
    );
    for (const row of rows) {
      history = applyStatement(history, row["number"] as number, decodeKeyStatement(row["entry"] as Uint8Array));
    }
    return history;
  }

  /** Numbers of entries that are needed and not here, the lowest first. */
  #missing(limit: number): number[] {
    const { name, clusterId } = this.#options.self;
    return this.#db.all(
      `SELECT number FROM key_log WHERE user IN (
         SELECT ? UNION SELECT user FROM key_followed UNION SELECT name FROM peers WHERE cluster = ?)
       AND number NOT IN (SELECT number FROM key_entries) ORDER BY number LIMIT ?`,
      name,
      clusterId.toHex(),
      limit,
    ).map((row) => row["number"] as number);
  }

  #last(): { readonly number: number; readonly head: Uint8Array } | undefined {
    const row = this.#db.get("SELECT number, head FROM key_log ORDER BY number DESC LIMIT 1");
    return row && { number: row["number"] as number, head: row["head"] as Uint8Array };
  }
}

function read(entry: Uint8Array): KeyStatement | undefined {
  try {
    return decodeKeyStatement(entry);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

const FORK = "key-log-fork";
/** Heads that others named and this home does not know; a sender that makes them up gets no more questions. */
const ASKED_MAX = 1_024;
const HISTORIES_MAX = 2_048;
