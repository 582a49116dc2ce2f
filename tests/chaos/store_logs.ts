/** The store read at the end, when no process uses it any more: with SQL of our own, so that no code of the store's speaks for it. */
import { DatabaseSync } from "node:sqlite";
import type { StoredLog } from "./evidence.ts";

/** Every conversation's log, in its order. @param path Of the database's file. */
export function readStore(path: string): StoredLog[] {
  const database = new DatabaseSync(path), logs = new Map<string, { seq: number; id: string }[]>();
  try {
    const rows = database.prepare(
      `SELECT lower(hex(conversations.key)) AS conversation, log.seq, lower(hex(log.message_id)) AS id
       FROM log JOIN conversations ON conversations.id = log.conversation ORDER BY conversations.id, log.seq`,
    );
    for (const row of rows.iterate()) {
      const { conversation, seq, id } = row as { conversation: string; seq: number; id: string };
      const log = logs.get(conversation) ?? [];
      if (log.length === 0) logs.set(conversation, log);
      log.push({ seq, id });
    }
    return [...logs].map(([conversation, rows]) => ({ conversation, rows }));
  } finally {
    database.close();
  }
}
