/** What every store must do: one suite, run by the tests of each implementation. */
import assert from "node:assert/strict";
import type { Store } from "../../../server/store/store.ts";
import { DEVICES_PER_USER_MAX, READ_BYTES_MAX, SESSIONS_PER_DEVICE_MAX } from "../../../shared/limits.ts";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { archivesContract } from "./archives_contract.ts";
import { credentialsContract } from "./credentials_contract.ts";
import { keysContract } from "./keys_contract.ts";
import { receiptsContract } from "./receipts_contract.ts";
import { historyContract } from "./history_contract.ts";
import { groupsContract } from "./groups_contract.ts";
import { keyPackagesContract } from "./key_packages_contract.ts";
import { trimContract } from "./trim_contract.ts";
import { befriend, bytesOf, deviceOf, directOf, nameOf, newDevice, newUser, recordOf, Told } from "./fixtures.ts";

/** A store under test, what it told of, and the way to end it. */
export interface Opened {
  readonly store: Store;
  /** What users of all servers would hear; for a store behind a link, every user counts as online here. */
  readonly told: Told;
  /** Waits until what was committed has been told. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

export function storeContract(name: string, open: () => Promise<Opened>): void {
  const test = (what: string, run: (store: Store, opened: Opened) => Promise<void>) =>
    Deno.test(`${name}: ${what}`, async () => {
      const opened = await open();
      try {
        await run(opened.store, opened);
      } finally {
        await opened.close();
      }
    });

  test("createUser() makes a user with a device once", async (store) => {
    assert.equal(await store.account(nameOf("alice")), undefined);
    assert.equal(await store.createUser(newUser("alice")), "created");
    const account = await store.account(nameOf("alice"));
    assert.deepEqual(plain(account), {
      name: "alice",
      stretching: { salt: new Uint8Array(16).fill(5), log2N: 17 },
      passwordHash: bytesOf("hash of alice"),
      identityKey: bytesOf("identity of alice"),
      backup: bytesOf("backup of alice"),
      devices: [newDevice("alice")],
    });
  });

  test("createUser() again with the same device is a retry, with another device or key is refused", async (store) => {
    await store.createUser(newUser("alice"));
    const again = { ...newUser("alice"), passwordHash: bytesOf("salted anew") };
    assert.equal(await store.createUser(again), "created");
    assert.deepEqual((await store.account(nameOf("alice")))?.passwordHash, bytesOf("hash of alice"));
    assert.equal(await store.createUser({ ...again, device: newDevice("alice", 2) }), "name-taken");
    assert.equal(await store.createUser({ ...again, identityKey: bytesOf("mallory's") }), "name-taken");
    const swapped = { ...again, device: { ...again.device, certificate: bytesOf("another") } };
    assert.equal(await store.createUser(swapped), "name-taken");
  });

  test("createUser() with somebody else's device id makes nothing", async (store) => {
    await store.createUser(newUser("alice"));
    assert.equal(await store.createUser({ ...newUser("bob"), device: newDevice("alice") }), "name-taken");
    assert.equal(await store.account(nameOf("bob")), undefined);
    assert.deepEqual(await store.users("", 10), ["alice"]);
  });

  test("createUser() of one name at once by two is given to one", async (store) => {
    const results = await Promise.all(
      [1, 2].map((number) => store.createUser({ ...newUser("alice"), device: newDevice("alice", number) })),
    );
    assert.deepEqual(results, ["created", "name-taken"]);
  });

  test("an empty backup stays empty", async (store) => {
    await store.createUser({ ...newUser("alice"), backup: new Uint8Array() });
    assert.deepEqual((await store.account(nameOf("alice")))?.backup, new Uint8Array());
  });

  test(
    "addDevice() raises the revision and every epoch, tells of it, and starts at the heads of now",
    async (store, opened) => {
      const conversation = await befriend(store);
      await befriend(store, "alice", "carol");
      await befriend(store, "bob", "carol");
      await store.append([recordOf("alice", "bob", 1), recordOf("bob", "alice", 2)]);
      assert.equal(await store.addDevice(nameOf("alice"), newDevice("alice", 2)), "added");
      await opened.settle();

      const [entry] = await store.directory([nameOf("alice")]);
      assert.equal(entry?.deviceRevision, 2);
      assert.deepEqual(entry?.certificates, [newDevice("alice").certificate, newDevice("alice", 2).certificate]);
      const heads = await store.conversations(nameOf("alice"), deviceOf("alice", 2), undefined, 10);
      assert.deepEqual(heads.map(({ epoch }) => epoch), [3, 3]);
      assert.equal(heads.find((head) => head.conversation === conversation)?.cursor, 2);
      assert.deepEqual(
        (await store.conversations(nameOf("bob"), deviceOf("bob"), undefined, 10)).map((head) => head.epoch).sort(),
        [2, 3],
      );
      assert.deepEqual(opened.told.changes.map((change) => ({ acquainted: [], ...plain(change) })), [{
        acquainted: [],
        user: "alice",
        conversations: [directOf("alice", "bob"), directOf("alice", "carol")].sort().map((id) => ({
          id,
          epoch: 3,
          members: ["alice", id === conversation ? "bob" : "carol"],
        })),
        keyLogLength: 4,
      }]);
    },
  );

  test("addDevice() again changes nothing; a taken id and one too many are refused", async (store, opened) => {
    await befriend(store);
    assert.equal(await store.addDevice(nameOf("alice"), newDevice("alice", 2)), "added");
    assert.equal(await store.addDevice(nameOf("alice"), newDevice("alice", 2)), "added");
    assert.equal(await store.addDevice(nameOf("bob"), newDevice("alice", 2)), "id-taken");
    const swapped = { ...newDevice("alice", 2), certificate: bytesOf("another") };
    assert.equal(await store.addDevice(nameOf("alice"), swapped), "id-taken");
    for (let number = 3; number <= DEVICES_PER_USER_MAX; number++) {
      assert.equal(await store.addDevice(nameOf("alice"), newDevice("alice", number)), "added");
    }
    assert.equal(await store.addDevice(nameOf("alice"), newDevice("alice", 99)), "limit");
    const [entry] = await store.directory([nameOf("alice")]);
    assert.equal(entry?.deviceRevision, DEVICES_PER_USER_MAX);
    await opened.settle();
    assert.equal(opened.told.changes.length, DEVICES_PER_USER_MAX - 1);
  });

  test("addDevice() of nobody is the caller's mistake and hurts nobody else", async (store) => {
    const [created, added, other] = await Promise.allSettled([
      store.createUser(newUser("alice")),
      store.addDevice(nameOf("nobody"), newDevice("nobody")),
      store.createUser(newUser("bob")),
    ]);
    assert.deepEqual([created.status, added.status, other.status], ["fulfilled", "rejected", "fulfilled"]);
    assert.ok(added.status === "rejected" && added.reason instanceof RangeError);
    assert.deepEqual(await store.users("", 10), ["alice", "bob"]);
  });

  test("a session lives until it expires or is deleted", async (store) => {
    await store.createUser(newUser("alice"));
    const tokenHash = new Uint8Array(32).fill(7);
    const session = { tokenHash, user: nameOf("alice"), device: deviceOf("alice"), expiresMs: 2_000 };
    assert.equal(await store.session(tokenHash, 0), undefined);
    assert.equal(await store.createSession(session), 0);
    assert.equal(await store.createSession(session), 0);
    assert.deepEqual(plain(await store.session(tokenHash, 1_999)), { ...session, generation: 0 });
    assert.equal(await store.session(new Uint8Array(32).fill(8), 0), undefined);
    await store.deleteSession(new Uint8Array(32).fill(8));
    assert.deepEqual(plain(await store.session(tokenHash, 1_999)), { ...session, generation: 0 });
    await store.deleteSession(tokenHash);
    assert.equal(await store.session(tokenHash, 1_999), undefined);
    await store.createSession(session);
    assert.equal(await store.session(tokenHash, 2_000), undefined);
    await assert.rejects(store.createSession({ ...session, device: deviceOf("bob") }), RangeError);
  });

  test("createSession() keeps a device's newest sessions and leaves other devices' alone", async (store) => {
    for (const name of ["alice", "bob"]) await store.createUser(newUser(name));
    const hash = (at: number) => new Uint8Array(32).fill(at);
    const keep = (at: number, name: string) =>
      store.createSession({ tokenHash: hash(at), user: nameOf(name), device: deviceOf(name), expiresMs: 1_000 + at });
    await keep(200, "bob");
    for (let at = 1; at <= SESSIONS_PER_DEVICE_MAX; at++) await keep(at, "alice");
    await keep(1, "alice");
    const alive = async () => {
      const found = await Promise.all([...Array(20).keys(), 200].map((at) => store.session(hash(at), 0)));
      return found.flatMap((session) => session === undefined ? [] : [session.tokenHash[0]]);
    };
    assert.deepEqual(await alive(), [1, 2, 3, 4, 5, 6, 7, 8, 200]);
    await keep(12, "alice");
    assert.deepEqual(await alive(), [2, 3, 4, 5, 6, 7, 8, 12, 200]);
    // The new one stays, also where its time is the shortest.
    await keep(0, "alice");
    assert.deepEqual(await alive(), [0, 3, 4, 5, 6, 7, 8, 12, 200]);
  });

  test("raiseGeneration() ends a user's sessions but one, and tells of it", async (store, opened) => {
    const hashes = [1, 2, 3].map((byte) => new Uint8Array(32).fill(byte));
    const [first, second, others] = hashes as [Uint8Array, Uint8Array, Uint8Array];
    for (const name of ["alice", "bob"]) await store.createUser(newUser(name));
    const sessionOf = (tokenHash: Uint8Array, name: string) =>
      store.createSession({ tokenHash, user: nameOf(name), device: deviceOf(name), expiresMs: 2_000 });
    for (const hash of [first, second]) await sessionOf(hash, "alice");
    await sessionOf(others, "bob");
    assert.equal(await store.raiseGeneration(nameOf("alice"), second), 1);
    assert.equal(await store.session(first, 0), undefined);
    assert.equal((await store.session(second, 0))?.generation, 1);
    assert.equal((await store.session(others, 0))?.generation, 0);
    assert.equal(await store.raiseGeneration(nameOf("alice")), 2);
    assert.equal(await store.session(second, 0), undefined);
    assert.equal(await sessionOf(first, "alice"), 2);
    await assert.rejects(store.raiseGeneration(nameOf("nobody")), RangeError);
    await opened.settle();
    const told = opened.told.ended.map(({ user, generation, keep }) => ({ user, generation, keep }));
    assert.deepEqual(plain(told), [
      { user: "alice", generation: 1, keep: second },
      { user: "alice", generation: 2, keep: undefined },
    ]);
  });

  test("users() pages through the names in order", async (store) => {
    for (const name of ["bob", "alice", "a.b", "carol", "0x"]) await store.createUser(newUser(name));
    assert.deepEqual(await store.users("", 3), ["0x", "a.b", "alice"]);
    assert.deepEqual(await store.users("alice", 3), ["bob", "carol"]);
    assert.deepEqual(await store.users("b", 1), ["bob"]);
    assert.deepEqual(await store.users("zoë", 3), []);
    assert.deepEqual(await store.users("", 0), []);
  });

  test("directory() answers in the order asked and leaves out strangers", async (store) => {
    for (const name of ["bob", "alice"]) await store.createUser(newUser(name));
    const entries = await store.directory(["bob", "nobody", "alice"].map(nameOf));
    assert.deepEqual(
      plain(entries),
      ["bob", "alice"].map((name) => ({
        name,
        identityKey: bytesOf(`identity of ${name}`),
        deviceRevision: 1,
        certificates: [newDevice(name).certificate],
      })),
    );
    assert.deepEqual(await store.directory([]), []);
  });

  test("openDirect() makes one conversation for both, and none with a stranger", async (store) => {
    await store.createUser(newUser("alice"));
    await store.createUser(newUser("bob"));
    const id = directOf("alice", "bob");
    const head = { conversation: id, kind: 1, members: ["alice", "bob"], head: 0, begins: 0, cursor: 0, epoch: 2 };
    assert.deepEqual(plain(await store.openDirect(id, nameOf("bob"), nameOf("alice"))), head);
    assert.deepEqual(plain(await store.openDirect(id, nameOf("alice"), nameOf("bob"))), head);
    assert.equal(await store.openDirect(directOf("alice", "nobody"), nameOf("alice"), nameOf("nobody")), undefined);
    assert.equal(await store.openDirect(directOf("nobody", "bob"), nameOf("nobody"), nameOf("bob")), undefined);
    for (const name of ["alice", "bob"]) {
      assert.deepEqual(plain(await store.conversations(nameOf(name), deviceOf(name), undefined, 10)), [head]);
    }
  });

  test("openDirect() gives the cursor of the device that asks", async (store) => {
    const id = await befriend(store);
    await store.append([recordOf("alice", "bob", 1)]);
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    const cursorOf = async (number?: number) =>
      (await store.openDirect(id, nameOf("bob"), nameOf("alice"), number && deviceOf("bob", number) || undefined))
        ?.cursor;
    assert.deepEqual([await cursorOf(), await cursorOf(1), await cursorOf(2)], [0, 0, 1]);
  });

  test("openDirect() of an id that others have gives a stranger nothing", async (store) => {
    const id = await befriend(store);
    await store.createUser(newUser("carol"));
    assert.equal(await store.openDirect(id, nameOf("carol"), nameOf("bob")), undefined);
    assert.deepEqual(await store.conversations(nameOf("carol"), deviceOf("carol"), undefined, 10), []);
  });

  test("a conversation with oneself has one member", async (store, opened) => {
    await store.createUser(newUser("alice"));
    const id = directOf("alice", "alice");
    const head = await store.openDirect(id, nameOf("alice"), nameOf("alice"));
    assert.deepEqual(plain(head), {
      conversation: id,
      kind: 1,
      members: ["alice"],
      head: 0,
      begins: 0,
      cursor: 0,
      epoch: 1,
    });
    const [result] = await store.append([recordOf("alice", "alice", 1, { epoch: 1 })]);
    assert.equal(result?.status, "stored");
    await opened.settle();
    assert.deepEqual(opened.told.records.map(({ members }) => members), [["alice"]]);
  });

  test("conversations() pages in order of id", async (store) => {
    const peers = ["bob", "carol", "dave", "erin", "frank"];
    for (const peer of peers) await befriend(store, "alice", peer);
    const ids = peers.map((peer) => directOf("alice", peer)).sort();
    const found: ConversationId[] = [];
    while (true) {
      const page = await store.conversations(nameOf("alice"), deviceOf("alice"), found.at(-1), 2);
      if (page.length === 0) break;
      found.push(...page.map(({ conversation }) => conversation));
    }
    assert.deepEqual(found, ids);
    assert.deepEqual(await store.conversations(nameOf("nobody"), deviceOf("nobody"), undefined, 10), []);
  });

  test("append() numbers from 1 without gaps and tells members with the record", async (store, opened) => {
    await befriend(store);
    await befriend(store, "alice", "carol");
    const results = await store.append([
      recordOf("alice", "bob", 1, { nowMs: 10 }),
      recordOf("alice", "carol", 2, { nowMs: 11 }),
      recordOf("bob", "alice", 3, { nowMs: 12 }),
    ]);
    assert.deepEqual(results.map(plain), [
      { status: "stored", seq: 1, timeMs: 10, duplicate: false },
      { status: "stored", seq: 1, timeMs: 11, duplicate: false },
      { status: "stored", seq: 2, timeMs: 12, duplicate: false },
    ]);
    await opened.settle();
    assert.deepEqual(
      opened.told.records.map(({ record, members }) => [record.seq, record.sender, members]),
      [[1, "alice", ["alice", "bob"]], [1, "alice", ["alice", "carol"]], [2, "bob", ["alice", "bob"]]],
    );
    const { records } = (await store.read(nameOf("bob"), directOf("alice", "bob"), 0, 10))!;
    assert.deepEqual(records, opened.told.records.filter((_, at) => at !== 1).map(({ record }) => record));
    assert.deepEqual(plain(records[1]), {
      conversation: directOf("alice", "bob"),
      seq: 2,
      timeMs: 12,
      sender: "bob",
      device: deviceOf("bob"),
      messageId: recordOf("bob", "alice", 3).messageId,
      body: bytesOf("body 3"),
    });
    assert.deepEqual(await store.append([]), []);
  });

  test("append() again gets the first one's numbers, changes nothing and tells nobody", async (store, opened) => {
    const id = await befriend(store);
    await store.append([recordOf("alice", "bob", 1, { nowMs: 10 }), recordOf("alice", "bob", 2, { nowMs: 11 })]);
    const again = await store.append([
      recordOf("alice", "bob", 2, { nowMs: 99, body: bytesOf("sealed anew") }),
      recordOf("alice", "bob", 1, { nowMs: 99 }),
      recordOf("alice", "bob", 3, { nowMs: 12 }),
      recordOf("alice", "bob", 3, { nowMs: 13 }),
    ]);
    assert.deepEqual(again.map(plain), [
      { status: "stored", seq: 2, timeMs: 11, duplicate: true },
      { status: "stored", seq: 1, timeMs: 10, duplicate: true },
      { status: "stored", seq: 3, timeMs: 12, duplicate: false },
      { status: "stored", seq: 3, timeMs: 12, duplicate: true },
    ]);
    const page = await store.read(nameOf("bob"), id, 0, 10);
    assert.deepEqual(page?.records.map(({ seq, body }) => [seq, new TextDecoder().decode(body)]), [
      [1, "body 1"],
      [2, "body 2"],
      [3, "body 3"],
    ]);
    await opened.settle();
    assert.deepEqual(opened.told.records.map(({ record }) => record.seq), [1, 2, 3]);
  });

  test("append() keeps message ids apart by device and by conversation", async (store) => {
    await befriend(store);
    await befriend(store, "alice", "carol");
    const results = await store.append([
      recordOf("alice", "bob", "same"),
      recordOf("bob", "alice", "same"),
      recordOf("alice", "carol", "same"),
    ]);
    assert.deepEqual(results.map((result) => result.status === "stored" && [result.seq, result.duplicate]), [
      [1, false],
      [2, false],
      [1, false],
    ]);
  });

  test("append() with a stale epoch refuses it and what the device sends behind it, but no repeats and nobody else", async (store) => {
    await befriend(store);
    await befriend(store, "alice", "carol");
    await store.append([recordOf("alice", "bob", "before")]);
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    const results = await store.append([
      recordOf("alice", "bob", 1),
      recordOf("alice", "bob", 2, { epoch: 3 }),
      recordOf("bob", "alice", 3, { epoch: 3 }),
      recordOf("alice", "carol", 4),
      recordOf("alice", "bob", "before"),
      recordOf("bob", "alice", 5, { epoch: 4 }),
    ]);
    assert.deepEqual(results.map((result) => result.status === "stored" ? result.seq : plain(result)), [
      { status: "stale-epoch", epoch: 3 },
      { status: "stale-epoch", epoch: 3 },
      2,
      1,
      1,
      { status: "stale-epoch", epoch: 3 },
    ]);
    const [result] = await store.append([recordOf("alice", "bob", 1, { epoch: 3 })]);
    assert.deepEqual(result?.status === "stored" && result.seq, 3);
  });

  test("append() by a stranger, with another's device or to nowhere is refused and stops nobody", async (store) => {
    await befriend(store);
    await store.createUser(newUser("carol"));
    const conversation = directOf("alice", "bob");
    const results = await store.append([
      { ...recordOf("carol", "bob", 1), conversation },
      { ...recordOf("carol", "bob", 2), conversation, user: nameOf("alice") },
      recordOf("alice", "bob", 3),
      recordOf("alice", "carol", 4),
      recordOf("nobody", "bob", 5),
    ]);
    assert.deepEqual(results.map(({ status }) => status), [
      "not-member",
      "not-member",
      "stored",
      "not-member",
      "not-member",
    ]);
  });

  test("append() calls made at once keep their order", async (store) => {
    const id = await befriend(store);
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, at) => store.append([recordOf("alice", "bob", at)])),
    );
    assert.deepEqual(
      results.map(([result]) => result?.status === "stored" && result.seq),
      results.map((_, at) => at + 1),
    );
    const page = await store.read(nameOf("alice"), id, 0, 100);
    assert.deepEqual(
      page?.records.map(({ messageId }) => messageId),
      results.map((_, at) => recordOf("a", "b", at).messageId),
    );
  });

  test("read() gives what is behind the cursor, to members only", async (store) => {
    const id = await befriend(store);
    await store.createUser(newUser("carol"));
    await store.append([1, 2, 3, 4, 5].map((number) => recordOf("alice", "bob", number)));
    const seqs = async (user: string, after: number, limit: number) =>
      (await store.read(nameOf(user), id, after, limit))?.records.map(({ seq }) => seq);
    assert.deepEqual(await seqs("bob", 0, 2), [1, 2]);
    assert.deepEqual(await seqs("bob", 2, 100), [3, 4, 5]);
    assert.deepEqual(await seqs("alice", 5, 100), []);
    assert.deepEqual(await seqs("alice", 500, 100), []);
    assert.deepEqual(await seqs("carol", 0, 100), undefined);
    assert.deepEqual(await seqs("nobody", 0, 100), undefined);
    assert.deepEqual(await store.read(nameOf("alice"), directOf("x", "y"), 0, 10), undefined);
  });

  test("read() stops at its bound of bytes, but gives at least one", async (store) => {
    const id = await befriend(store);
    const large = READ_BYTES_MAX + 5;
    const sizes = [10, large, READ_BYTES_MAX - 10, 10, 1];
    await store.append(sizes.map((size, at) => recordOf("alice", "bob", at, { body: new Uint8Array(size).fill(at) })));
    const pages: number[][] = [];
    for (let after = 0; after < sizes.length;) {
      const { records: page } = (await store.read(nameOf("bob"), id, after, 100))!;
      pages.push(page.map(({ body }) => body.length));
      assert.ok(page.every(({ body, seq }) => body.every((byte) => byte === seq - 1)));
      after = page.at(-1)!.seq;
    }
    assert.deepEqual(pages, [[10], [large], [READ_BYTES_MAX - 10, 10], [1]]);
  });

  test("setCursors() moves forward only, and never past the head", async (store) => {
    const id = await befriend(store);
    await store.createUser(newUser("carol"));
    await store.append([1, 2, 3, 4, 5].map((number) => recordOf("alice", "bob", number)));
    const cursor = async (user: string, number = 1) =>
      (await store.conversations(nameOf(user), deviceOf(user, number), undefined, 10))[0]?.cursor;
    const move = (user: string, seq: number, device = deviceOf(user)) =>
      store.setCursors(nameOf(user), device, [{ conversation: directOf("x", "y"), seq }, { conversation: id, seq }]);
    assert.equal(await cursor("bob"), 0);
    await move("bob", 3);
    assert.equal(await cursor("bob"), 3);
    await move("bob", 2);
    assert.equal(await cursor("bob"), 3);
    await move("bob", 99);
    assert.equal(await cursor("bob"), 5);
    assert.equal(await cursor("alice"), 0);
    await move("carol", 5);
    await move("carol", 5, deviceOf("alice"));
    await move("alice", 5, deviceOf("bob"));
    await move("nobody", 5);
    assert.equal(await cursor("alice"), 0);
    await store.setCursors(nameOf("alice"), deviceOf("alice"), []);
  });

  receiptsContract(test);

  keysContract(test);

  credentialsContract(test);

  archivesContract(test);
  historyContract(test);

  trimContract(test);
  groupsContract(test);
  keyPackagesContract(test);

  test("a new device reads on from the heads it began at", async (store) => {
    const id = await befriend(store);
    await store.append([recordOf("alice", "bob", 1)]);
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    await store.append([recordOf("alice", "bob", 2, { epoch: 3 })]);
    const [head] = await store.conversations(nameOf("bob"), deviceOf("bob", 2), undefined, 10);
    assert.deepEqual([head?.cursor, head?.head], [1, 2]);
    const page = await store.read(nameOf("bob"), id, head!.cursor, 10);
    assert.deepEqual(page?.records.map(({ seq }) => seq), [2]);
  });
}

/** The same value without prototypes of rows, so that `deepEqual` compares content. */
export function plain<T>(value: T): T {
  return structuredClone(value);
}
