/** Groups, several devices, races, restarts: what honest people do (SECURITY M5 to M7, M9 to M11, M14). */
import assert from "node:assert/strict";
import type { UserName } from "../../../../shared/protocol/mod.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

const name = (user: string) => user as UserName;
/** A group of these people, made and filled by the first. */
async function groupOf(world: World, ...homes: Home[]) {
  const [first, ...others] = homes;
  const id = await first!.engine.create("friends");
  await first!.engine.change(id, { do: "add", names: [...new Set(others.map(({ user }) => user))] });
  await world.settle();
  return id;
}

Deno.test("engine: two who write first at once end in one direct conversation, and nothing is lost", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), id = await world.direct(alice, bob);
    // Neither hears of the other's before both have begun.
    const answer = world.server.answer.bind(world.server), both = Promise.withResolvers<void>();
    let asked = 0;
    world.server.answer = async (user, device, request) => {
      if (request.type === "takeKeyPackages") {
        if (++asked === 2) both.resolve();
        await both.promise;
      }
      return await answer(user, device, request);
    };
    alice.say(id, "one");
    bob.say(id, "two");
    await world.settle();
    assertHealthy(world);
    assert.equal(world.server.lostRaces, 1, "both made a group");
    assert.deepEqual(alice.texts(id).sort(), ["alice: one", "bob: two"]);
    assert.deepEqual(bob.texts(id).sort(), ["alice: one", "bob: two"]);
    assertAgree([alice, bob], id);
  }));

Deno.test("engine: all devices of both get everything, a later one from when it was let in", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), phone = await world.home("alice"), bob = await world.home("bob");
    const id = await world.direct(alice, bob);
    alice.say(id, "one");
    await world.settle();
    assert.deepEqual([phone, bob].map((home) => home.texts(id)), [["alice: one"], ["alice: one"]]);
    const laptop = await world.home("bob");
    await world.settle();
    assert.equal(alice.engine.conversation(id)!.members.flatMap(({ devices }) => devices).length, 4);
    phone.say(id, "two");
    laptop.say(id, "three");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(laptop.texts(id).sort(), ["alice: two", "bob: three"]);
    for (const home of [alice, phone, bob]) assert.equal(home.texts(id).length, 3);
    assertAgree([alice, phone, bob, laptop], id);
  }));

Deno.test("engine: a new device waits until somebody is there, and whoever sends next lets it in first", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), id = await world.direct(alice, bob);
    alice.say(id, "one");
    await world.settle();
    alice.disconnect();
    bob.disconnect();
    const phone = await world.home("alice");
    phone.say(id, "from the new one");
    await world.settle();
    assert.deepEqual(phone.texts(id), [], "nobody could let it in");
    assert.equal(phone.outbox.length, 1);
    await bob.connect();
    bob.say(id, "two");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(phone.texts(id).sort(), ["alice: from the new one", "bob: two"]);
    await alice.connect();
    await world.settle();
    assert.deepEqual(alice.texts(id).sort(), ["alice: from the new one", "alice: one", "bob: two"]);
    assertAgree([alice, bob, phone], id);
  }));

Deno.test("engine: what lets a device in and comes before the answer to its question is not overlooked", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), id = await groupOf(world, alice, bob);
    await bob.stop();
    Deno.removeSync(bob.path);
    bob.start();
    const answer = world.server.answer.bind(world.server), invited = Promise.withResolvers<void>();
    let invitations = 0;
    world.server.answer = async (user, device, request) => {
      const response = await answer(user, device, request);
      if (request.type === "invite" && ++invitations === 1) {
        // The news of it goes out now; whatever it starts there has run before bob's question is answered.
        bob.breathe(40).then(() => invited.resolve());
      }
      if (request.type === "ask") await invited.promise;
      return response;
    };
    const asking = bob.connect();
    while (invitations === 0) {
      world.clock.pass(1_000);
      await bob.breathe(4);
    }
    await asking;
    await world.settle();
    assertHealthy(world);
    assertAgree([alice, bob], id);
    bob.say(id, "in again");
    await world.settle();
    assert.deepEqual(alice.texts(id), ["bob: in again"]);
  }));

Deno.test("engine: a note to oneself reaches one's other devices", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), phone = await world.home("alice"), id = await world.direct(alice, alice);
    alice.say(id, "milk");
    await world.settle();
    phone.say(id, "bread");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(phone.texts(id), ["alice: milk", "alice: bread"]);
    assert.deepEqual(alice.texts(id), ["alice: milk", "alice: bread"]);
  }));

