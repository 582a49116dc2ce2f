/**
 * Who is in a group, and commits with what comes with them: tables `members` and, of commits, `conversations` and `log`.
 *
 * A group that nobody is in any more loses its id and everybody's rows at once; its records go later, a few at a time.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import { GROUP_USERS_MAX } from "../../../shared/limits.ts";
import type { ConversationHead, ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import {
  type CommitResult,
  ConversationKind,
  type InviteResult,
  type StoreCommit,
  type StoreInvitation,
  type StoreLeave,
} from "../groups.ts";
import type { Notices } from "../notices.ts";
import type { Conversations } from "./conversations.ts";
import type { Log } from "./log.ts";
import { type Conversation, type Device, Ended, isMember, type Rows } from "./rows.ts";
import type { Welcomes } from "./welcomes.ts";

export interface GroupParts {
  readonly rows: Rows;
  readonly conversations: Conversations;
  readonly log: Log;
  readonly welcomes: Welcomes;
}

export class Groups {
  readonly #parts: GroupParts;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, parts: GroupParts) {
    this.#parts = parts;
    this.#sql = prepare(database);
  }

  create(id: ConversationId, user: UserName, device: DeviceId): ConversationHead | undefined {
    const { rows, conversations } = this.#parts, known = rows.conversation(id);
    if (known === undefined) {
      const own = this.#sql.userByName.get(user);
      if (own === undefined) return undefined;
      const key = fromHex(id), { lastInsertRowid } = this.#sql.insert.run(key);
      this.#sql.admit.run(own["id"] as number, key, lastInsertRowid, 0);
    } else if (known.kind !== ConversationKind.Group || !isMember(known, user)) {
      return undefined;
    }
    return conversations.head(id, rows.conversation(id)!, user, device);
  }

  commit(commit: StoreCommit, notices: Notices): CommitResult {
    const found = this.#entry(commit);
    if ("status" in found) return found;
    const { conversation } = found, isGroup = conversation.kind === ConversationKind.Group;
    if (!isGroup && commit.add.length + commit.remove.length > 0) return { status: "not-a-group" };
    const coming = new Map<UserName, number>();
    for (const name of commit.add) {
      const row = this.#sql.userByName.get(name);
      if (row === undefined) return { status: "unknown-name", name };
      if (!isMember(conversation, name)) coming.set(name, row["id"] as number);
    }
    const going = new Set(commit.remove.filter((name) => isMember(conversation, name)));
    if (conversation.members.length + coming.size - going.size > GROUP_USERS_MAX) return { status: "limit" };
    return this.#append(commit, found, { coming, going, commit }, notices);
  }

  leave(leave: StoreLeave, notices: Notices): CommitResult {
    const found = this.#entry(leave);
    if ("status" in found) return found;
    if (found.conversation.kind !== ConversationKind.Group) return { status: "not-a-group" };
    return this.#append(leave, found, { coming: new Map(), going: new Set([leave.user]), commit: undefined }, notices);
  }

  members(user: UserName, id: ConversationId, after: string, limit: number): UserName[] | undefined {
    const conversation = this.#parts.rows.conversation(id);
    if (conversation === undefined || !isMember(conversation, user)) return undefined;
    return conversation.members.filter((name) => name > after).slice(0, limit);
  }

  invite(invitation: StoreInvitation, notices: Notices): InviteResult {
    const { user, conversation: id, lastCommit, welcome, tree, nowMs } = invitation, { rows, welcomes } = this.#parts;
    const conversation = rows.conversation(id);
    if (conversation === undefined || !isMember(conversation, user)) return { status: "not-member" };
    if (lastCommit !== conversation.commit) return { status: "stale-epoch", epoch: conversation.epoch };
    const device = welcomes.liveDevice(welcome.device);
    if (device === undefined || !isMember(conversation, device.user)) return { status: "unknown-device" };
    const isOwn = welcome.device === invitation.device && device.user === user;
    if (isOwn) welcomes.leave(conversation, device, { body: welcome.body, tree, nowMs });
    else welcomes.put(id, conversation, { welcomes: [welcome], tree, isInvitation: true, nowMs }, notices);
    return { status: "invited" };
  }

  /** Ends a group under the id of a direct conversation that is about to be made: nobody comes upon such an id by chance. */
  giveWay(id: ConversationId): void {
    const conversation = this.#parts.rows.conversation(id);
    if (conversation?.kind === ConversationKind.Group) this.#end(id, conversation);
  }

  #end(key: ConversationId, { id }: Conversation): void {
    this.#parts.rows.forgetConversation(key);
    for (const statement of this.#sql.end) statement.run(id);
  }

  /** Takes away some of the records of groups that ended. @returns Whether there may be more. */
  sweep(): boolean {
    const { changes } = this.#sql.sweepLog.run(ROWS_MAX);
    if (changes === ROWS_MAX) return true;
    this.#sql.sweepLeaps.run();
    this.#sql.sweepEnded.run();
    return false;
  }

  /** What a member may append to, or why not. A repeat is answered whoever is a member now. */
  #entry(entry: StoreLeave): Found | CommitResult {
    const { rows, log } = this.#parts;
    const conversation = rows.conversation(entry.conversation), sender = rows.device(entry.device);
    if (conversation === undefined || sender?.user !== entry.user) return NOT_MEMBER;
    if (rows.stay(conversation, entry.user) === undefined) return NOT_MEMBER;
    const first = log.first(conversation, sender, entry.messageId);
    if (first !== undefined) return first;
    if (!isMember(conversation, entry.user)) return NOT_MEMBER;
    if (entry.lastCommit !== conversation.commit) return { status: "stale-epoch", epoch: conversation.commit };
    return { conversation, sender };
  }

  #append(entry: StoreLeave, { conversation, sender }: Found, change: Change, notices: Notices): CommitResult {
    const { rows, log, welcomes } = this.#parts, { conversation: id } = entry, { coming, going, commit } = change;
    const before = conversation.members, record = log.add(conversation, sender, entry), { seq, timeMs } = record;
    if (commit !== undefined) rows.setCommit(conversation, seq);
    for (const name of going) {
      this.#sql.dismiss.run(seq, conversation.id, name);
      for (const statement of this.#sql.forget) statement.run(conversation.id, name);
    }
    const key = fromHex(id);
    for (const user of coming.values()) {
      this.#sql.admit.run(user, key, conversation.id, seq);
      this.#sql.begin.run(conversation.id, seq, user);
      this.#sql.answered.run(conversation.id, user);
    }
    if (coming.size + going.size > 0) rows.setMembers(conversation);
    const members = coming.size === 0 ? before : [...new Set([...before, ...conversation.members])].sort();
    notices.committed({ record, members });
    if (commit !== undefined) {
      const { welcomes: given, tree, nowMs } = commit;
      welcomes.put(id, conversation, { welcomes: given, tree, isInvitation: false, nowMs }, notices);
    }
    if (going.size > 0) notices.groupNews({ type: "dismissed", conversation: id, seq, users: [...going].sort() });
    if (conversation.members.length === 0) this.#end(id, conversation);
    return { status: "stored", seq, timeMs, duplicate: false };
  }
}

