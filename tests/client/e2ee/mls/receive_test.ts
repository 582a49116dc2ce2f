/** What rows do to a group: honest ones, late ones, and those of liars (SECURITY M2, M5 to M7, M11). */
import assert from "node:assert/strict";
import { createCommit } from "ts-mls/createCommit.js";
import { createApplicationMessage, createProposal } from "ts-mls/createMessage.js";
import {
  ChangeRefused,
  changesOf,
  joinByItself,
  joinFromWelcome,
  JoinRefused,
  loadGroup,
  makeInvitation,
  peekNotes,
  readKeyPackage,
  Role,
  rosterOf,
  sealMessage,
  withoutPending,
} from "../../../../client/e2ee/mls/mod.ts";
import { encodeNotes, NO_NOTES } from "../../../../client/e2ee/mls/commit_notes.ts";
import { senderOf } from "../../../../client/e2ee/mls/sender.ts";
import { decodeMessage, encodeMessage } from "../../../../client/e2ee/mls/wire.ts";
import { testKeys } from "../../../keys.ts";
import { assertAgree, CONVERSATION, describe, everybodyDoes, mlsFor, NOW_MS, Person } from "./people.ts";

async function friends(...names: string[]): Promise<Person[]> {
  const mls = await mlsFor(), [first, ...others] = await Promise.all(names.map((name) => Person.make(mls, name)));
  await first!.create();
  await everybodyDoes([first!], first!, { add: others });
  return [first!, ...others];
}

/** A commit as the library makes it, past our policy: what a member with a changed client can send. */
async function rogueCommit(person: Person, proposals: Parameters<typeof createCommit>[1]): Promise<Uint8Array> {
  const context = { state: person.group!.state, cipherSuite: person.mls.suite };
  const { commit } = await createCommit(context, { authenticatedData: encodeNotes(NO_NOTES), ...proposals });
  return encodeMessage(commit);
}

async function assertSkipped(members: readonly Person[], body: Uint8Array, reason: string): Promise<void> {
  for (const member of members) {
    const before = member.group, outcome = await member.receive(body);
    assert.deepEqual([outcome.kind, "reason" in outcome && outcome.reason], ["skipped", reason], member.name);
    assert.equal(member.group, before);
  }
}

Deno.test("receive() shows the sender that the cryptography names, in past epochs too", async () => {
  const [alice, bob, carol] = await friends("alice", "bob", "carol") as [Person, Person, Person];
  const early = await bob.seal("early");
  await everybodyDoes([alice, bob, carol], alice, {});
  const late = await carol.seal("late");
  for (const [body, sender, epoch] of [[late, "carol", 2], [early, "bob", 1]] as const) {
    const outcome = await alice.receive(body);
    assert(outcome.kind === "message");
    assert.deepEqual([outcome.sender.user, outcome.epoch, outcome.plaintext.view.epoch], [sender, epoch, epoch]);
    assert.equal((await alice.receive(body)).kind, "refused", "a key opens once");
  }
});

Deno.test("receive() refuses a message whose inner device is not the leaf's", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const { encodePlaintext } = await import("../../../../client/e2ee/mls/plaintext.ts");
  const plaintext = encodePlaintext({
    type: 1,
    messageId: "00".repeat(16) as never,
    device: alice.device.id,
    counter: 1,
    timeMs: NOW_MS,
    content: new Uint8Array(),
    view: {
      epoch: 1,
      authenticator: new Uint8Array(16),
      seq: 0,
      history: new Uint8Array(32),
      keyLog: new Uint8Array(32),
    },
  });
  const { privateMessage } = await createApplicationMessage(bob.group!.state, plaintext, bob.mls.suite);
  const outcome = await alice.receive(
    encodeMessage({ version: "mls10", wireformat: "mls_private_message", privateMessage }),
  );
  assert.deepEqual(outcome, { kind: "refused", reason: "other sender" });
});

Deno.test("receive() takes the first of two commits for an epoch; the loser does it again", async () => {
  const [alice, bob, carol] = await friends("alice", "bob", "carol") as [Person, Person, Person];
  const dave = await Person.make(alice.mls, "dave"), everyone = [alice, bob, carol];
  const first = await bob.propose({}), second = await carol.propose({ add: [dave] });
  for (const member of everyone) {
    const outcome = await member.receive(first.body);
    assert(outcome.kind === "commit");
    assert.equal(outcome.own, member === bob);
    assert.equal(outcome.lost !== undefined, member === carol);
    assert.equal((await member.receive(second.body)).kind, "late");
  }
  assertAgree(everyone);
  assert.equal(carol.group!.pending, undefined);
  await everybodyDoes(everyone, carol, { add: [dave] });
  assertAgree([...everyone, dave]);
});

