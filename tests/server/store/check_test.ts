import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { checkDatabase, openToRead, type ProblemCode } from "../../../server/store/check.ts";
import { MIGRATIONS, StoreVersionError } from "../../../server/store/migrations.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { sha256 } from "../../../shared/crypto/mod.ts";
import { silentLogger } from "../../../shared/log.ts";
import { inDirectory } from "../../temporary.ts";
import { befriend, bytesOf, deviceOf, nameOf, recordOf, Told } from "./fixtures.ts";
import { commit, GROUP, groupOf } from "./groups_contract.ts";

Deno.test("checkDatabase() finds nothing in a database that is whole, and counts its rows", () =>
  inDirectory(async (directory) => {
    const report = look(await talk(directory, 10));
    assert.deepEqual(report.problems, []);
    assert.equal(report.version, MIGRATIONS.length);
    const { users, devices, conversations, members, log, cursors } = report.counts;
    assert.deepEqual([users, devices, conversations, members, log, cursors], [2, 2, 1, 2, 10, 1]);
  }));

Deno.test("checkDatabase() names each kind of damage", async () => {
  const cases: readonly (readonly [change: string, code: ProblemCode, text: RegExp])[] = [
    ["DELETE FROM log WHERE seq = 4", "gap", /lacks 1 messages, the first of them number 4/],
    ["DELETE FROM log WHERE seq IN (1, 7)", "gap", /lacks 2 messages, the first of them number 1/],
    ["DELETE FROM devices", "dangling", /10 messages come from no device/],
    ["DELETE FROM conversations", "dangling", /10 messages belong to no conversation/],
    ["DELETE FROM members", "dangling", /1 conversations have no members/],
    ["DELETE FROM users", "dangling", /rows of devices that refer to users/],
    ["UPDATE members SET conversation_key = zeroblob(16) WHERE user = 1", "dangling", /name another conversation/],
    ["UPDATE cursors SET seq = 11", "cursor", /1 cursors stand beyond/],
    [
      "INSERT INTO receipts VALUES (1, 1, 11, zeroblob(32), 0, zeroblob(64)), (1, 2, 10, zeroblob(32), 10, zeroblob(64))",
      "cursor",
      /^1 receipts are for more/,
    ],
    ["DELETE FROM key_log WHERE number = 1", "key-log", /entry 1 is missing/],
    ["DELETE FROM key_entries WHERE number = 2", "key-log", /entry 2 is missing/],
    ["UPDATE key_entries SET entry = x'01' WHERE number = 2", "key-log", /entry 2 is not what was hashed/],
    ["UPDATE key_log SET user = 1 WHERE number = 2", "key-log", /entry 2 does not follow/],
    [
      "DELETE FROM key_log WHERE number = 2; DELETE FROM key_entries WHERE number = 2",
      "key-log",
      /1 users are not in the key log/,
    ],
    ["DELETE FROM archive_chunks WHERE number = 1", "archive", /archive of alice holds 1 of 2 parts/],
    [
      "UPDATE archive_chunks SET body = x'01' WHERE number = 2",
      "archive",
      /archive of alice holds 2 of 2 parts, or others/,
    ],
    ["UPDATE archive_streams SET head = zeroblob(32)", "archive", /archive of alice/],
    ["DELETE FROM archives", "dangling", /rows of archive_chunks that refer to archives/],
    ["UPDATE log SET seq = 12 WHERE seq = 10", "gap", /lacks 2 messages, the first of them number 10/],
    ["UPDATE conversations SET begins = 3", "head", /holds message 1, though up to 3 all were removed/],
  ];
  for (const [change, code, text] of cases) {
    await inDirectory(async (directory) => {
      const path = await talk(directory, 10);
      alter(path, change);
      const found = look(path).problems.filter((problem) => problem.code === code);
      assert.ok(found.some((problem) => text.test(problem.text)), `${change}: ${JSON.stringify(found)}`);
    });
  }
});

Deno.test("checkDatabase() lets a conversation's head stay behind its newest messages, and not behind others", () =>
  inDirectory(async (directory) => {
    const path = await talk(directory, 300);
    alter(path, "UPDATE conversations SET head = 290");
    assert.deepEqual(look(path).problems, []);
    alter(path, "UPDATE conversations SET head = 300; UPDATE log SET seq = 400 WHERE seq = 10");
    const [problem] = look(path).problems;
    assert.match(problem?.text ?? "", /holds message 400 beyond its newest number 300/);
  }));

