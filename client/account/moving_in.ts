/** How a home becomes an account's: its password seals it, and the session that the server granted is kept. */
import type { StretchedPassword } from "../../shared/crypto/mod.ts";
import type { ResponseOf } from "../../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { LockedError } from "../errors.ts";

export class MovingIn {
  readonly #credentials: Credentials;
  #isDone = false;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /** Whether a server has granted a session here, since this was made. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** The password is this person's: it seals the home from now on. @throws LockedError */
  seal({ clusterId, name, log2N, salt }: Account, stretched: StretchedPassword): void {
    const { vault } = this.#credentials, owner = { clusterId, name, stretching: { log2N, salt: salt! } };
    // Only what a sign-up that was cut off has left may be lost.
    if (vault.isLocked && this.#credentials.account()?.enrolled) throw new LockedError();
    if (vault.isLocked) vault.forget();
    if (!vault.isSealedBy(stretched, owner)) vault.rewrap(stretched, owner);
  }

  /** The server has let this device in: the home is the account's. */
  finish(account: Account, session: ResponseOf<"session">, stretched: StretchedPassword): void {
    this.seal(account, stretched);
    this.#credentials.saveSession(session);
    this.#credentials.saveAccount({ ...account, enrolled: true });
    this.#isDone = true;
  }
}
