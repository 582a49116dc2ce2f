/**
 * A group of as many as there may be: everything that can be done in it, by engines, through a store, with X25519 for the time it takes; and
 * that what X-Wing makes larger fits. Two members are homes, of the others there are leaves.
 */
import assert from "node:assert/strict";
import {
  commitChange,
  createGroup,
  Credentials,
  type Group,
  Kind,
  loadSuite,
  makeKeyPackage,
  type Mls,
  type OwnDevice,
  readKeyPackage,
  receive,
  Role,
  rosterOf,
} from "../../../../client/e2ee/mls/mod.ts";
import { CertificateCache } from "../../../../client/e2ee/mod.ts";
import { Ed25519KeyPair, makeCertificate } from "../../../../shared/crypto/mod.ts";
import { COMMIT_BODY_BYTES_MAX, GROUP_USERS_MAX, TREE_BYTES_MAX } from "../../../../shared/limits.ts";
import type { ConversationId, DeviceId, RequestOf, UserName } from "../../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, testKeys } from "../../../keys.ts";
import { type Home, World } from "./world.ts";

Deno.test("a group of a thousand is filled, and in it people are promoted and removed, keys replaced, and members leave", async () => {
  await World.run(async (world) => {
    const commits: RequestOf<"commit">[] = [];
    const answer = world.server.answer.bind(world.server);
    world.server.answer = (user, device, request) => {
      if (request.type === "commit") commits.push(request);
      return answer(user, device, request);
    };
    const alice = await world.home("alice"), bob = await world.home("bob"), both = [alice, bob];
    await world.settle();
    const crowd = await enrolCrowd(world, GROUP_USERS_MAX - 2);
    const id = await alice.engine.create("everybody");
    commits.length = 0;
    await alice.engine.change(id, { do: "add", names: [bob.user, ...crowd] });
    await world.settle();
    assert.equal(members(alice, id), GROUP_USERS_MAX);
    assert.deepEqual(commits.map(({ add }) => add.length), [200, 200, 200, 200, 199], "by itself, in several commits");
    assert.equal(members(bob, id), GROUP_USERS_MAX);
    // One more is refused, and nothing is broken by that.
    const [late] = await enrolCrowd(world, 1, "late");
    await assert.rejects(alice.engine.change(id, { do: "add", names: [late!] }));
    await said(world, both, id, alice, "to everybody");
    // The path of this commit is the largest there is: nobody but its author has renewed keys.
    commits.length = 0;
    await alice.engine.change(id, { do: "remove", names: [crowd[0]!] });
    await world.settle();
    assert.equal(commits.length, 1);
    for (const home of both) assert.equal(members(home, id), GROUP_USERS_MAX - 1);
    await alice.engine.change(id, { do: "role", name: bob.user, role: "admin" });
    await world.settle();
    assert.equal(bob.engine.conversation(id)?.role, "admin");
    await bob.engine.change(id, { do: "remove", names: [crowd[1]!] });
    await bob.engine.change(id, { do: "topic", topic: "what it is about" });
    await world.settle();
    assert.equal(alice.engine.conversation(id)?.topic, "what it is about");
    // After a week keys are replaced by whoever speaks.
    commits.length = 0;
    world.clock.pass(8 * DAY_MS);
    await said(world, both, id, bob, "after a week");
    assert.deepEqual(commits.map(({ add, remove }) => [add.length, remove.length]), [[0, 0]]);
    await bob.engine.leave(id);
    await world.settle();
    await said(world, [alice], id, alice, "without bob");
    assert.equal(members(alice, id), GROUP_USERS_MAX - 3);
    for (const home of both) {
      assert.deepEqual([home.warnings, home.refused, home.failed], [[], [], undefined]);
    }
  });
});

