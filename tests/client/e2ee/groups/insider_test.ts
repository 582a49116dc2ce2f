/** Members with changed clients, and what they cannot do with words that not everybody can check (SECURITY M4 to M6, M14). */
import assert from "node:assert/strict";
import { createCommit } from "ts-mls/createCommit.js";
import { CertificateCache } from "../../../../client/e2ee/certificate_cache.ts";
import { EMPTY_INFO } from "../../../../client/e2ee/groups/founder.ts";
import { sealLetter } from "../../../../client/e2ee/groups/letter.ts";
import { libraryOf } from "../../../../client/e2ee/groups/library.ts";
import { mlsBody } from "../../../../client/e2ee/groups/body.ts";
import { type CommitNotes, encodeNotes } from "../../../../client/e2ee/mls/commit_notes.ts";
import { decodeMessage, encodeMessage } from "../../../../client/e2ee/mls/wire.ts";
import { InnerType } from "../../../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, MessageId, ResponseOf, UserName } from "../../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS } from "../../../keys.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

const name = (user: string) => user as UserName;

/** A group whose members came in one after the other. */
async function friends<const Users extends readonly [string, ...string[]]>(
  world: World,
  ...users: Users
): Promise<{ homes: { readonly [at in keyof Users]: Home }; id: ConversationId }> {
  const homes: Home[] = [];
  for (const user of users) homes.push(await world.home(user));
  const id = await homes[0]!.engine.create("friends");
  for (const user of users.slice(1)) await homes[0]!.engine.change(id, { do: "add", names: [name(user)] });
  await world.settle();
  return { homes: homes as unknown as { readonly [at in keyof Users]: Home }, id };
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
    );
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
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol");
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
      );
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
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol");
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
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol");
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

/** A group of the same id as the true one, made by somebody else, with its members' key packages and a later epoch. */
async function impostorOf(
  world: World,
  by: Home,
  id: ConversationId,
  users: readonly string[],
  { isDirect = false, epochs = 20 } = {},
) {
  const { lib, mls } = await libraryOf(TEST_CLUSTER, world.suite)(), nowMs = world.clock.nowMs;
  const owner = { user: by.user, identity: by.parts.identity.fingerprint.toHex(), role: lib.Role.owner };
  const info = isDirect
    ? { ...EMPTY_INFO, kind: lib.Kind.direct }
    : { ...EMPTY_INFO, kind: lib.Kind.group, name: "friends", roles: [owner] };
  let group = await lib.createGroup(mls, by.ownDevice, { conversation: id, info, nowMs });
  const packages = await world.server.store.takeKeyPackages({
    user: by.user,
    device: by.device,
    conversation: id,
    names: users.map(name),
    nowMs,
  });
  const add = await Promise.all(packages.map(async ({ keyPackage }) => {
    const verdict = await lib.readKeyPackage(mls, keyPackage, { nowMs });
    assert(verdict.ok);
    return verdict;
  }));
  for (let epoch = 0; epoch < epochs; epoch++) {
    group = { state: (await lib.commitChange(mls, group, {})).group.pending!.state, endedMs: new Map() };
  }
  const committed = await lib.commitChange(mls, group, { add });
  return { lib, mls, committed, group: { state: committed.group.pending!.state, endedMs: new Map() } };
}

/** A letter as its author's own client seals one. */
function letterBy(
  world: World,
  { from, to, id }: { readonly from: Home; readonly to: Home; readonly id: ConversationId },
  type: typeof InnerType.welcome | typeof InnerType.invitation,
  content: Uint8Array,
) {
  return sealLetter({
    self: {
      name: from.user,
      identity: from.parts.identity.fingerprint,
      keys: from.parts.keys,
      clusterId: TEST_CLUSTER,
      certificate: from.parts.certificate,
    },
    certificates: new CertificateCache(TEST_CLUSTER),
    to: to.parts.certificate,
    conversation: id,
    messageId: world.random.bytes(16).toHex() as MessageId,
    timeMs: world.clock.nowMs,
    type,
    content,
  });
}

