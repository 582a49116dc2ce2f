/** What every store must do with the key log and with devices that end, wait and have names. */
import assert from "node:assert/strict";
import type { KeyChange, Store } from "../../../server/store/store.ts";
import { deviceEntry, EMPTY_KEY_LOG, nextKeyLogHead, sha256 } from "../../../shared/crypto/mod.ts";
import { KEY_ENTRIES_PER_USER_MAX, LINK_MS, LINKS_MAX } from "../../../shared/limits.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import type { Opened } from "./contract.ts";
import { commit, groupOf } from "./groups_contract.ts";
import { befriend, bytesOf, deviceOf, nameOf, newDevice, newUser, recordOf } from "./fixtures.ts";

type Test = (what: string, run: (store: Store, opened: Opened) => Promise<void>) => void;

const ALICE = nameOf("alice");

export function keysContract(test: Test): void {
  test("keyLog() has every user and device, in one chain", async (store) => {
    assert.deepEqual(await store.keyLog(0, 10), { entries: [], head: EMPTY_KEY_LOG, length: 0 });
    await store.createUser(newUser("alice"));
    await store.createUser(newUser("bob"));
    await store.addDevice(ALICE, newDevice("alice", 2));
    // Retries are no entries.
    await store.createUser(newUser("alice"));
    await store.addDevice(ALICE, newDevice("alice", 2));
    const expected: [UserName, Uint8Array][] = [
      [ALICE, deviceEntry(newDevice("alice").certificate)],
      [nameOf("bob"), deviceEntry(newDevice("bob").certificate)],
      [ALICE, deviceEntry(newDevice("alice", 2).certificate)],
    ];
    const heads = [EMPTY_KEY_LOG];
    for (const [user, entry] of expected) heads.push(nextKeyLogHead(heads.at(-1)!, user, sha256(entry)));
    const entries = expected.map(([user, entry]) => ({ user, hash: sha256(entry) }));
    assert.deepEqual(plain(await store.keyLog(0, 10)), { entries, head: heads[3], length: 3 });
    assert.deepEqual(plain(await store.keyLog(1, 1)), { entries: entries.slice(1, 2), head: heads[2], length: 3 });
    assert.deepEqual(plain(await store.keyLog(3, 10)), { entries: [], head: heads[3], length: 3 });
    assert.deepEqual((await store.keyLog(9, 10)).length, 3);
    assert.deepEqual(plain(await store.keyEntries([3, 1, 7])), [
      { number: 3, entry: expected[2]![1] },
      { number: 1, entry: expected[0]![1] },
    ]);
    assert.deepEqual(plain(await store.keyEntriesOf(ALICE)), [
      { number: 1, entry: expected[0]![1] },
      { number: 3, entry: expected[2]![1] },
    ]);
  });

  test(
    "changeKeys() ends a revoked device: no session, no place in the directory, and never again",
    async (store, opened) => {
      const conversation = await befriend(store);
      await store.addDevice(ALICE, newDevice("alice", 2));
      for (const number of [1, 2]) await store.createSession(sessionOf(number));
      await store.append([recordOf("alice", "bob", 9, { epoch: 3 })]);
      await store.setCursors(ALICE, deviceOf("alice", 2), [{ conversation, seq: 1 }]);
      const cursor = async () => (await store.conversations(ALICE, deviceOf("alice", 2), undefined, 1))[0]!.cursor;
      assert.equal(await cursor(), 1);
      const before = opened.told.changes.length;
      assert.equal(await store.changeKeys(revoke(2, 3)), "done");
      assert.equal(await cursor(), 0, "what it had read is of no use to anybody");
      assert.deepEqual(await store.session(sessionOf(2).tokenHash, 0), undefined);
      assert.equal((await store.session(sessionOf(1).tokenHash, 0))?.generation, 0, "the other device's stays");
      assert.deepEqual((await store.account(ALICE))!.devices.map(({ id }) => id), [deviceOf("alice")]);
      const [entry] = await store.directory([ALICE]);
      assert.deepEqual(entry!.certificates.map(text), ["certificate of alice 1"]);
      assert.equal(entry!.deviceRevision, 3);
      assert.equal((await store.device(ALICE, deviceOf("alice", 2)))?.standing, "revoked");
      assert.equal(await store.addDevice(ALICE, newDevice("alice", 2)), "id-taken");
      await assert.rejects(store.createSession(sessionOf(2)), RangeError);
      assert.equal((await store.append([recordOf("alice", "bob", 1, { epoch: 3 })]))[0]!.status, "stale-epoch");
      await opened.settle();
      assert.deepEqual(
        opened.told.changes.slice(before).map(({ conversations, keyLogLength }) => [
          conversations.map(({ id }) => id),
          keyLogLength,
        ]),
        [[[conversation], 4]],
      );
      assert.equal(opened.told.ended.at(-1)?.device, deviceOf("alice", 2));
    },
  );

  test("changeKeys() tells who is in a group with the user, and nobody who has left it", async (store, opened) => {
    await groupOf(store, "alice", "bob", "carol");
    await store.createUser(newUser("dave"));
    await store.commit(commit("alice", { lastCommit: 1, remove: ["carol"] }));
    const before = opened.told.changes.length;
    await store.addDevice(ALICE, newDevice("alice", 2));
    await opened.settle();
    const [change] = opened.told.changes.slice(before);
    assert.deepEqual([change!.conversations, change!.acquainted], [[], ["bob"]]);
  });

  test("changeKeys() leaves somebody who can approve: of those that are left, whoever came first", async (store) => {
    await store.createUser(newUser("alice"));
    for (const number of [2, 3]) await store.addDevice(ALICE, newDevice("alice", number));
    assert.equal(await store.changeKeys(revoke(1, 3)), "done");
    const policy: KeyChange = {
      user: ALICE,
      after: 4,
      entry: bytesOf("p"),
      effect: { type: "policy", approval: true },
    };
    assert.equal(await store.changeKeys(policy), "done");
    assert.deepEqual((await store.account(ALICE))!.devices.map(({ id }) => id), [deviceOf("alice", 2)]);
    for (const number of [2, 3]) assert.equal(await store.changeKeys(revoke(number, number + 3)), "done");
    assert.equal(await store.addDevice(ALICE, newDevice("alice", 4)), "added", "as the first one was");
    assert.equal(await store.addDevice(ALICE, newDevice("alice", 5)), "unapproved");
  });

  test("changeKeys() does nothing behind a newer entry, and nothing for a device of somebody else", async (store) => {
    await befriend(store);
    await store.addDevice(ALICE, newDevice("alice", 2));
    assert.equal(await store.changeKeys(revoke(2, 1)), "moved");
    assert.equal((await store.keyLog(0, 10)).length, 3);
    await assert.rejects(
      store.changeKeys({ ...revoke(2, 3), effect: { type: "revoke", device: deviceOf("bob") } }),
      RangeError,
    );
    assert.equal((await store.keyLog(0, 10)).length, 3);
  });

  test("changeKeys() with a policy keeps new devices out until they are approved", async (store) => {
    const conversation = await befriend(store);
    await store.addDevice(ALICE, newDevice("alice", 2));
    const policy: KeyChange = {
      user: ALICE,
      after: 3,
      entry: bytesOf("policy"),
      effect: { type: "policy", approval: true },
    };
    assert.equal(await store.changeKeys(policy), "done");
    assert.equal((await store.device(ALICE, deviceOf("alice", 2)))?.standing, "unapproved");
    assert.equal(await store.addDevice(ALICE, newDevice("alice", 3)), "unapproved");
    assert.equal(await store.addDevice(ALICE, newDevice("alice", 3)), "unapproved", "a retry");
    await assert.rejects(store.createSession(sessionOf(3)), RangeError);
    assert.deepEqual((await store.directory([ALICE]))[0]!.certificates.map(text), ["certificate of alice 1"]);
    const { epoch } = (await store.conversations(ALICE, deviceOf("alice"), undefined, 1))[0]!;
    await store.append([recordOf("bob", "alice", 1, { epoch })]);
    const approve: KeyChange = {
      user: ALICE,
      after: 5,
      entry: bytesOf("approval"),
      effect: { type: "approve", device: deviceOf("alice", 3) },
    };
    assert.equal(await store.changeKeys(approve), "done");
    assert.equal((await store.device(ALICE, deviceOf("alice", 3)))?.standing, "live");
    await store.createSession(sessionOf(3));
    const [head] = await store.conversations(ALICE, deviceOf("alice", 3), undefined, 1);
    assert.deepEqual([head!.conversation, head!.cursor], [conversation, 1], "it begins where it was approved");
    const open: KeyChange = { ...policy, after: 6, effect: { type: "policy", approval: false } };
    assert.equal(await store.changeKeys(open), "done");
    assert.equal((await store.account(ALICE))!.devices.length, 3);
  });

  test(
    "changeKeys() with a rotation leaves the one device, and lets the others come back anew",
    async (store, opened) => {
      await befriend(store);
      await store.addDevice(ALICE, newDevice("alice", 2));
      for (const number of [1, 2]) await store.createSession(sessionOf(number));
      const rotate: KeyChange = {
        user: ALICE,
        after: 3,
        entry: bytesOf("rotation"),
        effect: {
          type: "rotate",
          identityKey: bytesOf("new identity"),
          backup: bytesOf("new backup"),
          device: { id: deviceOf("alice"), certificate: bytesOf("new certificate") },
          keep: sessionOf(1).tokenHash,
        },
      };
      assert.equal(await store.changeKeys(rotate), "done");
      const account = (await store.account(ALICE))!;
      assert.deepEqual([text(account.identityKey), text(account.backup)], ["new identity", "new backup"]);
      assert.deepEqual(account.devices.map(({ certificate }) => text(certificate)), ["new certificate"]);
      assert.equal((await store.session(sessionOf(1).tokenHash, 0))?.generation, 1);
      assert.equal(await store.session(sessionOf(2).tokenHash, 0), undefined);
      assert.equal((await store.device(ALICE, deviceOf("alice", 2)))?.standing, "superseded");
      const again = { id: deviceOf("alice", 2), certificate: bytesOf("certified anew") };
      assert.equal(
        await store.addDevice(ALICE, again, bytesOf("identity of alice")),
        "id-taken",
        "by the old identity",
      );
      assert.equal(await store.addDevice(ALICE, again, bytesOf("new identity")), "added");
      assert.equal(await store.addDevice(ALICE, again, bytesOf("new identity")), "added", "a retry");
      assert.deepEqual((await store.directory([ALICE]))[0]!.certificates.map(text), [
        "new certificate",
        "certified anew",
      ]);
      assert.equal((await store.keyLog(0, 10)).length, 5);
      await opened.settle();
      assert.deepEqual(opened.told.ended.map(({ user, generation, device }) => [user, generation, device]), [
        ["alice", 1, undefined],
      ]);
    },
  );

  test("changeKeys() is bounded for a user, but for revocations", async (store) => {
    await store.createUser(newUser("alice"));
    let after = 1;
    for (; after < KEY_ENTRIES_PER_USER_MAX; after++) {
      const effect = { type: "policy", approval: after % 2 === 0 } as const;
      assert.equal(await store.changeKeys({ user: ALICE, after, entry: bytesOf(`${after}`), effect }), "done");
    }
    const effect = { type: "policy", approval: true } as const;
    assert.equal(await store.changeKeys({ user: ALICE, after, entry: bytesOf("more"), effect }), "limit");
    assert.equal(await store.addDevice(ALICE, newDevice("alice", 2)), "limit");
    assert.equal(await store.changeKeys(revoke(1, after)), "done");
  });

  test("nameDevice() keeps a name, for as long as the device is one", async (store) => {
    await store.createUser(newUser("alice"));
    await store.addDevice(ALICE, newDevice("alice", 2));
    const named = (name: string) => ({ name, signature: new Uint8Array(64).fill(name.length) });
    await store.nameDevice(ALICE, deviceOf("alice", 2), named("laptop"));
    await store.nameDevice(ALICE, deviceOf("alice", 2), named("the laptop"));
    assert.deepEqual(plain(await store.deviceNames(ALICE)), [{ device: deviceOf("alice", 2), ...named("the laptop") }]);
    await assert.rejects(store.nameDevice(nameOf("bob"), deviceOf("alice"), named("mine")), RangeError);
    await store.changeKeys(revoke(2, 2));
    assert.deepEqual(await store.deviceNames(ALICE), []);
  });

  test("offerLink() keeps what a device leaves, and grantLink() what it is given, for minutes", async (store) => {
    const place = new Uint8Array(32).fill(1), offer = bytesOf("offer"), other = new Uint8Array(32).fill(2);
    assert.equal(await store.link(place, 1_000), undefined);
    assert.deepEqual(plain(await store.offerLink(place, offer, 1_000)), { offer, grant: undefined });
    assert.deepEqual(plain(await store.offerLink(place, bytesOf("another"), 1_001)), { offer, grant: undefined });
    const grant = { user: ALICE, device: deviceOf("alice", 2), sealed: bytesOf("grant") };
    assert.equal(await store.grantLink(other, grant, 1_002), false);
    assert.equal(await store.grantLink(place, grant, 1_002), true);
    assert.deepEqual(plain(await store.link(place, 1_003)), { offer, grant });
    assert.deepEqual(plain(await store.offerLink(place, offer, 1_003)), { offer, grant });
    const over = 1_000 + LINK_MS;
    assert.equal(await store.link(place, over), undefined);
    assert.equal(await store.grantLink(place, grant, over), false);
    assert.deepEqual(plain(await store.offerLink(place, offer, over)), { offer, grant: undefined });
  });

  test("replaceLink() puts something at a place, in place of what is there, until a time", async (store) => {
    const place = new Uint8Array(32).fill(1), offer = bytesOf("offer"), another = bytesOf("another");
    assert.equal(await store.replaceLink(place, offer, 2_000, 1_000), true);
    await store.grantLink(place, { user: ALICE, device: deviceOf("alice", 2), sealed: bytesOf("grant") }, 1_001);
    assert.equal(await store.replaceLink(place, another, 2_500, 1_002), true);
    assert.deepEqual(plain(await store.link(place, 2_499)), { offer: another, grant: undefined });
    assert.deepEqual(plain(await store.offerLink(place, offer, 2_499)), { offer: another, grant: undefined });
    assert.equal(await store.link(place, 2_500), undefined);
    assert.deepEqual(plain(await store.offerLink(place, offer, 2_500)), { offer, grant: undefined });
  });

  test("offerLink() takes so many at once", async (store) => {
    const placeOf = (number: number) => {
      const place = new Uint8Array(32);
      new DataView(place.buffer).setUint32(0, number);
      return place;
    };
    await Promise.all(
      Array.from({ length: LINKS_MAX }, (_, number) => store.offerLink(placeOf(number), bytesOf("offer"), 1_000)),
    );
    assert.equal(await store.offerLink(placeOf(LINKS_MAX), bytesOf("offer"), 1_001), undefined);
    assert.notEqual(await store.offerLink(placeOf(0), bytesOf("offer"), 1_001), undefined, "one that waits asks again");
    assert.equal(await store.replaceLink(placeOf(LINKS_MAX), bytesOf("offer"), 2_000, 1_001), false);
    assert.equal(await store.replaceLink(placeOf(0), bytesOf("offer"), 2_000, 1_001), true);
    assert.notEqual(await store.offerLink(placeOf(LINKS_MAX), bytesOf("offer"), 1_000 + LINK_MS), undefined);
  });

  test("device() knows a user's own devices only", async (store) => {
    await store.createUser(newUser("alice"));
    await store.createUser(newUser("bob"));
    assert.deepEqual(plain(await store.device(ALICE, deviceOf("alice"))), {
      certificate: bytesOf("certificate of alice 1"),
      standing: "live",
    });
    assert.equal(await store.device(ALICE, deviceOf("bob")), undefined);
    assert.equal(await store.device(ALICE, deviceOf("alice", 9)), undefined);
  });
}

function revoke(number: number, after: number): KeyChange {
  return {
    user: ALICE,
    after,
    entry: bytesOf(`revocation ${number}`),
    effect: { type: "revoke", device: deviceOf("alice", number) },
  };
}

function sessionOf(number: number) {
  return {
    tokenHash: new Uint8Array(32).fill(number),
    user: ALICE,
    device: deviceOf("alice", number),
    expiresMs: 10_000,
  };
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** Bytes from a database are of another class, and rows have no prototype. */
function plain<T>(value: T): T {
  if (value instanceof Uint8Array) return new Uint8Array(value) as T;
  if (Array.isArray(value)) return value.map(plain) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)])) as T;
}