Deno.test("receive() of two admins who demote each other counts the first", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const identity = (await testKeys()).aliceIdentity.fingerprint.toHex();
  const admin = (...users: string[]) => users.map((user) => ({ user: user as never, identity, role: Role.admin }));
  await everybodyDoes([alice, bob], alice, { info: await describe("alice", { roles: admin("alice", "bob") }) });
  const byAlice = await alice.propose({ info: await describe("alice", { roles: admin("alice") }) });
  const byBob = await bob.propose({ info: await describe("bob", { roles: admin("bob") }) });
  for (const member of [alice, bob]) {
    assert.equal((await member.receive(byBob.body)).kind, "commit");
    assert.equal((await member.receive(byAlice.body)).kind, "late");
    assert.deepEqual(rosterOf(member.group!).info.roles.map(({ user }) => user), ["bob"]);
  }
  await assert.rejects(alice.propose({ info: await describe("alice", { roles: admin("alice") }) }), ChangeRefused);
});

Deno.test("receive() leaves the group as it was for commits past the policy", async () => {
  const [alice, bob, carol] = await friends("alice", "bob", "carol") as [Person, Person, Person];
  const everyone = [alice, bob, carol], honest = [alice, carol];
  const remove = { proposalType: "remove" as const, remove: { removed: bob.leafOf(carol) } };
  await assertSkipped(honest, await rogueCommit(bob, { extraProposals: [remove] }), "may not remove");
  const extensions = [...bob.group!.state.groupContext.extensions];
  const stripped = {
    proposalType: "group_context_extensions" as const,
    groupContextExtensions: { extensions: extensions.slice(1) },
  };
  await assertSkipped(honest, await rogueCommit(bob, { extraProposals: [stripped] }), "changes other extensions");
  const custom = { proposalType: 0xf00d, proposalData: new Uint8Array(3) };
  await assertSkipped(honest, await rogueCommit(bob, { extraProposals: [custom] }), "unknown proposal");
  await assertSkipped(honest, await rogueCommit(bob, { authenticatedData: new Uint8Array([9]) }), "malformed");
  // Somebody else's certificate for a name that is there.
  const { bobIdentity } = await testKeys();
  const ghost = await Person.make(alice.mls, "alice", { identity: bobIdentity });
  const verdict = await readKeyPackage(bob.mls, await ghost.keyPackage(), { nowMs: NOW_MS });
  assert(verdict.ok);
  const add = { proposalType: "add" as const, add: { keyPackage: verdict.keyPackage } };
  await assertSkipped(honest, await rogueCommit(bob, { extraProposals: [add] }), "adds a name under another identity");
  assertAgree(everyone);
  await everybodyDoes(everyone, carol, {});
  assertAgree(everyone);
});

Deno.test("receive() passes an epoch jammed by 100 invalid commits, and no message is lost", async () => {
  const [alice, bob, carol] = await friends("alice", "bob", "carol") as [Person, Person, Person];
  const remove = { proposalType: "remove" as const, remove: { removed: bob.leafOf(carol) } };
  const skipped: number[] = [], said = await alice.seal("before");
  for (let seq = 1; seq <= 100; seq++) {
    const jam = await rogueCommit(bob, { extraProposals: [remove] });
    await assertSkipped([alice, carol], jam, "may not remove");
    skipped.push(seq);
  }
  const honest = await carol.propose({}, { notes: { ...NO_NOTES, skipped } });
  assert.deepEqual(peekNotes(honest.body)?.skipped, skipped);
  for (const member of [alice, bob, carol]) {
    const outcome = await member.receive(honest.body);
    assert(outcome.kind === "commit");
    assert.deepEqual(outcome.notes.skipped, skipped);
  }
  assertAgree([alice, bob, carol]);
  assert.equal((await carol.receive(said)).kind, "message");
});

Deno.test("receive() skips standalone proposals and members' public commits", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const remove = { proposalType: "remove" as const, remove: { removed: bob.leafOf(alice) } };
  for (const inPublic of [true, false]) {
    const { message } = await createProposal(bob.group!.state, inPublic, remove, bob.mls.suite);
    await assertSkipped([alice], encodeMessage(message), "standalone proposal");
  }
  await assertSkipped([alice], await rogueCommit(bob, { wireAsPublicMessage: true }), "not by a member");
});

