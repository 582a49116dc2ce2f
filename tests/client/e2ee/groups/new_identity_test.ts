/**
 * Somebody who has lost everything and comes back under an identity that the former one has not signed (SECURITY M5, M8): nothing is
 * sent to either before a person accepts it, and afterwards only to the new one.
 */
import assert from "node:assert/strict";
import { KeyChangedError } from "../../../../client/errors.ts";
import type { ConversationId, DeviceId } from "../../../../shared/protocol/mod.ts";
import { testKeys } from "../../../keys.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

interface Parts {
  readonly alice: Home;
  /** Her other device. */
  readonly phone: Home;
  /** As he was: nobody has that home any more. */
  readonly former: Home;
  readonly id: ConversationId;
}

/** Alice, with two devices, and Bob have talked; then he loses his home. */
async function talked(
  work: (world: World, parts: Parts) => Promise<void>,
  { isGroup = false }: { readonly isGroup?: boolean } = {},
): Promise<void> {
  await World.run(async (world) => {
    const alice = await world.home("alice"), phone = await world.home("alice"), former = await world.home("bob");
    const id = isGroup ? await alice.engine.create("friends") : await world.direct(alice, former);
    if (isGroup) await alice.engine.change(id, { do: "add", names: [former.user] });
    alice.say(id, "one");
    await world.settle();
    former.say(id, "two");
    await world.settle();
    assertHealthy(world);
    former.disconnect();
    await work(world, { alice, phone, former, id });
  });
}

/** Bob, set back by an operator, in an empty home. */
async function returned(world: World, { id }: Parts, options: { readonly online?: boolean } = {}): Promise<Home> {
  const { bobIdentity } = await testKeys(), bob = await world.home("bob", { identity: bobIdentity, ...options });
  if (world.homes[0]!.peers.has(id)) bob.peers.set(id, world.homes[0]!.user);
  return bob;
}

function devicesIn(home: Home, id: ConversationId): DeviceId[] {
  return home.engine.conversation(id)!.members.flatMap(({ devices }) => devices).toSorted();
}

function ids(...homes: Home[]): DeviceId[] {
  return homes.map(({ device }) => device).toSorted();
}

/** A message that is not sent, for a key that changed. */
async function isStopped(home: Home, id: ConversationId, text: string): Promise<void> {
  await assert.rejects(home.engine.prepare(id), KeyChangedError);
  const before = home.rejected.length;
  home.say(id, text);
  while (home.rejected.length === before) await home.breathe(4);
  assert.equal(home.rejected.at(-1), text);
}

Deno.test("engine: to a new identity nothing is sent before it is accepted, and then to its devices alone", () =>
  talked(async (world, parts) => {
    const { alice, phone, former, id } = parts, before = alice.stateOf(id);
    const bob = await returned(world, parts);
    await world.settle();
    await isStopped(alice, id, "to whom?");
    assert.deepEqual(alice.stateOf(id), before, "nothing is changed on the server's word");
    await alice.trust(bob);
    alice.say(id, "three");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["alice: three"]);
    assert.deepEqual(devicesIn(alice, id), ids(alice, phone, bob), "the former device is out");
    // Her other device follows, and writes nothing before its person has accepted it there.
    assert.deepEqual(phone.texts(id), ["alice: one", "bob: two", "alice: three"]);
    assert(phone.warnings.some(({ code, name }) => code === "key-changed" && name === "bob"));
    await isStopped(phone, id, "from the phone");
    assert.deepEqual(devicesIn(alice, id), ids(alice, phone, bob), "nor does it bring the former one back");
    await phone.trust(bob);
    phone.say(id, "four");
    bob.say(id, "five");
    await world.settle();
    assertHealthy(world);
    for (const home of [alice, phone]) {
      assert.deepEqual(home.texts(id).toSorted().slice(0, 5), [
        "alice: four",
        "alice: one",
        "alice: three",
        "bob: five",
        "bob: two",
      ]);
    }
    assertAgree([alice, phone, bob], id);
    // What is said now, the former keys do not open.
    const rows = await world.server.rows(alice.user, id);
    const opened = await Promise.all(rows.filter(({ body }) => body[1] === 2).map((row) => former.openAlone(row)));
    assert(!opened.some((text) => text !== undefined && ["three", "four", "five"].includes(text)));
  }));

