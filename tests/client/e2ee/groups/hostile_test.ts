/** Servers that lie, members with changed clients, homes that were put back (SECURITY's tests 1 to 4 and 6, and M2, M4, M10). */
import assert from "node:assert/strict";
import { createCommit, joinGroupExternal } from "ts-mls/createCommit.js";
import { mlsBody } from "../../../../client/e2ee/groups/body.ts";
import { encodeNotes } from "../../../../client/e2ee/mls/commit_notes.ts";
import { privateKeysOf, publicPackageOf } from "../../../../client/e2ee/mls/key_packages.ts";
import { clientConfig } from "../../../../client/e2ee/mls/profile.ts";
import { decodeMessage, encodeMessage } from "../../../../client/e2ee/mls/wire.ts";
import type { ConversationId, Record, UserName } from "../../../../shared/protocol/mod.ts";
import { testKeys } from "../../../keys.ts";
import { makeDevice } from "../mls/people.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

const name = (user: string) => user as UserName;

async function groupOf(world: World, ...homes: Home[]): Promise<ConversationId> {
  const [first, ...others] = homes, id = await first!.engine.create("friends");
  await first!.engine.change(id, { do: "add", names: [...new Set(others.map(({ user }) => user))] });
  await world.settle();
  return id;
}

async function friends(world: World, ...users: string[]): Promise<{ homes: Home[]; id: ConversationId }> {
  const homes: Home[] = [];
  for (const user of users) homes.push(await world.home(user));
  return { homes, id: await groupOf(world, ...homes) };
}

/** A commit as the library makes it, past our policy and without being noted at home. */
async function rogueCommit(
  home: Home,
  id: ConversationId,
  proposals: Parameters<typeof createCommit>[1],
  skipped: readonly number[] = [],
): Promise<Uint8Array> {
  const { group, mls } = await home.groupOf(id);
  const notes = encodeNotes({ skipped: [...skipped], leaves: [], keyLogEntries: 0 });
  const { commit } = await createCommit({ state: group.state, cipherSuite: mls.suite }, {
    authenticatedData: notes,
    ...proposals,
  });
  return mlsBody(encodeMessage(commit));
}

function codes(home: Home): string[] {
  return home.warnings.map(({ code }) => code);
}

Deno.test("Lying server, sender: swapped columns show nobody under the wrong name", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    carol.disconnect();
    alice.say(id, "I am alice");
    await world.settle();
    bob.say(id, "I am bob");
    await world.settle();
    world.server.shown = (_, record) => {
      if (record.body.length > 500) return record;
      const other = record.sender === alice.user ? bob : alice;
      return { ...record, sender: other.user, device: other.device };
    };
    await carol.connect();
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(carol.texts(id), []);
    assert.deepEqual(carol.refused, [
      "The server says that bob sent it, which is not so",
      "The server says that alice sent it, which is not so",
    ]);
    world.server.shown = (_, record) => record;
    alice.say(id, "again");
    await world.settle();
    assert.deepEqual(carol.texts(id), ["alice: again"]);
  }));

Deno.test("Lying server, withheld commit: whoever was not shown it stops sending, says so, and comes back", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol, dave], id } = await friends(world, "alice", "bob", "carol", "dave") as never as {
      homes: [Home, Home, Home, Home];
      id: ConversationId;
    };
    let hidden = 0;
    world.server.shown = (device, record) => device === bob.device && record.seq === hidden ? undefined : record;
    hidden = (await world.server.rows(alice.user, id)).length + 1;
    const thief = carol.copy();
    await alice.engine.change(id, { do: "remove", names: [name("carol")] });
    await world.settle();
    alice.disconnect();
    dave.disconnect();
    assert.deepEqual(bob.warnings, [], "nothing tells him yet");
    // Nobody is there to let him in: what he types waits.
    await dave.connect();
    dave.say(id, "carol is gone");
    await world.settle();
    assert(codes(bob).includes("withheld"));
    assert.deepEqual(bob.refused, [
      "It was sealed in a state of the group that this device was not shown: a change was withheld from it",
    ]);
    bob.say(id, "who is gone?");
    await world.settle();
    await alice.connect();
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["bob: who is gone?"]);
    assert.deepEqual(dave.texts(id), ["dave: carol is gone", "bob: who is gone?"]);
    assertAgree([alice, bob, dave], id);
    assert(codes(bob).includes("rejoined"));
    // With all that Carol had, and all that was sent.
    await carol.putBack(thief);
    carol.disconnect();
    for (const record of await world.server.rows(alice.user, id)) {
      if (record.seq <= hidden) continue;
      const { taken, step } = await carol.engine.take(record);
      if (taken.kind === "wait") step.undo();
      else carol.finish(step, () => {});
      assert.notEqual(taken.kind, "message");
    }
  }));

