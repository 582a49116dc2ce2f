/** Users, their devices and their sessions: tables `users`, `devices`, `sessions`. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { deviceEntry } from "../../../shared/crypto/mod.ts";
import {
  ACQUAINTED_MAX,
  DEVICES_PER_USER_MAX,
  KEY_ENTRIES_PER_USER_MAX,
  SESSIONS_PER_DEVICE_MAX,
} from "../../../shared/limits.ts";
import type {
  ConversationId,
  CredentialChange,
  DeviceId,
  DirectoryEntry,
  UserName,
} from "../../../shared/protocol/mod.ts";
import type { DevicesChanged } from "../../bus/bus.ts";
import { sameBytes } from "../bytes.ts";
import type { Notices } from "../notices.ts";
import type { Account, DeviceName, DeviceStanding, KeyChange, LiveSession, NewDevice, NewUser } from "../store.ts";
import type { Session } from "../store.ts";
import type { StoreClock } from "./clock.ts";
import { RefusedError } from "./errors.ts";
import type { KeyLogTable } from "./key_log.ts";
import { ConversationKind } from "../groups.ts";
import { Ended, EPOCH, MEMBERS, membersOf, type Rows } from "./rows.ts";

export class Accounts {
  readonly #rows: Rows;
  readonly #clock: StoreClock;
  readonly #keyLog: KeyLogTable;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, parts: { rows: Rows; clock: StoreClock; keyLog: KeyLogTable }) {
    this.#rows = parts.rows;
    this.#clock = parts.clock;
    this.#keyLog = parts.keyLog;
    this.#sql = prepare(database);
  }

  createUser(user: NewUser): "created" | "name-taken" {
    const known = this.#sql.userByName.get(user.name);
    const device = this.#sql.deviceByKey.get(Uint8Array.fromHex(user.device.id));
    if (known !== undefined) {
      const retried = device?.["user"] === known["id"] &&
        sameBytes(device?.["certificate"] as Uint8Array, user.device.certificate) &&
        sameBytes(known["identity_key"] as Uint8Array, user.identityKey);
      return retried ? "created" : "name-taken";
    }
    if (device !== undefined) return "name-taken";
    this.#clock.heard(user.nowMs);
    const { lastInsertRowid } = this.#sql.insertUser.run(
      user.name,
      user.stretching.salt,
      user.stretching.log2N,
      user.passwordHash,
      user.identityKey,
      user.backup,
      user.nowMs,
    );
    this.#sql.insertDevice.run(Uint8Array.fromHex(user.device.id), lastInsertRowid, user.device.certificate, 1);
    this.#keyLog.add(user.name, lastInsertRowid as number, deviceEntry(user.device.certificate));
    return "created";
  }

  exists(name: UserName): boolean {
    return this.#sql.userByName.get(name) !== undefined;
  }

  account(name: UserName): Account | undefined {
    const user = this.#sql.userByName.get(name);
    if (user === undefined) return undefined;
    const devices = this.#sql.devicesOfUser.all(user["id"]!).map((row) => ({
      id: (row["key"] as Uint8Array).toHex() as DeviceId,
      certificate: row["certificate"] as Uint8Array,
    }));
    return {
      name,
      stretching: { salt: user["salt"] as Uint8Array, log2N: user["log2_n"] as number },
      passwordHash: user["password_hash"] as Uint8Array,
      identityKey: user["identity_key"] as Uint8Array,
      backup: user["backup"] as Uint8Array,
      devices,
    };
  }

  addDevice(
    name: UserName,
    device: NewDevice,
    notices: Notices,
    identityKey?: Uint8Array,
  ): "added" | "unapproved" | "limit" | "id-taken" {
    const row = this.#sql.userByName.get(name);
    if (row === undefined) throw new RefusedError(`Cannot add a device: there is no user ${name}`);
    if (identityKey !== undefined && !sameBytes(row["identity_key"] as Uint8Array, identityKey)) return "id-taken";
    const user = row["id"] as number, key = Uint8Array.fromHex(device.id);
    const known = this.#sql.deviceByKey.get(key);
    // One whose identity was replaced comes back in its own place.
    const returns = known?.["user"] === user && known["ended"] === Ended.superseded &&
      !sameBytes(known["certificate"] as Uint8Array, device.certificate);
    if (known !== undefined && !returns) {
      const same = known["user"] === user && known["ended"] === Ended.no &&
        sameBytes(known["certificate"] as Uint8Array, device.certificate);
      if (!same) return "id-taken";
      return row["approval"] === 1 && known["approved"] === 0 ? "unapproved" : "added";
    }
    if (this.#sql.countDevices.get(user)!["count"] as number >= DEVICES_PER_USER_MAX) return "limit";
    if (this.#keyLog.countOf(user) >= KEY_ENTRIES_PER_USER_MAX) return "limit";
    const approved = this.#sql.approved.get(user) === undefined ? 1 : 0;
    const id = known?.["id"] as number ??
      this.#sql.insertDevice.run(key, user, device.certificate, approved).lastInsertRowid;
    if (returns) this.#sql.renewDevice.run(device.certificate, approved, id);
    this.#keyLog.add(name, user, deviceEntry(device.certificate));
    this.#rows.writeHeads();
    if (!returns) this.#sql.beginCursors.run(id, user);
    this.#devicesMoved(name, user, notices);
    return row["approval"] === 1 && approved === 0 ? "unapproved" : "added";
  }

  changeKeys({ user: name, after, entry, effect }: KeyChange, notices: Notices): "done" | "moved" | "limit" {
    const row = this.#sql.userByName.get(name);
    if (row === undefined) throw new RefusedError(`Cannot change keys: there is no user ${name}`);
    const user = row["id"] as number;
    if (this.#keyLog.newestOf(user) !== after) return "moved";
    if (effect.type !== "revoke" && this.#keyLog.countOf(user) >= KEY_ENTRIES_PER_USER_MAX) return "limit";
    const device = "device" in effect
      ? this.#sql.deviceByKey.get(Uint8Array.fromHex(effect.type === "rotate" ? effect.device.id : effect.device))
      : undefined;
    if ("device" in effect && device?.["user"] !== user) {
      throw new RefusedError(`Cannot change keys: ${name} has no such device`);
    }
    const id = device?.["id"] as number;
    this.#keyLog.add(name, user, entry);
    switch (effect.type) {
      case "approve":
        this.#sql.approve.run(id);
        // Where it was nobody's until now, nothing was sealed for it.
        if (row["approval"] === 1 && device!["approved"] === 0) {
          this.#rows.writeHeads();
          this.#sql.moveCursors.run(id, user);
        }
        break;
      case "revoke":
        this.#sql.end.run(Ended.revoked, id);
        this.#sql.endSessionsOfDevice.run(id);
        this.#sql.dropCursors.run(id);
        this.#sql.inherit.run(user, user);
        notices.sessionsEnded({
          user: name,
          generation: row["generation"] as number,
          keep: undefined,
          device: effect.device,
        });
        break;
      case "policy":
        this.#sql.setApproval.run(effect.approval ? 1 : 0, user);
        break;
      case "rotate":
        this.#sql.supersede.run(Ended.superseded, user);
        this.#sql.renewDevice.run(effect.device.certificate, 1, id);
        this.#sql.setIdentity.run(effect.identityKey, effect.backup, user);
        // By the old identity, both: a recovery key would bring that one back.
        this.#sql.dropRecovery.run(user);
        this.#sql.dropPasswordChange.run(user);
        this.raiseGeneration(name, effect.keep, notices);
    }
    this.#devicesMoved(name, user, notices);
    return "done";
  }

  device(name: UserName, id: DeviceId): DeviceStanding | undefined {
    const row = this.#sql.deviceByKey.get(Uint8Array.fromHex(id));
    if (row?.["name"] !== name) return undefined;
    const { ended, approved, approval } = row;
    const standing = ended === Ended.revoked
      ? "revoked"
      : ended === Ended.superseded
      ? "superseded"
      : approval === 1 && approved === 0
      ? "unapproved"
      : "live";
    return { certificate: row["certificate"] as Uint8Array, standing };
  }

  nameDevice(name: UserName, id: DeviceId, named: Pick<DeviceName, "name" | "signature">): void {
    if (this.#rows.device(id)?.user !== name) {
      throw new RefusedError(`Cannot name a device: ${name} has no such device`);
    }
    this.#sql.nameDevice.run(named.name, named.signature, Uint8Array.fromHex(id));
  }

  deviceNames(name: UserName): DeviceName[] {
    return this.#sql.deviceNames.all(name).map((row) => ({
      device: (row["key"] as Uint8Array).toHex() as DeviceId,
      name: row["name"] as string,
      signature: row["name_signature"] as Uint8Array,
    }));
  }

  createSession(session: Session): number {
    const device = this.#rows.device(session.device);
    if (device?.user !== session.user || this.device(session.user, session.device)?.standing !== "live") {
      throw new RefusedError(`Cannot keep a session: ${session.user} has no device ${session.device}`);
    }
    this.#sql.forgetSessions.run(this.#clock.nowMs - EXPIRED_KEPT_MS);
    this.#sql.insertSession.run(session.tokenHash, device.id, session.expiresMs);
    this.#sql.endOldest.run(device.id, session.tokenHash, SESSIONS_PER_DEVICE_MAX - 1);
    return this.#sql.userByName.get(session.user)!["generation"] as number;
  }

  session(tokenHash: Uint8Array, nowMs: number): LiveSession | undefined {
    this.#clock.heard(nowMs);
    const row = this.#sql.session.get(tokenHash, nowMs);
    return row && {
      tokenHash: row["token_hash"] as Uint8Array,
      user: row["name"] as UserName,
      device: (row["key"] as Uint8Array).toHex() as DeviceId,
      expiresMs: row["expires_ms"] as number,
      generation: row["generation"] as number,
    };
  }

  deleteSession(tokenHash: Uint8Array): void {
    this.#sql.deleteSession.run(tokenHash);
  }

  raiseGeneration(
    name: UserName,
    keep: Uint8Array | undefined,
    notices: Notices,
    change?: CredentialChange,
  ): number {
    const user = this.#sql.userByName.get(name);
    if (user === undefined) throw new RefusedError(`Cannot end sessions: there is no user ${name}`);
    const generation = user["generation"] as number + 1;
    this.#sql.setGeneration.run(generation, user["id"]!);
    this.#sql.endSessions.run(user["id"]!, keep ?? new Uint8Array());
    notices.sessionsEnded({ user: name, generation, keep, change });
    return generation;
  }

  users(after: string, limit: number): UserName[] {
    return this.#sql.users.all(after, limit).map((row) => row["name"] as UserName);
  }

  directory(names: readonly UserName[]): DirectoryEntry[] {
    return names.flatMap((name) => {
      const user = this.#sql.userByName.get(name);
      if (user === undefined) return [];
      return [{
        name,
        identityKey: user["identity_key"] as Uint8Array,
        deviceRevision: user["device_revision"] as number,
        certificates: this.#sql.devicesOfUser.all(user["id"]!).map((row) => row["certificate"] as Uint8Array),
      }];
    });
  }

  /** The user's devices are others than before: whoever shares a conversation with them hears of it. */
  #devicesMoved(name: UserName, user: number, notices: Notices): void {
    this.#rows.writeHeads();
    this.#sql.raiseRevision.run(user);
    this.#sql.raiseEpochs.run(user);
    // The cached epochs are the old ones now.
    this.#rows.forgetDirect();
    const acquainted = this.#sql.acquainted.all(user, ACQUAINTED_MAX).map((row) => row["name"] as UserName);
    notices.devicesChanged({
      user: name,
      conversations: this.#epochsOf(user),
      keyLogLength: this.#keyLog.length,
      ...(acquainted.length > 0 && { acquainted }),
    });
  }

  #epochsOf(user: number): DevicesChanged["conversations"][number][] {
    return this.#sql.epochs.all(user).map((row) => ({
      id: (row["key"] as Uint8Array).toHex() as ConversationId,
      epoch: row["epoch"] as number,
      members: membersOf(row["members"]),
    }));
  }
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    userByName: sql("SELECT * FROM users WHERE name = ?"),
    insertUser: sql(
      `INSERT INTO users (name, salt, log2_n, password_hash, identity_key, backup, device_revision, created_ms)
       VALUES (?, ?, ?, ?, ?, ?, 1, ?)`,
    ),
    users: sql("SELECT name FROM users WHERE name > ? ORDER BY name LIMIT ?"),
    raiseRevision: sql("UPDATE users SET device_revision = device_revision + 1 WHERE id = ?"),
    deviceByKey: sql(
      `SELECT devices.id, devices.user, devices.certificate, devices.ended, devices.approved, users.name, users.approval
       FROM devices JOIN users ON users.id = devices.user WHERE devices.key = ?`,
    ),
    devicesOfUser: sql(
      `SELECT key, certificate FROM devices JOIN users ON users.id = devices.user
       WHERE devices.user = ? AND ended = 0 AND (approved = 1 OR approval = 0) ORDER BY devices.id`,
    ),
    countDevices: sql(`SELECT count(*) AS count FROM devices WHERE user = ? AND ended <> ${Ended.revoked}`),
    insertDevice: sql("INSERT INTO devices (key, user, certificate, approved) VALUES (?, ?, ?, ?)"),
    renewDevice: sql("UPDATE devices SET certificate = ?, approved = ?, ended = 0 WHERE id = ?"),
    approve: sql("UPDATE devices SET approved = 1 WHERE id = ?"),
    approved: sql("SELECT 1 FROM devices WHERE user = ? AND ended = 0 AND approved = 1 LIMIT 1"),
    // Somebody must be able to approve the next: of those that are left, whoever came first (docs/PROTOCOL.md §16.1).
    inherit: sql(
      `UPDATE devices SET approved = 1
       WHERE NOT EXISTS (SELECT 1 FROM devices WHERE user = ? AND ended = 0 AND approved = 1)
         AND id = (SELECT id FROM devices WHERE user = ? AND ended = 0 ORDER BY id LIMIT 1)`,
    ),
    end: sql("UPDATE devices SET ended = ?, name = NULL, name_signature = NULL WHERE id = ?"),
    supersede: sql("UPDATE devices SET ended = ? WHERE user = ? AND ended = 0"),
    setApproval: sql("UPDATE users SET approval = ? WHERE id = ?"),
    dropRecovery: sql("DELETE FROM recoveries WHERE user = ?"),
    dropPasswordChange: sql("DELETE FROM password_changes WHERE user = ?"),
    setIdentity: sql("UPDATE users SET identity_key = ?, backup = ? WHERE id = ?"),
    nameDevice: sql("UPDATE devices SET name = ?, name_signature = ? WHERE key = ?"),
    deviceNames: sql(
      `SELECT devices.key, devices.name, devices.name_signature FROM devices JOIN users ON users.id = devices.user
       WHERE users.name = ? AND devices.name IS NOT NULL AND ended <> ${Ended.revoked} ORDER BY devices.id`,
    ),
    // It never reads again. Its receipts stay: they are what its user has had.
    dropCursors: sql("DELETE FROM cursors WHERE device = ?"),
    endSessionsOfDevice: sql("DELETE FROM sessions WHERE device = ?"),
    insertSession: sql("INSERT OR REPLACE INTO sessions (token_hash, device, expires_ms) VALUES (?, ?, ?)"),
    endOldest: sql(
      `DELETE FROM sessions WHERE token_hash IN (
         SELECT token_hash FROM sessions WHERE device = ? AND token_hash <> ?
         ORDER BY expires_ms DESC, token_hash LIMIT -1 OFFSET ?)`,
    ),
    session: sql(
      `SELECT sessions.token_hash, sessions.expires_ms, devices.key, users.name, users.generation
       FROM sessions JOIN devices ON devices.id = sessions.device JOIN users ON users.id = devices.user
       WHERE token_hash = ? AND expires_ms > ?`,
    ),
    setGeneration: sql("UPDATE users SET generation = ? WHERE id = ?"),
    endSessions: sql(
      "DELETE FROM sessions WHERE device IN (SELECT id FROM devices WHERE user = ?) AND token_hash <> ?",
    ),
    deleteSession: sql("DELETE FROM sessions WHERE token_hash = ?"),
    forgetSessions: sql("DELETE FROM sessions WHERE expires_ms <= ?"),
    raiseEpochs: sql(
      `UPDATE conversations SET epoch = epoch + 1
       WHERE kind = ${ConversationKind.Direct} AND id IN (SELECT conversation FROM members WHERE user = ?)`,
    ),
    epochs: sql(
      `SELECT key, ${EPOCH} AS epoch, ${MEMBERS} AS members
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = ? AND kind = ${ConversationKind.Direct} ORDER BY own.conversation_key`,
    ),
    acquainted: sql(
      `SELECT DISTINCT users.name FROM members AS own
       JOIN conversations ON conversations.id = own.conversation AND kind = ${ConversationKind.Group}
       JOIN members AS other ON other.conversation = own.conversation AND other.user <> own.user
       JOIN users ON users.id = other.user
       WHERE own.user = ? AND own.until IS NULL AND other.until IS NULL ORDER BY users.name LIMIT ?`,
    ),
    moveCursors: sql(
      `INSERT OR REPLACE INTO cursors (device, conversation, seq)
       SELECT ?, conversations.id, min(head, coalesce(until, head))
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = ? AND head > 0`,
    ),
    beginCursors: sql(
      `INSERT INTO cursors (device, conversation, seq)
       SELECT ?, conversations.id, min(head, coalesce(until, head))
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = ? AND head > 0`,
    ),
  };
}

/** Kept a while after they expired, so that clocks that differ do no harm. */
const EXPIRED_KEPT_MS = 24 * 3600 * 1000;
