/** Members with changed clients, and what they cannot do with words that not everybody can check (SECURITY M4 to M6, M14). */
import assert from "node:assert/strict";
import { createCommit } from "ts-mls/createCommit.js";
import { mlsBody } from "../../../../client/e2ee/groups/body.ts";
import { type CommitNotes, encodeNotes } from "../../../../client/e2ee/mls/commit_notes.ts";
import { decodeMessage, encodeMessage } from "../../../../client/e2ee/mls/wire.ts";
import type { ConversationId, MessageId, UserName } from "../../../../shared/protocol/mod.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

const name = (user: string) => user as UserName;

/** A group whose members came in one after the other. */
async function friends(world: World, ...users: string[]): Promise<{ homes: Home[]; id: ConversationId }> {
  const homes: Home[] = [];
  for (const user of users) homes.push(await world.home(user));
  const id = await homes[0]!.engine.create("friends");
  for (const user of users.slice(1)) await homes[0]!.engine.change(id, { do: "add", names: [name(user)] });
  await world.settle();
  return { homes, id };
}

/** A commit that removes somebody on grounds that its notes give, past the policy of its author's own client. */
async function plantRemoval(
  world: World,
  { by, whom, id }: { readonly by: Home; readonly whom: string; readonly id: ConversationId },
  notes: Partial<CommitNotes>,
): Promise<void> {
  const { lib, group, mls } = await by.groupOf(id);
  const removed = lib.rosterOf(group).members.find(({ user }) => user === whom)!.leaf;
  const { commit } = await createCommit({ state: group.state, cipherSuite: mls.suite }, {
    authenticatedData: encodeNotes({ skipped: [], leaves: [], keyLogEntries: 0, ...notes }),
    extraProposals: [{ proposalType: "remove" as const, remove: { removed } }],
  });
  const body = mlsBody(encodeMessage(commit));
  await world.server.plant({ user: by.user, device: by.device, conversation: id, body, isCommit: true });
}

Deno.test("Insider, made-up leave: naming a row from before others came, or another's words, puts nobody out for anybody", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol, mallory], id } = await friends(
      world,
      "alice",
      "bob",
      "carol",
      "mallory",
    ) as never as {
      homes: [Home, Home, Home, Home];
      id: ConversationId;
    };
    const before = alice.stateOf(id), { lib, group } = await mallory.groupOf(id);
    mallory.disconnect();
    const own = lib.signLeave(group, mallory.parts.keys.leaf);
    for (
      const notes of [
        { leaves: [1] },
        { leaves: [1], proofs: [{ device: mallory.device, signature: own }] },
        { leaves: [1], proofs: [{ device: bob.device, signature: own }] },
        { proofs: [{ device: bob.device, signature: new Uint8Array(64) }] },
      ]
    ) await plantRemoval(world, { by: mallory, whom: "bob", id }, notes);
    await world.settle();
    for (const home of [alice, bob, carol]) {
      assert.deepEqual(home.stateOf(id), before, home.user);
      assert.deepEqual(
        home.warnings.map(({ text }) => text.split(": ")[1]),
        Array(4).fill("may not remove"),
        home.user,
      );
    }
    bob.say(id, "still here");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(carol.texts(id), ["bob: still here"]);
    assertAgree([alice, bob, carol], id);
  }));

Deno.test("engine: a leave that a device cannot read, since it came in behind it, counts by what the leaver has signed, once", () =>
  World.run(async (world) => {
    world.hasAccountKeys = true;
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    const { group } = await carol.groupOf(id);
    for (const home of [alice, bob]) home.disconnect();
    await carol.engine.leave(id);
    // Bob's second device comes in alone before anybody has removed her, and cannot read her notice.
    const tablet = await world.home("bob");
    await world.settle();
    assert(tablet.stateOf(id).members.some((member) => member.startsWith("carol")), "she is in its tree");
    await alice.connect();
    await bob.connect();
    alice.say(id, "she is gone");
    await world.settle();
    assertHealthy(world);
    assertAgree([alice, bob, tablet], id);
    assert(!alice.stateOf(id).members.some((member) => member.startsWith("carol")));
    // To it she was still there, and had no rows: that is told, and nothing else.
    assert.deepEqual(tablet.warnings.map(({ code }) => code).filter((code) => code !== "members-differ"), []);
    assert.deepEqual(tablet.texts(id), ["alice: she is gone"]);
    // She comes back, and her former words are no ground any more.
    await alice.engine.change(id, { do: "add", names: [name("carol")] });
    await world.settle();
    const { lib } = await carol.groupOf(id), before = alice.stateOf(id);
    const signature = lib.signLeave(group, carol.parts.keys.leaf);
    bob.disconnect();
    await plantRemoval(world, { by: bob, whom: "carol", id }, { proofs: [{ device: carol.device, signature }] });
    await world.settle();
    for (const home of [alice, carol, tablet]) assert.deepEqual(home.stateOf(id), before, home.user);
  }));

