import assert from "node:assert/strict";
import { type OpenedRecord, openRecord, sealFor } from "../../../client/e2ee/mod.ts";
import { directConversationId, envelopeHash, makeCertificate, NO_PREVIOUS } from "../../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_BEFORE_MS, TEST_NOW_MS } from "../../keys.ts";
import { forgeEnvelope, type Forgery } from "../../shared/crypto/forge_envelope.ts";
import { ALICE, BOB, CONVERSATION, entry, MESSAGE, opening, type People, people, row, sealing } from "./people.ts";

const CAROL = "carol" as UserName;

function codeOf(opened: OpenedRecord): string {
  return opened.kind === "refused" ? opened.code : opened.kind;
}

/** Signed and sealed as Alice's first device would, with anything changed. */
function forged(world: People, spoil: (forgery: Forgery) => void = () => {}): Uint8Array {
  const { alice, alice2, bob } = world;
  const forgery: Forgery = {
    header: {
      label: "fastchat/envelope/1",
      suite: 1,
      clusterId: TEST_CLUSTER,
      senderIdentity: alice.identity.fingerprint,
      recipientIdentity: bob.identity.fingerprint,
      senderDevice: alice.id,
      devices: [bob.id, alice2.id],
      conversation: CONVERSATION,
      messageId: MESSAGE,
      counter: 1,
      previous: NO_PREVIOUS,
      timeMs: TEST_NOW_MS,
      innerType: 1,
    },
    content: {
      version: 1,
      type: 1,
      messageId: MESSAGE,
      device: alice.id,
      counter: 1,
      timeMs: TEST_NOW_MS,
      text: new TextEncoder().encode("hi"),
    },
    envelopeKeys: [bob.envelopeKey, alice2.envelopeKey],
    leaf: alice.leaf,
  };
  spoil(forgery);
  return forgeEnvelope(forgery);
}

Deno.test("openRecord() says who wrote to whom, for the recipient and for the sender's other device", async () => {
  const world = await people();
  const { body } = await sealFor(sealing(world));
  for (const reader of [world.bob, world.alice2]) {
    assert.deepEqual(await openRecord(opening(world, reader, row(world, body))), {
      kind: "message",
      message: {
        conversation: CONVERSATION,
        id: MESSAGE,
        from: ALICE,
        to: BOB,
        device: world.alice.id,
        text: "hi",
        sentMs: TEST_NOW_MS,
      },
      chain: { counter: 1, hash: envelopeHash(body) },
      missed: 0,
      forked: false,
    });
  }
});

Deno.test("openRecord() refuses a row that names another sender, device or message than the proven one", async () => {
  const world = await people();
  const { body } = await sealFor(sealing(world));
  const cases: [Parameters<typeof row>[2], string, RegExp][] = [
    [{ sender: BOB }, "row names another sender", /bob/],
    [{ sender: CAROL }, "row names another sender", /The server says that carol sent it, which is not so/],
    [{ device: world.alice2.id }, "row names another device", /another device/],
    [{ messageId: "bb".repeat(16) as MessageId }, "row names another message", /another message/],
    [{ conversation: "cc".repeat(16) as ConversationId }, "other conversation", /conversation/],
  ];
  for (const [change, code, reason] of cases) {
    const opened = await openRecord(opening(world, world.bob, row(world, body, change)));
    assert.equal(codeOf(opened), code);
    assert.match(opened.kind === "refused" ? opened.reason : "", reason);
  }
});

Deno.test("openRecord() refuses a row moved into another conversation, whatever the server calls it", async () => {
  const world = await people();
  const { body } = await sealFor(sealing(world));
  // Carol is pinned with Alice's own identity: even then the conversation inside is Alice's and Bob's.
  world.pins.set(CAROL, world.alice.identity.fingerprint);
  const conversation = directConversationId(TEST_CLUSTER, BOB, CAROL);
  const record = row(world, body, { conversation, sender: CAROL });
  const carols = entry(CAROL, world.alice.identity.spki, [world.alice.certificate], 1);
  world.directory.set(CAROL, carols);
  assert.equal(codeOf(await openRecord(opening(world, world.bob, record, { peer: CAROL }))), "unknown device");
  const certificate = await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: CAROL,
    device: world.alice.id,
    leafKey: world.alice.leaf.publicKey,
    envelopeKey: world.alice.envelopeKey,
    identityKey: world.alice.identity.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOW_MS,
    serial: 1,
  }, world.alice.identity.privateKey);
  world.directory.set(CAROL, { ...carols, certificates: [certificate] });
  assert.equal(codeOf(await openRecord(opening(world, world.bob, record, { peer: CAROL }))), "other conversation");
});

Deno.test("openRecord() refuses what an unpinned or changed identity wrote until it is trusted", async () => {
  const world = await people();
  const record = row(world, (await sealFor(sealing(world))).body);
  world.pins.set(ALICE, new Uint8Array(32));
  assert.equal(codeOf(await openRecord(opening(world, world.bob, record))), "identity changed");
  world.pins.delete(ALICE);
  assert.equal(codeOf(await openRecord(opening(world, world.bob, record))), "identity changed");
  world.pins.set(ALICE, world.alice.identity.fingerprint);
  assert.equal(codeOf(await openRecord(opening(world, world.bob, record))), "message");
});

Deno.test("openRecord() refuses a copy that another device of ours sent to an identity we do not trust", async () => {
  const world = await people();
  const record = row(world, (await sealFor(sealing(world))).body);
  world.pins.set(BOB, new Uint8Array(32));
  assert.equal(codeOf(await openRecord(opening(world, world.alice2, record))), "identity changed");
});