Deno.test("engine: a group is made, filled, renamed, and everybody is told", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), carol = await world.home("carol");
    const id = await groupOf(world, alice, bob, carol);
    await alice.engine.change(id, { do: "role", name: name("bob"), role: "admin" });
    await world.settle();
    await bob.engine.change(id, { do: "rename", name: "best friends" });
    await bob.engine.change(id, { do: "topic", topic: "nothing" });
    await world.settle();
    carol.say(id, "hello all");
    await world.settle();
    assertHealthy(world);
    for (const home of [alice, bob, carol]) {
      assert.deepEqual(home.texts(id), ["carol: hello all"]);
      const { name, topic, members } = home.engine.conversation(id)!;
      assert.deepEqual([name, topic], ["best friends", "nothing"]);
      assert.deepEqual(members.map(({ name, role }) => `${name} ${role}`).sort(), [
        "alice owner",
        "bob admin",
        "carol member",
      ]);
    }
    assert.deepEqual(alice.lines.map(({ what }) => what), ["created", "added", "added", "role", "renamed", "topic"]);
    await assert.rejects(carol.engine.change(id, { do: "rename", name: "mine" }), /not allowed: only admins/);
    await assert.rejects(carol.engine.change(id, { do: "remove", names: [name("bob")] }), /not allowed/);
    assertAgree([alice, bob, carol], id);
  }));

Deno.test("engine: who is removed opens nothing more, who comes later nothing earlier", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), carol = await world.home("carol");
    const id = await groupOf(world, alice, bob);
    alice.say(id, "early");
    await world.settle();
    await alice.engine.change(id, { do: "add", names: [name("carol")] });
    await alice.engine.change(id, { do: "remove", names: [name("bob")] });
    await world.settle();
    alice.say(id, "late");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["alice: early"]);
    assert.deepEqual(carol.texts(id), ["alice: late"]);
    assert.deepEqual(bob.lines.at(-1), { what: "removed", who: "bob" });
    assert.equal(bob.engine.conversation(id), undefined);
    await assert.rejects(bob.engine.prepare(id), /no longer in/);
    // And back again.
    await alice.engine.change(id, { do: "add", names: [name("bob")] });
    await world.settle();
    bob.say(id, "back");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["alice: early", "bob: back"]);
    assertAgree([alice, bob, carol], id);
  }));

Deno.test("engine: who leaves is gone with the next commit, and the last admin cannot", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), carol = await world.home("carol");
    const id = await groupOf(world, alice, bob, carol);
    await assert.rejects(alice.engine.leave(id), /last admin/);
    await bob.engine.leave(id);
    await world.settle();
    carol.say(id, "who is there?");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.engine.conversation(id)!.members.map(({ name }) => name).sort(), ["alice", "carol"]);
    assert.deepEqual(alice.lines.filter(({ what }) => what === "left" || what === "removed"), [
      { what: "left", who: "bob" },
    ]);
    assert.equal(bob.engine.conversation(id), undefined);
    assert.deepEqual(bob.texts(id), []);
    await alice.engine.change(id, { do: "delete" });
    await world.settle();
    assert.equal(alice.engine.conversation(id), undefined);
    assert.equal(carol.engine.conversation(id), undefined);
    assertHealthy(world);
  }));

Deno.test("engine: an admin who is removed, or leaves, is gone for everybody, and nobody has to be let in again", () =>
  World.run(async (world) => {
    const homes = await Promise.all(["alice", "bob", "carol", "dave"].map((user) => world.home(user)));
    const [alice, bob, carol, dave] = homes as [Home, Home, Home, Home], id = await groupOf(world, ...homes);
    for (const { user } of [bob, carol]) await alice.engine.change(id, { do: "role", name: user, role: "admin" });
    await alice.engine.change(id, { do: "remove", names: [bob.user] });
    await world.settle();
    await carol.engine.leave(id);
    await world.settle();
    dave.say(id, "two of us are left");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.texts(id), ["dave: two of us are left"]);
    for (const home of [alice, dave]) assert.deepEqual([home.user, home.warnings], [home.user, []]);
    assertAgree([alice, dave], id);
  }));

