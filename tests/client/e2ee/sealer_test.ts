import assert from "node:assert/strict";
import { CertificateCache, KeyChanged, NoUsableDevice, openRecord, sealFor } from "../../../client/e2ee/mod.ts";
import { envelopeHash, makeCertificate, readEnvelope } from "../../../shared/crypto/mod.ts";
import type { CertificateFields } from "../../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, TEST_NOW_MS, type TestDevice } from "../../keys.ts";
import { ALICE, BOB, CONVERSATION, entry, opening, people, row, sealing } from "./people.ts";

const DAY_MS = 24 * 3600 * 1000;

async function certificateOf(device: TestDevice, change: Partial<CertificateFields>, signer = device.identity) {
  return await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: device.user,
    device: device.id,
    leafKey: device.leaf.publicKey,
    envelopeKey: device.envelopeKey,
    identityKey: signer.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOT_AFTER_MS,
    serial: 1,
    ...change,
  }, signer.privateKey);
}

Deno.test("sealFor() seals for every device of the recipient and the sender's other ones", async () => {
  const world = await people();
  const sealed = await sealFor(sealing(world));
  assert.deepEqual([...sealed.devices].sort(), [world.bob.id, world.alice2.id].sort());
  assert.deepEqual(sealed.skipped, []);
  assert.equal(sealed.epoch, 3);
  assert.equal(sealed.conversation, CONVERSATION);
  assert.deepEqual(sealed.hash, envelopeHash(sealed.body));
  for (const reader of [world.bob, world.alice2]) {
    const opened = await openRecord(opening(world, reader, row(world, sealed.body)));
    assert.ok(opened.kind === "message");
    assert.deepEqual([opened.message.from, opened.message.to, opened.message.text], [ALICE, BOB, "hi"]);
  }
});

Deno.test("sealFor() seals nothing for a recipient whose identity is not the pinned one", async () => {
  const world = await people();
  const { alice, bob } = world;
  const impostor = entry(BOB, alice.identity.spki, [await certificateOf(bob, {}, alice.identity)], 1);
  await assert.rejects(sealFor(sealing(world, { recipient: impostor })), (error: unknown) => {
    assert.ok(error instanceof KeyChanged);
    assert.equal(error.user, BOB);
    assert.deepEqual(error.pinned, bob.identity.fingerprint);
    assert.deepEqual(error.offered, alice.identity.fingerprint);
    return true;
  });
  world.pins.delete(BOB);
  await assert.rejects(sealFor(sealing(world)), TypeError);
});

Deno.test("sealFor() seals nothing where the server shows another identity as one's own", async () => {
  const world = await people();
  const own = entry(ALICE, world.bob.identity.spki, [await certificateOf(world.alice2, {}, world.bob.identity)], 2);
  await assert.rejects(
    sealFor(sealing(world, { own })),
    (error: unknown) => error instanceof KeyChanged && error.user === ALICE,
  );
});