Deno.test("openRecord() refuses a device without a certificate by the pinned identity", async () => {
  const world = await people();
  const record = row(world, (await sealFor(sealing(world))).body);
  const { alice, alice2, bob } = world;
  const byBob = await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: ALICE,
    device: alice.id,
    leafKey: alice.leaf.publicKey,
    envelopeKey: alice.envelopeKey,
    identityKey: bob.identity.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOW_MS,
    serial: 1,
  }, bob.identity.privateKey);
  for (const certificates of [[], [alice2.certificate], [byBob], [new Uint8Array(3)]]) {
    const opened = await openRecord(opening(world, bob, record, { certificatesOf: () => certificates }));
    assert.equal(codeOf(opened), "unknown device");
  }
  const both = [byBob, alice.certificate];
  assert.equal(codeOf(await openRecord(opening(world, bob, record, { certificatesOf: () => both }))), "message");
});

Deno.test("openRecord() refuses a message from outside its certificate's validity", async () => {
  const world = await people();
  const { alice } = world;
  const short = await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: ALICE,
    device: alice.id,
    leafKey: alice.leaf.publicKey,
    envelopeKey: alice.envelopeKey,
    identityKey: alice.identity.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOT_BEFORE_MS + 1,
    serial: 1,
  }, alice.identity.privateKey);
  const record = row(world, (await sealFor(sealing(world))).body);
  const opened = await openRecord(opening(world, world.bob, record, { certificatesOf: () => [short] }));
  assert.equal(codeOf(opened), "certificate not valid then");
});

Deno.test("openRecord() refuses what another device of the same person, or the recipient, made up in its name", async () => {
  const world = await people();
  for (const leaf of [world.alice2.leaf, world.bob.leaf]) {
    const body = forged(world, (forgery) => forgery.leaf = leaf);
    assert.equal(codeOf(await openRecord(opening(world, world.bob, row(world, body)))), "bad signature");
  }
  // Bob forwards Alice's words as his: his signature is good, and it is shown as his.
  const body = forged(world, ({ header, content }) => {
    header.senderIdentity = world.bob.identity.fingerprint;
    header.recipientIdentity = world.alice.identity.fingerprint;
    header.senderDevice = content.device = world.bob.id;
    header.devices = [world.alice.id, world.alice2.id];
  });
  const record = row(world, body, { sender: ALICE });
  assert.notEqual(codeOf(await openRecord(opening(world, world.alice2, record))), "message");
});

Deno.test("openRecord() tells its own device's rows and those not sealed for it apart", async () => {
  const world = await people();
  const record = row(world, (await sealFor(sealing(world))).body);
  assert.equal(codeOf(await openRecord(opening(world, world.alice, record))), "own device");
  const late = { ...world.bob, id: "77".repeat(16) as DeviceId };
  assert.equal(codeOf(await openRecord(opening(world, late, record))), "not for this device");
});

Deno.test("openRecord() drops what it has seen, counts what is missing, and sees two stories", async () => {
  const world = await people();
  const first = await sealFor(sealing(world));
  const sealAs = (counter: number, previous: Uint8Array) => sealFor(sealing(world, { counter, previous }));
  const chain = { counter: 1, hash: first.hash };
  const openAfter = async (body: Uint8Array) =>
    await openRecord(opening(world, world.bob, row(world, body), { chainOf: () => chain }));
  assert.deepEqual(await openAfter(first.body), { kind: "repeat" });
  // Sealed anew under the same number: still the same message.
  assert.deepEqual(await openAfter((await sealAs(1, NO_PREVIOUS)).body), { kind: "repeat" });
  const follows = await openAfter((await sealAs(2, first.hash)).body);
  assert.ok(follows.kind === "message");
  assert.deepEqual([follows.missed, follows.forked, follows.chain.counter], [0, false, 2]);
  const gap = await openAfter((await sealAs(5, NO_PREVIOUS)).body);
  assert.ok(gap.kind === "message");
  assert.deepEqual([gap.missed, gap.forked], [3, false]);
  const fork = await openAfter((await sealAs(2, NO_PREVIOUS)).body);
  assert.ok(fork.kind === "message");
  assert.deepEqual([fork.missed, fork.forked], [0, true]);
});

Deno.test("openRecord() calls nothing missing from a device it hears for the first time", async () => {
  const world = await people();
  const { body } = await sealFor(sealing(world, { counter: 40, previous: new Uint8Array(32).fill(1) }));
  const opened = await openRecord(opening(world, world.bob, row(world, body)));
  assert.ok(opened.kind === "message");
  assert.deepEqual([opened.missed, opened.forked], [0, false]);
});

Deno.test("openRecord() answers every truncation and changed byte with a refusal that has a reason", async () => {
  const world = await people();
  const { body } = await sealFor(sealing(world));
  for (let length = 0; length < body.length; length += 7) {
    const opened = await openRecord(opening(world, world.bob, row(world, body.subarray(0, length))));
    assert.ok(opened.kind === "refused" && opened.reason.length > 0 && !opened.reason.includes("NAME"), `${length}`);
  }
  for (let i = 0; i < body.length; i += 7) {
    const changed = body.slice();
    changed[i]! ^= 0x20;
    const opened = await openRecord(opening(world, world.bob, row(world, changed)));
    assert.ok(opened.kind === "refused" && opened.reason.length > 0 && !opened.reason.includes("NAME"), `byte ${i}`);
  }
});

Deno.test("openRecord() opens nothing of another cluster", async () => {
  const world = await people();
  const elsewhere = new Uint8Array(16).fill(9);
  const body = forged(world, (forgery) => forgery.header.clusterId = elsewhere);
  assert.equal(codeOf(await openRecord(opening(world, world.bob, row(world, body)))), "other cluster");
});
