import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { MIGRATIONS, StoreVersionError } from "../../../server/store/migrations.ts";
import { SqliteDatabase, type SqliteOptions } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { StoreFullError, StoreUnavailableError } from "../../../server/store/store.ts";
import { GroupWriter } from "../../../server/store/writer.ts";
import { silentLogger } from "../../../shared/log.ts";
import { befriend, bytesOf, deviceOf, directOf, nameOf, newDevice, newUser, recordOf, Told } from "./fixtures.ts";

Deno.test("GroupWriter commits what queues up in one turn as one transaction, in order", async () => {
  await inTemporaryFolder(async (path) => {
    const { store, told } = open(path);
    await befriend(store);
    const before = store.transactions;
    const appends = Array.from({ length: 40 }, (_, at) => store.append([recordOf("alice", "bob", at)]));
    assert.equal(told.records.length, 0);
    await Promise.all(appends);
    assert.equal(store.transactions, before + 1);
    assert.deepEqual(told.records.map(({ record }) => record.seq), appends.map((_, at) => at + 1));
    await store.append([recordOf("alice", "bob", 99)]);
    assert.equal(store.transactions, before + 2);
    await store.close();
  });
});

Deno.test("GroupWriter takes what comes a few microtasks later into the same transaction", async () => {
  await inTemporaryFolder(async (path) => {
    const { store } = open(path);
    await befriend(store);
    const before = store.transactions;
    await Promise.all(Array.from({ length: 20 }, async (_, at) => {
      for (let wait = 0; wait < at; wait++) await Promise.resolve();
      await store.append([recordOf("alice", "bob", at)]);
    }));
    assert.equal(store.transactions, before + 1);
    await store.close();
  });
});

Deno.test("GroupWriter acknowledges nothing that another connection cannot read", async () => {
  await inTemporaryFolder(async (path) => {
    const { store } = open(path);
    const id = await befriend(store);
    const reader = new DatabaseSync(path, { readOnly: true });
    const count = reader.prepare("SELECT count(*) AS count FROM log");
    for (let at = 1; at <= 20; at++) {
      await store.append([recordOf("alice", "bob", at)]);
      assert.equal(count.get()!["count"], at);
    }
    reader.close();
    assert.equal((await store.read(nameOf("bob"), id, 0, 100))?.records.length, 20);
    await store.close();
  });
});

Deno.test("GroupWriter bounds a transaction and writes the rest in the next ones", async () => {
  await inTemporaryFolder(async (path) => {
    const { store } = open(path);
    const id = await befriend(store);
    const before = store.transactions;
    const body = new Uint8Array(1 << 20);
    await Promise.all(Array.from({ length: 20 }, (_, at) => store.append([recordOf("alice", "bob", at, { body })])));
    assert.equal(store.transactions - before, 3);
    const [head] = await store.conversations(nameOf("bob"), deviceOf("bob"), undefined, 1);
    assert.deepEqual([head?.conversation, head?.head], [id, 20]);
    await store.close();
  });
});

Deno.test("GroupWriter refuses more than its queue may hold, and takes more once that is written", async () => {
  await inTemporaryFolder(async (path) => {
    const database = new SqliteDatabase(path);
    const writer = new GroupWriter(database, { listener: new Told(), logger: silentLogger });
    const first = writer.write(100 << 20, () => "first");
    await assert.rejects(writer.write(100 << 20, () => "second"), StoreUnavailableError);
    assert.equal(await first, "first");
    assert.equal(await writer.write(100 << 20, () => "third"), "third");
    database.close();
  });
});

