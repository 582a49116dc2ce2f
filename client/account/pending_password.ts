/**
 * A change of password between asking the server and its answer, as it lies in the home: whatever dies, the account opens with
 * the old password or the new one, this home with both, and what is here says which of them counts as soon as a server is heard.
 *
 * Everything that needs the new password is done before the server is asked: the identity's key file lies beside the old one,
 * the vault has a second seal. What is left afterwards needs no password.
 */
import { join } from "node:path";
import { equalBytes, type StretchedPassword } from "../../shared/crypto/mod.ts";
import { writePrivateFile } from "../../shared/host/mod.ts";
import type { Stretching } from "../../shared/protocol/mod.ts";
import type { AccountBook } from "./account.ts";
import type { Database } from "../home/database.ts";
import type { Identity } from "../e2ee/mod.ts";

/** A change that was asked for. */
export interface AskedPassword {
  readonly stretching: Stretching;
  readonly serial: number;
  /** When it was asked for. */
  readonly askedMs: number;
}

export class PendingPassword {
  readonly #home: string;
  readonly #db: Database;
  readonly #credentials: AccountBook;

  constructor(home: string, database: Database, credentials: AccountBook) {
    this.#home = home;
    this.#db = database;
    this.#credentials = credentials;
  }

  /** The change whose outcome is not known. */
  get(): AskedPassword | undefined {
    const text = this.#db.meta(PENDING);
    if (text === undefined) return undefined;
    const { salt, log2N, serial, askedMs } = JSON.parse(text) as StoredChange;
    return { stretching: { salt: Uint8Array.fromHex(salt), log2N }, serial, askedMs };
  }

  /** Before the server is asked. @throws LockedError */
  async prepare(
    change: {
      readonly identity: Identity;
      readonly password: string;
      readonly stretched: StretchedPassword;
      readonly stretching: Stretching;
      readonly serial: number;
    },
    nowMs: number,
  ): Promise<void> {
    const { identity, password, stretched, stretching: { salt, log2N }, serial } = change;
    const { clusterId, name } = this.#credentials.account()!;
    await writePrivateFile(this.#path(NEXT_FILE), await identity.toPem(password));
    const stored: StoredChange = { salt: salt.toHex(), log2N, serial, askedMs: nowMs };
    this.#db.transaction(() => {
      this.#credentials.vault.addNext(stretched, { clusterId, name, stretching: change.stretching });
      this.#db.setMeta(PENDING, JSON.stringify(stored));
    });
  }

  /**
   * What the server says of the password now decides.
   *
   * @returns Which password counts; `undefined` where nothing was pending, or the server may be at it still.
   */
  async settle({ salt }: Stretching, nowMs: number): Promise<"new" | "old" | undefined> {
    const pending = this.get();
    if (pending === undefined) return undefined;
    if (equalBytes(salt, pending.stretching.salt)) {
      await this.#take(pending);
      return "new";
    }
    // What was asked on a connection that is gone may still wait for its turn there.
    if (nowMs < pending.askedMs + UNDER_WAY_MS && nowMs >= pending.askedMs) return undefined;
    await this.drop();
    return "old";
  }

  /** The server refused it. */
  async drop(): Promise<void> {
    this.#db.transaction(() => {
      this.#credentials.vault.dropNext();
      this.#db.setMeta(PENDING, undefined);
    });
    await ignoreMissing(Deno.remove(this.#path(NEXT_FILE)));
  }

  /** Each step may be done twice. */
  async #take({ stretching, serial }: AskedPassword): Promise<void> {
    await ignoreMissing(Deno.rename(this.#path(NEXT_FILE), this.#path(IDENTITY_FILE)));
    this.#db.transaction(() => {
      this.#credentials.vault.takeNext();
      this.#credentials.updateAccount({ ...stretching, serial, identityStale: false });
      this.#db.setMeta(PENDING, undefined);
    });
    this.#db.truncateLog();
    this.#credentials.vault.clean();
  }

  #path(file: string): string {
    return join(this.#home, file);
  }
}

async function ignoreMissing(done: Promise<void>): Promise<void> {
  try {
    await done;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

interface StoredChange {
  salt: string;
  log2N: number;
  serial: number;
  askedMs: number;
}

export const IDENTITY_FILE = "identity.pem";
const NEXT_FILE = "identity.next.pem";
const PENDING = "password-change";
/** A server answers within seconds, or its client has given up. */
const UNDER_WAY_MS = 2 * 60_000;
