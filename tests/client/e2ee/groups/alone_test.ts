/** A device that comes in while nobody is there, by what another one of its user's has left (SECURITY M5, P9). */
import assert from "node:assert/strict";
import { accountKeyOf } from "../../../../client/account/account_key.ts";
import { openOwnInvitation, sealOwnInvitation } from "../../../../client/e2ee/groups/own_invitation.ts";
import { NO_KEY_LOG } from "../../../../client/e2ee/groups/mod.ts";
import { systemRandom } from "../../../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, ResponseOf, UserName } from "../../../../shared/protocol/mod.ts";
import { TEST_CLUSTER } from "../../../keys.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

type Found = NonNullable<ResponseOf<"welcome">["welcome"]>;

/** Two people who have written to each other and are gone; what the server has for a new device of alice's can be changed. */
async function absent(
  work: (world: World, parts: { alice: Home; bob: Home; id: ConversationId }) => Promise<void>,
  options: Parameters<typeof World.run>[1] = {},
) {
  await World.run(async (world) => {
    world.hasAccountKeys = true;
    const alice = await world.home("alice"), bob = await world.home("bob"), id = await world.direct(alice, bob);
    alice.say(id, "one");
    await world.settle();
    bob.say(id, "two");
    await world.settle();
    assertHealthy(world);
    alice.disconnect();
    bob.disconnect();
    await work(world, { alice, bob, id });
  }, options);
}

/** What a lying server gives to whoever asks for what lets it in. */
function give(world: World, change: (found: Found) => Found | undefined): void {
  const answer = world.server.answer.bind(world.server);
  world.server.answer = async (user, device, request) => {
    const response = await answer(user, device, request);
    if (response.type !== "welcome" || response.welcome === undefined) return response;
    return { ...response, welcome: change(response.welcome) };
  };
}

async function asksIn(world: World, { user }: Home, id: ConversationId): Promise<number> {
  return (await world.server.store.asks(user, id, undefined, 10)).length;
}

for (const suite of ["x25519", "x-wing"] as const) {
  Deno.test(`engine: a new device comes in alone and writes, ${suite}`, () =>
    absent(async (world, { alice, bob, id }) => {
      const phone = await world.home("alice");
      phone.say(id, "from the new one");
      await world.settle();
      assertHealthy(world);
      assert.deepEqual(phone.texts(id), ["alice: from the new one"], "nothing of before comes with it");
      assert.equal(await asksIn(world, alice, id), 0);
      assert.deepEqual(phone.warnings, []);
      await bob.connect();
      bob.say(id, "three");
      await alice.connect();
      await world.settle();
      assertHealthy(world);
      for (const home of [alice, bob]) {
        assert.deepEqual(home.texts(id).slice(2), ["alice: from the new one", "bob: three"]);
      }
      assert.deepEqual(phone.texts(id), ["alice: from the new one", "bob: three"]);
      assertAgree([alice, bob, phone], id);
    }, { suite }));
}

Deno.test("engine: a device comes into its user's groups alone, and a further one by what that has left", () =>
  World.run(async (world) => {
    world.hasAccountKeys = true;
    const alice = await world.home("alice"), bob = await world.home("bob"), id = await alice.engine.create("friends");
    await alice.engine.change(id, { do: "add", names: [bob.user] });
    await world.settle();
    for (const home of [alice, bob]) home.disconnect();
    const phone = await world.home("bob");
    await world.settle();
    phone.say(id, "from the phone");
    await world.settle();
    phone.disconnect();
    const laptop = await world.home("bob");
    laptop.say(id, "from the laptop");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(laptop.texts(id), ["bob: from the laptop"]);
    for (const home of [alice, bob, phone]) await home.connect();
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.texts(id), ["bob: from the phone", "bob: from the laptop"]);
    assertAgree([alice, bob, phone, laptop], id);
  }));

Deno.test("engine: a device that has lost its state comes back alone, in place of its old leaf", () =>
  absent(async (world, { alice, bob, id }) => {
    await alice.stop();
    for (const suffix of ["", "-wal", "-shm"]) {
      try {
        Deno.removeSync(alice.path + suffix);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    alice.start();
    await alice.connect();
    alice.say(id, "back again");
    await world.settle();
    assert.equal(alice.outbox.length, 0);
    await bob.connect();
    await world.settle();
    assertHealthy(world);
    assert.equal(bob.texts(id).at(-1), "alice: back again");
    assert.equal(bob.engine.conversation(id)!.members.flatMap(({ devices }) => devices).length, 2);
    assertAgree([alice, bob], id);
  }));

Deno.test("engine: what was left for an epoch that is over lets nobody in: the device asks, and waits", () =>
  absent(async (world, { alice, bob, id }) => {
    await bob.connect();
    const second = await world.home("bob");
    bob.say(id, "with my new one");
    await world.settle();
    for (const home of [bob, second]) home.disconnect();
    const phone = await world.home("alice");
    phone.say(id, "from the new one");
    await world.settle();
    assert.equal(phone.outbox.length, 1);
    assert.equal(await asksIn(world, alice, id), 1);
    await bob.connect();
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id).at(-1), "alice: from the new one");
    await alice.connect();
    await world.settle();
    assertAgree([alice, bob, phone], id);
  }));