/** What the server hands a device that asks what it has for it. */
function serve(world: World, to: Home, welcome: ResponseOf<"welcome">["welcome"]): void {
  const { server } = world, answer = server.answer.bind(server);
  server.answer = (user, device, request) =>
    request.type === "welcome" && device === to.device
      ? Promise.resolve({ type: "welcome", welcome })
      : answer(user, device, request);
}

Deno.test("Lying server, another group in its place: a stranger's invitation or Welcome moves nobody out of their group", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol");
    const eve = await world.home("eve");
    await world.settle();
    const before = alice.stateOf(id);
    const { lib, mls, committed, group } = await impostorOf(world, eve, id, ["alice", "bob", "carol"]);
    const { groupInfo, sealedTree } = await lib.makeInvitation(mls, group);
    const letter = (type: typeof InnerType.welcome | typeof InnerType.invitation, content: Uint8Array) =>
      letterBy(world, { from: eve, to: alice, id }, type, content);
    for (const home of [bob, carol]) home.disconnect();
    // A commit that does not open, of a later epoch, and beside it what she is to believe.
    const [{ bytes } = { bytes: new Uint8Array() }] = committed.welcomes.filter(({ device }) =>
      device === alice.device
    );
    const seq = (await world.server.rows(alice.user, id)).length + 1;
    const welcome = await letter(InnerType.welcome, bytes);
    serve(world, alice, { commit: seq, body: welcome.body, tree: committed.sealedTree!, isInvitation: false });
    await plantNoise(world, carol, id, { isCommit: true });
    await world.settle();
    assert(
      alice.warnings.some(({ code, text }) =>
        code === "welcome-refused" && /not in the group that this device knows/.test(text)
      ),
    );
    assert.deepEqual(alice.stateOf(id), before);
    const invitation = await letter(InnerType.invitation, groupInfo);
    serve(world, alice, { commit: seq, body: invitation.body, tree: sealedTree, isInvitation: true });
    await alice.restart();
    alice.say(id, "for my friends alone");
    await world.settle();
    assert.deepEqual(alice.stateOf(id), before, "she is where she was, and waits");
    assert.match(alice.engine.conversation(id)!.blocked!, /withheld/);
    assert.deepEqual(alice.texts(id), []);
    // With the true ones, she goes on.
    await alice.engine.accept(id);
    await world.settle();
    const { body } = (await world.server.rows(alice.user, id)).at(-1)!;
    assert.equal(body.length > 0 && alice.texts(id).join(), "alice: for my friends alone");
    assert.deepEqual(alice.stateOf(id), before);
  }));

Deno.test("Insider, another group in its place: who is moved into one is told of everybody who came, went or rose", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, mallory], id } = await friends(world, "alice", "bob", "mallory");
    await world.home("eve");
    await world.settle();
    const { lib, mls, group } = await impostorOf(world, mallory, id, ["alice", "eve"]);
    const { groupInfo, sealedTree } = await lib.makeInvitation(mls, group);
    for (const home of [bob, mallory]) home.disconnect();
    const seq = (await world.server.rows(alice.user, id)).length + 1;
    const place = { from: mallory, to: alice, id };
    const invitation = await letterBy(world, place, InnerType.invitation, groupInfo);
    serve(world, alice, { commit: seq, body: invitation.body, tree: sealedTree, isInvitation: true });
    await plantNoise(world, mallory, id, { isCommit: true });
    await world.settle();
    const [told] = alice.warnings.filter(({ code }) => code === "rejoined").map(({ text }) => text);
    assert.match(told ?? "", /in it now: eve; no longer in it: bob; .*mallory is owner/);
  }));

Deno.test("Lying server: who was put out comes back by nobody's invitation", () =>
  World.run(async (world) => {
    const { homes: [alice, bob], id } = await friends(world, "alice", "bob");
    const eve = await world.home("eve");
    await world.settle();
    await alice.engine.change(id, { do: "remove", names: [name("bob")] });
    await world.settle();
    const { lib, mls, group } = await impostorOf(world, eve, id, ["bob"]);
    const { groupInfo, sealedTree } = await lib.makeInvitation(mls, group);
    const place = { from: eve, to: bob, id };
    const invitation = await letterBy(world, place, InnerType.invitation, groupInfo);
    serve(world, bob, { commit: 100, body: invitation.body, tree: sealedTree, isInvitation: true });
    bob.onEvent({ type: "welcomed", conversation: id });
    await world.settle();
    assert.equal(bob.engine.conversation(id), undefined);
    assert(!world.happened.slice(-20).some((one) => one === `bob ${bob.device} asks commit`));
  }));

