/** Temporary homes for tests of the client library. */
import { join } from "node:path";
import { Database } from "../../client/home/database.ts";
import { Conversations } from "../../client/talk/conversations.ts";
import { History } from "../../client/talk/history.ts";
import { type NewMessage, Own } from "../../client/talk/message_row.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";

/** Runs with a folder that is gone afterwards. */
export async function withFolder(use: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "fastchat-client-" });
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs with an open, empty database. */
export async function withDatabase(use: (database: Database, path: string) => Promise<void> | void): Promise<void> {
  await withFolder(async (folder) => {
    const path = join(folder, "home.db"), database = Database.open(path);
    try {
      await use(database, path);
    } finally {
      database.close();
    }
  });
}

export const ALICE = "alice" as UserName;
export const BOB = "bob" as UserName;
export const TALK = "0a".repeat(16) as ConversationId;
export const ALICES_DEVICE = "aa".repeat(16) as DeviceId;
export const BOBS_DEVICE = "bb".repeat(16) as DeviceId;

export function idOf(number: number): MessageId {
  return number.toString(16).padStart(32, "0") as MessageId;
}

/** A message of Bob's to Alice, at that place of their conversation. */
export function fromBob(seq: number, changes: Partial<NewMessage> = {}): NewMessage {
  return {
    conversation: TALK,
    seq,
    id: idOf(seq),
    sender: BOB,
    recipient: ALICE,
    device: BOBS_DEVICE,
    timeMs: 1_000 * seq,
    own: Own.no,
    text: `text ${seq}`,
    ...changes,
  };
}

/** Alice's history with her conversation with Bob in it. */
export function historyWithBob(database: Database): History {
  new Conversations(database).add({ id: TALK, peer: BOB, cursor: 0 });
  return new History(database);
}