Deno.test("receive() of a second commit by the same author in an epoch opens for others", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const refused = await alice.propose({});
  alice.group = withoutPending(alice.group!);
  // The first one was refused by the store and never seen; its key must not be used again.
  const again = await alice.propose({});
  const generationOf = async (body: Uint8Array) => {
    const message = decodeMessage(body);
    assert(message?.wireformat === "mls_private_message");
    return (await senderOf(bob.group!.state, message.privateMessage, bob.mls.suite))?.generation;
  };
  assert.deepEqual([await generationOf(refused.body), await generationOf(again.body)], [0, 1]);
  assert.equal((await bob.receive(again.body)).kind, "commit");
  assert.equal((await alice.receive(again.body)).kind, "commit");
  assertAgree([alice, bob]);
});

Deno.test("receive() tells a removed device so, and it opens nothing afterwards", async () => {
  const [alice, bob, carol] = await friends("alice", "bob", "carol") as [Person, Person, Person];
  const committed = await alice.propose({ remove: [alice.leafOf(bob)] });
  const outcome = await bob.receive(committed.body);
  assert(outcome.kind === "removed" && outcome.by.user === "alice");
  for (const member of [alice, carol]) assert.equal((await member.receive(committed.body)).kind, "commit");
  const said = await carol.seal("he is gone");
  assert.deepEqual(await bob.receive(said), { kind: "ahead", epoch: 2 });
  assert.equal((await alice.receive(said)).kind, "message");
  assert.deepEqual(alice.members, ["alice", "carol"]);
});

for (const suite of ["x25519", "x-wing"] as const) {
  Deno.test(`receive() follows a commit that brings new keys and a new description at once, ${suite}`, async () => {
    const mls = await mlsFor(suite), names = ["alice", "bob", "carol", "dave", "erin"];
    const people = await Promise.all(names.map((name) => Person.make(mls, name)));
    const [alice, bob, carol, dave, erin] = people as [Person, Person, Person, Person, Person];
    await alice.create();
    await everybodyDoes([alice], alice, { add: [bob, carol, dave] });
    const owned = await describe("alice"), { identity } = owned.roles[0]!;
    const admins = (...users: string[]) => ({
      ...owned,
      roles: [...owned.roles, ...users.map((user) => ({ user: user as never, identity, role: Role.admin }))],
    });
    await everybodyDoes([alice, bob, carol, dave], alice, { info: admins("bob", "carol") });
    // Keys of his own, so that there is more than one level of keys to be sealed.
    await everybodyDoes([alice, bob, carol, dave], dave, {});
    // Bob was an admin: his role goes with him.
    await everybodyDoes([alice, carol, dave], alice, { remove: [alice.leafOf(bob)], info: admins("carol") });
    await everybodyDoes([alice, carol, dave], carol, {
      add: [erin],
      info: { ...rosterOf(carol.group!).info, topic: "both at once" },
    });
    const staying = [alice, carol, dave, erin];
    assertAgree(staying);
    const said = await erin.seal("hello");
    for (const member of [alice, carol, dave]) assert.equal((await member.receive(said)).kind, "message", member.name);
    assert.equal(rosterOf(dave.group!).info.topic, "both at once");
  });
}

Deno.test("receive() lets anybody remove a device on grounds that its caller knows", async () => {
  const [alice, bob, carol] = await friends("alice", "bob", "carol") as [Person, Person, Person];
  const left = (member: { user: string }) => member.user === "carol";
  const committed = await bob.propose({ remove: [bob.leafOf(carol)] }, { grounds: left });
  const before = alice.group;
  assert.equal((await alice.receive(committed.body)).kind, "skipped");
  assert.equal(alice.group, before);
  for (const member of [alice, bob]) assert.equal((await member.receive(committed.body, left)).kind, "commit");
  assertAgree([alice, bob]);
});

Deno.test("receive() notices that its own state is older than what it sent", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const copy = changesOf(undefined, bob.group!).put, old = bob.group!;
  const bodies = [await bob.seal("one"), await bob.seal("two")];
  assert.equal((await bob.receive(bodies[1]!)).kind, "own");
  await assert.rejects(sealMessage(bob.mls, old, {} as never), /used up/);
  bob.group = loadGroup(bob.mls, bob.device, copy);
  for (const body of bodies) assert.equal((await bob.receive(body)).kind, "rolledBack");
  // A commit that it does not know of, in the epoch that it is in, says the same.
  const later = await bob.propose({});
  bob.group = loadGroup(bob.mls, bob.device, copy);
  assert.equal((await bob.receive(later.body)).kind, "rolledBack");
  // Back with new keys, in place of the old leaf.
  const join = await joinByItself(bob.mls, bob.device, await makeInvitation(alice.mls, alice.group!), {
    conversation: CONVERSATION,
    nowMs: NOW_MS,
  });
  const outcome = await alice.receive(join.body);
  assert(outcome.kind === "commit" && outcome.change.by === "itself");
  bob.group = join.group;
  assertAgree([alice, bob]);
  assert.deepEqual(alice.members, ["alice", "bob"]);
  assert.equal((await alice.receive(await bob.seal("back"))).kind, "message");
});