Deno.test("engine: who comes back and writes first waits, and is let in as soon as he is accepted, whoever is there", () =>
  talked(async (world, parts) => {
    const { alice, phone, id } = parts, bob = await returned(world, parts);
    bob.say(id, "it is me");
    await world.settle();
    assert.deepEqual([bob.outbox.length, bob.texts(id)], [1, []]);
    assert.deepEqual(alice.texts(id), ["alice: one", "bob: two"]);
    // Nobody writes anything to him.
    await alice.trust(bob);
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["bob: it is me"]);
    for (const home of [alice, phone]) assert.equal(home.texts(id).at(-1), "bob: it is me");
    assertAgree([alice, phone, bob], id);
  }));

Deno.test("engine: both write at once to each other, and two devices accept at once", async () => {
  for (let seed = 1; seed <= 3; seed++) {
    await talked(async (world, parts) => {
      const { alice, phone, id } = parts, bob = await returned(world, parts);
      await Promise.all([alice.trust(bob), phone.trust(bob)]);
      bob.say(id, "from bob");
      alice.say(id, "from alice");
      phone.say(id, "from the phone");
      await world.settle();
      assertHealthy(world);
      for (const home of [alice, phone, bob]) {
        assert.deepEqual(home.texts(id).slice(-3).toSorted(), [
          "alice: from alice",
          "alice: from the phone",
          "bob: from bob",
        ]);
      }
      assertAgree([alice, phone, bob], id);
    });
  }
});

Deno.test("engine: an accepted identity that has left no keys yet is waited for, and the former one gets nothing", () =>
  talked(async (world, parts) => {
    const { alice, id } = parts, bob = await returned(world, parts, { online: false });
    await alice.trust(bob);
    alice.say(id, "three");
    await world.settle();
    assert.deepEqual([alice.outbox.length, alice.rejected], [1, []]);
    assert.equal(alice.texts(id).length, 2);
    await bob.connect();
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["alice: three"]);
    assertAgree([alice, bob], id);
  }));

Deno.test("engine: where nobody is left whom both lost, the conversation begins anew, whoever writes first", async () => {
  for (const [first, second] of [["alice", "bob"], ["bob", "alice"], ["both", "both"]] as const) {
    await talked(async (world, parts) => {
      const { alice: before, phone, id } = parts, { bobIdentity } = await testKeys();
      for (const home of [before, phone]) home.disconnect();
      // Of the same key: an identity is a key and a name.
      const alice = await world.home("alice", { identity: bobIdentity });
      const bob = await world.home("bob", { identity: bobIdentity });
      alice.peers.set(id, bob.user);
      bob.peers.set(id, alice.user);
      if (first !== "bob") alice.say(id, "from alice");
      if (first !== "alice") bob.say(id, "from bob");
      await world.settle();
      if (second === "bob") bob.say(id, "from bob");
      if (second === "alice") alice.say(id, "from alice");
      await world.settle();
      assertHealthy(world);
      for (const home of [alice, bob]) {
        assert.deepEqual(home.texts(id).toSorted(), ["alice: from alice", "bob: from bob"], `${first} ${home.user}`);
      }
      assert.deepEqual(devicesIn(alice, id), ids(alice, bob));
      assertAgree([alice, bob], id);
    });
  }
});

Deno.test("Lying server: while somebody is left in a conversation nobody begins it anew, unless all others are said to wait", () =>
  talked(async (world, parts) => {
    const { alice, phone, former: bob, id } = parts, answer = world.server.answer.bind(world.server);
    for (const home of [alice, phone, bob]) home.disconnect();
    const commits = async () =>
      (await world.server.heads(alice.user, alice.device)).find((head) => head.conversation === id)!;
    const before = (await commits()).epoch, laptop = await world.home("alice");
    laptop.peers.set(id, bob.user);
    laptop.say(id, "is anybody there?");
    await world.settle();
    assert.deepEqual([laptop.outbox.length, (await commits()).epoch], [1, before], "they are only away");
    // It says of all others that they wait, too: what comes of that is a conversation with the very same devices.
    world.server.answer = async (user, device, request) => {
      const response = await answer(user, device, request);
      if (request.type !== "asks" || response.type !== "asks") return response;
      const asks = [alice, phone, bob].map((home) => ({
        conversation: id,
        user: home.user,
        device: home.device,
        kind: 1,
        timeMs: 0,
        body: new Uint8Array(),
      }));
      return { ...response, asks };
    };
    await laptop.restart();
    await world.settle();
    assert.deepEqual(devicesIn(laptop, id), ids(alice, phone, bob, laptop));
    world.server.answer = answer;
    for (const home of [alice, phone, bob]) await home.connect();
    alice.say(id, "here I am");
    await world.settle();
    bob.say(id, "and I");
    await world.settle();
    assertHealthy(world);
    for (const home of [alice, phone, bob]) {
      assert.deepEqual(home.texts(id).slice(2).toSorted(), ["alice: here I am", "bob: and I"]);
    }
    // And it comes back among them.
    laptop.say(id, "there you are");
    await world.settle();
    assertHealthy(world);
    assert.equal(bob.texts(id).at(-1), "alice: there you are");
    assertAgree([alice, phone, bob, laptop], id);
  }));