for (
  const [what, by, letterFrom, isDirect, reason] of [
    ["with somebody third in it", "eve", "eve", true, /others are in it/],
    ["that is none", "bob", "bob", false, /it is another kind of conversation/],
    ["from somebody who is not in it", "bob", "eve", true, /who sent it is not a member/],
    ["by the other one", "bob", "bob", true, undefined],
  ] as const
) {
  Deno.test(`Lying server, a direct conversation ${what}: its Welcome is ${reason === undefined ? "taken" : "refused"}`, () =>
    World.run(async (world) => {
      const alice = await world.home("alice"), bob = await world.home("bob"), eve = await world.home("eve");
      const homes = { bob, eve }, id = await world.direct(alice, bob);
      await world.settle();
      const { committed } = await impostorOf(world, homes[by], id, ["alice"], { isDirect });
      for (const home of [bob, eve]) home.disconnect();
      const { bytes } = committed.welcomes.find(({ device }) => device === alice.device)!;
      const welcome = await letterBy(world, { from: homes[letterFrom], to: alice, id }, InnerType.welcome, bytes);
      serve(world, alice, { commit: 1, body: welcome.body, tree: committed.sealedTree!, isInvitation: false });
      alice.onEvent({ type: "welcomed", conversation: id });
      await world.settle();
      const refused = alice.warnings.filter(({ code }) => code === "welcome-refused").map(({ text }) => text);
      assert.equal(refused.length, reason === undefined ? 0 : 1);
      if (reason !== undefined) assert.match(refused[0]!, reason);
      assert.equal(alice.engine.conversation(id) === undefined, reason !== undefined);
    }));
}

Deno.test("Insider, another group in its place: a member's Welcome to an epoch that is over is refused", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, mallory], id } = await friends(world, "alice", "bob", "mallory");
    const before = alice.stateOf(id), { committed } = await impostorOf(world, mallory, id, ["alice"], { epochs: 0 });
    for (const home of [bob, mallory]) home.disconnect();
    const { bytes } = committed.welcomes.find(({ device }) => device === alice.device)!;
    const welcome = await letterBy(world, { from: mallory, to: alice, id }, InnerType.welcome, bytes);
    const seq = (await world.server.rows(alice.user, id)).length + 1;
    serve(world, alice, { commit: seq, body: welcome.body, tree: committed.sealedTree!, isInvitation: false });
    await plantNoise(world, mallory, id, { isCommit: true });
    await world.settle();
    assert(alice.warnings.some(({ text }) => /an epoch that is over/.test(text)));
    assert.deepEqual(alice.stateOf(id), before);
  }));

Deno.test("Lying server, sender: another device of the same person is not the one that wrote", () =>
  World.run(async (world) => {
    const { homes: [alice, bob], id } = await friends(world, "alice", "bob");
    world.server.shown = (device, record) =>
      device === bob.device && record.sender === alice.user
        ? { ...record, device: "5".repeat(32) as DeviceId }
        : record;
    alice.say(id, "by my phone");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), []);
    assert.deepEqual(bob.refused, ["The server names another device than the one that sent it"]);
  }));

Deno.test("engine: a device whose certificate is over is removed before the next message, by whoever may", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol");
    world.clock.pass(TEST_NOT_AFTER_MS - world.clock.nowMs + 1);
    // Not a member's to do.
    bob.say(id, "is it so late?");
    await world.settle();
    assert.equal(alice.stateOf(id).members.length, 3);
    alice.say(id, "it is");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.stateOf(id).members.map((member) => member.split(" ")[0]), ["alice"]);
    assert.equal(carol.engine.conversation(id), undefined);
    assert.deepEqual(bob.texts(id), ["bob: is it so late?"]);
  }));

