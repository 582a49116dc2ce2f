/** Users, their devices and their sessions: tables `users`, `devices`, `sessions`. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { DEVICES_PER_USER_MAX, SESSIONS_PER_DEVICE_MAX } from "../../../shared/limits.ts";
import type { ConversationId, DeviceId, DirectoryEntry, UserName } from "../../../shared/protocol/mod.ts";
import type { DevicesChanged } from "../../bus/bus.ts";
import { sameBytes } from "../bytes.ts";
import type { Notices } from "../notices.ts";
import type { Account, LiveSession, NewDevice, NewUser, Session } from "../store.ts";
import type { StoreClock } from "./clock.ts";
import { RefusedError } from "./errors.ts";
import { MEMBERS, membersOf, type Rows } from "./rows.ts";

export class Accounts {
  readonly #rows: Rows;
  readonly #clock: StoreClock;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows, clock: StoreClock) {
    this.#rows = rows;
    this.#clock = clock;
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
    this.#sql.insertDevice.run(Uint8Array.fromHex(user.device.id), lastInsertRowid, user.device.certificate);
    return "created";
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

  addDevice(name: UserName, device: NewDevice, notices: Notices): "added" | "limit" | "id-taken" {
    const user = this.#sql.userByName.get(name)?.["id"] as number | undefined;
    if (user === undefined) throw new RefusedError(`Cannot add a device: there is no user ${name}`);
    const key = Uint8Array.fromHex(device.id);
    const known = this.#sql.deviceByKey.get(key);
    if (known !== undefined) {
      const same = known["user"] === user && sameBytes(known["certificate"] as Uint8Array, device.certificate);
      return same ? "added" : "id-taken";
    }
    if (this.#sql.countDevices.get(user)!["count"] as number >= DEVICES_PER_USER_MAX) return "limit";
    const { lastInsertRowid } = this.#sql.insertDevice.run(key, user, device.certificate);
    this.#rows.writeHeads();
    this.#sql.raiseRevision.run(user);
    this.#sql.raiseEpochs.run(user);
    this.#sql.beginCursors.run(lastInsertRowid, user);
    // The cached epochs are the old ones now.
    this.#rows.forgetConversations();
    notices.devicesChanged({ user: name, conversations: this.#epochsOf(user) });
    return "added";
  }

  createSession(session: Session): number {
    const device = this.#rows.device(session.device);
    if (device?.user !== session.user) {
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

  raiseGeneration(name: UserName, keep: Uint8Array | undefined, notices: Notices): number {
    const user = this.#sql.userByName.get(name);
    if (user === undefined) throw new RefusedError(`Cannot end sessions: there is no user ${name}`);
    const generation = user["generation"] as number + 1;
    this.#sql.setGeneration.run(generation, user["id"]!);
    this.#sql.endSessions.run(user["id"]!, keep ?? new Uint8Array());
    notices.sessionsEnded({ user: name, generation, keep });
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
      `SELECT devices.id, devices.user, devices.certificate, users.name
       FROM devices JOIN users ON users.id = devices.user WHERE devices.key = ?`,
    ),
    devicesOfUser: sql("SELECT key, certificate FROM devices WHERE user = ? ORDER BY id"),
    countDevices: sql("SELECT count(*) AS count FROM devices WHERE user = ?"),
    insertDevice: sql("INSERT INTO devices (key, user, certificate) VALUES (?, ?, ?)"),
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
       WHERE id IN (SELECT conversation FROM members WHERE user = ?)`,
    ),
    epochs: sql(
      `SELECT key, epoch, ${MEMBERS} AS members
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = ? ORDER BY own.conversation_key`,
    ),
    beginCursors: sql(
      `INSERT INTO cursors (device, conversation, seq)
       SELECT ?, conversations.id, head
       FROM members AS own JOIN conversations ON conversations.id = own.conversation
       WHERE own.user = ? AND head > 0`,
    ),
  };
}

/** Kept a while after they expired, so that clocks that differ do no harm. */
const EXPIRED_KEPT_MS = 24 * 3600 * 1000;
