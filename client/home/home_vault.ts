/**
 * The vault of one home: its key, and what yields it. Table `seals`, each row one way to the key ({@linkcode file://./seals.ts}).
 *
 * A home has one key for good. Where nobody has given a password since homes are sealed, the key lies there as it is (kind
 * `open`): such a home works as it did before, and the first password that proves to be right takes that row away. A home
 * in which nothing was sealed yet has no key at all.
 */
import { equalBytes, type StretchedPassword, systemRandom } from "../../shared/crypto/mod.ts";
import { LockedError, UsageError } from "../errors.ts";
import {
  keyIdOf,
  openByPassword,
  openByToken,
  ownerOf,
  type PasswordOwner,
  sealByPassword,
  sealByToken,
} from "./seals.ts";
import { KeyVault, type Vault, VaultError } from "./vault.ts";

/** A token's seal, as it is listed. */
export interface TokenSeal {
  readonly id: number;
  /** Where its file was written. */
  readonly label: string;
  readonly madeMs: number;
}

/** What it needs of the home's database. */
export interface SealTable {
  readonly isTransaction: boolean;
  transaction<T>(change: () => T): T;
  run(sql: string, ...values: (string | number | Uint8Array)[]): number;
  get(sql: string, ...values: (string | number)[]): Readonly<Record<string, unknown>> | undefined;
  all(sql: string, ...values: (string | number)[]): Readonly<Record<string, unknown>>[];
  meta(key: string): string | undefined;
  setMeta(key: string, value: string | undefined): void;
  rewrite(): boolean;
  truncateLog(): boolean;
}

export class HomeVault implements Vault {
  readonly #db: SealTable;
  #key: Uint8Array | undefined;
  #vault: KeyVault | undefined;

  constructor(database: SealTable) {
    this.#db = database;
  }

  /** Whether its key is needed and not here. */
  get isLocked(): boolean {
    return this.#known() === undefined && this.#db.get("SELECT 1 FROM seals LIMIT 1") !== undefined;
  }

  /** Whether the key lies beside what it seals: whoever reads the file reads everything. */
  get isOpen(): boolean {
    return this.#openSeal() !== undefined;
  }

  seal(plain: Uint8Array, context: string): Uint8Array {
    return this.#ready().seal(plain, context);
  }

  open(sealed: Uint8Array, context: string): Uint8Array {
    return this.#ready().open(sealed, context);
  }