Deno.test("Lying server: who is put out for a made-up identity is told, and comes back when the true one is accepted again", () =>
  talked(async (world, parts) => {
    const { alice, phone, former: bob, id } = parts;
    await bob.connect();
    const mallory = await returned(world, parts);
    await alice.trust(mallory);
    alice.say(id, "to mallory, in truth");
    await world.settle();
    assertHealthy(world);
    // Bob, whom nobody has asked, reads nothing of it, hears why, and cannot write into the dark.
    assert.deepEqual(bob.texts(id), ["alice: one", "bob: two"]);
    assert.deepEqual(bob.warnings.map(({ code, name }) => `${code} ${name}`), ["key-changed alice"]);
    await assert.rejects(bob.engine.prepare(id), /takes another key for yours/);
    // The lie is over: her phone, which never believed it, puts things right by itself with what it says next.
    await world.server.enrol(bob.user, bob.device, bob.parts.certificate, bob.parts.identity.spki);
    mallory.disconnect();
    phone.say(id, "who was that?");
    await world.settle();
    assertHealthy(world);
    assert.equal(bob.texts(id).at(-1), "alice: who was that?");
    assert.deepEqual(devicesIn(phone, id), ids(alice, phone, bob));
    await isStopped(alice, id, "still mallory's?");
    await alice.trust(bob);
    bob.say(id, "me again");
    await world.settle();
    assertHealthy(world);
    assert.equal(alice.texts(id).at(-1), "bob: me again");
    assertAgree([alice, phone, bob], id);
  }));

Deno.test("engine: in a group an admin lets a new identity in anew, and until then nobody writes there", () =>
  talked(async (world, parts) => {
    const { alice, phone, id } = parts, carol = await world.home("carol");
    await alice.engine.change(id, { do: "add", names: [carol.user] });
    await world.settle();
    const bob = await returned(world, parts);
    bob.say(id, "let me in");
    await world.settle();
    // Accepting the person is one thing; who is in the group, admins say.
    for (const home of [alice, phone, carol]) await home.trust(bob);
    await world.settle();
    assert.deepEqual(devicesIn(alice, id).includes(bob.device), false);
    await assert.rejects(carol.engine.prepare(id), /bob is in this group under a key that is not theirs/);
    await assert.rejects(carol.engine.change(id, { do: "add", names: [bob.user] }), /only admins/);
    const told = carol.lines.length;
    await alice.engine.change(id, { do: "add", names: [bob.user] });
    await world.settle();
    carol.say(id, "welcome back");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id).toSorted(), ["bob: let me in", "carol: welcome back"]);
    assert.deepEqual(carol.lines.slice(told), [{ what: "removed", who: "bob" }, { what: "added", who: "bob" }]);
    assert.deepEqual(devicesIn(alice, id), ids(alice, phone, carol, bob));
    assertAgree([alice, phone, carol, bob], id);
  }, { isGroup: true }));

Deno.test("engine: an admin may as well remove who was lost, and add them again later", () =>
  talked(async (world, parts) => {
    const { alice, phone, id } = parts;
    await alice.engine.change(id, { do: "role", name: parts.former.user, role: "admin" });
    const bob = await returned(world, parts);
    await alice.engine.change(id, { do: "remove", names: [bob.user] });
    alice.say(id, "without him");

    await world.settle();
    assertHealthy(world);
    assert.equal(phone.texts(id).at(-1), "alice: without him");
    assert.deepEqual(bob.texts(id), []);
    await assert.rejects(alice.engine.change(id, { do: "add", names: [bob.user] }), KeyChangedError);
    await alice.trust(bob);
    await phone.trust(bob);
    await alice.engine.change(id, { do: "add", names: [bob.user] });
    await world.settle();
    bob.say(id, "back");
    await world.settle();
    assertHealthy(world);
    assert.equal(phone.texts(id).at(-1), "bob: back");
    const role = alice.engine.conversation(id)!.members.find(({ name }) => name === bob.user)!.role;
    assert.equal(role, "member", "a role was the former identity's");
    assertAgree([alice, phone, bob], id);
  }, { isGroup: true }));
