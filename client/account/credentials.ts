/**
 * What a home keeps to be somebody: this device's keys and the session token, sealed by its vault (table `secrets`), the identity's
 * key file, which the password encrypts, and the account they belong to. The password is never among them.
 */
import { join } from "node:path";
import { DecodeError } from "../../shared/codec/mod.ts";
import { equalBytes } from "../../shared/crypto/mod.ts";
import { PrivateFileError, readPrivateText, shredFile, writePrivateFile } from "../../shared/host/mod.ts";
import { parseUserName } from "../../shared/protocol/mod.ts";
import type { Account, AccountBook } from "./account.ts";
import { type AccountKey, accountKeyOf, PRIVATE_MS } from "./account_key.ts";
import type { Database } from "../home/database.ts";
import { DeviceKeys, Identity } from "../e2ee/mod.ts";
import { FastChatError, UsageError } from "../errors.ts";
import type { HomeVault } from "../home/home_vault.ts";
import { IDENTITY_FILE, PendingPassword } from "./pending_password.ts";
import { PendingRotation } from "./pending_rotation.ts";
import { openText, sealText } from "../home/vault.ts";

export interface SessionToken {
  /** 32 bytes: whoever has them is this person. */
  readonly token: Uint8Array;
  readonly expiresMs: number;
}

export class Credentials implements AccountBook {
  readonly #home: string;
  readonly #db: Database;
  /** A change of password whose outcome is not known yet. */
  readonly pendingPassword: PendingPassword;
  /** A change of identity whose outcome is not known yet. */
  readonly pendingRotation: PendingRotation;

  constructor(home: string, database: Database) {
    this.#home = home;
    this.#db = database;
    this.pendingPassword = new PendingPassword(home, database, this);
    this.pendingRotation = new PendingRotation(home, database, this);
  }

  /** Makes the home, or closes it to others if it is there. */
  static ensureHome(home: string): void {
    Deno.mkdirSync(home, { recursive: true, mode: 0o700 });
    if (Deno.build.os !== "windows" && (Deno.statSync(home).mode! & 0o077) !== 0) Deno.chmodSync(home, 0o700);
  }

  account(): Account | undefined {
    const text = this.#db.meta(ACCOUNT);
    if (text === undefined) return undefined;
    const stored = JSON.parse(text) as StoredAccount;
    return {
      name: parseUserName(stored.name)!,
      server: stored.server,
      clusterId: Uint8Array.fromHex(stored.cluster),
      identity: Uint8Array.fromHex(stored.identity),
      log2N: stored.log2N,
      ...(stored.salt !== undefined && { salt: Uint8Array.fromHex(stored.salt) }),
      ...pick(stored),
      enrolled: stored.enrolled,
    };
  }

