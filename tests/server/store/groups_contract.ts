/** What every store must do with groups, and with commits of any conversation; part of the contract's suite. */
import assert from "node:assert/strict";
import { AskKind, ASKS_PER_GROUP_MAX, KEPT_MS, type StoreCommit } from "../../../server/store/groups.ts";
import type { Store } from "../../../server/store/store.ts";
import { GROUP_USERS_MAX } from "../../../shared/limits.ts";
import type { Ask, ConversationId, MessageId, UserName } from "../../../shared/protocol/mod.ts";
import type { Opened } from "./contract.ts";
import { befriend, bytesOf, deviceOf, directOf, idOf, nameOf, newDevice, newUser, recordOf } from "./fixtures.ts";

type Test = (what: string, run: (store: Store, opened: Opened) => Promise<void>) => void;

export function groupsContract(test: Test): void {
  test("createGroup() makes a group of one, and again changes nothing", async (store) => {
    await signUp(store, "alice", "bob");
    const head = { conversation: GROUP, kind: 2, members: [], head: 0, begins: 0, cursor: 0, epoch: 0 };
    assert.deepEqual(structuredClone(await store.createGroup(GROUP, nameOf("alice"), deviceOf("alice"))), head);
    assert.deepEqual(structuredClone(await store.createGroup(GROUP, nameOf("alice"), deviceOf("alice"))), head);
    assert.equal(await store.createGroup(GROUP, nameOf("bob"), deviceOf("bob")), undefined);
    assert.equal(await store.createGroup(idOf("other"), nameOf("nobody"), deviceOf("nobody")), undefined);
    assert.deepEqual(await headsOf(store, "alice"), [head]);
    assert.deepEqual(await headsOf(store, "bob"), []);
    assert.deepEqual(await store.members(nameOf("alice"), GROUP, "", 10), ["alice"]);
    assert.equal(await store.members(nameOf("bob"), GROUP, "", 10), undefined);
  });

  test("createGroup() under a direct conversation's id is refused, and gives way to one that comes later", async (store) => {
    const direct = await befriend(store);
    await signUp(store, "carol");
    assert.equal(await store.createGroup(direct, nameOf("alice"), deviceOf("alice")), undefined);
    const squatted = directOf("alice", "carol");
    await store.createGroup(squatted, nameOf("bob"), deviceOf("bob"));
    await store.commit(commit("bob", { conversation: squatted, add: ["alice"] }));
    const opened = await store.openDirect(squatted, nameOf("alice"), nameOf("carol"), deviceOf("alice"));
    assert.deepEqual([opened?.kind, opened?.members, opened?.head, opened?.cursor], [1, ["alice", "carol"], 0, 0]);
    assert.deepEqual((await headsOf(store, "bob")).map(({ conversation }) => conversation), [direct]);
    assert.equal(await store.read(nameOf("bob"), squatted, 0, 10), undefined);
    await drain(store, 0);
    assert.deepEqual(await store.append([recordOf("alice", "carol", 1)]), [stored(1)]);
  });

  test(
    "commit() adds and appends at once, and tells those who were there, who come, and their devices",
    async (store, opened) => {
      await signUp(store, "alice", "bob", "carol");
      await store.addDevice(nameOf("bob"), newDevice("bob", 2));
      await store.createGroup(GROUP, nameOf("alice"), deviceOf("alice"));
      const welcomes = [welcomeFor("bob"), welcomeFor("bob", 2), welcomeFor("carol"), welcomeFor("nobody")];
      const first = commit("alice", { add: ["bob"], welcomes, tree: bytesOf("tree") });
      assert.deepEqual(await store.commit(first), stored(1));
      await opened.settle();
      assert.deepEqual(structuredClone(opened.told.records), [{
        record: {
          conversation: GROUP,
          seq: 1,
          timeMs: 5_000,
          sender: "alice",
          device: deviceOf("alice"),
          messageId: first.messageId,
          body: first.body,
        },
        members: ["alice", "bob"],
      }]);
      const devices = [1, 2].map((number) => ({ user: "bob", device: deviceOf("bob", number) }));
      assert.deepEqual(structuredClone(opened.told.news), [{ type: "welcomed", conversation: GROUP, devices }]);
      for (const number of [1, 2]) {
        const [head] = await store.conversations(nameOf("bob"), deviceOf("bob", number), undefined, 10);
        assert.deepEqual([head?.head, head?.begins, head?.cursor, head?.epoch], [1, 0, 1, 1]);
        assert.deepEqual(structuredClone(await store.welcome(nameOf("bob"), deviceOf("bob", number), GROUP)), {
          isInvitation: false,
          commit: 1,
          body: bytesOf(`welcome of bob ${number}`),
          tree: bytesOf("tree"),
        });
      }
      assert.equal(await store.welcome(nameOf("carol"), deviceOf("carol"), GROUP), undefined);
      assert.equal(await store.welcome(nameOf("alice"), deviceOf("bob"), GROUP), undefined);
      assert.deepEqual(await store.members(nameOf("bob"), GROUP, "", 10), ["alice", "bob"]);
      assert.deepEqual(await store.members(nameOf("bob"), GROUP, "alice", 10), ["bob"]);
    },
  );

  test("commit() again has the numbers of the first, and changes nothing", async (store, opened) => {
    await groupOf(store, "alice", "bob");
    const again = commit("bob", { lastCommit: 1, add: ["carol"], message: "again", welcomes: [welcomeFor("carol")] });
    await signUp(store, "carol");
    assert.deepEqual(await store.commit(again), stored(2));
    assert.deepEqual(await store.commit(commit("alice", { lastCommit: 2, remove: ["bob"] })), stored(3));
    await opened.settle();
    const told = opened.told.news.length;
    assert.deepEqual(structuredClone(await store.commit({ ...again, nowMs: 9_000 })), stored(2, true));
    await opened.settle();
    assert.deepEqual([opened.told.records.length, opened.told.news.length], [3, told]);
    assert.deepEqual(await store.members(nameOf("alice"), GROUP, "", 10), ["alice", "carol"]);
  });

  test("commit() that names another than the newest is refused, and appends in its group too", async (store) => {
    await groupOf(store, "alice", "bob");
    assert.deepEqual(await store.commit(commit("bob", { lastCommit: 0 })), { status: "stale-epoch", epoch: 1 });
    assert.deepEqual(await store.append([text("bob", 1, 0), text("bob", 2, 1)]), [
      { status: "stale-epoch", epoch: 1 },
      { status: "stale-epoch", epoch: 1 },
    ]);
    assert.deepEqual(await store.append([text("bob", 2, 1)]), [stored(2)]);
    const both = await Promise.all([
      store.commit(commit("alice", { lastCommit: 1, message: "one" })),
      store.commit(commit("bob", { lastCommit: 1, message: "two" })),
    ]);
    assert.deepEqual(both.map(({ status }) => status), ["stored", "stale-epoch"]);
    assert.deepEqual(await store.append([text("alice", 3, 1)]), [{ status: "stale-epoch", epoch: 3 }]);
    assert.deepEqual(await store.append([text("alice", 3, 3)]), [stored(4)]);
    assert.deepEqual((await headsOf(store, "bob")).map(({ head, epoch }) => [head, epoch]), [[4, 3]]);
  });

  test("a direct conversation goes by its newest commit once it has one, and by its devices before", async (store) => {
    const id = await befriend(store);
    assert.deepEqual(await store.append([recordOf("alice", "bob", 1), recordOf("bob", "alice", 2)]), [
      stored(1),
      stored(2),
    ]);
    const committed = commit("bob", { conversation: id, welcomes: [welcomeFor("alice")] });
    assert.deepEqual(await store.commit(committed), stored(3));
    assert.deepEqual(await store.append([recordOf("alice", "bob", 3)]), [{ status: "stale-epoch", epoch: 3 }]);
    assert.deepEqual(await store.append([recordOf("alice", "bob", 3, { epoch: 3 })]), [stored(4)]);
    for (const number of [2, 3]) await store.addDevice(nameOf("bob"), newDevice("bob", number));
    assert.deepEqual(await store.append([recordOf("alice", "bob", 4, { epoch: 3 })]), [stored(5)]);
    const [head] = await headsOf(store, "alice");
    assert.deepEqual([head?.epoch, head?.members], [3, ["alice", "bob"]]);
    assert.equal((await store.welcome(nameOf("alice"), deviceOf("alice"), id))?.commit, 3);
    const wrong = commit("bob", { conversation: id, lastCommit: 3, add: ["carol"] });
    await signUp(store, "carol");
    assert.deepEqual(await store.commit(wrong), { status: "not-a-group" });
    assert.deepEqual(await store.leave({ ...wrong, messageId: idOf("leave") }), { status: "not-a-group" });
    assert.equal((await headsOf(store, "carol")).length, 0);
  });

  test("commit() is a member's, adds those who exist, and no more than fit", async (store) => {
    await groupOf(store, "alice", "bob");
    await signUp(store, "carol");
    assert.deepEqual(await store.commit(commit("carol", { lastCommit: 1 })), { status: "not-member" });
    assert.deepEqual(await store.commit({ ...commit("alice", { lastCommit: 1 }), device: deviceOf("bob") }), {
      status: "not-member",
    });
    const nobody = commit("alice", { lastCommit: 1, add: ["carol", "nobody"] });
    assert.deepEqual(structuredClone(await store.commit(nobody)), { status: "unknown-name", name: "nobody" });
    assert.deepEqual(await store.members(nameOf("alice"), GROUP, "", 10), ["alice", "bob"]);
    const many = Array.from({ length: GROUP_USERS_MAX - 1 }, (_, at) => `user${at}`);
    await Promise.all(many.map((name) => store.createUser(newUser(name))));
    const crowd = commit("alice", { lastCommit: 1, add: many });
    assert.deepEqual(await store.commit(crowd), { status: "limit" });
    // Whoever goes makes room.
    assert.deepEqual(await store.commit({ ...crowd, remove: [nameOf("bob")] }), stored(2));
    assert.equal((await store.members(nameOf("alice"), GROUP, "", 2000))?.length, GROUP_USERS_MAX);
    assert.deepEqual(await store.append([text("user7", 1, 2)]), [stored(3)]);
  });

  test(
    "whoever is removed reads up to that commit, appends nothing more, and sees the group until they know",
    async (store, opened) => {
      await groupOf(store, "alice", "bob", "carol");
      await store.append([text("bob", 1, 1)]);
      const removal = commit("alice", { lastCommit: 1, remove: ["bob", "nobody"] });
      assert.deepEqual(await store.commit(removal), stored(3));
      await store.append([text("alice", 2, 3)]);
      await opened.settle();
      assert.deepEqual(opened.told.records.map(({ members }) => members).slice(-2).map((names) => [...names]), [
        ["alice", "bob", "carol"],
        ["alice", "carol"],
      ]);
      assert.deepEqual(structuredClone(opened.told.news.at(-1)), {
        type: "dismissed",
        conversation: GROUP,
        seq: 3,
        users: ["bob"],
      });
      assert.deepEqual(await seqs(store, "bob"), [1, 2, 3]);
      assert.deepEqual(await seqs(store, "carol"), [1, 2, 3, 4]);
      assert.deepEqual(await store.append([text("bob", 3, 3)]), [{ status: "not-member" }]);
      assert.deepEqual(await store.commit(commit("bob", { lastCommit: 3 })), { status: "not-member" });
      assert.equal(await store.members(nameOf("bob"), GROUP, "", 10), undefined);
      assert.deepEqual((await headsOf(store, "bob")).map(({ head, cursor, epoch }) => [head, cursor, epoch]), [[
        3,
        1,
        3,
      ]]);
      // What they say of it moves their cursor, and is nobody's business any more.
      const moved = opened.told.moved.length;
      await store.setReceipts(nameOf("bob"), deviceOf("bob"), [receipt(4), receipt(2)]);
      await opened.settle();
      assert.equal(opened.told.moved.length, moved);
      assert.deepEqual((await headsOf(store, "bob")).map(({ cursor }) => cursor), [2]);
      await store.setCursors(nameOf("bob"), deviceOf("bob"), [{ conversation: GROUP, seq: 99 }]);
      assert.deepEqual(await headsOf(store, "bob"), []);
      // A device that comes later has nothing to see here.
      await store.addDevice(nameOf("bob"), newDevice("bob", 2));
      assert.deepEqual(await store.conversations(nameOf("bob"), deviceOf("bob", 2), undefined, 10), []);
    },
  );

  test("whoever comes back reads from there, and not what lay between", async (store) => {
    await groupOf(store, "alice", "bob");
    await store.commit(commit("alice", { lastCommit: 1, remove: ["bob"] }));
    await store.append([text("alice", 1, 2)]);
    const back = commit("alice", { lastCommit: 2, add: ["bob"], welcomes: [welcomeFor("bob")] });
    assert.deepEqual(await store.commit(back), stored(4));
    await store.append([text("alice", 2, 4)]);
    const page = await store.read(nameOf("bob"), GROUP, 0, 10);
    assert.deepEqual([page?.begins, page?.records.map(({ seq }) => seq)], [3, [4, 5]]);
    assert.deepEqual((await store.read(nameOf("bob"), GROUP, 1, 1))?.records.map(({ seq }) => seq), [4]);
    const [head] = await headsOf(store, "bob");
    assert.deepEqual([head?.head, head?.begins, head?.cursor], [5, 3, 4]);
    assert.deepEqual(await store.append([text("bob", 3, 4)]), [stored(6)]);
  });

  test("a newcomer reads nothing earlier, also not by the limits of a page", async (store) => {
    await groupOf(store, "alice");
    await signUp(store, "bob");
    await store.append([1, 2, 3].map((number) => text("alice", number, 1)));
    await store.commit(commit("alice", { lastCommit: 1, add: ["bob"] }));
    const page = await store.read(nameOf("bob"), GROUP, 0, 1);
    assert.deepEqual([page?.begins, page?.records.map(({ seq }) => seq)], [4, [5]]);
    const [head] = await headsOf(store, "bob");
    assert.deepEqual([head?.begins, head?.cursor], [4, 5]);
  });

  test(
    "leave() appends its notice and dismisses its author there; again it has the same numbers",
    async (store, opened) => {
      await groupOf(store, "alice", "bob");
      const leave = commit("bob", { lastCommit: 1, message: "bye" });
      assert.deepEqual(await store.leave({ ...leave, lastCommit: 0 }), { status: "stale-epoch", epoch: 1 });
      assert.deepEqual(await store.leave(leave), stored(2));
      assert.deepEqual(structuredClone(await store.leave(leave)), stored(2, true));
      await opened.settle();
      assert.deepEqual(
        opened.told.news.filter(({ type }) => type === "dismissed").map((news) => structuredClone(news)),
        [
          { type: "dismissed", conversation: GROUP, seq: 2, users: ["bob"] },
        ],
      );
      // It is no commit: who sends next names the same one as before.
      assert.deepEqual(await store.append([text("alice", 1, 1)]), [stored(3)]);
      assert.deepEqual(await seqs(store, "bob"), [1, 2]);
    },
  );

  test("a group that nobody is in any more is gone, and its id is free", async (store) => {
    await groupOf(store, "alice", "bob");
    await store.append([text("alice", 1, 1)]);
    await store.ask(askOf("bob"));
    await store.invite(invitation("alice", "bob", 1));
    await store.setReceipts(nameOf("bob"), deviceOf("bob"), [receipt(2)]);
    assert.deepEqual(await store.commit(commit("alice", { lastCommit: 1, remove: ["bob"] })), stored(3));
    assert.deepEqual(await store.leave(commit("alice", { lastCommit: 3, message: "bye" })), stored(4));
    for (const name of ["alice", "bob"]) {
      assert.deepEqual(await headsOf(store, name), []);
      assert.equal(await store.read(nameOf(name), GROUP, 0, 10), undefined);
    }
    await drain(store, 0);
    const [head] = [await store.createGroup(GROUP, nameOf("bob"), deviceOf("bob"))];
    assert.deepEqual([head?.head, head?.cursor, head?.epoch], [0, 0, 0]);
    assert.deepEqual(await store.append([text("bob", 1, 0)]), [stored(1)]);
    assert.deepEqual(await store.receipts(nameOf("bob"), [GROUP], undefined, 10), []);
  });

  test("a Welcome stays until its device has come further, and 30 days", async (store) => {
    await groupOf(store, "alice", "bob", "carol");
    await store.append([text("alice", 1, 1)]);
    const bob = [nameOf("bob"), deviceOf("bob"), GROUP] as const;
    const carol = [nameOf("carol"), deviceOf("carol"), GROUP] as const;
    assert.deepEqual(await store.welcomesWaiting(bob[0], bob[1], 10), [GROUP]);
    // Not fetched yet: coming further does not end it.
    await store.setCursors(bob[0], bob[1], [{ conversation: GROUP, seq: 2 }]);
    await drain(store, 5_000);
    assert.equal((await store.welcome(...bob))?.commit, 1);
    assert.deepEqual(await store.welcomesWaiting(bob[0], bob[1], 10), []);
    assert.equal((await store.welcome(...bob))?.commit, 1);
    await drain(store, 5_000);
    assert.equal(await store.welcome(...bob), undefined);
    await drain(store, 5_000 + KEPT_MS - 1);
    assert.equal((await store.welcome(...carol))?.commit, 1);
    await drain(store, 5_000 + KEPT_MS);
    assert.equal(await store.welcome(...carol), undefined);
  });

  test("a newer Welcome takes an older one's place, and going takes it away", async (store) => {
    await groupOf(store, "alice", "bob");
    const newer = { ...welcomeFor("bob"), body: bytesOf("newer") };
    await store.commit(commit("alice", { lastCommit: 1, welcomes: [newer] }));
    const found = await store.welcome(nameOf("bob"), deviceOf("bob"), GROUP);
    assert.deepEqual([found?.commit, found?.body, found?.tree], [2, bytesOf("newer"), new Uint8Array()]);
    await store.commit(commit("alice", { lastCommit: 2, remove: ["bob"] }));
    assert.equal(await store.welcome(nameOf("bob"), deviceOf("bob"), GROUP), undefined);
    await store.commit(commit("alice", { lastCommit: 3, add: ["bob"] }));
    assert.equal(await store.welcome(nameOf("bob"), deviceOf("bob"), GROUP), undefined);
  });

  test("invite() is for members' devices, answers their wish, and ends with the next commit", async (store, opened) => {
    await groupOf(store, "alice", "bob");
    await signUp(store, "carol");
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    const bob2 = [nameOf("bob"), deviceOf("bob", 2)] as const;
    await store.ask(askOf("bob", { device: 2 }));
    assert.deepEqual(await store.invite(invitation("alice", "bob", 0, 2)), { status: "stale-epoch", epoch: 1 });
    assert.deepEqual(await store.invite(invitation("carol", "bob", 1, 2)), { status: "not-member" });
    assert.deepEqual(await store.invite(invitation("alice", "carol", 1)), { status: "unknown-device" });
    assert.deepEqual(await store.invite(invitation("alice", "nobody", 1)), { status: "unknown-device" });
    assert.equal((await store.asks(nameOf("alice"), GROUP, undefined, 10)).length, 1);
    assert.deepEqual(await store.invite(invitation("alice", "bob", 1, 2)), { status: "invited" });
    await opened.settle();
    assert.deepEqual(structuredClone(opened.told.news.at(-1)), {
      type: "welcomed",
      conversation: GROUP,
      devices: [{ user: "bob", device: deviceOf("bob", 2) }],
    });
    assert.deepEqual(await store.asks(nameOf("alice"), GROUP, undefined, 10), []);
    assert.deepEqual(structuredClone(await store.welcome(...bob2, GROUP)), {
      isInvitation: true,
      commit: 1,
      body: bytesOf("welcome of bob 2"),
      tree: bytesOf("tree of it"),
    });
    await store.commit(commit("alice", { lastCommit: 1 }));
    assert.equal(await store.welcome(...bob2, GROUP), undefined);
    assert.deepEqual(await store.welcomesWaiting(...bob2, 10), []);
  });

  test(
    "invite() for its own device lets in whichever of its user's has nothing else, and tells nobody",
    async (store, opened) => {
      await groupOf(store, "alice", "bob");
      for (const number of [2, 3]) await store.addDevice(nameOf("bob"), newDevice("bob", number));
      await store.ask(askOf("bob"));
      const [told, bob, bob2] = [
        opened.told.news.length,
        ...[1, 2].map((n) => [nameOf("bob"), deviceOf("bob", n), GROUP] as const),
      ];
      assert.deepEqual(await store.invite(left("bob", 0, 3)), { status: "stale-epoch", epoch: 1 });
      assert.deepEqual(await store.invite(left("bob", 1, 3)), { status: "invited" });
      await opened.settle();
      assert.equal(opened.told.news.slice(told).filter(({ type }) => type === "welcomed").length, 0);
      assert.equal((await store.asks(nameOf("bob"), GROUP, undefined, 10)).length, 1);
      // What is its own comes first, until it is used.
      assert.equal((await store.welcome(...bob!))?.isInvitation, false);
      await store.setCursors(bob![0], bob![1], [{ conversation: GROUP, seq: 1 }]);
      assert.equal((await store.welcome(...bob!))?.isInvitation, false);
      await store.append([text("alice", 1, 1)]);
      await store.setCursors(bob![0], bob![1], [{ conversation: GROUP, seq: 2 }]);
      const found = { isInvitation: true, commit: 1, body: bytesOf("welcome of bob 3"), tree: bytesOf("tree of it") };
      assert.deepEqual(structuredClone(await store.welcome(...bob!)), found);
      // It is for several, and is not over when one has it.
      for (let time = 0; time < 2; time++) assert.deepEqual(structuredClone(await store.welcome(...bob2!)), found);
      assert.deepEqual(await store.welcomesWaiting(nameOf("bob"), deviceOf("bob", 3), 10), []);
      await drain(store, 6_000 + KEPT_MS);
      assert.deepEqual(structuredClone(await store.welcome(...bob2!)), found);
      assert.equal(await store.welcome(nameOf("alice"), deviceOf("alice"), GROUP), undefined);
      await store.commit(commit("alice", { lastCommit: 1 }));
      assert.equal(await store.welcome(...bob2!), undefined);
      await drain(store, 6_000);
      assert.equal(await store.welcome(...bob2!), undefined);
    },
  );

  test("what a device left for its user's others gives way to a newer one, and goes with it and with them", async (store) => {
    await groupOf(store, "alice", "bob");
    for (const number of [2, 3]) await store.addDevice(nameOf("bob"), newDevice("bob", number));
    const bob3 = [nameOf("bob"), deviceOf("bob", 3), GROUP] as const;
    await store.invite(left("bob", 1, 1));
    await store.invite(left("bob", 1, 2));
    assert.deepEqual((await store.welcome(...bob3))?.body, bytesOf("welcome of bob 2"));
    // An answer to the one who left it takes its place; another member's own is never theirs.
    await store.invite(left("alice", 1));
    await store.invite(invitation("alice", "bob", 1, 2));
    assert.equal(await store.welcome(...bob3), undefined);
    await store.invite(left("bob", 1, 2));
    const after = (await store.keyEntriesOf(nameOf("bob"))).at(-1)!.number;
    const effect = { type: "revoke", device: deviceOf("bob", 2) } as const;
    assert.equal(await store.changeKeys({ user: nameOf("bob"), after, entry: bytesOf("revoked"), effect }), "done");
    assert.equal(await store.welcome(...bob3), undefined);
    assert.deepEqual(await store.invite(left("bob", 1, 2)), { status: "unknown-device" });
    await store.invite(left("bob", 1, 1));
    await store.commit(commit("alice", { lastCommit: 1, remove: ["bob"] }));
    await store.commit(commit("alice", { lastCommit: 3 - 1, add: ["bob"] }));
    assert.equal(await store.welcome(...bob3), undefined);
  });

  test("ask() waits for members, who hear of it, until somebody answers or takes it away", async (store, opened) => {
    await groupOf(store, "alice", "bob");
    await signUp(store, "carol");
    const other = await befriend(store, "bob", "carol");
    assert.equal(await store.ask(askOf("bob")), "waits");
    const again = askOf("bob", { body: "again", timeMs: 7_000 });
    assert.equal(await store.ask(again), "waits");
    assert.equal(await store.ask(askOf("carol", { conversation: other })), "waits");
    assert.equal(await store.ask(askOf("carol")), "refused");
    assert.equal(await store.ask({ ...askOf("alice"), device: deviceOf("bob") }), "refused");
    assert.equal(await store.ask(askOf("carol", { conversation: idOf("nothing") })), "refused");
    assert.equal(await store.ask(askOf("carol", { conversation: other, kind: AskKind.Link })), "refused");
    await opened.settle();
    const heard = opened.told.news.filter(({ type }) => type === "asked").map((news) => structuredClone(news));
    assert.deepEqual(heard[1], { type: "asked", ask: again, members: ["alice", "bob"] });
    assert.equal(heard.length, 3);
    const all = await store.asks(nameOf("bob"), undefined, undefined, 10);
    assert.deepEqual(structuredClone(all), [again, askOf("carol", { conversation: other })].sort(byPlace));
    const [first, second] = all;
    assert.deepEqual((await store.asks(nameOf("bob"), undefined, undefined, 1)).length, 1);
    assert.deepEqual(structuredClone(await store.asks(nameOf("bob"), undefined, first, 10)), [structuredClone(second)]);
    assert.deepEqual((await store.asks(nameOf("alice"), undefined, undefined, 10)).map(({ user }) => user), ["bob"]);
    assert.deepEqual(await store.asks(nameOf("alice"), other, undefined, 10), []);
    await store.dropAsk(nameOf("alice"), other, deviceOf("carol"));
    assert.equal((await store.asks(nameOf("bob"), other, undefined, 10)).length, 1);
    await store.dropAsk(nameOf("bob"), other, deviceOf("carol"));
    await store.dropAsk(nameOf("alice"), GROUP, deviceOf("bob"));
    assert.deepEqual(await store.asks(nameOf("bob"), undefined, undefined, 10), []);
  });

  test("ask() by a link is for who is not in it, ends when they are, and after 30 days", async (store) => {
    await groupOf(store, "alice");
    await signUp(store, "bob", "carol", "dave");
    for (const name of ["bob", "carol", "dave"]) {
      assert.equal(await store.ask(askOf(name, { kind: AskKind.Link })), "waits");
    }
    assert.equal(await store.ask(askOf("alice", { kind: AskKind.Link })), "refused");
    await store.commit(commit("alice", { lastCommit: 1, add: ["bob"] }));
    await store.dropAsk(nameOf("dave"), GROUP, deviceOf("dave"));
    const names = async () => (await store.asks(nameOf("alice"), GROUP, undefined, 10)).map(({ user }) => user);
    assert.deepEqual(await names(), ["carol"]);
    await drain(store, 6_000 + KEPT_MS - 1);
    assert.deepEqual(await names(), ["carol"]);
    await drain(store, 6_000 + KEPT_MS);
    assert.deepEqual(await names(), []);
  });

  test("ask() by a link is refused where too many wait", async (store) => {
    await groupOf(store, "alice");
    const names = Array.from({ length: ASKS_PER_GROUP_MAX + 1 }, (_, at) => `user${at}`);
    await Promise.all(names.map((name) => store.createUser(newUser(name))));
    const asked = await Promise.all(names.map((name) => store.ask(askOf(name, { kind: AskKind.Link }))));
    assert.equal(asked.filter((outcome) => outcome === "waits").length, ASKS_PER_GROUP_MAX);
    assert.equal(asked.at(-1), "limit");
    assert.equal(await store.ask(askOf("user0", { kind: AskKind.Link, body: "again" })), "waits");
  });

  test(
    "receipts of a group are told to those whose records they are about, and to one's own",
    async (store, opened) => {
      await groupOf(store, "alice", "bob", "carol", "dave");
      await store.append([text("bob", 1, 1), text("carol", 2, 1), text("carol", 3, 1)]);
      await store.setReceipts(nameOf("dave"), deviceOf("dave"), [receipt(3)]);
      await store.setReceipts(nameOf("dave"), deviceOf("dave"), [receipt(4)]);
      await store.setReceipts(nameOf("dave"), deviceOf("dave"), [receipt(4, 2)]);
      await store.setReceipts(nameOf("dave"), deviceOf("dave"), [receipt(4, 1)]);
      await opened.settle();
      assert.deepEqual(opened.told.moved.map(({ members }) => [...members]), [
        ["alice", "bob", "carol", "dave"],
        ["carol", "dave"],
        ["alice", "bob", "dave"],
      ]);
      const kept = await store.receipts(nameOf("alice"), [GROUP], undefined, 10);
      assert.deepEqual(kept.map(({ user, delivered, read }) => [user, delivered, read]), [["dave", 4, 2]]);
      await store.commit(commit("alice", { lastCommit: 1, remove: ["dave"] }));
      assert.deepEqual(await store.receipts(nameOf("alice"), [GROUP], undefined, 10), []);
      assert.deepEqual(await store.receipts(nameOf("dave"), [GROUP], undefined, 10), []);
    },
  );

  test("a device added later begins at the head of its groups, whose epoch stays", async (store, opened) => {
    await groupOf(store, "alice", "bob");
    await store.append([text("alice", 1, 1)]);
    await store.addDevice(nameOf("bob"), newDevice("bob", 2));
    const [head] = await store.conversations(nameOf("bob"), deviceOf("bob", 2), undefined, 10);
    assert.deepEqual([head?.head, head?.cursor, head?.epoch], [2, 2, 1]);
    await opened.settle();
    assert.deepEqual(opened.told.changes.map(({ conversations }) => conversations.length), [0]);
  });

  test("trim() leaves a group its newest commit's number", async (store) => {
    await groupOf(store, "alice", "bob");
    await store.append([text("alice", 1, 1)]);
    const limits = { nowMs: 9 * 24 * 3_600_000, ageMsMax: 24 * 3_600_000, bytesMax: undefined, recordsMax: 10 };
    assert.equal(await store.trim(limits), 2);
    assert.deepEqual(await store.append([text("bob", 2, 1)]), [stored(3)]);
    assert.deepEqual((await headsOf(store, "bob")).map(({ begins, epoch }) => [begins, epoch]), [[2, 1]]);
  });
}

