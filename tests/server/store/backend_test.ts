import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { setImmediate } from "node:timers";
import { type Backend, openBackend } from "../../../server/store/backend.ts";
import { MIGRATIONS, StoreVersionError } from "../../../server/store/migrations.ts";
import { type Store, StoreUnavailableError } from "../../../server/store/store.ts";
import type {
  BusListener,
  Committed,
  DevicesChanged,
  GroupNews,
  SessionsEnded,
  TypingHint,
} from "../../../server/bus/bus.ts";
import { storePaths } from "../../../server/store/leader.ts";
import { removeMigration, writeMigration } from "../../../shared/cluster/mod.ts";
import { FileLock } from "../../../shared/host/mod.ts";
import { silentLogger } from "../../../shared/log.ts";
import type { Record } from "../../../shared/protocol/mod.ts";
import { befriend, deviceOf, directOf, nameOf, newDevice, recordOf } from "./fixtures.ts";

Deno.test("openBackend() gives one leader, and the others its store", async () => {
  await inCluster(3, async (backends) => {
    assert.deepEqual(backends.map((backend) => backend.role()), ["leader", "follower", "follower"]);
    const id = await befriend(backends[1]!.store);
    const results = await Promise.all(
      backends.map((backend, at) => backend.store.append([recordOf("alice", "bob", at)])),
    );
    assert.deepEqual(results.map(([result]) => result?.status === "stored" && result.seq).sort(), [1, 2, 3]);
    for (const { store } of backends) assert.equal((await store.read(nameOf("bob"), id, 0, 10))?.records.length, 3);
  });
});

Deno.test("openBackend(): a follower takes over when the leader closes, and nothing is lost or doubled", async () => {
  await inCluster(3, async (backends) => {
    const id = await befriend(backends[1]!.store);
    const first = backends[0]!.leadership();
    let stop = false;
    const acknowledged = new Map<string, number>();
    const senders = [1, 2].map(async (at) => {
      for (let number = 0; !stop; number++) {
        const record = recordOf("alice", "bob", `${at}/${number}`);
        const [result] = await backends[at]!.store.append([record]);
        assert.ok(result?.status === "stored");
        acknowledged.set(record.messageId, result.seq);
      }
    });
    await until(() => acknowledged.size > 20);
    await backends[0]!.close();
    const before = acknowledged.size;
    await until(() => acknowledged.size > before + 20);
    stop = true;
    await Promise.all(senders);

    assert.deepEqual(backends.slice(1).map((backend) => backend.role()).sort(), ["follower", "leader"]);
    assert.equal(backends[1]!.leadership(), first + 1);
    assert.equal(backends[2]!.leadership(), first + 1);
    const records = await allOf(backends[2]!.store, id);
    assert.deepEqual(records.map(({ seq }) => seq), records.map((_, at) => at + 1));
    assert.equal(new Set(records.map(({ messageId }) => messageId)).size, records.length);
    assert.deepEqual(
      new Map(records.map(({ messageId, seq }) => [messageId as string, seq])),
      acknowledged,
    );
  });
});

Deno.test("openBackend(): records reach every server with a member, the sender's own included, in order", async () => {
  await inCluster(3, async (backends) => {
    const heard = backends.map(listen);
    const id = await befriend(backends[1]!.store);
    await befriend(backends[1]!.store, "bob", "carol");
    backends[0]!.bus.announce(nameOf("alice"), true);
    backends[1]!.bus.announce(nameOf("bob"), true);
    backends[1]!.bus.announce(nameOf("alice"), true);
    backends[2]!.bus.announce(nameOf("carol"), true);
    // A link keeps order, so that an answer on it says that the announcement before it has arrived.
    for (const { bus } of backends) await bus.online();
    for (let at = 0; at < 10; at++) await backends[2]!.store.append([recordOf("alice", "bob", at)]);
    await backends[0]!.store.append([recordOf("bob", "carol", "other")]);
    for (const { bus } of backends) await bus.online();

    const seqs = Array.from({ length: 10 }, (_, at) => at + 1);
    const of = (server: number) => heard[server]!.committed.filter(({ record }) => record.conversation === id);
    assert.deepEqual(of(0).map(({ record }) => record.seq), seqs);
    assert.deepEqual(of(1).map(({ record }) => record.seq), seqs);
    assert.deepEqual(heard[2]!.committed.map(({ record, members }) => [record.sender, members]), [
      ["bob", ["bob", "carol"]],
    ]);
    assert.deepEqual(of(1)[0]!.members, ["alice", "bob"]);
    assert.deepEqual(of(0), of(1));

    await backends[1]!.store.addDevice(nameOf("carol"), newDevice("carol", 2));
    for (const { bus } of backends) await bus.online();
    assert.deepEqual(heard.map(({ changes }) => changes.map(({ user }) => user)), [[], ["carol"], ["carol"]]);
  });
});