  saveAccount(account: Account | undefined): void {
    const stored: StoredAccount | undefined = account && {
      name: account.name,
      server: account.server,
      cluster: account.clusterId.toHex(),
      identity: account.identity.toHex(),
      log2N: account.log2N,
      ...(account.salt && { salt: account.salt.toHex() }),
      ...pick(account),
      enrolled: account.enrolled,
    };
    const save = () => this.#db.setMeta(ACCOUNT, stored && JSON.stringify(stored));
    if (this.#db.isTransaction) save();
    else this.#db.transaction(save);
  }

  /** Changes some of it, whatever another process has changed meanwhile. Nothing in a home without an account. */
  updateAccount(changes: Partial<Account>): void {
    const update = () => {
      const account = this.account();
      if (account !== undefined) this.saveAccount({ ...account, ...changes });
    };
    if (this.#db.isTransaction) update();
    else this.#db.transaction(update);
  }

  get vault(): HomeVault {
    return this.#db.vault;
  }

  /**
   * Key files of homes made before they were sealed: what is in them goes to the database, and they go.
   *
   * @throws UsageError for one that others may read.
   */
  adoptFiles(): void {
    for (const [name, file] of [[DEVICE, "device.pem"], [SESSION, "session.json"]] as const) {
      const path = join(this.#home, file), text = readOldFile(path);
      if (text === undefined) continue;
      if (!this.#has(name)) {
        if (this.vault.isLocked) continue;
        this.#db.transaction(() => {
          if (!this.#has(name)) this.#put(name, text);
        });
      }
      shredFile(path);
    }
  }

  /** This device's private keys, or `undefined` in a home that has none. @throws LockedError */
  async deviceKeys(): Promise<DeviceKeys | undefined> {
    const pem = this.#get(DEVICE);
    if (pem === undefined) return undefined;
    try {
      return await DeviceKeys.fromPem(pem);
    } catch (error) {
      if (error instanceof DecodeError) throw damaged("this device's keys", error);
      throw error;
    }
  }

  /** @throws LockedError */
  saveDeviceKeys(keys: DeviceKeys): void {
    this.#db.transaction(() => this.#put(DEVICE, keys.toPem()));
  }

  /** The identity key, where the home has it and the password opens it. */
  async identity(password: string): Promise<Identity | undefined> {
    const pem = await readText(join(this.#home, IDENTITY_FILE));
    if (pem === undefined) return undefined;
    try {
      return await Identity.fromPem(pem, password);
    } catch (error) {
      if (error instanceof DecodeError) throw damaged(join(this.#home, IDENTITY_FILE), error);
      throw error;
    }
  }

  /** What follows from the identity of this home's account, as far as the home has it. @throws LockedError */
  accountKey(nowMs: number): AccountKey | undefined {
    const account = this.account();
    const text = account && this.#get(accountKeyName(account.identity));
    if (text === undefined) return undefined;
    const { publicKey, privateKey, untilMs } = JSON.parse(text) as StoredAccountKey;
    const isOver = nowMs >= untilMs || nowMs < untilMs - PRIVATE_MS;
    if (isOver && privateKey !== undefined) this.#putAccountKey(account!.identity, { publicKey, untilMs });
    return {
      publicKey: Uint8Array.fromHex(publicKey),
      privateKey: isOver || privateKey === undefined ? undefined : Uint8Array.fromHex(privateKey),
    };
  }

  /**
   * While the identity is open. One that is to replace the account's is kept beside it, until it is known which counts.
   *
   * @throws LockedError
   */
  saveAccountKey(identity: Identity, clusterId: Uint8Array, nowMs: number): void {
    const { publicKey, privateKey } = accountKeyOf(identity.pkcs8, clusterId);
    this.putAccountKey(identity.fingerprint, publicKey, privateKey, nowMs);
  }

  /** The same where the private half was handed over. @throws LockedError */
  putAccountKey(identity: Uint8Array, publicKey: Uint8Array, privateKey: Uint8Array, nowMs: number): void {
    const untilMs = nowMs + PRIVATE_MS;
    this.#putAccountKey(identity, { publicKey: publicKey.toHex(), privateKey: privateKey.toHex(), untilMs });
  }

  /** Homes made before there was one get it when the password is known anyway. Changes nothing where it is not the identity's. */
  async learnAccountKey(password: string): Promise<void> {
    const account = this.account();
    if (!account?.enrolled || this.#has(accountKeyName(account.identity))) return;
    const identity = await this.identity(password).catch((error) => {
      if (error instanceof FastChatError) return undefined;
      throw error;
    });
    if (identity === undefined) return;
    if (equalBytes(identity.fingerprint, account.identity)) {
      this.saveAccountKey(identity, account.clusterId, Date.now());
    }
    identity.wipe();
  }

  /** The key of this person's archive of history, 32 bytes, where this home has it. @throws LockedError */
  archiveKey(): Uint8Array | undefined {
    const hex = this.#get(ARCHIVE_KEY);
    return hex === undefined ? undefined : Uint8Array.fromHex(hex);
  }

  /** @throws LockedError */
  saveArchiveKey(key: Uint8Array | undefined): void {
    const save = () => {
      if (key !== undefined) this.#put(ARCHIVE_KEY, key.toHex());
      else this.#db.run("DELETE FROM secrets WHERE name = ?", ARCHIVE_KEY);
    };
    if (this.#db.isTransaction) save();
    else this.#db.transaction(save);
  }

  async saveIdentity(identity: Identity, password: string): Promise<void> {
    await this.saveIdentityFile(await identity.toPem(password));
  }

  /** @param pem Encrypted already. */
  async saveIdentityFile(pem: string): Promise<void> {
    await writePrivateFile(join(this.#home, IDENTITY_FILE), pem);
  }

  /** The session token, if there is one that has not expired. @throws LockedError */
  session(nowMs: number): SessionToken | undefined {
    const text = this.#get(SESSION);
    if (text === undefined) return undefined;
    try {
      const { token, expires } = JSON.parse(text) as StoredSession;
      const session = {
        token: Uint8Array.fromBase64(token, { alphabet: "base64url" }),
        expiresMs: Date.parse(expires),
      };
      return session.token.length === 32 && session.expiresMs > nowMs ? session : undefined;
    } catch {
      // Half a file of another program: as good as none.
      return undefined;
    }
  }

  /** @throws LockedError */
  saveSession({ token, expiresMs }: SessionToken): void {
    const stored: StoredSession = {
      token: token.toBase64({ alphabet: "base64url", omitPadding: true }),
      expires: new Date(expiresMs).toISOString(),
    };
    this.#db.transaction(() => this.#put(SESSION, JSON.stringify(stored)));
  }

  /** Forgets a token that the server refused; another that came meanwhile stays. */
  forgetSession(token: Uint8Array): void {
    this.#db.transaction(() => {
      if (this.session(0)?.token.toHex() === token.toHex()) this.#db.run("DELETE FROM secrets WHERE name = ?", SESSION);
    });
  }

  /** After a sign-up that failed for good: the home is nobody's again. */
  async forgetAccount(): Promise<void> {
    this.#db.transaction(() => {
      this.#db.setMeta(ACCOUNT, undefined);
      this.vault.forget();
    });
    await Deno.remove(join(this.#home, IDENTITY_FILE)).catch(() => {});
  }

  #putAccountKey(identity: Uint8Array, stored: StoredAccountKey): void {
    const put = () => {
      const current = this.account()?.identity, names = [identity, ...(current ? [current] : [])].map(accountKeyName);
      // Of identities that were replaced.
      for (const row of this.#db.all("SELECT name FROM secrets WHERE name LIKE ?", `${ACCOUNT_KEY} %`)) {
        const name = row["name"] as string;
        if (!names.includes(name)) this.#db.run("DELETE FROM secrets WHERE name = ?", name);
      }
      this.#put(accountKeyName(identity), JSON.stringify(stored));
    };
    if (this.#db.isTransaction) put();
    else this.#db.transaction(put);
  }

  #has(name: string): boolean {
    return this.#db.get("SELECT 1 FROM secrets WHERE name = ?", name) !== undefined;
  }

  #get(name: string): string | undefined {
    const sealed = this.#db.get("SELECT sealed FROM secrets WHERE name = ?", name)?.["sealed"] as
      | Uint8Array
      | undefined;
    return sealed && openText(this.vault, sealed, placeOf(name));
  }

  #put(name: string, text: string): void {
    this.#db.run(
      "INSERT INTO secrets (name, sealed) VALUES (?, ?) ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
      name,
      sealText(this.vault, text, placeOf(name)),
    );
  }
}

function accountKeyName(identity: Uint8Array): string {
  return `${ACCOUNT_KEY} ${identity.toHex()}`;
}

function placeOf(name: string): string {
  return `secrets.sealed ${name}`;
}

/** @throws UsageError where others may read it. */
function readOldFile(path: string): string | undefined {
  try {
    const { mode } = Deno.statSync(path);
    if (Deno.build.os !== "windows" && mode !== null && (mode & 0o077) !== 0) {
      throw new UsageError(`Cannot use ${path}: its mode is open to other users. Close it: chmod 600 '${path}'`);
    }
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readPrivateText(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof PrivateFileError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

function damaged(what: string, cause: Error): FastChatError {
  return new FastChatError(`Cannot use ${what}: ${cause.message}`, { cause });
}

/** What is stored as it is. */
function pick(from: Optional): Optional {
  const { serial, identityStale, serverBackup, recoveryMs } = from;
  return {
    ...(serial !== undefined && { serial }),
    ...(identityStale !== undefined && { identityStale }),
    ...(serverBackup !== undefined && { serverBackup }),
    ...(recoveryMs !== undefined && { recoveryMs }),
  };
}

type Optional = Pick<Account, "serial" | "identityStale" | "serverBackup" | "recoveryMs">;

interface StoredAccount extends Optional {
  name: string;
  server: string;
  cluster: string;
  identity: string;
  log2N: number;
  salt?: string;
  enrolled: boolean;
}

/** As hex. */
interface StoredAccountKey {
  publicKey: string;
  privateKey?: string;
  untilMs: number;
}

interface StoredSession {
  token: string;
  expires: string;
}

const ACCOUNT = "account";
/** Names of secrets. */
const DEVICE = "device";
const SESSION = "session";
const ACCOUNT_KEY = "account-key";
const ARCHIVE_KEY = "archive-key";