Deno.test("Lying server, ghost join: strangers change neither members nor epoch, and chat goes on", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    const before = alice.stateOf(id), { bobIdentity } = await testKeys();
    const { lib, mls, group } = await bob.groupOf(id);
    const now = { conversation: id, nowMs: world.clock.nowMs };
    // Bob hands an invitation to a stranger, who cannot use it; a name that is there under another key cannot either.
    const invitation = await lib.makeInvitation(mls, group);
    for (const ghost of [await makeDevice("mallory"), await makeDevice("carol", { identity: bobIdentity })]) {
      await assert.rejects(lib.joinByItself(mls, ghost, invitation, now));
    }
    // His own home would take what it did not do for the doings of another copy of itself.
    bob.disconnect();
    // Bob, who is no admin, adds somebody all the same; and carol's name under another key.
    for (const ghost of [await makeDevice("mallory"), await makeDevice("carol", { identity: bobIdentity })]) {
      const own = await lib.makeKeyPackage(mls, ghost, { nowMs: world.clock.nowMs });
      const verdict = await lib.readKeyPackage(mls, own.publicBytes, { nowMs: world.clock.nowMs });
      assert(verdict.ok);
      const add = { proposalType: "add" as const, add: { keyPackage: verdict.keyPackage } };
      const body = await rogueCommit(bob, id, { extraProposals: [add] });
      await world.server.plant({ user: bob.user, device: bob.device, conversation: id, body, isCommit: true });
    }
    // The same two by themselves, as if somebody had shown them all that a member has: commits that are good but for who they are.
    const opened = decodeMessage(invitation.groupInfo);
    assert(opened?.wireformat === "mls_group_info");
    for (const ghost of [await makeDevice("mallory"), await makeDevice("carol", { identity: bobIdentity })]) {
      const own = await lib.makeKeyPackage(mls, ghost, { nowMs: world.clock.nowMs });
      const { publicMessage } = await joinGroupExternal(
        opened.groupInfo,
        publicPackageOf(own),
        privateKeysOf(own, ghost),
        false,
        mls.suite,
        group.state.ratchetTree,
        clientConfig(mls.credentials),
        encodeNotes({ skipped: [], leaves: [], keyLogEntries: 0 }),
      );
      const body = mlsBody(encodeMessage({ version: "mls10", wireformat: "mls_public_message", publicMessage }));
      await world.server.plant({ user: bob.user, device: bob.device, conversation: id, body, isCommit: true });
    }
    await world.settle();
    for (const home of [alice, carol]) assert.deepEqual(home.stateOf(id), before, home.user);
    assert.deepEqual(alice.warnings.map(({ text }) => text.split(": ")[1]), [
      "may not add users",
      "adds a name under another identity",
      "not a member",
      "not a member",
    ]);
    alice.say(id, "still here");
    carol.say(id, "me too");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.texts(id).sort(), ["alice: still here", "carol: me too"]);
    assertAgree([alice, carol], id);
  }));

Deno.test("Insider, jammed epoch: after 100 invalid commits the next honest one counts, and no message is lost", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    const { lib, group } = await bob.groupOf(id);
    const leaf = lib.rosterOf(group).members.find(({ user }) => user === "carol")!.leaf;
    const remove = { proposalType: "remove" as const, remove: { removed: leaf } };
    alice.say(id, "before");
    await world.settle();
    bob.disconnect();
    for (let count = 0; count < 100; count++) {
      // Every third one is not even a commit.
      const body = count % 3 === 0
        ? mlsBody(world.random.bytes(300))
        : await rogueCommit(bob, id, { extraProposals: [remove] });
      await world.server.plant({ user: bob.user, device: bob.device, conversation: id, body, isCommit: true });
      if (count % 20 === 10) alice.say(id, `jam ${count}`);
      if (count % 25 === 5) await world.settle();
    }
    const epoch = alice.stateOf(id).authenticator;
    await alice.engine.change(id, { do: "topic", topic: "no jam" });
    carol.say(id, "after");
    await world.settle();
    assertHealthy(world);
    assert.notEqual(alice.stateOf(id).authenticator, epoch);
    assertAgree([alice, carol], id);
    const texts = [
      "alice: before",
      "alice: jam 10",
      "alice: jam 30",
      "alice: jam 50",
      "alice: jam 70",
      "alice: jam 90",
    ];
    for (const home of [alice, carol]) assert.deepEqual(home.texts(id).sort(), [...texts, "carol: after"].sort());
  }));

