import assert from "node:assert/strict";
import { Gathering } from "../../../server/store/gathering.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { SMALL_GROUP_USERS_MAX } from "../../../shared/limits.ts";
import { silentLogger } from "../../../shared/log.ts";
import type { ConversationId, MessageId } from "../../../shared/protocol/mod.ts";
import { inDirectory } from "../../temporary.ts";
import { bytesOf, deviceOf, idOf, nameOf, newUser, Told } from "./fixtures.ts";

Deno.test("Gathering.turn() comes for all who asked at once, and the next one anew", async () => {
  const gathering = new Gathering(60_000), came: string[] = [];
  const first = Promise.all(["a", "b"].map((who) => gathering.turn().then(() => came.push(who))));
  gathering.end();
  await first;
  const second = gathering.turn().then(() => came.push("c"));
  assert.deepEqual(came, ["a", "b"]);
  gathering.end();
  await second;
  gathering.end();
  assert.deepEqual(came, ["a", "b", "c"]);
});

Deno.test("SqliteStore.setReceipts() takes those of a large group together, and tells of them together; those of a small one at once", async () => {
  await inDirectory(async (folder) => {
    const told = new Told(), batches: number[] = [];
    told.receipts = (moved) => void batches.push(moved.length);
    const store = new SqliteStore(new SqliteDatabase(`${folder}/store.db`), { listener: told, logger: silentLogger });
    const members = Array.from({ length: SMALL_GROUP_USERS_MAX + 1 }, (_, at) => `user${at}`);
    await Promise.all(members.map((name) => store.createUser(newUser(name))));
    const large = await groupOf(store, "large", members), small = await groupOf(store, "small", members.slice(1));
    const before = store.transactions;
    await say(store, small, "user2");
    assert.deepEqual([store.transactions - before, batches], [1, [1]]);
    const all = members.slice(1).map(async (name, at) => {
      // Each in a turn of its own, as from clients.
      for (let wait = 0; wait < at % 5; wait++) await new Promise((resolve) => setImmediate(resolve));
      await say(store, large, name);
    });
    await Promise.all(all);
    assert.deepEqual([store.transactions - before, batches], [2, [1, members.length - 1]]);
    assert.equal((await store.receipts(nameOf("user0"), [large], undefined, 1_000)).length, members.length - 1);
    // Whoever waits when the store is closed hears that nothing was stored.
    const late = say(store, large, "user0");
    await store.close();
    await assert.rejects(late, /closed/);
  });
});

async function groupOf(store: SqliteStore, what: string, names: readonly string[]): Promise<ConversationId> {
  const id = idOf<ConversationId>(what), [first, ...others] = names as [string, ...string[]];
  const user = nameOf(first), device = deviceOf(first);
  await store.createGroup(id, user, device);
  const commit = { user, device, conversation: id, messageId: idOf<MessageId>(what, 1), lastCommit: 0, nowMs: 0 };
  const contents = {
    body: bytesOf("a commit"),
    add: others.map(nameOf),
    remove: [],
    welcomes: [],
    tree: new Uint8Array(),
  };
  assert.equal((await store.commit({ ...commit, ...contents })).status, "stored");
  return id;
}

function say(store: SqliteStore, conversation: ConversationId, name: string): Promise<void> {
  const receipt = { conversation, delivered: 1, hash: new Uint8Array(32), read: 0, signature: new Uint8Array(64) };
  return store.setReceipts(nameOf(name), deviceOf(name), [receipt]);
}