Deno.test("openBackend(): who is online is known everywhere, and a server that leaves takes its users with it", async () => {
  await inCluster(3, async (backends) => {
    backends[0]!.bus.announce(nameOf("alice"), true);
    backends[1]!.bus.announce(nameOf("bob"), true);
    backends[2]!.bus.announce(nameOf("carol"), true);
    await allKnow(backends, ["alice", "bob", "carol"]);
    backends[1]!.bus.announce(nameOf("bob"), false);
    await allKnow(backends, ["alice", "carol"]);
    await backends[2]!.close();
    await allKnow(backends.slice(0, 2), ["alice"]);
  });
});

Deno.test("openBackend(): after a change of leader presence is whole, the gap is told, and notices go on", async () => {
  await inCluster(3, async (backends) => {
    const heard = backends.map(listen);
    await befriend(backends[1]!.store);
    backends[0]!.bus.announce(nameOf("dave"), true);
    backends[1]!.bus.announce(nameOf("alice"), true);
    backends[2]!.bus.announce(nameOf("bob"), true);
    await allKnow(backends, ["alice", "bob", "dave"]);
    await backends[0]!.close();
    await allKnow(backends.slice(1), ["alice", "bob"]);
    assert.deepEqual(heard.map(({ gaps }) => gaps), [0, 1, 1]);
    await backends[1]!.store.append([recordOf("alice", "bob", 1)]);
    await Promise.all(backends.slice(1).map(({ bus }) => bus.online()));
    assert.deepEqual(heard.map(({ committed }) => committed.length), [0, 1, 1]);
  });
});

Deno.test("openBackend(): presence and typing go from any server to any, and watches outlive the leader", async () => {
  await inCluster(3, async (backends) => {
    const heard = backends.map(listen), [alice, bob] = [nameOf("alice"), nameOf("bob")];
    for (const { bus } of backends) bus.watch(alice, true);
    backends[2]!.bus.announce(alice, true);
    await until(() => heard.every(({ presence }) => presence.join() === "alice here"));
    assert.deepEqual(await backends[1]!.bus.among([alice]), { online: [alice], isSure: true });
    const hint = { conversation: directOf("alice", "bob"), user: bob, members: [alice, bob], active: true };
    backends[1]!.bus.hint(hint);
    await until(() => heard[2]!.typing.length === 1);
    assert.deepEqual(heard.map(({ typing }) => typing), [[], [], [hint]], "only where a member is");

    backends[1]!.bus.watch(bob, true);
    await backends[0]!.close();
    // The next leader is told by both of them whom they have and whom they watch.
    await until(() => heard[1]!.presence.filter((told) => told === "alice here").length === 2);
    backends[2]!.bus.announce(bob, true);
    await until(() => heard[1]!.presence.at(-1) === "bob here");
    assert.ok(heard.every(({ presence }) => !presence.includes("alice gone")), "Alice never was");
    backends[2]!.bus.hint(hint);
    await until(() => heard[2]!.typing.length === 2);
  });
});