Deno.test("engine: an invite link lets in who has it, when an admin is there", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), carol = await world.home("carol");
    const id = await groupOf(world, alice, bob), link = await alice.engine.link(id, { revoke: false });
    assert.match(link, /^fastchat:\/\/join\/[\w-]+$/);
    await world.settle();
    alice.disconnect();
    assert.equal(await carol.engine.join(link), id);
    await world.settle();
    assert.equal(carol.engine.conversation(id), undefined, "bob is no admin");
    await alice.connect();
    await world.settle();
    carol.say(id, "here I am");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["carol: here I am"]);
    assert.equal(await alice.engine.link(id, { revoke: true }), "");
    const dave = await world.home("dave");
    await dave.engine.join(link);
    await world.settle();
    assert.equal(dave.engine.conversation(id), undefined, "the link is closed");
    assert.deepEqual(alice.engine.conversation(id)!.members.map(({ name }) => name).sort(), ["alice", "bob", "carol"]);
    await assert.rejects(dave.engine.join(link.slice(0, -1)), /no invite link/);
    assertAgree([alice, bob, carol], id);
  }));

Deno.test("engine: three admins who change a group at once all get what they want", () =>
  World.run(async (world) => {
    const admins = await Promise.all(["alice", "bob", "carol"].map((user) => world.home(user)));
    const others = await Promise.all(["dave", "erin", "frank"].map((user) => world.home(user)));
    const [alice, bob, carol] = admins as [Home, Home, Home];
    const id = await groupOf(world, ...admins);
    for (const { user } of [bob, carol]) await alice.engine.change(id, { do: "role", name: user, role: "admin" });
    await world.settle();
    // All three have made their commit before the first one is taken.
    const answer = world.server.answer.bind(world.server), all = Promise.withResolvers<void>();
    let made = 0;
    world.server.answer = async (user, device, request) => {
      if (request.type === "commit") {
        if (++made === 3) all.resolve();
        await all.promise;
      }
      return await answer(user, device, request);
    };
    await Promise.all(
      admins.map((admin, index) => admin.engine.change(id, { do: "add", names: [others[index]!.user] })),
    );
    for (const home of world.homes) home.say(id, `I am ${home.user}`);
    await world.settle();
    assertHealthy(world);
    assert(world.server.lostRaces >= 2, "nobody raced");
    assertAgree(world.homes, id);
    assert.equal(alice.engine.conversation(id)!.members.length, 6);
    for (const home of world.homes) assert.equal(home.texts(id).length, 6, home.user);
  }));

Deno.test("engine: a commit survives a kill at any step", async () => {
  for (let stopAfter = 0; stopAfter < 12; stopAfter++) {
    await World.run(async (world) => {
      const alice = await world.home("alice"), bob = await world.home("bob"), carol = await world.home("carol");
      const id = await groupOf(world, alice, bob);
      const change = alice.engine.change(id, { do: "add", names: [carol.user] }).catch(() => {});
      await alice.breathe(stopAfter);
      await alice.restart();
      await change;
      await alice.engine.change(id, { do: "add", names: [carol.user] });
      await world.settle();
      alice.say(id, "after");
      carol.say(id, "too");
      await world.settle();
      assertHealthy(world);
      assertAgree([alice, bob, carol], id);
      for (const home of [alice, bob, carol]) assert.equal(home.texts(id).length, 2, home.user);
    }, { seed: stopAfter + 1 });
  }
});

Deno.test("engine: keys are replaced after a week and after many messages", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), id = await world.direct(alice, bob);
    alice.say(id, "one");
    await world.settle();
    const commits = async () => (await world.server.heads(alice.user, alice.device))[0]!.epoch;
    const first = await commits();
    alice.say(id, "two");
    await world.settle();
    assert.equal(await commits(), first);
    world.clock.pass(8 * 24 * 3600 * 1000);
    alice.say(id, "three");
    await world.settle();
    assert(await commits() > first);
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["alice: one", "alice: two", "alice: three"]);
    assertAgree([alice, bob], id);
  }));

Deno.test("engine: with X-Wing everything is the same", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), carol = await world.home("carol");
    const id = await groupOf(world, alice, bob, carol);
    carol.say(id, "hello");
    await world.settle();
    await bob.restart();
    bob.say(id, "hi");
    await world.settle();
    assertHealthy(world);
    for (const home of [alice, bob, carol]) assert.deepEqual(home.texts(id), ["carol: hello", "bob: hi"]);
    assertAgree([alice, bob, carol], id);
  }, { suite: "x-wing" }));
