/** The store read at the end, when no process uses it any more: with SQL of our own, so that no code of the store's speaks for it. */
import { DatabaseSync } from "node:sqlite";
import type { StoredLog } from "./evidence.ts";

/** Every conversation's log, in its order. @param path Of the database's file. */
export function readStore(path: string): StoredLog[] {
  const database = new DatabaseSync(path), logs = new Map<string, { seq: number; id: string; isCommit: boolean }[]>();
  try {
    const rows = database.prepare(
      `SELECT lower(hex(conversations.key)) AS conversation, log.seq, lower(hex(log.message_id)) AS id,
         substr(log.body, 1, ${HEAD_BYTES}) AS head
       FROM log JOIN conversations ON conversations.id = log.conversation ORDER BY conversations.id, log.seq`,
    );
    for (const row of rows.iterate()) {
      const { conversation, seq, id, head } = row as {
        conversation: string;
        seq: number;
        id: string;
        head: Uint8Array;
      };
      const log = logs.get(conversation) ?? [];
      if (log.length === 0) logs.set(conversation, log);
      log.push({ seq, id, isCommit: isCommit(head) });
    }
    return [...logs].map(([conversation, rows]) => ({ conversation, rows }));
  } finally {
    database.close();
  }
}

/**
 * Whether a row's body is a commit, by its public frame (docs/PROTOCOL.md §15, RFC 9420 §6): version 1, kind 2, then an MLSMessage
 * of version 1 with group id (a length and 16 bytes) and epoch before its content type. Messages are private; what is public is a
 * device that joins by itself.
 */
function isCommit(head: Uint8Array): boolean {
  if (head.length < HEAD_BYTES || head[1] !== KIND_MLS) return false;
  const wireFormat = head[5];
  return wireFormat === PUBLIC_MESSAGE || (wireFormat === PRIVATE_MESSAGE && head[HEAD_BYTES - 1] === COMMIT);
}

const KIND_MLS = 2;
const PUBLIC_MESSAGE = 1;
const PRIVATE_MESSAGE = 2;
const COMMIT = 3;
const HEAD_BYTES = 2 + 2 + 2 + 1 + 16 + 8 + 1;