Deno.test("GroupWriter: a change that fails in its midst is undone alone, with what it told", async () => {
  await inTemporaryFolder(async (path) => {
    const told = new Told(), database = new SqliteDatabase(path);
    const writer = new GroupWriter(database, { listener: told, logger: silentLogger });
    await writer.write(1, (db) => [newUser("alice"), newUser("bob")].map((user) => db.accounts.createUser(user)));
    await writer.write(
      1,
      (db) => db.conversations.openDirect(directOf("alice", "bob"), nameOf("alice"), nameOf("bob"), undefined),
    );
    const append = (message: string) =>
      writer.write(1, (db, notices) => db.log.append([recordOf("alice", "bob", message)], notices));
    const results = await Promise.allSettled([
      append("one"),
      writer.write(1, (db, notices) => {
        db.accounts.addDevice(nameOf("bob"), newDevice("bob", 2), notices);
        db.log.append([recordOf("alice", "bob", "undone", { epoch: 3 })], notices);
        throw new Error("Broken in its midst");
      }),
      append("two"),
    ]);
    assert.deepEqual(results.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
    assert.deepEqual(told.records.map(({ record }) => [record.seq, new TextDecoder().decode(record.body)]), [
      [1, "body one"],
      [2, "body two"],
    ]);
    assert.deepEqual(told.changes, []);
    assert.equal(database.accounts.account(nameOf("bob"))?.devices.length, 1);
    database.close();
  });
});

Deno.test("SqliteStore: a full disk refuses the batch, keeps everything before it, and goes on once there is room", async () => {
  await inTemporaryFolder(async (path) => {
    const { store, told } = open(path, { pagesMax: 200 });
    const id = await befriend(store);
    await store.append([recordOf("alice", "bob", "before")]);
    const body = new Uint8Array(100_000);
    let stored = 1;
    const full = await (async () => {
      for (let at = 0; at < 100; at++) {
        const results = await Promise.allSettled([
          store.append([recordOf("alice", "bob", `a${at}`, { body })]),
          store.append([recordOf("bob", "alice", `b${at}`, { body })]),
        ]);
        const reasons = results.flatMap((result) => result.status === "rejected" ? [result.reason] : []);
        if (reasons.length > 0) return reasons;
        stored += 2;
      }
      return [];
    })();
    assert.equal(full.length, 2);
    for (const reason of full) assert.ok(reason instanceof StoreFullError, String(reason));
    assert.equal(told.records.length, stored);
    const read = async () => {
      const seqs: number[] = [];
      while (true) {
        const { records } = (await store.read(nameOf("bob"), id, seqs.at(-1) ?? 0, 100))!;
        if (records.length === 0) return seqs;
        seqs.push(...records.map(({ seq }) => seq));
      }
    };
    assert.equal((await read()).length, stored);
    // What fits still gets in, and takes the next number.
    const [small] = await store.append([recordOf("alice", "bob", "small")]);
    assert.equal(small?.status === "stored" && small.seq, stored + 1);
    await store.close();

    const roomier = open(path).store;
    const [again] = await roomier.append([recordOf("alice", "bob", "later", { body })]);
    assert.equal(again?.status === "stored" && again.seq, stored + 2);
    await roomier.close();
  });
});

Deno.test("SqliteDatabase: each opening is a newer leadership, and an older one cannot write", async () => {
  await inTemporaryFolder(async (path) => {
    let superseded = 0;
    const older = new SqliteDatabase(path);
    const store = new SqliteStore(older, {
      listener: new Told(),
      logger: silentLogger,
      onSuperseded: () => superseded++,
    });
    await befriend(store);
    const newer = new SqliteDatabase(path);
    assert.equal(newer.leadership, older.leadership + 1);
    await assert.rejects(store.append([recordOf("alice", "bob", 1)]), StoreUnavailableError);
    assert.equal(superseded, 1);
    newer.begin();
    assert.equal(newer.conversations.heads(nameOf("bob"), deviceOf("bob"), undefined, 1)[0]?.head, 0);
    newer.commit();
    newer.close();
    await store.close();
  });
});

Deno.test("SqliteDatabase refuses a database of a newer program and leaves it as it was", async () => {
  await inTemporaryFolder(async (path) => {
    const first = open(path).store;
    await befriend(first);
    await first.close();
    const newer = new DatabaseSync(path);
    newer.exec(`PRAGMA user_version = ${MIGRATIONS.length + 1}`);
    newer.close();
    const before = await Deno.readFile(path);
    assert.throws(() => new SqliteDatabase(path), (error: Error) => {
      assert.ok(error instanceof StoreVersionError);
      assert.match(error.message, /newer program/);
      return true;
    });
    assert.deepEqual(await Deno.readFile(path), before);
    const repaired = new DatabaseSync(path);
    repaired.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
    repaired.close();
    const again = open(path).store;
    assert.deepEqual(await again.users("", 10), ["alice", "bob"]);
    await again.close();
  });
});

Deno.test("SqliteDatabase keeps everything across openings", async () => {
  await inTemporaryFolder(async (path) => {
    const first = open(path).store;
    const id = await befriend(first);
    await first.append([1, 2, 3].map((number) => recordOf("alice", "bob", number)));
    await first.setCursors(nameOf("bob"), deviceOf("bob"), [{ conversation: id, seq: 2 }]);
    await first.close();
    await assert.rejects(first.users("", 1), StoreUnavailableError);
    await assert.rejects(first.append([recordOf("alice", "bob", 4)]), StoreUnavailableError);
    const second = open(path).store;
    const [head] = await second.conversations(nameOf("bob"), deviceOf("bob"), undefined, 10);
    assert.deepEqual([head?.head, head?.cursor, head?.epoch], [3, 2, 2]);
    const [again, next] = await second.append([recordOf("alice", "bob", 2), recordOf("alice", "bob", 4)]);
    assert.deepEqual(again, { status: "stored", seq: 2, timeMs: 5_000, duplicate: true });
    assert.equal(next?.status === "stored" && next.seq, 4);
    await second.close();
  });
});

Deno.test("SqliteStore.createSession() forgets sessions that expired long ago", async () => {
  await inTemporaryFolder(async (path) => {
    const { store } = open(path);
    await befriend(store);
    const session = (fill: number, expiresMs: number) =>
      store.createSession({
        tokenHash: new Uint8Array(32).fill(fill),
        user: nameOf("alice"),
        device: deviceOf("alice"),
        expiresMs,
      });
    await session(1, 10_000);
    await store.session(new Uint8Array(32), 1e12);
    await session(2, 2e12);
    await store.close();
    const reader = new DatabaseSync(path, { readOnly: true });
    assert.equal(reader.prepare("SELECT count(*) AS count FROM sessions").get()!["count"], 1);
    reader.close();
  });
});

Deno.test({
  name: "SqliteDatabase makes its files for their owner only",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inTemporaryFolder(async (path) => {
      const { store } = open(path);
      await store.createUser({ ...newUser("alice"), backup: bytesOf("sealed") });
      for (const suffix of ["", "-wal", "-shm"]) {
        assert.equal(((await Deno.stat(path + suffix)).mode ?? 0) & 0o077, 0, suffix);
      }
      await store.close();
    }),
});

function open(path: string, options?: SqliteOptions) {
  const told = new Told();
  const store = new SqliteStore(new SqliteDatabase(path, options), { listener: told, logger: silentLogger });
  return { store, told };
}

async function inTemporaryFolder(run: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  try {
    await run(`${directory}/store.db`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