interface Found {
  readonly conversation: Conversation;
  readonly sender: Device;
}

interface Change {
  /** Their rows' ids. */
  readonly coming: ReadonlyMap<UserName, number>;
  readonly going: ReadonlySet<UserName>;
  /** Of a leave there is none. */
  readonly commit: StoreCommit | undefined;
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  const devicesOf = "(SELECT devices.id FROM devices JOIN users ON users.id = devices.user WHERE users.name = ?)";
  return {
    userByName: sql("SELECT id FROM users WHERE name = ?"),
    insert: sql(`INSERT INTO conversations (key, kind, epoch) VALUES (?, ${ConversationKind.Group}, 0)`),
    admit: sql(
      `INSERT INTO members (user, conversation_key, conversation, since, until) VALUES (?, ?, ?, ?, NULL)
       ON CONFLICT DO UPDATE SET since = excluded.since, until = NULL`,
    ),
    begin: sql(
      `INSERT INTO cursors (device, conversation, seq) SELECT id, ?, ? FROM devices WHERE user = ? AND ended <> ${Ended.revoked}
       ON CONFLICT DO UPDATE SET seq = excluded.seq`,
    ),
    answered: sql("DELETE FROM asks WHERE conversation = ? AND device IN (SELECT id FROM devices WHERE user = ?)"),
    dismiss: sql(
      "UPDATE members SET until = ? WHERE conversation = ? AND user = (SELECT id FROM users WHERE name = ?)",
    ),
    forget: ["receipts", "welcomes", "asks"].map((table) =>
      sql(`DELETE FROM ${table} WHERE conversation = ? AND device IN ${devicesOf}`)
    ),
    end: [
      ...["members", "cursors", "receipts", "welcomes", "asks"].map((table) =>
        sql(`DELETE FROM ${table} WHERE conversation = ?`)
      ),
      sql(`UPDATE conversations SET kind = ${ENDED}, key = randomblob(16) WHERE id = ?`),
    ],
    sweepLog: sql(
      `DELETE FROM log WHERE rowid IN (
         SELECT log.rowid FROM conversations JOIN log ON log.conversation = conversations.id
         WHERE conversations.kind = ${ENDED} LIMIT ?)`,
    ),
    sweepLeaps: sql(`DELETE FROM leaps WHERE conversation IN (SELECT id FROM conversations WHERE kind = ${ENDED})`),
    sweepEnded: sql(
      `DELETE FROM conversations WHERE kind = ${ENDED} AND NOT EXISTS (SELECT 1 FROM log WHERE conversation = conversations.id)`,
    ),
  };
}

const NOT_MEMBER = { status: "not-member" } as const;
/** The kind of a group that nobody is in any more. */
const ENDED = 0;
const ROWS_MAX = 256;