Deno.test("Rolled-back home: no key is used twice, and what is sent arrives once", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    bob.say(id, "0");
    await world.settle();
    const old = bob.copy();
    for (let number = 1; number <= 50; number++) bob.say(id, String(number));
    await world.settle();
    await bob.putBack(old);
    bob.say(id, "back");
    await world.settle();
    assertHealthy(world);
    assert(codes(bob).includes("rolled-back"));
    for (const home of [alice, carol]) {
      assert.equal(home.texts(id).length, 52, home.user);
      assert.equal(home.texts(id).filter((text) => text === "bob: back").length, 1);
      assert.equal(home.texts(id).at(-1), "bob: back");
    }
    assertAgree([alice, bob, carol], id);
    alice.say(id, "welcome back");
    await world.settle();
    assert.equal(bob.texts(id).at(-1), "alice: welcome back");
    assert.deepEqual(codes(alice), [], "a new leaf counts from 1 again");
  }));

Deno.test("Rolled-back home: one from before its last join is noticed too", () =>
  World.run(async (world) => {
    const { homes: [alice, bob], id } = await friends(world, "alice", "bob") as never as {
      homes: [Home, Home];
      id: ConversationId;
    };
    const old = bob.copy();
    bob.say(id, "one");
    await world.settle();
    for (const text of ["two", "three"]) {
      await bob.putBack(old);
      bob.say(id, text);
      await world.settle();
    }
    assertHealthy(world);
    assert.deepEqual(alice.texts(id), ["bob: one", "bob: two", "bob: three"]);
    assertAgree([alice, bob], id);
  }));

Deno.test("Lying server: replayed, altered, dropped and exchanged rows are refused or told, and chat goes on", () =>
  World.run(async (world) => {
    const { homes: [alice, bob], id } = await friends(world, "alice", "bob") as never as {
      homes: [Home, Home];
      id: ConversationId;
    };
    bob.disconnect();
    for (let number = 0; number < 8; number++) alice.say(id, String(number));
    await world.settle();
    const rows = await world.server.rows(alice.user, id), first = rows.length - 7;
    const at = (seq: number) => rows.find((row) => row.seq === seq)!;
    const lies: { [place: number]: (record: Record) => Record | undefined } = {
      // Replayed: 1 comes in place of 2.
      2: (record) => ({ ...at(first + 1), seq: record.seq }),
      // Altered.
      3: (record) => ({ ...record, body: record.body.with(200, record.body[200]! ^ 1) }),
      // Dropped.
      4: () => undefined,
      // Exchanged: 6 before 5.
      5: (record) => ({ ...at(first + 6), seq: record.seq }),
      6: (record) => ({ ...at(first + 5), seq: record.seq }),
      // Under another message's id.
      7: (record) => ({ ...record, messageId: at(first).messageId }),
    };
    world.server.shown = (device, record) =>
      device === bob.device ? (lies[record.seq - first] ?? ((row) => row))(record) : record;
    await bob.connect();
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["alice: 0", "alice: 1", "alice: 6", "alice: 5"]);
    assert.deepEqual(bob.refused, [
      "It was changed on its way, came twice, or was not sealed for this device",
      "It was changed on its way, came twice, or was not sealed for this device",
      "The server names another message than this one",
    ]);
    assert(codes(bob).includes("gap"));
    // His view is another one than hers: he is told, and does not send blindly.
    assert(codes(bob).includes("fork"));
    await assert.rejects(bob.engine.prepare(id), /shown different things/);
    bob.engine.accept(id);
    await world.settle();
    bob.say(id, "what was that?");
    await world.settle();
    assert.equal(alice.texts(id).at(-1), "bob: what was that?");
  }));

Deno.test("Lying server: a forked group is noticed at the first message across", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    carol.disconnect();
    bob.say(id, "for everybody");
    await world.settle();
    alice.say(id, "answer");
    await world.settle();
    // Carol is shown that one row less.
    const hidden = (await world.server.rows(alice.user, id)).find(({ sender }) => sender === bob.user)!;
    world.server.shown = (device, record) =>
      device !== carol.device || record.seq < hidden.seq
        ? record
        : record.seq === hidden.seq
        ? { ...record, body: mlsBody(new Uint8Array(300)) }
        : record;
    await carol.connect();
    await world.settle();
    assertHealthy(world);
    assert(codes(carol).includes("fork"));
    await assert.rejects(carol.engine.prepare(id), /shown different things/);
  }));