export const GROUP = idOf<ConversationId>("group");

/** Alice (or whoever comes first) makes it, and adds the others with one commit, whose number is 1. */
export async function groupOf(store: Store, ...names: string[]): Promise<void> {
  await signUp(store, ...names);
  const [first, ...others] = names as [string, ...string[]];
  await store.createGroup(GROUP, nameOf(first), deviceOf(first));
  await store.commit(commit(first, { add: others, welcomes: others.map((name) => welcomeFor(name)) }));
}

export async function signUp(store: Store, ...names: string[]): Promise<void> {
  for (const name of names) await store.createUser(newUser(name));
}

let commits = 0;

export function commit(
  user: string,
  options: {
    conversation?: ConversationId;
    lastCommit?: number;
    add?: string[];
    remove?: string[];
    welcomes?: StoreCommit["welcomes"];
    tree?: Uint8Array;
    message?: string;
  } = {},
): StoreCommit {
  const { conversation = GROUP, lastCommit = 0, welcomes = [], tree = new Uint8Array() } = options;
  return {
    user: nameOf(user),
    device: deviceOf(user),
    conversation,
    messageId: idOf<MessageId>("commit", options.message ?? ++commits),
    lastCommit,
    body: bytesOf(`commit by ${user}`),
    add: (options.add ?? []) as UserName[],
    remove: (options.remove ?? []) as UserName[],
    welcomes,
    tree,
    nowMs: 5_000,
  };
}

