import assert from "node:assert/strict";
import { type Backend, openBackend } from "../../../server/store/backend.ts";
import { silentLogger } from "../../../shared/log.ts";
import { storeContract } from "./contract.ts";
import { TREE_BYTES_MAX } from "../../../shared/limits.ts";
import { commit, GROUP, groupOf } from "./groups_contract.ts";
import { befriend, bytesOf, deviceOf, nameOf, newDevice, recordOf, Told } from "./fixtures.ts";

storeContract("RemoteStore", async () => {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  const [leader, follower] = [await open(dataDir, 0), await open(dataDir, 1)];
  const told = new Told();
  follower.bus.listener = {
    onCommitted: (committed) => told.committed(committed),
    onDevicesChanged: (change) => told.devicesChanged(change),
    onReceipts: (moved) => told.receipts(moved),
    onSessionsEnded: (ended) => told.sessionsEnded(ended),
    onGroupNews: (news) => told.groupNews(news),
    onPresence: () => {},
    onTyping: () => {},
    onGap: () => {},
  };
  for (const user of ["alice", "bob", "carol", "dave", "erin", "frank"]) follower.bus.announce(nameOf(user), true);
  return {
    store: follower.store,
    told,
    // Notices leave before the answers to what caused them, on the same link.
    settle: () => Promise.resolve(),
    close: async () => {
      await follower.close();
      await leader.close();
      await Deno.remove(dataDir, { recursive: true });
    },
  };
});

Deno.test("RemoteStore.append() splits what no frame holds and keeps the stale rule across the parts", async () => {
  await inCluster(async ([, follower]) => {
    const id = await befriend(follower.store);
    await befriend(follower.store, "alice", "carol");
    await follower.store.addDevice(nameOf("bob"), newDevice("bob", 2));
    const body = new Uint8Array(1 << 20);
    const results = await follower.store.append([
      ...[1, 2, 3, 4].map((number) => recordOf("alice", "carol", number, { body })),
      recordOf("alice", "bob", "stale", { body }),
      ...[5, 6, 7, 8].map((number) => recordOf("alice", "bob", number, { body, epoch: 3 })),
      recordOf("bob", "alice", 9, { body, epoch: 3 }),
      recordOf("alice", "carol", 10, { body }),
    ]);
    const stale = { status: "stale-epoch", epoch: 3 };
    assert.deepEqual(results.map((result) => result.status === "stored" ? result.seq : result), [
      ...[1, 2, 3, 4],
      ...[stale, stale, stale, stale, stale],
      1,
      5,
    ]);
    const [head] = await follower.store.conversations(nameOf("bob"), deviceOf("bob"), undefined, 10);
    assert.deepEqual([head?.conversation, head?.head], [id, 1]);
  });
});

Deno.test("RemoteStore: answers of more than the link holds come all the same, one after the other", async () => {
  await inCluster(async ([, follower]) => {
    const { store } = follower;
    await groupOf(store, "alice", "bob");
    const welcomes = [{ device: deviceOf("bob"), body: bytesOf("welcome") }];
    const tree = new Uint8Array(TREE_BYTES_MAX).fill(3);
    await store.commit({ ...commit("alice", { lastCommit: 1, welcomes }), tree });
    const asked = Array.from({ length: 40 }, () => store.welcome(nameOf("bob"), deviceOf("bob"), GROUP));
    const appended = store.append([{ ...recordOf("bob", "alice", 1, { epoch: 2 }), conversation: GROUP }]);
    for (const welcome of await Promise.all(asked)) {
      assert.deepEqual([welcome?.tree.length, welcome?.tree.at(-1)], [TREE_BYTES_MAX, 3]);
    }
    assert.deepEqual((await appended).map(({ status }) => status), ["stored"]);
    assert.equal(follower.role(), "follower");
    assert.equal(follower.leadership(), 1);
  });
});

Deno.test("RemoteStore: a call that its schema refuses fails alone", async () => {
  await inCluster(async ([, follower]) => {
    await befriend(follower.store);
    const huge = recordOf("alice", "bob", "huge", { body: new Uint8Array(2 << 20) });
    const results = await Promise.allSettled([
      follower.store.append([recordOf("alice", "bob", 1)]),
      follower.store.append([huge]),
      follower.store.append([recordOf("alice", "bob", 2)]),
    ]);
    assert.deepEqual(results.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
    assert.equal(follower.role(), "follower");
  });
});

async function inCluster(run: (backends: [Backend, Backend]) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  const backends: [Backend, Backend] = [await open(dataDir, 0), await open(dataDir, 1)];
  try {
    await run(backends);
  } finally {
    await backends[1].close();
    await backends[0].close();
    await Deno.remove(dataDir, { recursive: true });
  }
}

function open(dataDir: string, serverNumber: number): Promise<Backend> {
  return openBackend({ dataDir, serverNumber, logger: silentLogger });
}
