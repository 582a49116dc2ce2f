/** A database that was restored from a copy older than what its clients have seen. */
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openBackend } from "../../../server/store/backend.ts";
import { makeReady } from "../../../server/store/backup.ts";
import { checkDatabase, openToRead } from "../../../server/store/check.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { silentLogger } from "../../../shared/log.ts";
import { inDirectory } from "../../temporary.ts";
import { befriend, deviceOf, directOf, nameOf, newDevice, newUser, recordOf, Told } from "./fixtures.ts";

const ALICE = nameOf("alice"), BOB = nameOf("bob");
const FIRST = { madeMs: 1_000_000, restoredMs: 2_000_000, endSessions: false };
const SECOND = { madeMs: 1_000_000, restoredMs: 3_000_000, endSessions: false };

Deno.test("makeReady() lets conversations leap: readers are told at the edge, and what is new comes behind", () =>
  withTalk(3, async (path) => {
    makeReady(path, FIRST);
    const base = 200_000_000,
      id = directOf("alice", "bob"),
      restored = { kept: 3, madeMs: 1_000_000, restoredMs: 2_000_000 };
    await withStore(path, async (store) => {
      assert.equal((await store.conversations(BOB, deviceOf("bob"), undefined, 10))[0]?.head, base);
      assert.deepEqual(await seqs(store.append([recordOf("bob", "alice", "new"), recordOf("bob", "alice", "newer")])), [
        base + 1,
        base + 2,
      ]);
      const read = async (after: number, limit = 10) => {
        const page = (await store.read(ALICE, id, after, limit))!;
        return { ...page, records: page.records.map(({ seq }) => seq) };
      };
      assert.deepEqual(await read(0), { records: [1, 2, 3], begins: 0 }, "a page ends before the edge");
      assert.deepEqual(await read(2, 1), { records: [3], begins: 0 });
      for (const after of [3, 4, 80, base - 1]) {
        assert.deepEqual(await read(after), { records: [], begins: base, restored }, `behind ${after}`);
      }
      assert.deepEqual(await read(base), { records: [base + 1, base + 2], begins: 0 });
      assert.deepEqual(await read(base + 1), { records: [base + 2], begins: 0 });
    });
    assert.deepEqual(look(path).problems, []);
  }));

Deno.test("a server that follows hears of the edge as the leader does", () =>
  withTalk(1, async (path) => {
    makeReady(path, FIRST);
    const options = { dataDir: dirname(path), logger: silentLogger };
    const leader = await openBackend({ ...options, serverNumber: 0 });
    const follower = await openBackend({ ...options, serverNumber: 1 });
    try {
      assert.deepEqual([leader.role(), follower.role()], ["leader", "follower"]);
      const id = directOf("alice", "bob"), page = await follower.store.read(ALICE, id, 1, 10);
      assert.deepEqual(structuredClone(page), await leader.store.read(ALICE, id, 1, 10));
      assert.equal(page?.restored?.restoredMs, FIRST.restoredMs);
      assert.equal((await follower.store.read(ALICE, id, 0, 10))?.restored, undefined);
    } finally {
      await follower.close();
      await leader.close();
    }
  }));

Deno.test("makeReady() takes one-time key packages away, and leaves the last resort", () =>
  withTalk(0, (path) => {
    const database = new DatabaseSync(path);
    for (const lastResort of [0, 0, 1]) {
      database.prepare("INSERT INTO key_packages (device, last_resort, put_ms, body) VALUES (1, ?, 1, x'01')").run(
        lastResort,
      );
    }
    database.close();
    makeReady(path, FIRST);
    assert.equal(look(path).counts["key_packages"], 1);
    return Promise.resolve();
  }));

Deno.test("a message that the backup has is still a repeat, and one that it lost is stored once more", () =>
  withTalk(3, async (path) => {
    const before = await copyOf(path);
    await withStore(path, async (store) => {
      assert.deepEqual(await seqs(store.append([recordOf("alice", "bob", "lost")])), [4]);
    });
    makeReady(before, FIRST);
    await withStore(before, async (store) => {
      const [kept, lost, again] = await store.append([
        recordOf("alice", "bob", 3),
        recordOf("alice", "bob", "lost"),
        recordOf("alice", "bob", "lost"),
      ]);
      assert.deepEqual(
        [kept, lost, again].map((result) => result?.status === "stored" && [result.seq, result.duplicate]),
        [
          [3, true],
          [200_000_001, false],
          [200_000_001, true],
        ],
      );
    });
  }));

Deno.test("a conversation made after a restore, or known to devices alone, begins where no number was given out", () =>
  withTalk(1, async (path) => {
    makeReady(path, FIRST);
    await withStore(path, async (store) => {
      await store.createUser(newUser("carol"));
      const id = directOf("alice", "carol");
      const head = await store.openDirect(id, ALICE, nameOf("carol"), deviceOf("alice"));
      assert.deepEqual([head?.head, head?.begins, head?.cursor], [200_000_000, 0, 0]);
      assert.deepEqual(await seqs(store.append([recordOf("alice", "carol", "first")])), [200_000_001]);
      const page = await store.read(ALICE, id, 30, 10);
      assert.deepEqual([page?.begins, page?.restored?.kept], [200_000_000, 0]);
      // Whoever enrols now begins behind it and hears of no restore.
      await store.addDevice(ALICE, newDevice("alice", 2));
      for (const found of await store.conversations(ALICE, deviceOf("alice", 2), undefined, 10)) {
        assert.equal(found.cursor, found.head);
      }
    });
    assert.deepEqual(look(path).problems, []);
  }));