Deno.test("with X-Wing a removal from a group of a thousand in which nobody has renewed keys fits a row, and the tree what goes beside one", async () => {
  const suite = await loadSuite("x-wing"),
    mls: Mls = { suite, credentials: new Credentials(new CertificateCache(TEST_CLUSTER)) };
  const { aliceIdentity, alice: { certificate, leaf } } = await testKeys();
  const owner = { user: "alice" as UserName, identity: aliceIdentity.fingerprint.toHex(), role: Role.owner };
  const info = {
    kind: Kind.group,
    name: "everybody",
    topic: "",
    roles: [owner],
    membersAdd: false,
    historySinceMs: 0,
    invites: [],
  };
  const conversation = "60".repeat(16) as ConversationId;
  let group = await createGroup(mls, { certificate, leafPkcs8: leaf.pkcs8 }, { conversation, info, nowMs: NOW_MS });
  let treeBytes = 0;
  for (let at = 1; at < GROUP_USERS_MAX; at += 200) {
    const names = Array.from({ length: Math.min(200, GROUP_USERS_MAX - at) }, (_, more) => `m${at + more}` as UserName);
    const add = await Promise.all(names.map(async (name) => {
      const verdict = await readKeyPackage(mls, (await newMember(mls, name)).publicBytes, {
        nowMs: NOW_MS,
      });
      assert.ok(verdict.ok);
      return verdict;
    }));
    const committed = await commitChange(mls, group, { add });
    assert.ok(committed.body.length < COMMIT_BODY_BYTES_MAX);
    treeBytes = committed.sealedTree!.length;
    group = await readBack(mls, committed.group, committed.body);
  }
  const removal = await commitChange(mls, group, { remove: [500] });
  group = await readBack(mls, removal.group, removal.body);
  assert.equal(rosterOf(group).members.length, GROUP_USERS_MAX - 1);
  const [bodyBytes, largest] = [removal.body.length, COMMIT_BODY_BYTES_MAX];
  assert.ok(
    bodyBytes > 1_100_000 && bodyBytes * 1.5 < largest,
    `${bodyBytes} bytes: half as many devices more have room`,
  );
  assert.ok(treeBytes > 2_500_000 && treeBytes * 1.5 < TREE_BYTES_MAX, `${treeBytes} bytes`);
});

async function readBack(mls: Mls, group: Group, body: Uint8Array): Promise<Group> {
  const outcome = await receive(mls, group, body, { nowMs: NOW_MS });
  assert.equal(outcome.kind, "commit");
  return (outcome as Extract<typeof outcome, { kind: "commit" }>).group;
}

/** People who have signed up, left a key package, and are never seen again. */
async function enrolCrowd(world: World, count: number, prefix = "m"): Promise<UserName[]> {
  const mls: Mls = {
    suite: await loadSuite(world.suite),
    credentials: new Credentials(new CertificateCache(TEST_CLUSTER)),
  };
  const { aliceIdentity } = await testKeys(), names: UserName[] = [];
  for (let at = 0; at < count; at++) {
    const name = `${prefix}${at}` as UserName;
    const { device, publicBytes, certificate } = await newMember(mls, name, world.clock.nowMs);
    await world.server.enrol(name, device, certificate, aliceIdentity.spki);
    const packages = { user: name, device, oneTime: [publicBytes], lastResort: undefined, nowMs: world.clock.nowMs };
    await world.server.store.putKeyPackages(packages);
    names.push(name);
  }
  return names;
}

async function newMember(mls: Mls, user: UserName, nowMs = NOW_MS) {
  const { aliceIdentity, alice } = await testKeys();
  let member = known.get(user);
  if (member === undefined) {
    const leaf = Ed25519KeyPair.generate(), device = crypto.getRandomValues(new Uint8Array(16)).toHex() as DeviceId;
    const certificate = await makeCertificate({
      clusterId: TEST_CLUSTER,
      user,
      device,
      leafKey: leaf.publicKey,
      envelopeKey: alice.envelopeKey,
      identityKey: aliceIdentity.spki,
      notBeforeMs: TEST_NOT_BEFORE_MS,
      notAfterMs: TEST_NOT_AFTER_MS,
      serial: 1,
    }, aliceIdentity.privateKey);
    known.set(user, member = { device, certificate, leafPkcs8: leaf.pkcs8 });
  }
  const { publicBytes } = await makeKeyPackage(mls, member, { nowMs });
  return { ...member, publicBytes };
}

/** Certifying a thousand takes some seconds; both tests may have the same ones. */
const known = new Map<UserName, OwnDevice & { readonly device: DeviceId }>();

function members(home: Home, id: ConversationId): number {
  return home.engine.conversation(id)!.members.length;
}

/** One says something, and the others hear it. */
async function said(world: World, homes: readonly Home[], id: ConversationId, by: Home, text: string): Promise<void> {
  by.say(id, text);
  await world.settle();
  for (const home of homes) {
    assert.deepEqual([home.shown.get(id)?.at(-1)?.from, home.shown.get(id)?.at(-1)?.text], [by.user, text], home.user);
  }
}

const NOW_MS = Date.now();
const DAY_MS = 24 * 3600 * 1000;