Deno.test("checkDatabase() finds groups whole, also one that ended and whose records are still going", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/store.db`;
    await talkInGroup(path);
    assert.deepEqual(look(path).problems, []);
    alter(path, "UPDATE conversations SET kind = 0; DELETE FROM members; DELETE FROM log WHERE seq = 1");
    alter(path, "DELETE FROM cursors; DELETE FROM receipts; DELETE FROM welcomes; DELETE FROM asks");
    assert.deepEqual(look(path).problems, []);
    const store = new SqliteStore(new SqliteDatabase(path), { listener: new Told(), logger: silentLogger });
    while (await store.sweep(0));
    await store.close();
    const { conversations, log, trees } = look(path).counts;
    assert.deepEqual([conversations, log, trees], [0, 0, 0]);
  }));

Deno.test("checkDatabase() names what does not fit in groups", async () => {
  const cases: readonly (readonly [change: string, text: RegExp])[] = [
    ["UPDATE members SET until = 9 WHERE until = 3", /1 memberships begin or end at messages that are not there/],
    ["UPDATE members SET since = 4 WHERE until = 3", /1 memberships begin or end/],
    ["UPDATE conversations SET kind = 1", /2 people were dismissed from a direct conversation/],
    ["UPDATE conversations SET newest_commit = 7", /1 conversations name a newest commit that is not there yet/],
    ["UPDATE members SET until = 3 WHERE until IS NULL", /1 Welcomes are for devices of nobody who is a member/],
    ["UPDATE welcomes SET commit_seq = 4", /1 Welcomes belong to commits that are not there yet/],
    ["UPDATE asks SET kind = 1", /1 devices ask to be let in as members' which are not/],
    ["DELETE FROM trees", /rows of welcomes that refer to trees/],
    ["UPDATE key_packages SET device = 99", /rows of key_packages that refer to devices/],
  ];
  for (const [change, text] of cases) {
    await inDirectory(async (directory) => {
      const path = `${directory}/store.db`;
      await talkInGroup(path);
      alter(path, change);
      const found = look(path).problems.filter(({ code }) => code === "dangling");
      assert.ok(found.some((problem) => text.test(problem.text)), `${change}: ${JSON.stringify(found)}`);
    });
  }
});

Deno.test("checkDatabase() sees an index that does not tell what its table holds", () =>
  inDirectory(async (directory) => {
    const path = await talk(directory, 10);
    const database = new DatabaseSync(path);
    const index = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'log_by_seq'").get()!;
    database.close();
    const bytes = await Deno.readFile(path), page = (index["rootpage"] as number - 1) * 4096;
    // The page ends with its first entry, (1, 1, row 1): three constants, of which the last becomes 0.
    assert.deepEqual([...bytes.subarray(page + 4096 - 3, page + 4096)], [9, 9, 9]);
    bytes[page + 4096 - 1] = 8;
    await Deno.writeFile(path, bytes);
    assert.ok(look(path).problems.some(({ code }) => code === "damaged"));
  }));

Deno.test("openToRead() refuses a database of a newer program and leaves it as it was", () =>
  inDirectory(async (directory) => {
    const path = await talk(directory, 1);
    alter(path, `PRAGMA user_version = ${MIGRATIONS.length + 1}`);
    const before = await Deno.readFile(path);
    assert.throws(() => openToRead(path), StoreVersionError);
    assert.deepEqual(await Deno.readFile(path), before);
  }));

/** Alice has said that much to Bob, who has read half of it. */
async function talk(directory: string, messages: number): Promise<string> {
  const path = `${directory}/store.db`;
  const store = new SqliteStore(new SqliteDatabase(path), { listener: new Told(), logger: silentLogger });
  const conversation = await befriend(store);
  await store.append(Array.from({ length: messages }, (_, at) => recordOf("alice", "bob", at)));
  await store.setCursors(nameOf("bob"), deviceOf("bob"), [{ conversation, seq: Math.ceil(messages / 2) }]);
  await archive(store);
  await store.close();
  return path;
}

/** Alice has archived twice. */
async function archive(store: SqliteStore): Promise<void> {
  const user = nameOf("alice"), keyId = new Uint8Array(16), stream = new Uint8Array(16), nowMs = 0;
  const recoveryProofHash = bytesOf("proof");
  await store.setRecovery(user, {
    proofHash: recoveryProofHash,
    backup: bytesOf("seal"),
    device: deviceOf("alice"),
    nowMs,
  });
  await store.setArchiveKey(user, { keyId, sealed: bytesOf("key"), recoveryProofHash, nowMs });
  for (const number of [1, 2]) {
    const body = bytesOf(`chunk ${number}`), chunk = { user, keyId, stream, number, body, hash: sha256(body), nowMs };
    assert.equal(await store.putArchiveChunk({ ...chunk, archiveBytesMax: 100 }), "stored");
  }
}

/** Alice has added Bob and Carol, and removed Carol; Bob has a Welcome to fetch and packages to give, Carol a wish. */
async function talkInGroup(path: string): Promise<void> {
  const store = new SqliteStore(new SqliteDatabase(path), { listener: new Told(), logger: silentLogger });
  await groupOf(store, "alice", "bob", "carol");
  await store.append([{ ...recordOf("bob", "alice", 1, { epoch: 1 }), conversation: GROUP }]);
  const welcomes = [{ device: deviceOf("bob"), body: bytesOf("welcome") }], tree = bytesOf("tree");
  await store.commit(commit("alice", { lastCommit: 1, remove: ["carol"], welcomes, tree }));
  const asked = { conversation: GROUP, user: nameOf("carol"), device: deviceOf("carol"), timeMs: 0 };
  assert.equal(await store.ask({ ...asked, kind: 2, body: bytesOf("again") }), "waits");
  const bob = { user: nameOf("bob"), device: deviceOf("bob"), nowMs: 0 };
  await store.putKeyPackages({ ...bob, oneTime: [bytesOf("package")], lastResort: undefined });
  await store.close();
}

function alter(path: string, sql: string): void {
  const database = new DatabaseSync(path, { enableForeignKeyConstraints: false });
  database.exec(sql);
  database.close();
}

function look(path: string) {
  const database = openToRead(path);
  try {
    return checkDatabase(database);
  } finally {
    database.close();
  }
}