/** A row of noise that says of itself that it is of a later epoch. */
async function plantNoise(world: World, by: Home, id: ConversationId, { isCommit = false } = {}): Promise<void> {
  const { lib, mls, group } = await by.groupOf(id);
  const { body } = await lib.sealMessage(mls, group, {
    type: lib.ContentType.text,
    messageId: world.random.bytes(16).toHex() as MessageId,
    counter: 1,
    timeMs: world.clock.nowMs,
    content: new Uint8Array(),
    view: { seq: 0, history: lib.NO_HISTORY, keyLog: lib.NO_HISTORY },
  });
  const message = decodeMessage(body);
  assert(message?.wireformat === "mls_private_message");
  const contentType = isCommit ? "commit" as const : "application" as const;
  const noise = { ...message, privateMessage: { ...message.privateMessage, epoch: 1_000n, contentType } };
  const place = { user: by.user, device: by.device, conversation: id, isCommit };
  await world.server.plant({ ...place, body: mlsBody(encodeMessage(noise)) });
}

for (const isCommit of [false, true]) {
  Deno.test(`Insider, made-up epoch: a ${isCommit ? "commit" : "message"} of noise stops nobody for longer than until a person says so`, () =>
    World.run(async (world) => {
      const { homes: [alice, bob, carol, mallory], id } = await friends(
        world,
        "alice",
        "bob",
        "carol",
        "mallory",
      ) as never as {
        homes: [Home, Home, Home, Home];
        id: ConversationId;
      };
      const honest = [alice, bob, carol];
      mallory.disconnect();
      await plantNoise(world, mallory, id, { isCommit });
      bob.say(id, "hello?");
      await world.settle();
      for (const home of honest) {
        assert.deepEqual(home.warnings.map(({ code, name }) => `${code} ${name}`), ["withheld mallory"], home.user);
        assert.match(home.engine.conversation(id)!.blocked!, /the word of mallory/);
      }
      assert.deepEqual(alice.texts(id), [], "nobody sends in an epoch that may be over");
      // An admin's person says that it is made up. More of it stops that home no more, and she puts him out.
      await alice.engine.accept(id);
      await world.settle();
      await plantNoise(world, mallory, id, { isCommit });
      await world.settle();
      assert.equal(alice.engine.conversation(id)!.blocked, undefined);
      await alice.engine.change(id, { do: "remove", names: [name("mallory")] });
      await world.settle();
      // With him goes what he said, for everybody.
      alice.say(id, "he is gone");
      await world.settle();
      assertHealthy(world);
      for (const home of honest) {
        assert.deepEqual(home.texts(id).sort(), ["alice: he is gone", "bob: hello?"], home.user);
      }
      assertAgree(honest, id);
    }));
}

Deno.test("Insider, made-up epoch: who is disbelieved is not for ever, and nobody else is with them", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    const blocked = () => alice.engine.conversation(id)!.blocked !== undefined;
    for (const home of [bob, carol]) home.disconnect();
    await plantNoise(world, bob, id);
    await world.settle();
    await alice.engine.accept(id);
    await world.settle();
    assert(!blocked());
    await plantNoise(world, carol, id);
    await world.settle();
    assert(blocked(), "another one's word counts");
    await alice.engine.accept(id);
    await world.settle();
    await alice.engine.change(id, { do: "topic", topic: "a new epoch" });
    await plantNoise(world, bob, id);
    await world.settle();
    assert(blocked(), "in the next epoch everybody's word counts again");
  }));

Deno.test("Insider, invite link: who is put out does not come back by a link that every member had", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol") as never as {
      homes: [Home, Home, Home];
      id: ConversationId;
    };
    await alice.engine.link(id, { revoke: false });
    await world.settle();
    const [link] = carol.engine.conversation(id)!.links;
    await alice.engine.change(id, { do: "remove", names: [name("carol")] });
    await world.settle();
    assert.deepEqual(bob.engine.conversation(id)!.links, []);
    await carol.engine.join(link!);
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.engine.conversation(id)!.members.map(({ name }) => name).sort(), ["alice", "bob"]);
    // Another one is for whoever is given it.
    const dave = await world.home("dave"), another = await alice.engine.link(id, { revoke: false });
    assert.notEqual(another, link);
    await dave.engine.join(another);
    await world.settle();
    assertAgree([alice, bob, dave], id);
  }));