  /** A copy of the key, for an agent. @throws LockedError */
  key(): Uint8Array {
    this.#ready();
    return new Uint8Array(this.#key!);
  }

  /** Unlocks with a key that somebody kept: an agent, another process. @returns Whether it is this home's. */
  unlockWithKey(key: Uint8Array): boolean {
    const id = this.#db.meta(KEY_ID);
    if (key.length !== 32 || id === undefined || !equalBytes(keyIdOf(key), Uint8Array.fromHex(id))) return false;
    this.#keep(key);
    return true;
  }

  /**
   * For whom a password must be stretched to unlock; none where no password is asked for. Two while a change of password is under
   * way, or was cut off: either opens the home.
   *
   * @throws VaultError
   */
  passwordOwners(): PasswordOwner[] {
    return this.#passwordSeals().map(ownerOf);
  }

  /** Whose password opens it; `undefined` where no password is asked for. @throws VaultError */
  passwordOwner(): PasswordOwner | undefined {
    return this.passwordOwners()[0];
  }

  /** @param stretched For one of {@linkcode passwordOwners}. @returns Whether it is the password. @throws VaultError */
  unlockWithPassword(stretched: StretchedPassword): boolean {
    for (const sealed of this.#passwordSeals()) {
      if (this.#unlock(openByPassword(sealed, stretched))) return true;
    }
    return false;
  }

  /** @param token 32 bytes. @returns Whether a seal opens by it. @throws VaultError */
  unlockWithToken(token: Uint8Array): boolean {
    for (const row of this.#db.all("SELECT sealed FROM seals WHERE kind = 'token'")) {
      if (this.#unlock(openByToken(row["sealed"] as Uint8Array, token))) return true;
    }
    return false;
  }

  /**
   * From now on this password opens the home, and none before; tokens go on. In one transaction, so that whatever dies, one of
   * the two passwords opens it. A home that lay open is closed by it.
   *
   * @param stretched For `owner`.
   * @throws LockedError
   */
  rewrap(stretched: StretchedPassword, owner: PasswordOwner): void {
    this.#keep(this.#transaction(() => {
      if (this.isLocked) throw new LockedError();
      const key = this.#known() ?? systemRandom.bytes(32);
      if (this.isOpen) this.#db.setMeta(TRACES, "1");
      this.#db.run("DELETE FROM seals WHERE kind IN ('open', 'password')");
      this.#add("password", "", sealByPassword(key, stretched, owner));
      this.#db.setMeta(KEY_ID, keyIdOf(key).toHex());
      return key;
    }));
    // The seal of the password before lies in the log, still.
    if (!this.#db.isTransaction) this.#db.truncateLog();
    this.clean();
  }

  /**
   * This password opens the home too, until it is known which of the two counts: then {@linkcode takeNext} or
   * {@linkcode dropNext} follows. Neither needs a password.
   *
   * @param stretched For `owner`.
   * @throws LockedError
   */
  addNext(stretched: StretchedPassword, owner: PasswordOwner): void {
    const key = this.key();
    this.#transaction(() => {
      this.#db.run("DELETE FROM seals WHERE kind = 'next'");
      this.#add("next", "", sealByPassword(key, stretched, owner));
    });
  }

  /** From now on only the password of {@linkcode addNext} opens the home, and tokens. Nothing where there is none. */
  takeNext(): void {
    this.#transaction(() => {
      if (this.#seals("next").length === 0) return;
      if (this.isOpen) this.#db.setMeta(TRACES, "1");
      this.#db.run("DELETE FROM seals WHERE kind IN ('open', 'password')");
      this.#db.run("UPDATE seals SET kind = 'password' WHERE kind = 'next'");
    });
    if (!this.#db.isTransaction) this.#db.truncateLog();
    this.clean();
  }

  /** The password of {@linkcode addNext} opens nothing. */
  dropNext(): void {
    this.#transaction(() => this.#db.run("DELETE FROM seals WHERE kind = 'next'"));
    if (!this.#db.isTransaction) this.#db.truncateLog();
  }

  /** What was sealed here is lost: for a home in which a sign-up failed, or was cut off and its password is not known any more. */
  forget(): void {
    this.#transaction(() => {
      this.#db.run("DELETE FROM seals");
      this.#db.run("DELETE FROM secrets");
      this.#db.setMeta(KEY_ID, undefined);
    });
    this.#key = this.#vault = undefined;
  }

  /** Whether the home's password is this one. @param stretched For `owner`. @throws VaultError */
  isSealedBy(stretched: StretchedPassword, owner: PasswordOwner): boolean {
    const sealed = this.#passwordSeal();
    if (sealed === undefined || this.#openSeal() !== undefined) return false;
    const { clusterId, name, stretching: { log2N, salt } } = ownerOf(sealed);
    return name === owner.name && log2N === owner.stretching.log2N && equalBytes(salt, owner.stretching.salt) &&
      equalBytes(clusterId, owner.clusterId) && openByPassword(sealed, stretched) !== undefined;
  }

  /** One more way in. @param token 32 random bytes. @param label For the list. @returns Its number. @throws LockedError */
  addToken(token: Uint8Array, label: string): number {
    const key = this.key();
    return this.#transaction(() => {
      if (this.#openSeal() !== undefined) throw new UsageError("This home has no password yet: give it once first");
      return this.#add("token", label, sealByToken(key, token));
    });
  }

  /** The tokens that open it, oldest first. */
  tokens(): TokenSeal[] {
    return this.#db.all("SELECT id, label, made_ms FROM seals WHERE kind = 'token' ORDER BY id").map((row) => ({
      id: row["id"] as number,
      label: row["label"] as string,
      madeMs: row["made_ms"] as number,
    }));
  }

  /** The number of the seal that a token opens. @throws VaultError */
  tokenId(token: Uint8Array): number | undefined {
    return this.#db.all("SELECT id, sealed FROM seals WHERE kind = 'token'")
      .find((row) => openByToken(row["sealed"] as Uint8Array, token) !== undefined)?.["id"] as number | undefined;
  }

  /** That token opens it no longer. Whoever copied the home before has what was in it then. @returns Whether there was one. */
  revokeToken(id: number): boolean {
    const gone = this.#transaction(() => this.#db.run("DELETE FROM seals WHERE kind = 'token' AND id = ?", id) > 0);
    if (gone) this.#db.truncateLog();
    return gone;
  }

  /** Takes away what is left in free pages and in the log of a time when the home lay open; at the next chance where others use it. */
  clean(): void {
    if (this.#db.isTransaction || this.#db.meta(TRACES) === undefined || this.isOpen) return;
    if (!this.#db.rewrite()) return;
    this.#db.transaction(() => this.#db.setMeta(TRACES, undefined));
  }

  #unlock(key: Uint8Array | undefined): boolean {
    if (key !== undefined) this.#keep(key);
    return key !== undefined;
  }

  #keep(key: Uint8Array): void {
    this.#key = new Uint8Array(key);
    this.#vault = new KeyVault(key);
  }

  /** @throws LockedError */
  #ready(): KeyVault {
    const key = this.#known();
    if (key !== undefined) return this.#vault ?? new KeyVault(key);
    return this.#transaction(() => {
      const there = this.#known() ?? this.#create();
      return new KeyVault(there);
    });
  }

  /** The key, where it is here or lies open. Kept only outside a transaction: one that is undone takes a new key with it. */
  #known(): Uint8Array | undefined {
    if (this.#key !== undefined) return this.#key;
    const key = this.#openSeal();
    if (key !== undefined && !this.#db.isTransaction) this.#keep(key);
    return key;
  }

  #create(): Uint8Array {
    if (this.isLocked) throw new LockedError();
    const key = systemRandom.bytes(32);
    this.#add("open", "", key);
    this.#db.setMeta(KEY_ID, keyIdOf(key).toHex());
    return key;
  }

  #openSeal(): Uint8Array | undefined {
    const key = this.#db.get("SELECT sealed FROM seals WHERE kind = 'open'")?.["sealed"] as Uint8Array | undefined;
    if (key !== undefined && key.length !== 32) throw new VaultError("The key of this home is damaged");
    return key;
  }

  #passwordSeal(): Uint8Array | undefined {
    return this.#seals("password")[0];
  }

  #passwordSeals(): Uint8Array[] {
    return [...this.#seals("password"), ...this.#seals("next")];
  }

  #seals(kind: "password" | "next"): Uint8Array[] {
    return this.#db.all("SELECT sealed FROM seals WHERE kind = ?", kind).map((row) => row["sealed"] as Uint8Array);
  }

  #add(kind: string, label: string, sealed: Uint8Array): number {
    this.#db.run(
      "INSERT INTO seals (kind, label, sealed, made_ms) VALUES (?, ?, ?, ?)",
      kind,
      label,
      sealed,
      Date.now(),
    );
    return this.#db.get("SELECT max(id) AS id FROM seals")!["id"] as number;
  }

  #transaction<T>(change: () => T): T {
    return this.#db.isTransaction ? change() : this.#db.transaction(change);
  }
}

const KEY_ID = "home-key";
/** Set while the file may hold, in free pages or in the log, what lay open. */
const TRACES = "open-traces";