Deno.test("Insider, commit that does not count: whom the server delivers nothing to by it, any member has served again", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, mallory], id } = await friends(world, "alice", "bob", "mallory");
    const { server } = world, lastCommit = (await server.heads(mallory.user, mallory.device))[0]!.epoch;
    const { user, device } = mallory, messageId = world.random.bytes(16).toHex() as MessageId;
    const place = { user, device, conversation: id, messageId, lastCommit, nowMs: world.clock.nowMs };
    mallory.disconnect();
    // The only owner is put out of the log, if not of the group.
    const rest = { add: [], remove: [alice.user], welcomes: [], tree: new Uint8Array() };
    await server.store.commit({ ...place, ...rest, body: mlsBody(world.random.bytes(300)) });
    await world.settle();
    assert(alice.warnings.some(({ code }) => code === "members-differ"));
    bob.say(id, "where are you?");
    await world.settle();
    assert.deepEqual(alice.texts(id), []);
    await bob.engine.change(id, { do: "add", names: [alice.user] });
    await alice.connect();
    alice.say(id, "here again");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(bob.texts(id), ["bob: where are you?", "alice: here again"]);
    assertAgree([alice, bob], id);
    await alice.engine.change(id, { do: "remove", names: [mallory.user] });
    await world.settle();
    assertAgree([alice, bob], id);
  }));

Deno.test("Insider, made-up leave: one who has left is a ground for their own devices to go, and nobody else's", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol, mallory], id } = await friends(
      world,
      "alice",
      "bob",
      "carol",
      "mallory",
    );
    const { lib, group } = await carol.groupOf(id);
    const signature = lib.signLeave(group, carol.parts.keys.leaf);
    await carol.engine.leave(id);
    await world.settle();
    const before = alice.stateOf(id), row = (await world.server.rows(alice.user, id)).at(-1)!.seq;
    mallory.disconnect();
    const notes = { leaves: [row], proofs: [{ device: carol.device, signature }] };
    await plantRemoval(world, { by: mallory, whom: "bob", id }, notes);
    await world.settle();
    for (const home of [alice, bob]) assert.deepEqual(home.stateOf(id), before, home.user);
    bob.say(id, "still here");
    await world.settle();
    assertHealthy(world);
    assertAgree([alice, bob], id);
    assert(!alice.stateOf(id).members.some((member) => member.startsWith("carol")));
  }));

Deno.test("Insider, made-up epoch: a commit of noise is read and passed by who came in last, whose Welcome is still there", () =>
  World.run(async (world) => {
    const { homes: [alice, bob, carol], id } = await friends(world, "alice", "bob", "carol");
    for (const home of [alice, bob, carol]) home.disconnect();
    assert((await world.server.store.welcome(carol.user, carol.device, id)) !== undefined);
    await plantNoise(world, bob, id, { isCommit: true });
    const record = (await world.server.rows(carol.user, id)).at(-1)!;
    carol.isOnline = true;
    const kinds: string[] = [];
    while (kinds.length < 10 && (kinds.length === 0 || kinds.at(-1) === "wait")) {
      const { taken, step } = await carol.engine.take(record);
      kinds.push(taken.kind);
      if (taken.kind !== "wait") carol.finish(step, () => {});
      else {
        step.undo();
        await taken.ready;
      }
    }
    assert.deepEqual(kinds, ["wait", "refused"]);
  }));

Deno.test("Insider, useless Welcome: whoever cannot join by it passes what stands behind it, and does not look for ever", () =>
  World.run(async (world) => {
    const { homes: [, bob], id } = await friends(world, "alice", "bob");
    const carol = await world.home("carol");
    await world.settle();
    await plantNoise(world, bob, id, { isCommit: true });
    const record = (await world.server.rows(bob.user, id)).at(-1)!;
    serve(world, carol, { commit: 1, body: new Uint8Array(600), tree: new Uint8Array(100), isInvitation: false });
    let waits = 0;
    for (; waits < 10; waits++) {
      const { taken, step } = await carol.engine.take(record);
      if (taken.kind !== "wait") {
        carol.finish(step, () => {});
        break;
      }
      step.undo();
      await taken.ready;
    }
    assert.equal(waits, 3, "whether there is a Welcome, that it is none, and whether there is another one");
    assert.deepEqual(carol.warnings.map(({ code }) => code), ["welcome-refused"]);
  }));