Deno.test("joinByItself() brings in a member's new device, and nobody else", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const invitation = await makeInvitation(alice.mls, alice.group!);
  const options = { conversation: CONVERSATION, nowMs: NOW_MS };
  const phone = await Person.make(alice.mls, "bob"), stranger = await Person.make(alice.mls, "mallory");
  await assert.rejects(joinByItself(stranger.mls, stranger.device, invitation, options), ChangeRefused);
  const { bobIdentity } = await testKeys(), thief = await Person.make(alice.mls, "bob", { identity: bobIdentity });
  await assert.rejects(joinByItself(thief.mls, thief.device, invitation, options), ChangeRefused);
  const { groupInfo, sealedTree } = invitation;
  for (let at = 0; at < groupInfo.length; at += 41) {
    const bent = { groupInfo: groupInfo.with(at, groupInfo[at]! ^ 1), sealedTree };
    await assert.rejects(joinByItself(phone.mls, phone.device, bent, options), JoinRefused, `byte ${at}`);
  }
  const joined = await joinByItself(phone.mls, phone.device, invitation, options);
  phone.group = joined.group;
  for (const member of [alice, bob]) assert.equal((await member.receive(joined.body)).kind, "commit");
  assertAgree([alice, bob, phone]);
  assert.deepEqual(alice.members, ["alice", "bob", "bob"]);
  await everybodyDoes([alice, bob, phone], phone, {});
  assertAgree([alice, bob, phone]);
});

Deno.test("joinFromWelcome() refuses a used key package, another conversation and a changed tree", async () => {
  const [alice] = await friends("alice", "bob") as [Person, Person], carol = await Person.make(alice.mls, "carol");
  const committed = await alice.propose({ add: [carol] }), { welcomes: [welcome], sealedTree } = committed;
  const options = {
    conversation: CONVERSATION,
    welcome: welcome!.bytes,
    sealedTree: sealedTree!,
    device: carol.device,
    keyPackages: (ref: string) => carol.packages.get(ref),
    used: (ref: string) => carol.used.has(ref),
  };
  await assert.rejects(joinFromWelcome(carol.mls, { ...options, conversation: "00".repeat(16) as never }), JoinRefused);
  await assert.rejects(
    joinFromWelcome(carol.mls, { ...options, sealedTree: sealedTree!.with(100, sealedTree![100]! ^ 1) }),
    /tree is missing/,
  );
  const { sealedTree: _, ...without } = options;
  await assert.rejects(joinFromWelcome(carol.mls, without), /tree is missing/);
  for (let at = 0; at < welcome!.bytes.length; at += 97) {
    const bent = welcome!.bytes.with(at, welcome!.bytes[at]! ^ 1);
    await assert.rejects(joinFromWelcome(carol.mls, { ...options, welcome: bent }), JoinRefused, `byte ${at}`);
  }
  await carol.join(committed);
  await assert.rejects(joinFromWelcome(carol.mls, options), /used before/);
});

Deno.test("receive() never throws for damaged rows and changes nothing", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const message = await bob.seal("hello"), commit = (await bob.propose({})).body, before = alice.group;
  const phone = await Person.make(alice.mls, "bob");
  const invitation = await makeInvitation(alice.mls, alice.group!);
  const self = await joinByItself(phone.mls, phone.device, invitation, { conversation: CONVERSATION, nowMs: NOW_MS });
  for (const body of [message, commit, self.body]) {
    for (let at = 0; at < body.length; at += 23) {
      for (const bad of [body.with(at, body[at]! ^ (1 << (at % 8))), body.slice(0, at)]) {
        const outcome = await alice.receive(bad);
        assert(["refused", "skipped", "ahead", "late"].includes(outcome.kind), `byte ${at}: ${outcome.kind}`);
        assert.equal(alice.group, before);
      }
    }
  }
  assert.equal((await alice.receive(message)).kind, "message");
});
