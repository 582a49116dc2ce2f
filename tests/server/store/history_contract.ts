/** What every store must do with history that devices hand to new ones (docs/PROTOCOL.md §20); part of contract.ts. */
import assert from "node:assert/strict";
import { KEPT_MS } from "../../../server/store/groups.ts";
import type { NewHistoryPart } from "../../../server/store/history.ts";
import type { KeyChange, Store } from "../../../server/store/store.ts";
import {
  HISTORY_DEVICE_BYTES_MAX,
  HISTORY_GIVER_BYTES_MAX,
  HISTORY_PAIR_BYTES_MAX,
  HISTORY_PARTS_MAX,
  READ_BYTES_MAX,
} from "../../../shared/limits.ts";
import type { DeviceId, MessageId } from "../../../shared/protocol/mod.ts";
import { type Opened, plain } from "./contract.ts";
import { befriend, bytesOf, deviceOf, directOf, idOf, nameOf, newDevice } from "./fixtures.ts";
import { commit, drain, GROUP, groupOf, signUp } from "./groups_contract.ts";

type Test = (what: string, run: (store: Store, opened: Opened) => Promise<void>) => void;

export function historyContract(test: Test): void {
  test(
    "putHistory() keeps what a member leaves for a member's device, tells it, and again changes nothing",
    async (store, opened) => {
      await groupOf(store, "alice", "bob");
      await store.addDevice(nameOf("bob"), newDevice("bob", 2));
      const told = opened.told.news.length;
      for (const number of [0, 1]) assert.equal(await store.putHistory(part({ part: number, parts: 2 })), "kept");
      assert.equal(await store.putHistory(part({ part: 0, parts: 2, body: bytesOf("other") })), "kept");
      await opened.settle();
      const device = { user: "bob", device: deviceOf("bob", 2) };
      assert.deepEqual(
        plain(opened.told.news.slice(told)),
        [1, 2].map(() => ({ type: "historyWaits", devices: [device] })),
      );
      assert.deepEqual(plain(await waiting(store, "bob", 2)), [
        { number: 1, conversation: GROUP, body: bytesOf("part 0") },
        { number: 2, conversation: GROUP, body: bytesOf("part 1") },
      ]);
      assert.deepEqual((await store.history(nameOf("bob"), deviceOf("bob", 2), 1)).map(({ number }) => number), [2]);
      assert.deepEqual(await waiting(store, "bob"), [], "it is for one device");
      assert.deepEqual(await store.history(nameOf("alice"), deviceOf("bob", 2), 0), [], "of its user");
    },
  );

  test("putHistory() refuses whoever is no member, and devices that are no member's", async (store) => {
    await groupOf(store, "alice", "bob");
    await signUp(store, "carol");
    const refused: [string, Partial<NewHistoryPart>][] = [
      ["a stranger's", { user: nameOf("carol"), device: deviceOf("carol") }],
      ["for a stranger", { to: deviceOf("carol") }],
      ["for nobody", { to: deviceOf("nobody") }],
      ["for itself", { to: deviceOf("alice") }],
      ["by somebody else's device", { device: deviceOf("bob") }],
      ["about no conversation", { conversation: idOf("none") }],
    ];
    for (const [what, changes] of refused) {
      assert.equal(await store.putHistory(part({ to: deviceOf("bob"), ...changes })), "refused", what);
    }
    await store.commit(commit("alice", { lastCommit: 1, remove: ["bob"] }));
    assert.equal(await store.putHistory(part({ to: deviceOf("bob") })), "refused", "who was removed is no member");
  });

  test("putHistory() in a direct conversation is for one's own devices", async (store) => {
    const conversation = await befriend(store);
    await store.addDevice(nameOf("alice"), newDevice("alice", 2));
    assert.equal(await store.putHistory(part({ conversation, to: deviceOf("bob") })), "refused");
    assert.equal(await store.putHistory(part({ conversation, to: deviceOf("alice", 2) })), "kept");
    assert.equal((await waiting(store, "alice", 2))[0]?.conversation, directOf("alice", "bob"));
  });

  test("putHistory() with unlessGiven gives way to a whole bundle, one's own device to none of a stranger's", async (store) => {
    await groupOf(store, "alice", "bob", "carol");
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    const carols = (changes: Partial<NewHistoryPart> = {}) =>
      part({ user: nameOf("carol"), device: deviceOf("carol"), bundle: bundleOf(2), unlessGiven: true, ...changes });
    const bobs = () => carols({ user: nameOf("bob"), device: deviceOf("bob"), bundle: bundleOf(3) });
    assert.equal(await store.putHistory(part({ part: 0, parts: 2 })), "kept");
    assert.equal(await store.putHistory(carols({ part: 0, parts: 2 })), "kept", "the other one is not whole");
    assert.equal(await store.putHistory(part({ part: 1, parts: 2 })), "kept");
    assert.equal(await store.putHistory(carols({ part: 1, parts: 2 })), "given");
    assert.equal(await store.putHistory(carols({ part: 1, parts: 2, unlessGiven: false })), "kept", "on purpose");
    const numbers = (await waiting(store, "bob", 2)).map(({ number }) => number);
    await store.dropHistory(nameOf("bob"), deviceOf("bob", 2), numbers, true);
    assert.deepEqual(await waiting(store, "bob", 2), []);
    assert.equal(await store.putHistory(carols({ bundle: bundleOf(4) })), "given", "what was taken is remembered");
    assert.equal(await store.putHistory(part({ part: 0, parts: 2 })), "kept", "and not kept a second time");
    assert.deepEqual(await waiting(store, "bob", 2), []);
    assert.equal(await store.putHistory(bobs()), "kept");
    const [own] = await waiting(store, "bob", 2);
    await store.dropHistory(nameOf("bob"), deviceOf("bob", 2), [own!.number], true);
    const again = carols({ user: nameOf("bob"), device: deviceOf("bob"), bundle: bundleOf(5) });
    assert.equal(await store.putHistory(again), "given", "to one of the same person it does");
  });

  test("dropHistory() forgets what was no good, and nothing of another device", async (store) => {
    await groupOf(store, "alice", "bob");
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    await store.putHistory(part());
    const { number } = (await waiting(store, "bob", 2))[0]!;
    for (const [user, device] of [["bob", deviceOf("bob")], ["alice", deviceOf("bob", 2)]] as const) {
      for (const isTaken of [true, false]) await store.dropHistory(nameOf(user), device, [number], isTaken);
    }
    assert.equal((await waiting(store, "bob", 2)).length, 1);
    await store.dropHistory(nameOf("bob"), deviceOf("bob", 2), [number], false);
    assert.deepEqual(await waiting(store, "bob", 2), []);
    assert.equal(await store.putHistory(part({ bundle: bundleOf(2), unlessGiven: true })), "kept", "nothing was given");
    assert.equal((await waiting(store, "bob", 2))[0]!.number, number + 1, "a number is never given out twice");
  });

  test("putHistory() is bounded for each device and for each giver, history() in each answer", async (store) => {
    await groupOf(store, "alice", "bob", "carol");
    for (const number of [2, 3]) await store.addDevice(nameOf("alice"), newDevice("alice", number));
    const body = new Uint8Array(1 << 20), fits = HISTORY_DEVICE_BYTES_MAX / body.length;
    const give = (to: DeviceId, at: number, changes: Partial<NewHistoryPart> = {}) =>
      store.putHistory(part({ to, part: at, parts: 999, body, ...changes }));
    const own = deviceOf("alice", 2), theirs = HISTORY_PAIR_BYTES_MAX / body.length;
    for (let at = 0; at < fits; at++) assert.equal(await give(own, at), "kept");
    assert.equal(await give(own, fits), "full");
    assert.equal(await give(own, 0), "kept", "a repeat takes no room");
    const page = await waiting(store, "alice", 2);
    assert.equal(page.length, READ_BYTES_MAX / body.length);
    assert.equal((await store.history(nameOf("alice"), own, page.at(-1)!.number)).length, page.length);
    for (let at = 0; at < theirs; at++) assert.equal(await give(deviceOf("bob"), at), "kept");
    assert.equal(await give(deviceOf("bob"), theirs), "full", "for somebody else's device");
    for (let at = 0; at < HISTORY_GIVER_BYTES_MAX / body.length - fits - theirs; at++) {
      assert.equal(await give(deviceOf("alice", 3), at), "kept");
    }
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    assert.equal(await store.putHistory(part({ body })), "full", "of this giver");
    for (let at = 0; at < HISTORY_PARTS_MAX; at++) {
      const small = { user: nameOf("carol"), device: deviceOf("carol"), body: bytesOf("x") };
      assert.equal(await store.putHistory(part({ part: at, parts: 999, ...small })), "kept");
    }
    const oneMore = { user: nameOf("carol"), device: deviceOf("carol"), body: bytesOf("x"), bundle: bundleOf(9) };
    assert.equal(await store.putHistory(part(oneMore)), "full");
  });

  test("history ends with the device it is for, with its giver's, and after thirty days", async (store) => {
    await groupOf(store, "alice", "bob");
    for (const number of [2, 3, 4]) await store.addDevice(nameOf("bob"), newDevice("bob", number));
    await store.addDevice(nameOf("alice"), newDevice("alice", 2));
    for (const number of [2, 3]) await store.putHistory(part({ to: deviceOf("bob", number) }));
    await store.putHistory(part({ to: deviceOf("bob", 3), device: deviceOf("alice", 2), bundle: bundleOf(2) }));
    await end(store, "bob", 2);
    assert.deepEqual(await waiting(store, "bob", 2), []);
    assert.equal(await store.putHistory(part({ bundle: bundleOf(3) })), "refused");
    await end(store, "alice", 2);
    assert.equal((await waiting(store, "bob", 3)).length, 1);
    await store.putHistory(part({ to: deviceOf("bob", 4), nowMs: 9_000 }));
    await drain(store, 8_000 + KEPT_MS);
    assert.deepEqual(await waiting(store, "bob", 3), []);
    assert.equal((await waiting(store, "bob", 4)).length, 1);
  });
}

function part(changes: Partial<NewHistoryPart> = {}): NewHistoryPart {
  const number = changes.part ?? 0;
  return {
    user: nameOf("alice"),
    device: deviceOf("alice"),
    conversation: GROUP,
    to: deviceOf("bob", 2),
    bundle: bundleOf(1),
    part: 0,
    parts: 1,
    body: bytesOf(`part ${number}`),
    unlessGiven: false,
    nowMs: 5_000,
    ...changes,
  };
}

function bundleOf(number: number): MessageId {
  return idOf<MessageId>("bundle", number);
}

function waiting(store: Store, user: string, number = 1) {
  return store.history(nameOf(user), deviceOf(user, number), 0);
}

async function end(store: Store, user: string, number: number): Promise<void> {
  const after = (await store.keyEntriesOf(nameOf(user))).at(-1)!.number;
  const effect: KeyChange["effect"] = { type: "revoke", device: deviceOf(user, number) };
  assert.equal(
    await store.changeKeys({ user: nameOf(user), after, entry: bytesOf(`revoke ${number}`), effect }),
    "done",
  );
}
