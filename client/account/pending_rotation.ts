/**
 * A new identity between asking the server and its answer, as it lies in the home: encrypted by the password beside the old one,
 * until the server says which of the two is in force.
 */
import { join } from "node:path";
import { equalBytes } from "../../shared/crypto/mod.ts";
import { writePrivateFile } from "../../shared/host/mod.ts";
import type { AccountBook } from "./account.ts";
import type { Database } from "../home/database.ts";
import type { Identity } from "../e2ee/mod.ts";
import { IDENTITY_FILE } from "./pending_password.ts";

export class PendingRotation {
  readonly #home: string;
  readonly #db: Database;
  readonly #credentials: AccountBook;

  constructor(home: string, database: Database, credentials: AccountBook) {
    this.#home = home;
    this.#db = database;
    this.#credentials = credentials;
  }

  /** Whether {@linkcode settle} has something to decide. */
  get isPending(): boolean {
    return this.#db.meta(PENDING) !== undefined;
  }

  /** Before the server is asked. */
  async prepare(identity: Identity, password: string): Promise<void> {
    await writePrivateFile(this.#path(ROTATED_FILE), await identity.toPem(password));
    this.#db.transaction(() => this.#db.setMeta(PENDING, identity.fingerprint.toHex()));
  }

  /**
   * Takes the new identity over where it is in force, and drops it where the old one is.
   *
   * @param inForce Fingerprint of the identity that the server shows for this account, 32 bytes. It decides between the two only.
   */
  async settle(inForce: Uint8Array): Promise<void> {
    const pending = this.#db.meta(PENDING), account = this.#credentials.account();
    if (pending === undefined || account === undefined) return;
    if (pending === inForce.toHex()) {
      await rename(this.#path(ROTATED_FILE), this.#path(IDENTITY_FILE));
      this.#db.transaction(() => {
        this.#credentials.updateAccount({ identity: inForce, identityStale: false });
        this.#db.setMeta(PENDING, undefined);
      });
    } else if (equalBytes(account.identity, inForce)) {
      await Deno.remove(this.#path(ROTATED_FILE)).catch(() => {});
      this.#db.transaction(() => this.#db.setMeta(PENDING, undefined));
    }
  }

  #path(file: string): string {
    return join(this.#home, file);
  }
}

/** May be done twice. */
async function rename(from: string, to: string): Promise<void> {
  try {
    await Deno.rename(from, to);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

const ROTATED_FILE = "identity.rotated.pem";
const PENDING = "identity-rotated";