Deno.test("sealFor() leaves out and reports devices that the pinned identity does not vouch for now", async () => {
  const world = await people();
  const { alice, bob } = world;
  const ghost = { ...bob, id: "99".repeat(16) as DeviceId };
  const cases: [Uint8Array, string, DeviceId | undefined][] = [
    [await certificateOf(ghost, {}, alice.identity), "other identity", ghost.id],
    // Says it is by Bob's identity, and is signed by Alice's.
    [
      await makeCertificate({
        clusterId: TEST_CLUSTER,
        user: BOB,
        device: ghost.id,
        leafKey: ghost.leaf.publicKey,
        envelopeKey: ghost.envelopeKey,
        identityKey: bob.identity.spki,
        notBeforeMs: TEST_NOT_BEFORE_MS,
        notAfterMs: TEST_NOT_AFTER_MS,
        serial: 1,
      }, alice.identity.privateKey),
      "bad signature",
      undefined,
    ],
    [await certificateOf(ghost, { user: "carol" as UserName }), "other user", ghost.id],
    [await certificateOf(ghost, { clusterId: new Uint8Array(16) }), "other cluster", undefined],
    [await certificateOf(ghost, { notAfterMs: TEST_NOW_MS - DAY_MS - 1 }), "expired", ghost.id],
    [await certificateOf(ghost, { notBeforeMs: TEST_NOW_MS + DAY_MS + 1 }), "not yet valid", ghost.id],
    [await certificateOf(bob, { serial: 2 }), "repeated device id", bob.id],
    // Bob takes the ids of Alice's devices: she still gets her own copy.
    [await certificateOf(bob, { device: world.alice.id }), "repeated device id", world.alice.id],
    [await certificateOf(bob, { device: world.alice2.id }), "repeated device id", world.alice2.id],
    [new Uint8Array([1, 2, 3]), "malformed", undefined],
  ];
  const recipient = entry(BOB, bob.identity.spki, [bob.certificate, ...cases.map(([bytes]) => bytes)], 1);
  const sealed = await sealFor(sealing(world, { recipient }));
  assert.deepEqual([...sealed.devices].sort(), [bob.id, world.alice2.id].sort());
  const expected = cases.map(([, reason, device]) => ({ user: BOB, reason, ...(device !== undefined && { device }) }));
  assert.deepEqual(sealed.skipped, expected);
});

Deno.test("sealFor() refuses to seal for nobody, and says why", async () => {
  const world = await people();
  const expired = await certificateOf(world.bob, { notAfterMs: 1 });
  const recipient = entry(BOB, world.bob.identity.spki, [expired], 1);
  await assert.rejects(sealFor(sealing(world, { recipient })), (error: unknown) => {
    assert.ok(error instanceof NoUsableDevice);
    assert.match(error.message, /bob.*expired/);
    return true;
  });
});

Deno.test("sealFor() judges certificates by the clock now, not by when a text was written", async () => {
  const world = await people();
  // A week ago Alice wrote this without a connection; yesterday Bob's only device was new.
  const fresh = await certificateOf(world.bob, { notBeforeMs: TEST_NOW_MS });
  const recipient = entry(BOB, world.bob.identity.spki, [fresh], 1);
  const sealed = await sealFor(sealing(world, { recipient, timeMs: TEST_NOW_MS - 7 * DAY_MS }));
  assert.ok(sealed.devices.includes(world.bob.id));
});

Deno.test("sealFor() sends a note to oneself to one's other devices", async () => {
  const world = await people();
  const own = world.directory.get(ALICE)!;
  const { body, devices, conversation } = await sealFor(sealing(world, { recipient: own }));
  assert.deepEqual(devices, [world.alice2.id]);
  const record = row(world, body, { conversation });
  const opened = await openRecord(opening(world, world.alice2, record, { peer: ALICE }));
  assert.ok(opened.kind === "message");
  assert.deepEqual([opened.message.from, opened.message.to], [ALICE, ALICE]);
});

Deno.test("sealFor() names recipient, devices and conversation in clear and nothing of the text", async () => {
  const world = await people();
  const text = "a rather recognisable sentence";
  const { body } = await sealFor(sealing(world, { text, counter: 9 }));
  const read = readEnvelope(body);
  assert.ok(read.ok);
  assert.equal(read.envelope.header.counter, 9);
  assert.deepEqual(read.envelope.header.recipientIdentity, world.bob.identity.fingerprint);
  assert.equal(body.toHex().includes(new TextEncoder().encode("recognisable").toHex()), false);
});

Deno.test("CertificateCache.verify() judges the same bytes once", async () => {
  const { bob } = await people();
  const cache = new CertificateCache(TEST_CLUSTER);
  assert.equal(cache.verify(bob.certificate), cache.verify(bob.certificate.slice()));
  const changed = bob.certificate.slice();
  changed[changed.length - 1]! ^= 1;
  assert.equal((await cache.verify(changed)).ok, false);
  assert.equal((await cache.verify(bob.certificate)).ok, true);
});