Deno.test("openBackend(): a gap is told after the leader knows who is here", async () => {
  await inCluster(2, async ([leader, follower]) => {
    const id = await befriend(leader!.store);
    const read = Promise.withResolvers<number | undefined>();
    follower!.bus.announce(nameOf("bob"), true);
    follower!.bus.listener = {
      onCommitted: () => {},
      onDevicesChanged: () => {},
      onReceipts: () => {},
      onSessionsEnded: () => {},
      onGroupNews: () => {},
      onPresence: () => {},
      onTyping: () => {},
      onGap: () =>
        void follower!.store.read(nameOf("bob"), id, 0, 10).then((page) => read.resolve(page?.records.length)),
    };
    await follower!.store.append([recordOf("alice", "bob", 1)]);
    await leader!.close();
    assert.equal(await read.promise, 1);
    assert.deepEqual(await follower!.bus.online(), ["bob"]);
  });
});

Deno.test("openBackend(): a listener that throws keeps nobody else from hearing", async () => {
  await inCluster(2, async ([leader, follower]) => {
    const heard = listen(follower!);
    leader!.bus.listener = {
      onCommitted: () => {
        throw new Error("Broken listener");
      },
      onDevicesChanged: () => {},
      onReceipts: () => {},
      onSessionsEnded: () => {},
      onGroupNews: () => {},
      onPresence: () => {},
      onTyping: () => {},
      onGap: () => {},
    };
    await befriend(leader!.store);
    leader!.bus.announce(nameOf("alice"), true);
    follower!.bus.announce(nameOf("bob"), true);
    await follower!.bus.online();
    await follower!.store.append([recordOf("alice", "bob", 1)]);
    assert.equal(heard.committed.length, 1);
  });
});