Deno.test("Lying server: what was altered, is another commit's, conversation's or person's lets nobody in", async () => {
  const changes: { readonly [what: string]: (found: Found, others: { direct: Found; bobs: Found }) => Found } = {
    "an altered byte": (found) => ({ ...found, body: found.body.map((byte, at) => at === 99 ? byte ^ 1 : byte) }),
    "another device's": (found) => ({ ...found, body: found.body.map((byte, at) => at === 3 ? byte ^ 1 : byte) }),
    "one that is cut": (found) => ({ ...found, body: found.body.subarray(0, 40) }),
    "no tree": (found) => ({ ...found, tree: new Uint8Array() }),
    "another commit's": (found) => ({ ...found, commit: found.commit + 1 }),
    "another conversation's": (found, { direct }) => ({ ...found, body: direct.body, tree: direct.tree }),
    "another person's": (found, { bobs }) => ({ ...found, body: bobs.body, tree: bobs.tree }),
  };
  for (const [what, change] of Object.entries(changes)) {
    await absent(async (world, { alice, bob, id }) => {
      const note = await world.direct(alice, alice);
      await alice.connect();
      alice.say(note, "milk");
      await world.settle();
      alice.disconnect();
      const { store } = world.server;
      const phone = await world.home("alice", { online: false });
      const direct = await store.welcome(alice.user, phone.device, note);
      const bobs = await store.welcome(bob.user, (await world.home("bob", { online: false })).device, id);
      assert.ok(direct !== undefined && bobs !== undefined);
      give(world, (found) => change(found, { direct, bobs }));
      await phone.connect();
      phone.say(id, "let me in");
      await world.settle();
      assert.equal(phone.outbox.length, 1, what);
      assert.equal(await asksIn(world, alice, id), 1, what);
    });
  }
});

Deno.test("engine: whoever knows the account key but signs with another device, or one that has ended, lets nobody in", async () => {
  for (const isRevoked of [false, true]) {
    await absent(async (world, { alice, bob, id }) => {
      const { lib, mls, group } = await bob.groupOf(id),
        { groupInfo, sealedTree } = await lib.makeInvitation(mls, group);
      const { fingerprint } = alice.parts.identity;
      const { publicKey } = accountKeyOf(fingerprint, new TextEncoder().encode(alice.user));
      if (isRevoked) world.keyLog = { ...NO_KEY_LOG, isRevoked: (_, device) => device === alice.device };
      else {
        give(world, (found) => {
          const place = { clusterId: TEST_CLUSTER, user: alice.user, conversation: id, commit: found.commit };
          const forged = { by: alice.device, publicKey, groupInfo, random: systemRandom };
          return { ...found, body: sealOwnInvitation(place, forged)!, tree: sealedTree };
        });
      }
      const phone = await world.home("alice");
      phone.say(id, "let me in");
      await world.settle();
      assert.equal(phone.outbox.length, 1);
      assert.equal(await asksIn(world, alice, id), 1);
    });
  }
});

Deno.test("engine: a device that waits for approval does not come in alone, and nobody follows it if it does", () =>
  absent(async (world, { alice, bob, id }) => {
    const waiting = new Set<DeviceId>();
    world.keyLog = { ...NO_KEY_LOG, isUsable: (_, device) => !waiting.has(device) };
    const phone = await world.home("alice", { online: false });
    waiting.add(phone.device);
    await phone.connect();
    phone.say(id, "let me in");
    await world.settle();
    assert.equal(phone.outbox.length, 1);
    assert.equal(await asksIn(world, alice, id), 1);
    // With a changed client, and an accomplice at the server.
    waiting.clear();
    await phone.restart();
    await world.settle();
    assert.equal(phone.outbox.length, 0);
    const { lib, mls, group } = await bob.groupOf(id), rows = await world.server.rows(bob.user, id);
    const commit = rows.findLast(({ body }) => body[1] === 2 && lib.isCommit(body.subarray(2)))!;
    assert.equal(commit.device, phone.device);
    const receive = (mayComeIn: () => boolean) =>
      lib.receive(mls, group, commit.body.subarray(2), { nowMs: world.clock.nowMs, mayComeIn });
    const refused = await receive(() => false), followed = await receive(() => true);
    assert.deepEqual([refused.kind, followed.kind], ["skipped", "commit"]);
    waiting.add(phone.device);
    await bob.connect();
    await world.settle();
    assert.equal(bob.texts(id).length, 2);
    assert.deepEqual(
      bob.engine.conversation(id)!.members.flatMap(({ devices }) => devices).includes(phone.device),
      false,
    );
  }));

Deno.test("openOwnInvitation() opens at its place, with the account's key, and no other", () => {
  const place = {
    clusterId: TEST_CLUSTER,
    user: "alice" as UserName,
    conversation: "11".repeat(16) as ConversationId,
    commit: 7,
  };
  const key = accountKeyOf(new Uint8Array(900).fill(1), TEST_CLUSTER), by = "22".repeat(16) as DeviceId;
  const another = accountKeyOf(new Uint8Array(900).fill(2), TEST_CLUSTER);
  const groupInfo = new Uint8Array(2_000).fill(5);
  const body = sealOwnInvitation(place, { by, publicKey: key.publicKey, groupInfo, random: systemRandom })!;
  assert.deepEqual(openOwnInvitation(place, key.privateKey, body), { by, groupInfo });
  assert.equal(openOwnInvitation(place, another.privateKey, body), undefined);
  const others = [
    { ...place, clusterId: new Uint8Array(16) },
    { ...place, user: "bob" as UserName },
    { ...place, conversation: "12".repeat(16) as ConversationId },
    { ...place, commit: 8 },
  ];
  for (const other of others) assert.equal(openOwnInvitation(other, key.privateKey, body), undefined);
  for (let at = 0; at < body.length; at += 7) {
    const altered = body.with(at, body[at]! ^ 1);
    assert.equal(openOwnInvitation(place, key.privateKey, altered), undefined, `byte ${at}`);
  }
  assert.equal(openOwnInvitation(place, key.privateKey, body.subarray(0, -1)), undefined);
});
