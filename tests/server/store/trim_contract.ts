/** What every store must do where messages are not kept for ever; part of the contract's suite. */
import assert from "node:assert/strict";
import type { Store, TrimLimits } from "../../../server/store/store.ts";
import { RECORD_AGE_MS_MIN } from "../../../shared/limits.ts";
import { befriend, deviceOf, directOf, nameOf, newDevice, recordOf } from "./fixtures.ts";

type Test = (what: string, run: (store: Store) => Promise<void>) => void;

export function trimContract(test: Test): void {
  test("trim() by age removes the oldest, and numbers go on", async (store) => {
    const id = await befriend(store);
    await store.append([1, 2, 3, 4].map((number) => recordOf("alice", "bob", number, { nowMs: number * DAY })));
    assert.equal(await trimAll(store, { nowMs: 6 * DAY, ageMsMax: 3 * DAY }), 2);
    const page = await store.read(nameOf("bob"), id, 0, 10);
    assert.deepEqual([page?.begins, page?.records.map(({ seq }) => seq)], [2, [3, 4]]);
    assert.deepEqual((await store.read(nameOf("bob"), id, 3, 10))?.records.map(({ seq }) => seq), [4]);
    assert.deepEqual((await store.read(nameOf("bob"), id, 2, 1))?.records.map(({ seq }) => seq), [3]);
    for (const head of await heads(store)) assert.deepEqual([head.head, head.begins], [4, 2]);
    const [next] = await store.append([recordOf("bob", "alice", 5, { nowMs: 6 * DAY })]);
    assert.equal(next?.status === "stored" && next.seq, 5);
  });

  test("trim() of a whole conversation does not make its numbers go back", async (store) => {
    const id = await befriend(store);
    await store.append([1, 2].map((number) => recordOf("alice", "bob", number, { nowMs: 0 })));
    assert.equal(await trimAll(store, { nowMs: 9 * DAY, ageMsMax: DAY }), 2);
    const page = await store.read(nameOf("bob"), id, 0, 10);
    assert.deepEqual([page?.records, page?.begins, page?.restored], [[], 2, undefined]);
    await store.setCursors(nameOf("bob"), deviceOf("bob"), [{ conversation: id, seq: 99 }]);
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    const [head] = await store.conversations(nameOf("bob"), deviceOf("bob", 2), undefined, 10);
    assert.deepEqual([head?.head, head?.begins, head?.cursor], [2, 2, 2]);
    assert.equal((await store.openDirect(id, nameOf("bob"), nameOf("alice"), deviceOf("bob")))?.cursor, 2);
    const [next] = await store.append([recordOf("bob", "alice", 3, { nowMs: 9 * DAY, epoch: 3 })]);
    assert.equal(next?.status === "stored" && next.seq, 3);
  });

  test("trim() leaves what came within a day, and a repeat of it is still known", async (store) => {
    await befriend(store);
    const young = 9 * DAY - RECORD_AGE_MS_MIN + 1;
    const record = recordOf("alice", "bob", "young", { nowMs: young });
    await store.append([recordOf("alice", "bob", "old", { nowMs: 0 }), record]);
    assert.equal(await trimAll(store, { nowMs: 9 * DAY, ageMsMax: 0, bytesMax: 0 }), 1);
    const [again] = await store.append([{ ...record, nowMs: 9 * DAY }]);
    assert.deepEqual(structuredClone(again), { status: "stored", seq: 2, timeMs: young, duplicate: true });
  });

  test("trim() takes the oldest of all conversations first, and what came before one that goes", async (store) => {
    await befriend(store);
    await befriend(store, "alice", "carol");
    await store.append([
      recordOf("alice", "bob", 1, { nowMs: 0 }),
      // A server's clock was ahead: what is older stands behind it.
      recordOf("alice", "carol", 2, { nowMs: 5 * DAY }),
      recordOf("bob", "alice", 3, { nowMs: DAY }),
      recordOf("carol", "alice", 4, { nowMs: 6 * DAY }),
    ]);
    assert.equal(await store.trim({ ...NONE, nowMs: 9 * DAY, ageMsMax: 4 * DAY, recordsMax: 1 }), 1);
    assert.equal(await trimAll(store, { nowMs: 9 * DAY, ageMsMax: 4 * DAY }), 2);
    const begins = new Map((await heads(store)).map((head) => [head.conversation, head.begins]));
    assert.deepEqual(begins.get(directOf("alice", "bob")), 2);
    assert.deepEqual(begins.get(directOf("alice", "carol")), 1);
  });

  test("trim() by size comes down to it and no further", async (store) => {
    const id = await befriend(store);
    const body = new Uint8Array(100_000);
    const numbers = Array.from({ length: 40 }, (_, at) => at + 1);
    await store.append(numbers.map((number) => recordOf("alice", "bob", number, { nowMs: number, body })));
    assert.equal(await trimAll(store, { nowMs: 9 * DAY, bytesMax: 100 << 20 }), 0);
    const removed = await trimAll(store, { nowMs: 9 * DAY, bytesMax: 2 << 20 });
    // Twenty bodies are 2 MB; what belongs to them and to the rest of the database takes a few more.
    assert.ok(removed >= 20 && removed <= 26, `${removed} were removed`);
    const { begins, records } = (await store.read(nameOf("bob"), id, 0, 10))!;
    assert.deepEqual([begins, records[0]?.seq], [removed, removed + 1]);
    assert.equal((await heads(store))[0]?.head, 40);
    assert.equal(await trimAll(store, { nowMs: 9 * DAY, bytesMax: 2 << 20 }), 0);
  });

  test("trim() without limits removes nothing", async (store) => {
    await befriend(store);
    await store.append([recordOf("alice", "bob", 1, { nowMs: 0 })]);
    assert.equal(await trimAll(store, { nowMs: 9 * DAY }), 0);
  });
}

/** As the leader does it. */
async function trimAll(store: Store, limits: Partial<TrimLimits> & { nowMs: number }): Promise<number> {
  let removed = 0;
  while (true) {
    const count = await store.trim({ ...NONE, ...limits });
    if (count === 0) return removed;
    removed += count;
  }
}

function heads(store: Store) {
  return store.conversations(nameOf("alice"), deviceOf("alice"), undefined, 10);
}

const DAY = 24 * 3600 * 1000;
const NONE: Omit<TrimLimits, "nowMs"> = { ageMsMax: undefined, bytesMax: undefined, recordsMax: 128 };
