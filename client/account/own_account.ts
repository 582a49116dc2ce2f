/** What a person sees and changes of their account while they are logged in: password and recovery key. */
import type { ResponseOf } from "../../shared/protocol/mod.ts";
import type { Credentials } from "./credentials.ts";
import type { Link } from "../network/link.ts";
import { OPEN_TIMEOUT_MS } from "../open_options.ts";
import { changePassword, type NewPassword } from "./password_change.ts";
import { replaceRecoveryKey } from "./recovery.ts";
import type { TicketPurse } from "../network/tickets.ts";

export interface OwnAccountOptions {
  readonly credentials: Credentials;
  /** The home's directory. */
  readonly home: string;
  readonly link: Link;
  readonly tickets: Pick<TicketPurse, "clear">;
}

export class OwnAccount {
  readonly #options: OwnAccountOptions;

  constructor(options: OwnAccountOptions) {
    this.#options = options;
  }

  /** Since when there is a recovery key, and whether the server keeps a backup that the password opens. */
  async credentials(): Promise<ResponseOf<"credentials">> {
    return await this.#options.link.ask<"credentials">({ type: "credentials", device: undefined });
  }

  /** @throws WrongPasswordError, CannotReachError, TimedOutError. */
  async newRecoveryKey(password: string): Promise<string> {
    const { credentials, link } = this.#options;
    return await replaceRecoveryKey(credentials, password, link, OPEN_TIMEOUT_MS);
  }

  /** @throws UsageError, WrongPasswordError, CannotReachError, TimedOutError. */
  async changePassword(asked: NewPassword, onProgress: (text: string) => void): Promise<void> {
    const { credentials, home, link, tickets } = this.#options;
    await changePassword({ credentials, home, link, onProgress }, asked);
    // Those we have may be worth nothing now.
    if (asked.signOutOthers) tickets.clear();
  }
}
