/** What users change of their credentials, of the store in memory: the plain twin of `sqlite/credentials.ts`. */
import type { UserName } from "../../../shared/protocol/mod.ts";
import { sameBytes } from "../bytes.ts";
import { CredentialWhat, type NewRecovery, type PasswordChange, type StoredCredentials } from "../store.ts";
import type { MemoryAccounts } from "./accounts.ts";
import type { MemoryTables } from "./rows.ts";
import type { MemorySessions } from "./sessions.ts";

export class MemoryCredentials {
  readonly #tables: MemoryTables;
  readonly #accounts: MemoryAccounts;
  readonly #sessions: MemorySessions;

  constructor(tables: MemoryTables, accounts: MemoryAccounts, sessions: MemorySessions) {
    this.#tables = tables;
    this.#accounts = accounts;
    this.#sessions = sessions;
  }

  of(name: UserName): StoredCredentials | undefined {
    const user = this.#tables.users.get(name);
    return user && { recovery: user.recovery, password: user.password };
  }

  setRecovery(name: UserName, { proofHash, backup, device, nowMs }: NewRecovery): void {
    const user = this.#tables.users.get(name);
    if (user === undefined) throw new RangeError(`Cannot keep a recovery key: there is no user ${name}`);
    if (user.recovery && sameBytes(user.recovery.proofHash, proofHash)) return;
    user.recovery = { proofHash, backup, madeMs: nowMs };
    const change = { what: CredentialWhat.RecoveryKey, device, timeMs: nowMs };
    this.#tables.listener?.sessionsEnded({ user: name, generation: 0, keep: undefined, change });
  }

  changePassword(asked: PasswordChange): "changed" | "stale" | "limit" | "id-taken" {
    const { name, expected, serial, statement, device, nowMs } = asked, user = this.#tables.users.get(name);
    if (user === undefined) throw new RangeError(`Cannot change a password: there is no user ${name}`);
    const isRepeat = sameBytes(user.passwordHash, asked.passwordHash);
    if (!isRepeat) {
      const isExpected = "passwordHash" in expected
        ? sameBytes(expected.passwordHash, user.passwordHash)
        : user.recovery !== undefined && sameBytes(expected.recoveryProofHash, user.recovery.proofHash);
      if (!isExpected || serial <= (user.password?.serial ?? 0)) return "stale";
    }
    const added = asked.newDevice === undefined ? "added" : this.#accounts.addDevice(name, asked.newDevice);
    if (added === "limit" || added === "id-taken") return added;
    if (added === "unapproved") this.#tables.devices.get(device)!.approved = true;
    const what = "passwordHash" in expected ? CredentialWhat.Password : CredentialWhat.Recovered;
    const change = { what, device, timeMs: nowMs };
    if (!isRepeat) {
      user.stretching = asked.stretching;
      user.passwordHash = asked.passwordHash;
      user.backup = asked.backup;
      user.password = { serial, statement, change };
    }
    if (asked.endOthers) this.#sessions.raise(name, asked.keep, change);
    else this.#tables.listener?.sessionsEnded({ user: name, generation: 0, keep: undefined, change });
    return "changed";
  }
}