function text(user: string, number: number, expectedEpoch: number) {
  return { ...recordOf(user, user, number, { epoch: expectedEpoch }), conversation: GROUP };
}

function welcomeFor(user: string, device = 1) {
  return { device: deviceOf(user, device), body: bytesOf(`welcome of ${user} ${device}`) };
}

function invitation(user: string, invited: string, lastCommit: number, device = 1) {
  const welcome = welcomeFor(invited, device), tree = bytesOf("tree of it");
  return { user: nameOf(user), device: deviceOf(user), conversation: GROUP, lastCommit, welcome, tree, nowMs: 6_000 };
}

/** What a device leaves for its user's others. */
function left(user: string, lastCommit: number, device = 1) {
  return { ...invitation(user, user, lastCommit, device), device: deviceOf(user, device) };
}

function askOf(
  user: string,
  options: { conversation?: ConversationId; kind?: AskKind; device?: number; body?: string; timeMs?: number } = {},
): Ask {
  return {
    conversation: options.conversation ?? GROUP,
    user: nameOf(user),
    device: deviceOf(user, options.device ?? 1),
    kind: options.kind ?? AskKind.Member,
    body: bytesOf(options.body ?? "let me in"),
    timeMs: options.timeMs ?? 6_000,
  };
}

function receipt(delivered: number, read = 0) {
  const hash = new Uint8Array(32).fill(delivered), signature = new Uint8Array(64).fill(read);
  return { conversation: GROUP, delivered, hash, read, signature };
}

function byPlace(a: Ask, b: Ask): number {
  return a.conversation + a.device < b.conversation + b.device ? -1 : 1;
}

function stored(seq: number, duplicate = false) {
  return { status: "stored", seq, timeMs: 5_000, duplicate };
}

async function headsOf(store: Store, user: string) {
  return structuredClone(await store.conversations(nameOf(user), deviceOf(user), undefined, 100));
}

async function seqs(store: Store, user: string): Promise<number[] | undefined> {
  return (await store.read(nameOf(user), GROUP, 0, 100))?.records.map(({ seq }) => seq);
}

export async function drain(store: Store, nowMs: number): Promise<void> {
  while (await store.sweep(nowMs));
}