Deno.test("every restore of the same copy goes on behind numbers of its own", () =>
  withTalk(2, async (path) => {
    const again = await copyOf(path);
    makeReady(path, FIRST);
    makeReady(again, SECOND);
    const numbers: number[][] = [];
    for (const file of [path, again]) {
      await withStore(file, async (store) => {
        numbers.push(await seqs(store.append([recordOf("alice", "bob", "a"), recordOf("alice", "bob", "b")])));
      });
    }
    assert.deepEqual(numbers, [[200_000_001, 200_000_002], [300_000_001, 300_000_002]]);
  }));

Deno.test("restores of restored copies: said or unsaid in between, each edge is told once", () =>
  withTalk(2, async (path) => {
    makeReady(path, FIRST);
    // Nothing was said: both are one leap.
    makeReady(path, SECOND);
    const id = directOf("alice", "bob"), third = { ...SECOND, restoredMs: 4_000_000 };
    const read = (after: number) => withStore(path, (store) => store.read(ALICE, id, after, 10));
    assert.deepEqual(await read(2), {
      records: [],
      begins: 300_000_000,
      restored: { kept: 2, madeMs: SECOND.madeMs, restoredMs: SECOND.restoredMs },
    });
    await withStore(path, (store) => store.append([recordOf("alice", "bob", "between")]));
    makeReady(path, third);
    assert.equal((await read(2))?.begins, 300_000_000);
    assert.deepEqual((await read(300_000_000))?.records.map(({ seq }) => seq), [300_000_001]);
    assert.deepEqual([(await read(300_000_001))?.begins, (await read(300_000_001))?.restored?.kept], [
      400_000_000,
      300_000_001,
    ]);
    assert.deepEqual(look(path).problems, []);
  }));

Deno.test("makeReady() with a clock that was set back leaps over everything the copy knows of", () =>
  withTalk(1, async (path) => {
    makeReady(path, SECOND);
    await withStore(path, (store) => store.append([recordOf("alice", "bob", "x")]));
    makeReady(path, { ...FIRST, restoredMs: 1_500_000 });
    const [head] = await withStore(path, (store) => store.conversations(BOB, deviceOf("bob"), undefined, 10));
    assert.ok(head!.head > 300_000_001, `${head!.head}`);
  }));

Deno.test("what was removed for its age and what a restore left out are told one after the other", () =>
  withTalk(4, async (path) => {
    makeReady(path, FIRST);
    const id = directOf("alice", "bob"), day = 24 * 3600 * 1000;
    await withStore(path, async (store) => {
      await store.append([recordOf("alice", "bob", "new", { nowMs: 9 * day })]);
      const limits = { nowMs: 10 * day, ageMsMax: 5 * day, bytesMax: undefined, recordsMax: 100 };
      assert.equal(await store.trim(limits), 4);
      assert.deepEqual(await store.read(ALICE, id, 1, 10), { records: [], begins: 4 });
      assert.equal((await store.read(ALICE, id, 4, 10))?.restored?.kept, 4);
      assert.equal(await store.trim({ ...limits, nowMs: 20 * day }), 1);
      // The edge is gone with what lay round it, and still nobody counts what was never there.
      assert.deepEqual(await store.read(ALICE, id, 1, 10), { records: [], begins: 4 });
      assert.equal((await store.read(ALICE, id, 4, 10))?.begins, 200_000_000);
      assert.deepEqual(await store.read(ALICE, id, 200_000_000, 10), { records: [], begins: 200_000_001 });
    });
    assert.deepEqual(look(path).problems, []);
  }));

Deno.test("makeReady() ends all sessions where that is wanted, and none otherwise", async () => {
  for (const endSessions of [false, true]) {
    await withTalk(0, async (path) => {
      const tokenHash = new Uint8Array(32).fill(1);
      await withStore(
        path,
        (store) => store.createSession({ tokenHash, user: ALICE, device: deviceOf("alice"), expiresMs: 9e9 }),
      );
      makeReady(path, { ...FIRST, endSessions });
      const session = await withStore(path, (store) => store.session(tokenHash, 1_000));
      assert.equal(session === undefined, endSessions);
      // A ticket of that time names the generation that it was given in.
      const generation = await withStore(path, (store) => store.raiseGeneration(ALICE));
      assert.equal(generation, endSessions ? 2 : 1);
    });
  }
});

/** Alice has said that much to Bob. */
async function withTalk(messages: number, use: (path: string) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    const path = `${directory}/store.db`;
    await withStore(path, async (store) => {
      await befriend(store);
      await store.append(Array.from({ length: messages }, (_, at) => recordOf("alice", "bob", at + 1)));
    });
    await use(path);
  });
}

async function withStore<T>(path: string, use: (store: SqliteStore) => Promise<T>): Promise<T> {
  const store = new SqliteStore(new SqliteDatabase(path), { listener: new Told(), logger: silentLogger });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

async function copyOf(path: string): Promise<string> {
  await Deno.copyFile(path, `${path}.copy`);
  return `${path}.copy`;
}

async function seqs(results: ReturnType<SqliteStore["append"]>): Promise<number[]> {
  return (await results).map((result) => result.status === "stored" ? result.seq : -1);
}

function look(path: string) {
  const database = openToRead(path);
  try {
    return checkDatabase(database);
  } finally {
    database.close();
  }
}
