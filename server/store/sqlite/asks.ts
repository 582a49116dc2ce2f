/** Devices that wait to be let in: table `asks`, one row a device and conversation. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { fromHex } from "../../../shared/codec/mod.ts";
import type { Ask, ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { AskKind, ASKS_PER_GROUP_MAX, ConversationKind, KEPT_MS } from "../groups.ts";
import type { Notices } from "../notices.ts";
import { isMember, type Rows } from "./rows.ts";

export class Asks {
  readonly #rows: Rows;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, rows: Rows) {
    this.#rows = rows;
    this.#sql = prepare(database);
  }

  put(ask: Ask, notices: Notices): "waits" | "refused" | "limit" {
    const conversation = this.#rows.conversation(ask.conversation), device = this.#rows.device(ask.device);
    if (conversation === undefined || device?.user !== ask.user) return "refused";
    if (isMember(conversation, ask.user) !== (ask.kind === AskKind.Member)) return "refused";
    if (ask.kind === AskKind.Link) {
      if (conversation.kind !== ConversationKind.Group) return "refused";
      const others = this.#sql.strangers.get(conversation.id, device.id)!["count"] as number;
      const isKnown = this.#sql.one.get(conversation.id, device.id) !== undefined;
      if (others >= ASKS_PER_GROUP_MAX && !isKnown) return "limit";
    }
    this.#sql.put.run(conversation.id, device.id, ask.kind, ask.timeMs, ask.body);
    notices.groupNews({ type: "asked", ask, members: conversation.members });
    return "waits";
  }

  list(
    user: UserName,
    id: ConversationId | undefined,
    after: { readonly conversation: ConversationId; readonly device: DeviceId } | undefined,
    limit: number,
  ): Ask[] {
    const one = id === undefined ? null : fromHex(id);
    const behind = after === undefined
      ? [new Uint8Array(), new Uint8Array()] as const
      : [fromHex(after.conversation), fromHex(after.device)] as const;
    return this.#sql.list.all(user, one, one, ...behind, limit).map((row) => ({
      conversation: (row["conversation_key"] as Uint8Array).toHex() as ConversationId,
      user: row["name"] as UserName,
      device: (row["key"] as Uint8Array).toHex() as DeviceId,
      kind: row["kind"] as number,
      body: row["body"] as Uint8Array,
      timeMs: row["time_ms"] as number,
    }));
  }

  drop(user: UserName, id: ConversationId, key: DeviceId): void {
    const conversation = this.#rows.conversation(id), device = this.#rows.device(key);
    if (conversation === undefined || device === undefined) return;
    if (device.user === user || isMember(conversation, user)) this.#sql.drop.run(conversation.id, device.id);
  }

  /** @returns Whether there may be more. */
  sweep(nowMs: number): boolean {
    return this.#sql.sweep.run(nowMs - KEPT_MS, ROWS_MAX).changes === ROWS_MAX;
  }
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    strangers: sql(
      `SELECT count(*) AS count FROM asks WHERE conversation = ? AND kind = ${AskKind.Link} AND device <> ?`,
    ),
    one: sql("SELECT 1 FROM asks WHERE conversation = ? AND device = ?"),
    put: sql("INSERT OR REPLACE INTO asks (conversation, device, kind, time_ms, body) VALUES (?, ?, ?, ?, ?)"),
    list: sql(
      `SELECT own.conversation_key, devices.key, users.name, asks.kind, time_ms, body
       FROM members AS own JOIN asks ON asks.conversation = own.conversation
         JOIN devices ON devices.id = asks.device JOIN users ON users.id = devices.user
       WHERE own.user = (SELECT id FROM users WHERE name = ?) AND own.until IS NULL
         AND (? IS NULL OR own.conversation_key = ?) AND (own.conversation_key, devices.key) > (?, ?)
       ORDER BY own.conversation_key, devices.key LIMIT ?`,
    ),
    drop: sql("DELETE FROM asks WHERE conversation = ? AND device = ?"),
    sweep: sql("DELETE FROM asks WHERE rowid IN (SELECT rowid FROM asks WHERE time_ms <= ? LIMIT ?)"),
  };
}

const ROWS_MAX = 256;
