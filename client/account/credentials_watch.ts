/**
 * Keeps a home up to date on its account's credentials: asks the server with every connection and whenever it tells of a change,
 * and says what was changed elsewhere. What it believes of a password, the identity has signed (docs/PROTOCOL.md §17).
 */
import { equalBytes, fingerprint, verifyPasswordStatement } from "../../shared/crypto/mod.ts";
import type { DeviceId, ResponseOf } from "../../shared/protocol/mod.ts";
import { type Account, OWN_RECOVERY_KEY } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import type { NoticeEvent } from "../events.ts";
import { timeText } from "../time.ts";
import type { Remote } from "../network/remote.ts";

export interface CredentialsWatchOptions {
  readonly credentials: Credentials;
  readonly device: DeviceId;
  onNotice(notice: NoticeEvent): void;
}

export class CredentialsWatch {
  readonly #options: CredentialsWatchOptions;
  #looking: Promise<void> = Promise.resolve();
  #hasLooked = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: CredentialsWatchOptions) {
    this.#options = options;
  }

  /**
   * With the first connection at once; later a while after it, because many may have lost one server at the same moment, and what
   * is told meanwhile comes as an event.
   */
  connected(remote: () => Remote | undefined): void {
    const first = remote();
    if (!this.#hasLooked && first !== undefined) return void this.look(first);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const now = remote();
      if (now !== undefined) void this.look(now);
    }, Math.random() * SPREAD_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  /** One look after the other. What a lost connection leaves out the next one asks again. */
  look(remote: Remote): Promise<void> {
    return this.#looking = this.#looking.then(() => this.#look(remote)).catch(() => {});
  }

  async #look(remote: Remote): Promise<void> {
    const { credentials } = this.#options;
    const told = await remote.ask<"credentials">({ type: "credentials", device: undefined });
    this.#hasLooked = true;
    const outcome = await credentials.pendingPassword.settle(told.stretching, Date.now());
    if (outcome !== undefined) this.#notice("password-changed", CUT_OFF[outcome]);
    const account = credentials.account();
    if (account?.enrolled !== true) return;
    await this.#lookAtPassword(account, told);
    this.#lookAtRecovery(account, told);
  }

  async #lookAtPassword(account: Account, told: ResponseOf<"credentials">): Promise<void> {
    if (told.password === undefined || told.password.serial <= (account.serial ?? 0)) return;
    const { change } = told.password;
    if (!await adopt(this.#options.credentials, account, told)) {
      const text =
        "The server says that your password was changed, and cannot show that it was you: it is not believed";
      return this.#notice("password-changed", text);
    }
    if (change.device === this.#options.device) return;
    const where = `on another device (${change.device.slice(0, 8)}…) at ${timeText(change.timeMs)}`;
    const what = change.what === RECOVERED
      ? `Your account was recovered with the recovery key ${where}, and has another password`
      : `Your password was changed ${where}`;
    this.#notice("password-changed", `${what}. This home still opens with the one before`);
  }

  #lookAtRecovery(account: Account, { recoveryMs }: ResponseOf<"credentials">): void {
    const before = account.recoveryMs;
    if (before === recoveryMs) return;
    this.#options.credentials.updateAccount({ recoveryMs });
    if (before === undefined || before === OWN_RECOVERY_KEY) return;
    const text = recoveryMs === 0
      ? "The server has no recovery key of yours any more: make one (fastchat recovery new)"
      : `A recovery key was made at ${
        timeText(recoveryMs)
      }, and the one before is void. If that was not you, make another`;
    this.#notice("recovery-key", text);
  }

  #notice(code: NoticeEvent["code"], text: string): void {
    this.#options.onNotice({ type: "notice", code, text });
  }
}

/**
 * Takes over how the password is stretched since it was changed elsewhere.
 *
 * @returns Whether this home's own identity says so, and not only a server.
 */
export async function adopt(
  credentials: Credentials,
  account: Account,
  told: ResponseOf<"credentials">,
): Promise<boolean> {
  const { password, identityKey, stretching } = told, { clusterId, name, identity } = account;
  if (password === undefined || password.serial <= (account.serial ?? 0)) return false;
  if (!equalBytes(fingerprint(identityKey), identity)) return false;
  const claim = { clusterId, name, stretching, serial: password.serial };
  if (!await verifyPasswordStatement(identityKey, claim, password.statement)) return false;
  credentials.updateAccount({ ...stretching, serial: password.serial, identityStale: true });
  return true;
}

const SPREAD_MS = 60_000;
const RECOVERED = 2;
const CUT_OFF = {
  new: "A change of your password that was cut off has happened: the new password counts",
  old: "A change of your password that was cut off has not happened: the old password counts",
};
