/**
 * How each connection of a session becomes this device's (docs/PROTOCOL.md §2.6, §7.1): by the ticket that it came with, else by
 * logging in. All of them go by one identity.
 */
import { equalBytes } from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { FastChatError } from "../errors.ts";
import type { LogIn } from "./login.ts";
import type { Remote } from "../network/remote.ts";
import type { TicketPurse } from "../network/tickets.ts";

export class Admission {
  readonly #login: LogIn;
  readonly #tickets: TicketPurse;
  /** Fingerprint of the identity that this session goes by. */
  #identity: Uint8Array | undefined;

  constructor(login: LogIn, tickets: TicketPurse) {
    this.#login = login;
    this.#tickets = tickets;
  }

  /**
   * Makes a connection ours. After a ticket nothing has to be said: what we want first tells whether the server still knows us.
   *
   * @param isResumed The server has taken a ticket.
   * @throws What {@linkcode LogIn.run} throws; {@linkcode replacedError}.
   */
  async admit(remote: Remote, isResumed: boolean): Promise<void> {
    if (isResumed) {
      try {
        await this.#login.resumed();
        return await this.#begin(remote);
      } catch (error) {
        if (!(error instanceof RequestError) || error.code !== ErrorCode.notAuthenticated) throw error;
        // The session behind the ticket is over, or the password was changed: never a reason to give up.
        this.#tickets.clear();
      }
    }
    await this.#login.run(remote);
    await this.#login.settle(remote);
    await this.#begin(remote);
  }

  async #begin(remote: Remote): Promise<void> {
    await this.#login.settleRotation(remote);
    this.#requireSame();
    await remote.ask<"subscribe">({ type: "subscribe" });
  }

  /** Everything in the session goes by one identity, from the first connection on. */
  #requireSame(): void {
    const now = this.#login.self!.identity;
    this.#identity ??= now;
    if (!equalBytes(this.#identity, now)) throw replacedError();
  }
}

/** This session goes by an identity that is this person's no longer. */
export function replacedError(): FastChatError {
  return new FastChatError("Your identity was replaced by a new one: start again");
}
