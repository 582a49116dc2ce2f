/** What every store must do with receipts (docs/PROTOCOL.md §13); part of contract.ts. */
import assert from "node:assert/strict";
import type { OwnReceipt } from "../../../shared/protocol/mod.ts";
import { RECEIPTS_MAX } from "../../../shared/limits.ts";
import type { Store } from "../../../server/store/store.ts";
import { befriend, deviceOf, directOf, nameOf, newDevice, newUser, recordOf, type Told } from "./fixtures.ts";

type Test = (
  what: string,
  run: (store: Store, opened: { readonly told: Told; settle(): Promise<void> }) => Promise<void>,
) => void;

export function receiptsContract(test: Test): void {
  test(
    "setReceipts() keeps the newest of each device, moves its cursor, and tells the members",
    async (store, opened) => {
      const id = await withMessages(store, 5);
      await store.addDevice(nameOf("bob"), newDevice("bob", 2));
      await said(store, "bob", 1, receiptOf(3, 1));
      await said(store, "bob", 2, receiptOf(4));
      await said(store, "alice", 1, receiptOf(5));
      assert.deepEqual(await newest(store), ["alice 5 0", "bob 3 1", "bob 4 0"]);
      assert.equal(await cursorOf(store, "bob", 1), 3);
      await opened.settle();
      assert.deepEqual(
        opened.told.moved.map((
          { receipt: { user, device, delivered }, members },
        ) => [user, device, delivered, members]),
        [
          ["bob", deviceOf("bob"), 3, ["alice", "bob"]],
          ["bob", deviceOf("bob", 2), 4, ["alice", "bob"]],
          ["alice", deviceOf("alice"), 5, ["alice", "bob"]],
        ],
      );
      const [kept] = (await store.receipts(nameOf("alice"), [id], undefined, 10)).filter(({ read }) => read === 1);
      assert.deepEqual(structuredClone(kept), {
        ...receiptOf(3, 1),
        user: "bob",
        device: deviceOf("bob"),
      });
    },
  );

  test(
    "setReceipts() goes forward only: a repeat, an older one and one beyond the head change nothing",
    async (store, opened) => {
      await withMessages(store, 5);
      await said(store, "bob", 1, receiptOf(3, 1));
      const mixed = [receiptOf(3, 1), receiptOf(2, 2), receiptOf(3), receiptOf(6), receiptOf(6, 6)];
      await said(store, "bob", 1, ...mixed);
      assert.deepEqual([await newest(store), await cursorOf(store, "bob", 1)], [["bob 3 1"], 3]);
      await said(store, "bob", 1, receiptOf(3, 3));
      assert.deepEqual(await newest(store), ["bob 3 3"], "as much, and more of it read");
      await said(store, "bob", 1, receiptOf(4, 0));
      assert.deepEqual(await newest(store), ["bob 4 0"], "more is more, whatever is read of it");
      await opened.settle();
      assert.deepEqual(opened.told.moved.map(({ receipt: { delivered, read } }) => [delivered, read]), [
        [3, 1],
        [3, 3],
        [
          4,
          0,
        ],
      ]);
      await store.setCursors(nameOf("bob"), deviceOf("bob"), [{ conversation: directOf("alice", "bob"), seq: 5 }]);
      await said(store, "bob", 1, receiptOf(5, 5));
      assert.equal(await cursorOf(store, "bob", 1), 5);
    },
  );

  test(
    "setReceipts() of strangers, of others' devices and of unknown conversations changes nothing",
    async (store, opened) => {
      await withMessages(store, 2);
      await store.createUser(newUser("carol"));
      await said(store, "carol", 1, receiptOf(2));
      await store.setReceipts(nameOf("carol"), deviceOf("bob"), [receiptOf(2)]);
      await store.setReceipts(nameOf("bob"), deviceOf("alice"), [receiptOf(2)]);
      await store.setReceipts(nameOf("nobody"), deviceOf("nobody"), [receiptOf(2)]);
      await said(store, "bob", 1, { ...receiptOf(1), conversation: directOf("x", "y") });
      await store.setReceipts(nameOf("bob"), deviceOf("bob"), []);
      await opened.settle();
      assert.deepEqual([await newest(store), opened.told.moved], [[], []]);
    },
  );

  test("receipts() gives page after page, and nothing of conversations one is not in", async (store) => {
    const id = await withMessages(store, 1);
    for (let number = 2; number <= 6; number++) await store.addDevice(nameOf("bob"), newDevice("bob", number));
    for (let number = 1; number <= 6; number++) await said(store, "bob", number, receiptOf(1));
    await befriend(store, "alice", "carol");
    await store.append([recordOf("alice", "carol", 1)]);
    const other = directOf("alice", "carol");
    await said(store, "carol", 1, { ...receiptOf(1), conversation: other });
    const whole = await store.receipts(nameOf("alice"), [id, other], undefined, 100);
    assert.deepEqual(whole.map(({ user }) => user), [...Array(6).fill("bob"), "carol"]);
    const seen: string[] = [];
    for (let asked = [id, other], after;;) {
      const page = await store.receipts(nameOf("alice"), asked, after, 4);
      seen.push(...page.map(({ device }) => device));
      const last = page.at(-1);
      if (page.length < 4 || last === undefined) break;
      asked = asked.slice(asked.indexOf(last.conversation));
      after = last.device;
    }
    assert.deepEqual(seen, whole.map(({ device }) => device));
    assert.deepEqual(await store.receipts(nameOf("carol"), [id], undefined, 10), []);
    assert.deepEqual(await store.receipts(nameOf("nobody"), [id, other], undefined, 10), []);
    const many = [...Array(RECEIPTS_MAX - 1).fill(directOf("x", "y")), id];
    assert.equal((await store.receipts(nameOf("alice"), many, undefined, 10)).length, 6);
  });
}

function receiptOf(delivered: number, read = 0): OwnReceipt {
  return {
    conversation: directOf("alice", "bob"),
    delivered,
    hash: new Uint8Array(32).fill(delivered),
    read,
    signature: new Uint8Array(64).fill(read),
  };
}

function said(store: Store, user: string, device: number, ...receipts: OwnReceipt[]): Promise<void> {
  return store.setReceipts(nameOf(user), deviceOf(user, device), receipts);
}

async function newest(store: Store): Promise<string[]> {
  const found = await store.receipts(nameOf("alice"), [directOf("alice", "bob")], undefined, 10);
  return found.map(({ user, delivered, read }) => `${user} ${delivered} ${read}`).sort();
}

async function cursorOf(store: Store, user: string, device: number): Promise<number | undefined> {
  return (await store.conversations(nameOf(user), deviceOf(user, device), undefined, 10))[0]?.cursor;
}

async function withMessages(store: Store, count: number) {
  const id = await befriend(store);
  await store.append(Array.from({ length: count }, (_, at) => recordOf("alice", "bob", at)));
  return id;
}
