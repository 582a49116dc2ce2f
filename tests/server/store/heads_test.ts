/** Heads that the table of conversations does not know of yet: the log has them, and nobody is given a number twice. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { checkDatabase, openToRead } from "../../../server/store/check.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { silentLogger } from "../../../shared/log.ts";
import { inDirectory } from "../../temporary.ts";
import { befriend, deviceOf, directOf, nameOf, recordOf, Told } from "./fixtures.ts";

const conversation = directOf("alice", "bob");

Deno.test("SqliteStore.append() of one record leaves the head to the log, and every reader is told it", () =>
  inDirectory(async (directory) => {
    const { store, path } = await begin(directory);
    assert.deepEqual(await append(store, 1), [1]);
    assert.deepEqual(await append(store, 2), [2]);
    assert.equal(written(path), 0);
    assert.equal(await listed(store), 2);
    assert.deepEqual(check(path), []);
    await store.close();
    assert.equal(written(path), 2);
  }));

Deno.test("SqliteDatabase takes up heads that a killed leader had not written", () =>
  inDirectory(async (directory) => {
    const { store } = await begin(directory);
    for (let message = 1; message <= 5; message++) await append(store, message);
    // What a kill leaves: the files as they are.
    await Deno.mkdir(`${directory}/left`);
    for (const file of ["store.db", "store.db-wal"]) {
      await Deno.copyFile(`${directory}/${file}`, `${directory}/left/${file}`);
    }
    const next = open(`${directory}/left/store.db`);
    assert.equal(await listed(next), 5);
    assert.deepEqual(await append(next, 5), [5]);
    assert.deepEqual(await append(next, 6), [6]);
    await next.close();
    await store.close();
  }));

Deno.test("SqliteStore.append() one by one writes heads now and then, and with every other change", () =>
  inDirectory(async (directory) => {
    const { store, path } = await begin(directory);
    for (let message = 1; message <= 300; message++) await append(store, message);
    assert.equal(written(path), 257);
    await store.setCursors(nameOf("bob"), deviceOf("bob"), [{ conversation, seq: 299 }]);
    assert.equal(written(path), 300);
    await store.append([301, 302].map((message) => recordOf("alice", "bob", message)));
    assert.equal(written(path), 300);
    await store.append(Array.from({ length: 40 }, (_, at) => recordOf("alice", "bob", 303 + at)));
    assert.equal(written(path), 342);
    assert.deepEqual(check(path), []);
    await store.close();
  }));

Deno.test("SqliteStore: a transaction that is undone takes no heads with it that were told before", () =>
  inDirectory(async (directory) => {
    const { database, store } = await begin(directory);
    await append(store, 1);
    await append(store, 2);
    database.begin();
    database.log.append([recordOf("alice", "bob", 3)], { committed() {} } as never);
    database.rollback();
    assert.deepEqual(await append(store, 4), [3]);
    database.begin();
    assert.throws(() =>
      database.guarded(() => {
        database.log.append([recordOf("alice", "bob", 5)], { committed() {} } as never);
        throw new Error("undone");
      })
    );
    database.commit();
    assert.deepEqual(await append(store, 6), [4]);
    assert.equal(await listed(store), 4);
    await store.close();
  }));

Deno.test("SqliteStore.append() of one record that came before, is of an old epoch or of nobody's is judged as in a batch", () =>
  inDirectory(async (directory) => {
    const { store } = await begin(directory);
    await append(store, 1);
    const [again] = await store.append([recordOf("alice", "bob", 1)]);
    assert.deepEqual(again, { status: "stored", seq: 1, timeMs: 5_000, duplicate: true });
    const [stale] = await store.append([recordOf("alice", "bob", 2, { epoch: 1 })]);
    assert.deepEqual(stale, { status: "stale-epoch", epoch: 2 });
    const [stranger] = await store.append([{ ...recordOf("alice", "bob", 3), user: nameOf("bob") }]);
    assert.deepEqual(stranger, { status: "not-member" });
    assert.deepEqual(await append(store, 4), [2]);
    await store.close();
  }));

Deno.test("SqliteStore.append() of one record writes nothing where there is a newer leader", () =>
  inDirectory(async (directory) => {
    const { store, path } = await begin(directory);
    await append(store, 1);
    const newer = open(path);
    await assert.rejects(append(store, 2));
    assert.deepEqual(await append(newer, 3), [2]);
    await store.close();
    assert.equal(await listed(newer), 2);
    await newer.close();
    assert.deepEqual(check(path), []);
  }));

async function begin(directory: string) {
  const path = `${directory}/store.db`, database = new SqliteDatabase(path);
  const store = new SqliteStore(database, { listener: new Told(), logger: silentLogger });
  await befriend(store);
  return { path, database, store };
}

function open(path: string): SqliteStore {
  return new SqliteStore(new SqliteDatabase(path), { listener: new Told(), logger: silentLogger });
}

/** @returns The number it was given. */
async function append(store: SqliteStore, message: number): Promise<number[]> {
  const results = await store.append([recordOf("alice", "bob", message)]);
  return results.map((result) => result.status === "stored" ? result.seq : NaN);
}

async function listed(store: SqliteStore): Promise<number | undefined> {
  return (await store.conversations(nameOf("bob"), deviceOf("bob"), undefined, 10))[0]?.head;
}

/** What stands in the table. */
function written(path: string): number {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare("SELECT head FROM conversations").get()!["head"] as number;
  } finally {
    database.close();
  }
}

function check(path: string) {
  const database = openToRead(path);
  try {
    return checkDatabase(database).problems;
  } finally {
    database.close();
  }
}
