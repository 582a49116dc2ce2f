/** What may stand behind any command, parsed: config.ts makes it, commands use it. */

export interface Options {
  readonly home?: string;
  readonly user?: string;
  readonly server?: string;
  readonly passwordFile?: string;
  readonly tokenFile?: string;
  /** Whether a password that a person types unlocks the home for the rest of the session. */
  readonly agent: boolean;
  /** `agent` stays in the foreground; with `stdin` it reads the key there. */
  readonly foreground: boolean;
  readonly stdin: boolean;
  readonly json: boolean;
  readonly wait?: number;
  readonly limit?: number;
  readonly timeout?: number;
  /** `device share`: nothing from before that day; `device approve` does that too. */
  readonly since?: string;
  readonly withHistory: boolean;
  /** `device link` and `device approve` by digits that people compare. */
  readonly compare: boolean;
  /** `listen` repeats what `ack` was not called for. */
  readonly ack?: "manual";
  readonly ackAfter?: number;
  readonly window?: number;
  /** `listen` tells who comes, goes and types. */
  readonly presence: boolean;
  /** `verify`: the digits to compare; the person has compared them; take the mark away; no QR code. */
  readonly number?: string;
  readonly yes: boolean;
  readonly unverify: boolean;
  readonly noQr: boolean;
  /** What this device is called; by default as its machine. */
  readonly deviceName?: string;
  readonly datagramBytes?: number;
  readonly serverBackup: boolean;
  /** Where a recovery key is written, or read from. */
  readonly recoveryFile?: string;
  /** `recover` brings the archive back without asking. */
  readonly archive: boolean;
  /** `archive on` makes a recovery key instead of asking for it; `archive off` deletes what the server has. */
  readonly newRecoveryKey: boolean;
  readonly delete: boolean;
  /** Whether another password ends all other sessions. */
  readonly signOutOthers: boolean;
  readonly help: boolean;
  readonly version: boolean;
}
