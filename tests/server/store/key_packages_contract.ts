/** What every store must do with key packages; part of the contract's suite. */
import assert from "node:assert/strict";
import {
  AskKind,
  KEPT_MS,
  PACKAGE_CONVERSATIONS_MAX,
  PACKAGES_PER_HOUR_MAX,
  TAKEN_MS,
} from "../../../server/store/groups.ts";
import type { Store } from "../../../server/store/store.ts";
import { KEY_PACKAGES_MAX } from "../../../shared/limits.ts";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { bytesOf, deviceOf, idOf, nameOf, newDevice } from "./fixtures.ts";
import { commit, GROUP, signUp } from "./groups_contract.ts";

type Test = (what: string, run: (store: Store) => Promise<void>) => void;

export function keyPackagesContract(test: Test): void {
  test("putKeyPackages() adds what is new, keeps the newest, and replaces the last resort", async (store) => {
    await signUp(store, "alice");
    assert.deepEqual(await put(store, "alice", []), { oneTime: 0, lastResort: false });
    assert.deepEqual(await put(store, "alice", ["one", "two"], "last"), { oneTime: 2, lastResort: true });
    assert.deepEqual(await put(store, "alice", ["two", "three", "three"], "newer"), { oneTime: 3, lastResort: true });
    const many = Array.from({ length: KEY_PACKAGES_MAX }, (_, at) => `package ${at}`);
    assert.deepEqual(await put(store, "alice", many), { oneTime: KEY_PACKAGES_MAX, lastResort: true });
    assert.deepEqual(await take(store, "bob", "alice"), []);
    await signUp(store, "bob");
    assert.deepEqual(await take(store, "bob", "alice"), ["package 0"]);
    const foreign = { user: nameOf("bob"), device: deviceOf("alice"), oneTime: [bytesOf("forged")], nowMs: 1 };
    assert.deepEqual(await store.putKeyPackages({ ...foreign, lastResort: undefined }), {
      oneTime: 0,
      lastResort: false,
    });
  });

  test("takeKeyPackages() gives each out once, and the same to who asks again within an hour", async (store) => {
    await signUp(store, "alice", "bob", "carol");
    await put(store, "alice", ["one", "two", "three", "four"]);
    assert.deepEqual(await take(store, "bob", "alice"), ["one"]);
    assert.deepEqual(await take(store, "bob", "alice", { nowMs: NOW + TAKEN_MS - 1 }), ["one"]);
    assert.deepEqual(await take(store, "carol", "alice"), ["two"]);
    assert.deepEqual(await take(store, "bob", "alice", { conversation: idOf("another") }), ["three"]);
    // One that was given out is not taken in again.
    assert.deepEqual(await put(store, "alice", ["one"]), { oneTime: 1, lastResort: false });
    assert.deepEqual(await take(store, "bob", "alice", { nowMs: NOW + TAKEN_MS }), ["four"]);
    assert.deepEqual(await take(store, "carol", "alice", { conversation: idOf("yet another") }), []);
  });

  test("takeKeyPackages() is for all devices of all names but the asking one, in their order", async (store) => {
    await signUp(store, "alice", "bob");
    await store.addDevice(nameOf("alice"), newDevice("alice", 2));
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    await store.addDevice(nameOf("bob"), newDevice("bob", 3));
    await put(store, "alice", ["a1"]);
    await put(store, "alice", ["a2"], undefined, { device: 2 });
    await put(store, "bob", ["b1"]);
    await put(store, "bob", [], "b2 last", { device: 2 });
    const names = ["bob", "nobody", "alice"].map(nameOf);
    const taken = await store.takeKeyPackages({
      user: nameOf("alice"),
      device: deviceOf("alice"),
      conversation: GROUP,
      names,
      nowMs: NOW,
    });
    assert.deepEqual(structuredClone(taken), [
      { user: "bob", device: deviceOf("bob"), keyPackage: bytesOf("b1"), lastResort: false },
      { user: "bob", device: deviceOf("bob", 2), keyPackage: bytesOf("b2 last"), lastResort: true },
      { user: "alice", device: deviceOf("alice", 2), keyPackage: bytesOf("a2"), lastResort: false },
    ]);
  });

  test("takeKeyPackages() gives the last resort where nothing else is left, again and again", async (store) => {
    await signUp(store, "alice", "bob");
    await put(store, "alice", ["one"], "last");
    assert.deepEqual(await take(store, "bob", "alice"), ["one"]);
    for (const number of [1, 2]) {
      assert.deepEqual(await take(store, "bob", "alice", { conversation: idOf("more", number) }), ["last!"]);
    }
    await put(store, "alice", ["two"]);
    // What was given for a conversation stays what it was, for that hour.
    assert.deepEqual(await take(store, "bob", "alice", { conversation: idOf("more", 1) }), ["last!"]);
    assert.deepEqual(await take(store, "bob", "alice", { conversation: idOf("more", 3) }), ["two"]);
  });

  test("takeKeyPackages() gives nobody more than so many an hour, nor all together", async (store) => {
    const takers = Array.from({ length: 4 }, (_, at) => `taker${at}`);
    await signUp(store, "alice", ...takers);
    await put(store, "alice", Array.from({ length: KEY_PACKAGES_MAX }, (_, at) => `${at}`), "last");
    const given = async (taker: string, nowMs: number, round: number) => {
      const taken: string[] = [];
      for (let number = 0; number <= PACKAGE_CONVERSATIONS_MAX; number++) {
        taken.push(...await take(store, taker, "alice", { nowMs, conversation: idOf("of", taker, number, round) }));
      }
      return taken.filter((name) => name !== "last!").length;
    };
    for (const taker of takers.slice(0, 3)) assert.equal(await given(taker, NOW, 1), PACKAGE_CONVERSATIONS_MAX);
    const rest = PACKAGES_PER_HOUR_MAX - 3 * PACKAGE_CONVERSATIONS_MAX;
    assert.equal(await given(takers[3]!, NOW, 1), rest);
    assert.equal(await given(takers[0]!, NOW + TAKEN_MS, 2), PACKAGE_CONVERSATIONS_MAX);
  });

  test("a package that a Welcome came of is not given again", async (store) => {
    await signUp(store, "alice", "bob");
    await put(store, "bob", ["one", "two"]);
    await store.createGroup(GROUP, nameOf("alice"), deviceOf("alice"));
    assert.deepEqual(await take(store, "alice", "bob"), ["one"]);
    const welcomes = [{ device: deviceOf("bob"), body: bytesOf("welcome") }];
    await store.commit(commit("alice", { add: ["bob"], welcomes }));
    await store.commit(commit("alice", { lastCommit: 1, remove: ["bob"] }));
    assert.deepEqual(await take(store, "alice", "bob"), ["two"]);
  });

  test("a device that has ended leaves nothing behind, and nothing is kept for it", async (store) => {
    await signUp(store, "alice", "bob");
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    await store.createGroup(GROUP, nameOf("alice"), deviceOf("alice"));
    await put(store, "bob", ["one"], "last", { device: 2 });
    const welcomes = [{ device: deviceOf("bob", 2), body: bytesOf("welcome") }];
    await store.commit(commit("alice", { add: ["bob"], welcomes }));
    const place = { conversation: GROUP, user: nameOf("bob"), device: deviceOf("bob", 2) };
    await store.ask({ ...place, kind: AskKind.Member, body: bytesOf("let me in"), timeMs: NOW });
    const after = (await store.keyEntriesOf(nameOf("bob"))).at(-1)!.number;
    const effect = { type: "revoke", device: deviceOf("bob", 2) } as const;
    assert.equal(await store.changeKeys({ user: nameOf("bob"), after, entry: bytesOf("revoked"), effect }), "done");
    assert.deepEqual(await take(store, "alice", "bob"), []);
    assert.deepEqual(await store.asks(nameOf("alice"), GROUP, undefined, 10), []);
    assert.deepEqual(await store.welcomesWaiting(nameOf("bob"), deviceOf("bob", 2), 10), []);
    const invitation = {
      user: nameOf("alice"),
      device: deviceOf("alice"),
      conversation: GROUP,
      lastCommit: 1,
      tree: new Uint8Array(),
      nowMs: NOW,
    };
    assert.deepEqual(await store.invite({ ...invitation, welcome: welcomes[0]! }), { status: "unknown-device" });
    await store.commit(commit("alice", { lastCommit: 1, welcomes }));
    assert.equal(await store.welcome(nameOf("bob"), deviceOf("bob", 2), GROUP), undefined);
  });

  test("key packages are kept for 30 days", async (store) => {
    await signUp(store, "alice", "bob");
    await put(store, "alice", ["one", "two"], "last");
    await put(store, "alice", ["three"], undefined, { nowMs: NOW + 1000 });
    const nowMs = NOW + KEPT_MS;
    assert.deepEqual(await put(store, "alice", [], undefined, { nowMs }), { oneTime: 1, lastResort: false });
    assert.deepEqual(await take(store, "bob", "alice", { nowMs }), ["three"]);
    assert.deepEqual(await take(store, "bob", "alice", { nowMs, conversation: idOf("another") }), []);
    while (await store.sweep(nowMs + 1000));
    assert.deepEqual(await put(store, "alice", [], undefined, { nowMs: NOW }), { oneTime: 0, lastResort: false });
  });
}

const NOW = 1_000_000;

function put(
  store: Store,
  user: string,
  oneTime: string[],
  lastResort?: string,
  { device = 1, nowMs = NOW }: { device?: number; nowMs?: number } = {},
) {
  return store.putKeyPackages({
    user: nameOf(user),
    device: deviceOf(user, device),
    oneTime: oneTime.map(bytesOf),
    lastResort: lastResort === undefined ? undefined : bytesOf(lastResort),
    nowMs,
  }).then((stock) => structuredClone(stock));
}

/** What they are, the last resort with an exclamation mark. */
async function take(
  store: Store,
  user: string,
  name: string,
  { conversation = GROUP, nowMs = NOW }: { conversation?: ConversationId; nowMs?: number } = {},
): Promise<string[]> {
  const wanted = { user: nameOf(user), device: deviceOf(user), conversation, names: [nameOf(name)], nowMs };
  return (await store.takeKeyPackages(wanted)).map(({ keyPackage, lastResort }) =>
    new TextDecoder().decode(keyPackage) + (lastResort ? "!" : "")
  );
}