Deno.test("openBackend() refuses a newer database, and lets go of the lock", async () => {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  try {
    await (await open(dataDir, 0)).close();
    setVersion(dataDir, 99);
    await assert.rejects(open(dataDir, 0), StoreVersionError);
    await assert.rejects(open(dataDir, 1), StoreVersionError);
    setVersion(dataDir, MIGRATIONS.length);
    await (await open(dataDir, 0)).close();
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});

Deno.test("openBackend() brings a database of the first version up to date, with what is in it", async () => {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  try {
    const database = new DatabaseSync(`${dataDir}/store.db`);
    database.exec(MIGRATIONS[0]!);
    database.exec("PRAGMA user_version = 1");
    database.exec("INSERT INTO users VALUES (1, 'alice', x'00', 17, x'01', x'02', x'03', 1, 0)");
    database.close();
    const backend = await open(dataDir, 0);
    assert.deepEqual(await backend.store.users("", 10), ["alice"]);
    assert.equal(await backend.store.raiseGeneration(nameOf("alice")), 1);
    await backend.close();
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});

Deno.test("Backend tells every server whose sessions ended, also one where that user is not", async () => {
  await inCluster(3, async (backends) => {
    await befriend(backends[0]!.store);
    const heard = backends.map(listen);
    assert.equal(await backends[2]!.store.raiseGeneration(nameOf("alice")), 1);
    for (const { ended } of heard) {
      await until(() => ended.length === 1);
      const { user, generation, keep } = ended[0]!;
      assert.deepEqual([user, generation, keep], ["alice", 1, undefined]);
    }
  });
});

Deno.test("Backend.close() ends what waits and what comes later with StoreUnavailableError", async () => {
  await inCluster(2, async ([leader, follower]) => {
    await befriend(leader!.store);
    const waiting = Promise.allSettled([1, 2, 3].map((at) => follower!.store.append([recordOf("alice", "bob", at)])));
    await follower!.close();
    for (const result of await waiting) {
      if (result.status === "rejected") assert.ok(result.reason instanceof StoreUnavailableError);
    }
    await assert.rejects(follower!.store.users("", 1), StoreUnavailableError);
    assert.equal(follower!.role(), "none");
    const last = leader!.store.append([recordOf("alice", "bob", "last")]);
    await leader!.close();
    assert.equal((await last)[0]?.status, "stored");
    await assert.rejects(leader!.store.users("", 1), StoreUnavailableError);
  });
});

Deno.test("openBackend() works where the path is too long for a Unix socket", async () => {
  const root = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  const dataDir = `${root}/${"long".repeat(30)}`;
  const backends = [await open(dataDir, 0), await open(dataDir, 1)];
  try {
    assert.deepEqual(backends.map((backend) => backend.role()), ["leader", "follower"]);
    await befriend(backends[1]!.store);
    const [result] = await backends[1]!.store.append([recordOf("alice", "bob", 1)]);
    assert.equal(result?.status, "stored");
    const [head] = await backends[0]!.store.conversations(nameOf("bob"), deviceOf("bob"), undefined, 1);
    assert.equal(head?.head, 1);
  } finally {
    for (const backend of backends) await backend.close();
    await Deno.remove(root, { recursive: true });
  }
});

/** What a server hears on its bus. */
function listen(backend: Backend) {
  const heard = {
    committed: [] as Committed[],
    changes: [] as DevicesChanged[],
    ended: [] as SessionsEnded[],
    news: [] as GroupNews[],
    presence: [] as string[],
    typing: [] as TypingHint[],
    gaps: 0,
  };
  const listener: BusListener = {
    onCommitted: (committed) => heard.committed.push(...committed),
    onDevicesChanged: (change) => heard.changes.push(change),
    onReceipts: () => {},
    onSessionsEnded: (ended) => heard.ended.push(ended),
    onGroupNews: (news) => heard.news.push(news),
    onPresence: (user, online) => heard.presence.push(`${user} ${online ? "here" : "gone"}`),
    onTyping: (hint) => heard.typing.push(hint),
    onGap: () => heard.gaps++,
  };
  backend.bus.listener = listener;
  return heard;
}

async function allKnow(backends: Backend[], users: string[]): Promise<void> {
  for (const { bus } of backends) await until(async () => (await bus.online()).join() === users.join());
}

async function allOf(store: Store, id: Parameters<Store["read"]>[1]) {
  const records: Record[] = [];
  while (true) {
    const page = (await store.read(nameOf("bob"), id, records.length, 100))!;
    if (page.records.length === 0) return records;
    records.push(...page.records);
  }
}

/** Asks until it is so; the test runner ends what never is. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!await condition()) await new Promise((resolve) => setImmediate(resolve));
}

Deno.test("openBackend() waits for a leader that brings the database up to date, and for a silent one not for ever", async () => {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  try {
    await Deno.mkdir(`${dataDir}/run`, { mode: 0o700 });
    const lock = await FileLock.tryAcquire(storePaths(dataDir).lock);
    const enter = () => openBackend({ dataDir, serverNumber: 1, logger: silentLogger, startMsMax: 50 });
    await assert.rejects(enter(), StoreUnavailableError);
    const elsewhere = await Deno.makeTempDir({ dir: dataDir });
    const held = await FileLock.tryAcquire(storePaths(elsewhere).lock);
    const besides = () => openBackend({ dataDir: elsewhere, serverNumber: 1, logger: silentLogger, startMsMax: 100 });
    writeMigration(dataDir, { pid: Deno.pid, from: 1, to: MIGRATIONS.length });
    let ended = false;
    const waiting = enter().finally(() => ended = true);
    // Several times as long as it would wait otherwise.
    for (let round = 0; round < 3; round++) await assert.rejects(besides(), StoreUnavailableError);
    assert.equal(ended, false);
    await removeMigration(dataDir);
    lock!.release();
    const backend = await waiting;
    assert.equal(backend.role(), "leader");
    await backend.close();
    held!.release();
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});

async function inCluster(count: number, run: (backends: Backend[]) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  const backends: Backend[] = [];
  try {
    for (let server = 0; server < count; server++) backends.push(await open(dataDir, server));
    await run(backends);
  } finally {
    for (const backend of backends.toReversed()) await backend.close();
    await Deno.remove(dataDir, { recursive: true });
  }
}

function open(dataDir: string, serverNumber: number): Promise<Backend> {
  return openBackend({ dataDir, serverNumber, logger: silentLogger });
}

function setVersion(dataDir: string, version: number): void {
  const database = new DatabaseSync(`${dataDir}/store.db`);
  database.exec(`PRAGMA user_version = ${version}`);
  database.close();
}
