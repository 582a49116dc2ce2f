/** What users change of their credentials: tables `recoveries` and `password_changes`, and the password's columns of `users`. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { CredentialChange, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { sameBytes } from "../bytes.ts";
import type { Notices } from "../notices.ts";
import { CredentialWhat, type NewRecovery, type PasswordChange, type StoredCredentials } from "../store.ts";
import type { Accounts } from "./accounts.ts";
import type { StoreClock } from "./clock.ts";
import { RefusedError } from "./errors.ts";

export class Credentials {
  readonly #accounts: Accounts;
  readonly #clock: StoreClock;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, accounts: Accounts, clock: StoreClock) {
    this.#accounts = accounts;
    this.#clock = clock;
    this.#sql = prepare(database);
  }

  of(name: UserName): StoredCredentials | undefined {
    const user = this.#sql.user.get(name);
    if (user === undefined) return undefined;
    const recovery = this.#sql.recovery.get(user["id"]!), password = this.#sql.password.get(user["id"]!);
    return {
      recovery: recovery && {
        proofHash: recovery["proof_hash"] as Uint8Array,
        backup: recovery["backup"] as Uint8Array,
        madeMs: recovery["made_ms"] as number,
      },
      password: password && {
        serial: password["serial"] as number,
        statement: password["statement"] as Uint8Array,
        change: {
          what: password["what"] as number,
          device: (password["device"] as Uint8Array).toHex() as DeviceId,
          timeMs: password["time_ms"] as number,
        },
      },
    };
  }

  setRecovery(name: UserName, recovery: NewRecovery, notices: Notices): void {
    const user = this.#sql.user.get(name)?.["id"] as number | undefined;
    if (user === undefined) throw new RefusedError(`Cannot keep a recovery key: there is no user ${name}`);
    const { proofHash, backup, device, nowMs } = recovery;
    const known = this.#sql.recovery.get(user);
    if (known && sameBytes(known["proof_hash"] as Uint8Array, proofHash)) return;
    this.#clock.heard(nowMs);
    this.#sql.setRecovery.run(user, proofHash, backup, nowMs);
    tell(notices, name, { what: CredentialWhat.RecoveryKey, device, timeMs: nowMs });
  }

  changePassword(asked: PasswordChange, notices: Notices): "changed" | "stale" | "limit" | "id-taken" {
    const { name, stretching, serial, statement, passwordHash, backup, device, newDevice, nowMs } = asked;
    const user = this.#sql.user.get(name);
    if (user === undefined) throw new RefusedError(`Cannot change a password: there is no user ${name}`);
    const id = user["id"] as number;
    // Asked again because the answer was lost: sealed anew it would be other bytes.
    const isRepeat = sameBytes(user["password_hash"] as Uint8Array, passwordHash);
    if (!isRepeat && !this.#isExpected(asked, id, user["password_hash"] as Uint8Array)) return "stale";
    const added = newDevice === undefined ? "added" : this.#accounts.addDevice(name, newDevice, notices);
    if (added === "limit" || added === "id-taken") return added;
    // The recovery key is more than a password: whoever has it need not wait for a device that may be lost.
    if (added === "unapproved") this.#sql.approve.run(Uint8Array.fromHex(device));
    this.#clock.heard(nowMs);
    const what = "passwordHash" in asked.expected ? CredentialWhat.Password : CredentialWhat.Recovered;
    if (!isRepeat) {
      this.#sql.setPassword.run(stretching.salt, stretching.log2N, passwordHash, backup, id);
      this.#sql.setChange.run(id, serial, what, Uint8Array.fromHex(device), nowMs, statement);
    }
    const change = { what, device, timeMs: nowMs };
    if (asked.endOthers) this.#accounts.raiseGeneration(name, asked.keep, notices, change);
    else tell(notices, name, change);
    return "changed";
  }

  #isExpected({ expected, serial }: PasswordChange, user: number, passwordHash: Uint8Array): boolean {
    if (serial <= (this.#sql.password.get(user)?.["serial"] as number | undefined ?? 0)) return false;
    if ("passwordHash" in expected) return sameBytes(expected.passwordHash, passwordHash);
    const proofHash = this.#sql.recovery.get(user)?.["proof_hash"] as Uint8Array | undefined;
    return proofHash !== undefined && sameBytes(expected.recoveryProofHash, proofHash);
  }
}

function tell(notices: Notices, user: UserName, change: CredentialChange): void {
  notices.sessionsEnded({ user, generation: 0, keep: undefined, change });
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    user: sql("SELECT id, password_hash FROM users WHERE name = ?"),
    recovery: sql("SELECT proof_hash, backup, made_ms FROM recoveries WHERE user = ?"),
    setRecovery: sql("INSERT OR REPLACE INTO recoveries (user, proof_hash, backup, made_ms) VALUES (?, ?, ?, ?)"),
    password: sql("SELECT serial, what, device, time_ms, statement FROM password_changes WHERE user = ?"),
    approve: sql("UPDATE devices SET approved = 1 WHERE key = ?"),
    setPassword: sql("UPDATE users SET salt = ?, log2_n = ?, password_hash = ?, backup = ? WHERE id = ?"),
    setChange: sql(
      `INSERT OR REPLACE INTO password_changes (user, serial, what, device, time_ms, statement)
       VALUES (?, ?, ?, ?, ?, ?)`,
    ),
  };
}