Deno.test("Lying server: an old key package and somebody else's are not used", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob");
    const { bobIdentity } = await testKeys(), ghost = await makeDevice("bob", { identity: bobIdentity });
    const id = await alice.engine.create("friends"), { lib, mls } = await alice.groupOf(id);
    const answer = world.server.answer.bind(world.server);
    const offer = async (keyPackage: Uint8Array) => {
      world.server.answer = async (user, device, request) =>
        request.type === "takeKeyPackages"
          ? {
            type: "keyPackages",
            packages: [{ user: bob.user, device: bob.device, keyPackage, lastResort: false }],
          }
          : await answer(user, device, request);
      await assert.rejects(alice.engine.change(id, { do: "add", names: [bob.user] }), /left no keys/);
    };
    const dayMs = 24 * 3600 * 1000;
    const old = await lib.makeKeyPackage(mls, bob.ownDevice, { nowMs: world.clock.nowMs - 32 * dayMs });
    const long = await lib.makeKeyPackage(mls, ghost, { nowMs: world.clock.nowMs });
    for (const { publicBytes } of [old, long]) await offer(publicBytes);
    await offer(world.random.bytes(400));
    world.server.answer = answer;
    await alice.engine.change(id, { do: "add", names: [bob.user] });
    await world.settle();
    assertAgree([alice, bob], id);
  }));

Deno.test("engine: an identity that is not the pinned one blocks sending and nothing else", () =>
  World.run(async (world) => {
    const { homes: [alice, bob], id } = await friends(world, "alice", "bob") as never as {
      homes: [Home, Home];
      id: ConversationId;
    };
    bob.pins.set(alice.user, new Uint8Array(32).fill(1));
    alice.say(id, "it is me");
    await world.settle();
    assert.deepEqual(bob.texts(id), ["alice: it is me"]);
    assert(codes(bob).includes("key-changed"));
    await assert.rejects(bob.engine.prepare(id), /key of alice changed/i);
    bob.pins.set(alice.user, alice.parts.identity.fingerprint);
    bob.say(id, "good");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.texts(id), ["alice: it is me", "bob: good"]);
  }));

Deno.test("Lying server: a key package that was used before is refused and reported, and its device comes in all the same", () =>
  World.run(async (world) => {
    const { homes: [alice, bob], id } = await friends(world, "alice", "bob") as never as {
      homes: [Home, Home];
      id: ConversationId;
    };
    const answer = world.server.answer.bind(world.server), given = new Map<string, Uint8Array>();
    world.server.answer = async (user, device, request) => {
      const response = await answer(user, device, request);
      if (response.type !== "keyPackages") return response;
      const packages = response.packages.map((one) => {
        const keyPackage = given.get(one.device) ?? one.keyPackage;
        given.set(one.device, keyPackage);
        return { ...one, keyPackage };
      });
      return { ...response, packages };
    };
    for (let round = 0; round < 2; round++) {
      await alice.engine.change(id, { do: "remove", names: [bob.user] });
      await world.settle();
      await alice.engine.change(id, { do: "add", names: [bob.user] });
      await world.settle();
    }
    assertHealthy(world);
    // Whether it missed something depends on what lets it in: a member, or what it left for its user's devices itself.
    const [first, ...others] = codes(bob);
    assert.equal(first, "welcome-refused");
    assert.ok(others.every((code) => code === "rejoined"), others.join());
    assertAgree([alice, bob], id);
    bob.say(id, "in again");
    await world.settle();
    assert.deepEqual(alice.texts(id), ["bob: in again"]);
  }));

Deno.test("Lying server: delivering a group to somebody else is noticed", () =>
  World.run(async (world) => {
    const { homes: [alice], id } = await friends(world, "alice", "bob") as never as {
      homes: [Home];
      id: ConversationId;
    };
    const mallory = await world.home("mallory"), answer = world.server.answer.bind(world.server);
    world.server.answer = async (user, device, request) => {
      const response = await answer(user, device, request);
      if (request.type !== "members" || response.type !== "users") return response;
      return { ...response, users: [{ name: alice.user, online: false }, { name: mallory.user, online: false }] };
    };
    await alice.restart();
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.warnings.map(({ code, name }) => `${code} ${name}`), [
      "members-differ mallory",
      "members-differ bob",
    ]);
    assert.deepEqual(alice.engine.conversation(id)!.members.map(({ name }) => name).sort(), ["alice", "bob"]);
  }));
