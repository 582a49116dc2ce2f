/**
 * What devices join by, until they have: tables `welcomes` and `trees`. One for a device and conversation; one tree for all of a
 * commit. `is_invitation` is 2 for what a device has left for its user's others, in its own place.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import type { ConversationId, DeviceId, UserName, Welcome } from "../../../shared/protocol/mod.ts";
import { KEPT_MS, type StoredWelcome } from "../groups.ts";
import type { Notices } from "../notices.ts";
import { type Conversation, type Device, isMember, type Rows } from "./rows.ts";

export interface WelcomesToKeep {
  readonly welcomes: readonly Welcome[];
  readonly tree: Uint8Array;
  readonly isInvitation: boolean;
  readonly nowMs: number;
}

export class Welcomes {
  readonly #rows: Rows;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows) {
    this.#rows = rows;
    this.#sql = prepare(database);
  }

  /** Keeps those for members' devices, for the newest commit, and tells them. What they asked for is answered by it. */
  put(key: ConversationId, conversation: Conversation, given: WelcomesToKeep, notices: Notices): void {
    const { isInvitation, nowMs } = given, told = new Map<DeviceId, UserName>();
    let tree: number | bigint | undefined;
    for (const { device: deviceKey, body } of given.welcomes) {
      const device = this.liveDevice(deviceKey);
      if (device === undefined || !isMember(conversation, device.user)) continue;
      const { id, user } = device;
      if (given.tree.length > 0) tree ??= this.#sql.insertTree.run(given.tree).lastInsertRowid;
      this.#sql.put.run(conversation.id, id, Number(isInvitation), conversation.commit, nowMs, tree ?? null, body);
      this.#sql.answered.run(conversation.id, id);
      if (!isInvitation) this.#sql.used.run(id, fromHex(key));
      told.set(deviceKey, user);
    }
    if (told.size === 0) return;
    const devices = [...told].map(([device, user]) => ({ user, device }));
    notices.groupNews({ type: "welcomed", conversation: key, devices });
  }

  /** Keeps what a device leaves for its user's others, in place of what one of them has left. */
  leave(
    conversation: Conversation,
    { id, user }: Device,
    { body, tree: given, nowMs }: { readonly body: Uint8Array; readonly tree: Uint8Array; readonly nowMs: number },
  ): void {
    this.#sql.leaveNone.run(conversation.id, user);
    const tree = given.length === 0 ? null : this.#sql.insertTree.run(given).lastInsertRowid;
    this.#sql.put.run(conversation.id, id, FOR_OTHERS, conversation.commit, nowMs, tree, body);
  }

  /** One that is somebody's now: neither ended nor waiting to be approved. */
  liveDevice(key: DeviceId): Device | undefined {
    const row = this.#sql.liveDevice.get(fromHex(key));
    return row && { id: row["id"] as number, user: row["name"] as UserName };
  }

  of(user: UserName, key: DeviceId, id: ConversationId): { welcome: StoredWelcome; isFetched: boolean } | undefined {
    const conversation = this.#rows.conversation(id), device = this.#rows.device(key);
    if (conversation === undefined || device?.user !== user || !isMember(conversation, user)) return undefined;
    const own = this.#sql.of.get(device.id, conversation.id, conversation.commit);
    const left = own?.["is_used"] === 0 || this.liveDevice(key) === undefined
      ? undefined
      : this.#sql.left.get(conversation.id, conversation.commit, user);
    const row = left ?? own;
    return row && {
      welcome: {
        isInvitation: row["is_invitation"] !== 0,
        commit: row["commit_seq"] as number,
        body: row["body"] as Uint8Array,
        tree: row["tree"] as Uint8Array ?? new Uint8Array(),
      },
      // What is for several is not over when one has it.
      isFetched: left !== undefined || row["fetched"] === 1,
    };
  }

  /** ... unless another one has taken its place meanwhile. */
  fetched(key: DeviceId, id: ConversationId, commit: number): void {
    const conversation = this.#rows.conversation(id), device = this.#rows.device(key);
    if (conversation !== undefined && device !== undefined) this.#sql.fetched.run(device.id, conversation.id, commit);
  }

  waiting(user: UserName, key: DeviceId, limit: number): ConversationId[] {
    const device = this.#rows.device(key);
    if (device?.user !== user) return [];
    return this.#sql.waiting.all(device.id, limit).map((row) => (row["key"] as Uint8Array).toHex() as ConversationId);
  }

  /** @returns Whether there may be more. */
  sweep(nowMs: number): boolean {
    const { changes } = this.#sql.sweep.run(nowMs - KEPT_MS, ROWS_MAX);
    const trees = this.#sql.sweepTrees.run(TREES_MAX);
    return changes === ROWS_MAX || trees.changes === TREES_MAX;
  }
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    liveDevice: sql(
      `SELECT devices.id, users.name FROM devices JOIN users ON users.id = devices.user
       WHERE devices.key = ? AND ended = 0 AND (approved = 1 OR approval = 0)`,
    ),
    insertTree: sql("INSERT INTO trees (body) VALUES (?)"),
    put: sql(
      `INSERT OR REPLACE INTO welcomes (conversation, device, is_invitation, commit_seq, fetched, stored_ms, tree, body)
       VALUES (?, ?, ?, ?, 0, ?, ?, ?)`,
    ),
    answered: sql("DELETE FROM asks WHERE conversation = ? AND device = ?"),
    used: sql("UPDATE taken_packages SET is_used = 1 WHERE device = ? AND conversation_key = ?"),
    of: sql(
      `SELECT is_invitation, commit_seq, fetched, welcomes.body, trees.body AS tree, fetched = 1 AND EXISTS (
         SELECT 1 FROM cursors WHERE cursors.device = ?1 AND cursors.conversation = ?2 AND seq > commit_seq) AS is_used
       FROM welcomes LEFT JOIN trees ON trees.id = welcomes.tree
       WHERE device = ?1 AND conversation = ?2 AND is_invitation <> 2 AND (is_invitation = 0 OR commit_seq = ?3)`,
    ),
    left: sql(
      `SELECT is_invitation, commit_seq, fetched, welcomes.body, trees.body AS tree
       FROM welcomes LEFT JOIN trees ON trees.id = welcomes.tree
       WHERE is_invitation = 2 AND conversation = ? AND commit_seq = ?
         AND device IN (SELECT devices.id FROM devices JOIN users ON users.id = devices.user WHERE users.name = ?)`,
    ),
    leaveNone: sql(
      `DELETE FROM welcomes WHERE is_invitation = 2 AND conversation = ?
         AND device IN (SELECT devices.id FROM devices JOIN users ON users.id = devices.user WHERE users.name = ?)`,
    ),
    fetched: sql("UPDATE welcomes SET fetched = 1 WHERE device = ? AND conversation = ? AND commit_seq = ?"),
    waiting: sql(
      `SELECT conversations.key FROM welcomes JOIN conversations ON conversations.id = welcomes.conversation
       WHERE device = ? AND fetched = 0 AND (is_invitation = 0 OR (is_invitation = 1 AND commit_seq = newest_commit))
       ORDER BY conversations.key LIMIT ?`,
    ),
    sweep: sql(
      `DELETE FROM welcomes WHERE rowid IN (
         SELECT welcomes.rowid FROM welcomes JOIN conversations ON conversations.id = welcomes.conversation
         WHERE (is_invitation <> 2 AND stored_ms <= ?) OR (is_invitation <> 0 AND commit_seq <> newest_commit) OR (fetched = 1 AND EXISTS (
           SELECT 1 FROM cursors
           WHERE cursors.device = welcomes.device AND cursors.conversation = welcomes.conversation AND seq > commit_seq))
         LIMIT ?)`,
    ),
    sweepTrees: sql(
      `DELETE FROM trees WHERE id IN (
         SELECT id FROM trees WHERE NOT EXISTS (SELECT 1 FROM welcomes WHERE tree = trees.id) LIMIT ?)`,
    ),
  };
}

const FOR_OTHERS = 2;
/** What one transaction removes: a few milliseconds' worth. */
const ROWS_MAX = 64;
const TREES_MAX = 8;
