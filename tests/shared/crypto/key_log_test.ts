import assert from "node:assert/strict";
import fc from "fast-check";
import { DecodeError } from "../../../shared/codec/mod.ts";
import {
  applyStatement,
  decodeKeyStatement,
  deviceEntry,
  EMPTY_KEY_LOG,
  encodeKeyStatement,
  isUsable,
  judgeStatement,
  type KeyHistory,
  type KeyStatement,
  makeCertificate,
  nextKeyLogHead,
  sha256,
  signApproval,
  signDeviceName,
  signPolicy,
  signRevocation,
  signRotation,
  verifyDeviceName,
} from "../../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, type TestDevice, testKeys } from "../../keys.ts";

const OWNER = { clusterId: TEST_CLUSTER, user: "alice" as UserName };
const vectors = JSON.parse(await Deno.readTextFile(new URL("../../vectors/key_log.json", import.meta.url)));

Deno.test("key log: the vectors' entries are read, hashed, judged and applied as they say", async () => {
  let head = EMPTY_KEY_LOG, history: KeyHistory | undefined;
  for (const [at, { what, entry, hash, head: expected }] of vectors.chain.entries()) {
    const bytes = Uint8Array.fromHex(entry), said = decodeKeyStatement(bytes);
    assert.equal(said.type, what);
    assert.equal(encodeKeyStatement(said).toHex(), entry);
    assert.equal(sha256(bytes).toHex(), hash);
    head = nextKeyLogHead(head, OWNER.user, sha256(bytes));
    assert.equal(head.toHex(), expected);
    assert.equal(await judgeStatement(history, said, OWNER), undefined, what);
    history = applyStatement(history, at + 1, said);
  }
  const { alice, alice2 } = await testKeys(), { device, name, signature } = vectors.deviceName;
  assert.equal(history!.approval, true);
  assert.equal(history!.policyNumber, 70);
  assert.deepEqual([history!.devices.get(alice2.id)!.approvedAt, history!.devices.get(alice2.id)!.endedAt], [3, 5]);
  assert.equal(signDeviceName(alice.leaf, { ...OWNER, device, name }).toHex(), signature);
  assert.equal(verifyDeviceName(alice.leaf.publicKey, { ...OWNER, device, name }, Uint8Array.fromHex(signature)), true);
  assert.equal(
    verifyDeviceName(alice.leaf.publicKey, { ...OWNER, device, name: "Tower" }, Uint8Array.fromHex(signature)),
    false,
  );
});

Deno.test("key log: a flipped bit anywhere in a statement is read as nothing, or does not count", async () => {
  let history: KeyHistory | undefined;
  for (const [at, { entry }] of vectors.chain.entries()) {
    const bytes = Uint8Array.fromHex(entry), before = history;
    const bits = fc.integer({ min: 0, max: bytes.length * 8 - 1 });
    await fc.assert(
      fc.asyncProperty(bits, async (bit) => {
        const flipped = new Uint8Array(bytes);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        let said: KeyStatement;
        try {
          said = decodeKeyStatement(flipped);
        } catch (error) {
          assert(error instanceof DecodeError);
          return;
        }
        assert.notEqual(await judgeStatement(before, said, OWNER), undefined);
      }),
      { numRuns: 60 },
    );
    history = applyStatement(history, at + 1, decodeKeyStatement(bytes));
  }
});

Deno.test("decodeKeyStatement() refuses what is cut off, goes on, or is of no kind", () => {
  for (const { entry } of vectors.chain) {
    const bytes = Uint8Array.fromHex(entry);
    for (const length of [0, 1, bytes.length - 1]) {
      assert.throws(() => decodeKeyStatement(bytes.subarray(0, length)), DecodeError);
    }
    assert.throws(() => decodeKeyStatement(new Uint8Array([...bytes, 0])), DecodeError);
  }
  assert.throws(() => decodeKeyStatement(new Uint8Array([9])), DecodeError);
});

Deno.test("nextKeyLogHead() depends on every part, and on where the name ends", () => {
  const hash = sha256(new Uint8Array([1])), next = nextKeyLogHead(EMPTY_KEY_LOG, "ab" as UserName, hash).toHex();
  assert.notEqual(nextKeyLogHead(EMPTY_KEY_LOG, "a" as UserName, hash).toHex(), next);
  assert.notEqual(nextKeyLogHead(hash, "ab" as UserName, hash).toHex(), next);
  assert.notEqual(nextKeyLogHead(EMPTY_KEY_LOG, "ab" as UserName, EMPTY_KEY_LOG).toHex(), next);
});

Deno.test("judgeStatement() lets a device in once, by the user's own identity, in this cluster", async () => {
  const { alice, alice2, bob } = await testKeys();
  const one = await applied(undefined, 1, { type: "device", certificate: alice.certificate });
  const judge = (certificate: Uint8Array, history: KeyHistory | undefined = one) =>
    judgeStatement(history, { type: "device", certificate }, OWNER);
  assert.equal(await judge(alice2.certificate), undefined);
  assert.match((await judge(alice.certificate))!, /there already/);
  assert.match((await judge(bob.certificate))!, /another user/);
  assert.match((await judge(bob.certificate, undefined))!, /another user/);
  assert.match((await judge(await certificate(bob, { identity: "bob" })))!, /another identity/);
  assert.match((await judge(await certificate(alice2, { clusterId: new Uint8Array(16) })))!, /other cluster/);
  assert.match((await judge(new Uint8Array([1])))!, /malformed/);
  const revoked = await applied(one, 2, await revoke(alice.id));
  assert.match((await judge(await certificate(alice, { serial: 9 }), revoked))!, /revoked already/);
});

Deno.test("judgeStatement() takes an approval by another, approved device only", async () => {
  const { alice, alice2 } = await testKeys();
  const one = await applied(undefined, 1, { type: "device", certificate: alice.certificate });
  const two = await applied(one, 2, { type: "device", certificate: alice2.certificate });
  const approval = { device: alice2.id, certificate: sha256(alice2.certificate), by: alice.id, timeMs: 5 };
  const judge = (said: KeyStatement, history = two) => judgeStatement(history, said, OWNER);
  assert.equal(await judge(signApproval(alice.leaf, OWNER, approval)), undefined);
  assert.match((await judge(signApproval(alice.leaf, OWNER, approval), one))!, /not there/);
  assert.match((await judge(signApproval(alice2.leaf, OWNER, approval)))!, /signature/);
  assert.match((await judge(signApproval(alice2.leaf, OWNER, { ...approval, by: alice2.id })))!, /nobody has approved/);
  const other = { ...approval, certificate: sha256(alice.certificate) };
  assert.match((await judge(signApproval(alice.leaf, OWNER, other)))!, /another certificate/);
  assert.match((await judge(signApproval(alice.leaf, { ...OWNER, user: "bob" as UserName }, approval)))!, /signature/);
  const ended = await applied(two, 3, await revoke(alice.id));
  assert.match((await judge(signApproval(alice.leaf, OWNER, approval), ended))!, /by a device that is not there/);
  const done = await applied(two, 3, signApproval(alice.leaf, OWNER, approval));
  assert.equal(done.devices.get(alice2.id)!.approvedAt, 3);
});

Deno.test("somebody can always approve: of those that are left, whoever came first, or who comes next", async () => {
  const { alice, alice2 } = await testKeys();
  const one = await applied(undefined, 1, { type: "device", certificate: alice.certificate });
  const two = await applied(one, 2, { type: "device", certificate: alice2.certificate });
  const three = await applied(two, 3, await revoke(alice.id));
  assert.equal(three.devices.get(alice2.id)!.approvedAt, 3);
  const four = await applied(three, 4, await revoke(alice2.id));
  const third = "3".repeat(32) as DeviceId, fourth = "4".repeat(32) as DeviceId;
  const five = await applied(four, 5, { type: "device", certificate: await certificate(alice, { device: third }) });
  assert.equal(five.devices.get(third)!.approvedAt, 5);
  const six = await applied(five, 6, { type: "device", certificate: await certificate(alice, { device: fourth }) });
  assert.equal(six.devices.get(fourth)!.approvedAt, undefined);
});

Deno.test("a policy counts from its entry on, never goes back, and needs every device to be approved", async () => {
  const { alice, alice2 } = await testKeys(), key = alice.identity.privateKey;
  const one = await applied(undefined, 1, { type: "device", certificate: alice.certificate });
  const on = await signPolicy(key, OWNER, { approval: true, number: 1, timeMs: 5 });
  const two = await applied(one, 2, { type: "device", certificate: alice2.certificate });
  assert.match((await judgeStatement(two, on, OWNER))!, /nobody has approved/);
  const strict = await applied(one, 2, on);
  assert.match((await judgeStatement(strict, on, OWNER))!, /older policy/);
  const waiting = await applied(strict, 3, { type: "device", certificate: alice2.certificate });
  assert.equal(isUsable(waiting, waiting.devices.get(alice2.id)!), false);
  assert.equal(isUsable(waiting, waiting.devices.get(alice.id)!), true);
  const off = await signPolicy(key, OWNER, { approval: false, number: 2, timeMs: 5 });
  const open = await applied(waiting, 4, off);
  assert.equal(isUsable(open, open.devices.get(alice2.id)!), true);
});

Deno.test("a rotation is by the old identity, from a device there is, to one that never was; others come back anew", async () => {
  const { alice, alice2, bobIdentity, aliceIdentity } = await testKeys();
  const one = await applied(undefined, 1, { type: "device", certificate: alice.certificate });
  const two = await applied(one, 2, { type: "device", certificate: alice2.certificate });
  const from = aliceIdentity.fingerprint;
  const rotate = async (fields: Parameters<typeof certificate>[1], key = aliceIdentity.privateKey) =>
    await signRotation(key, { ...OWNER, from }, {
      certificate: await certificate(alice, { identity: "bob", serial: 2, ...fields }),
      timeMs: 5,
    });
  const judge = async (said: KeyStatement) => await judgeStatement(two, said, OWNER);
  const said = await rotate({});
  assert.equal(await judge(said), undefined);
  assert.match((await judge(await rotate({}, bobIdentity.privateKey)))!, /signature/);
  assert.match((await judge(await rotate({ identity: "alice" })))!, /not new/);
  assert.match((await judge(await rotate({ serial: 1 })))!, /not newer/);
  assert.match((await judge(await rotate({ leafKey: alice2.leaf.publicKey })))!, /leaf key/);
  assert.match((await judge(await rotate({ device: "0".repeat(32) as DeviceId })))!, /not there/);
  const three = await applied(two, 3, said);
  assert.deepEqual([three.identity.toHex(), three.identitySince], [bobIdentity.fingerprint.toHex(), 3]);
  assert.deepEqual(three.earlier.map((key) => key.toHex()), [from.toHex()]);
  assert.deepEqual([...three.devices.values()].map(({ ending, approvedAt }) => [ending, approvedAt]), [
    [undefined, 3],
    ["superseded", undefined],
  ]);
  // What the old identity says now, says nobody.
  assert.match((await judgeStatement(three, await revoke(alice.id), OWNER))!, /signature/);
  assert.match((await judgeStatement(three, { type: "device", certificate: alice2.certificate }, OWNER))!, /identity/);
  const old = { type: "device", certificate: await certificate(alice2, { identity: "bob" }) } as const;
  assert.match((await judgeStatement(three, old, OWNER))!, /not newer/);
  const anew = { type: "device", certificate: await certificate(alice2, { identity: "bob", serial: 2 }) } as const;
  const four = await applied(three, 4, anew);
  assert.deepEqual([four.devices.get(alice2.id)!.ending, four.devices.get(alice2.id)!.since], [undefined, 4]);
});

Deno.test("applyStatement() leaves the history before as it was", async () => {
  const { alice, alice2 } = await testKeys();
  const one = await applied(undefined, 1, { type: "device", certificate: alice.certificate });
  const before = structuredClone(one);
  const two = await applied(one, 2, { type: "device", certificate: alice2.certificate });
  await applied(two, 3, await revoke(alice.id));
  assert.deepEqual(one, before);
  assert.equal(two.devices.get(alice.id)!.endedAt, undefined);
  assert.throws(() => applyStatement(undefined, 1, decodeKeyStatement(Uint8Array.fromHex(vectors.chain[2].entry))));
  assert.equal(decodeKeyStatement(deviceEntry(alice.certificate)).type, "device");
});

async function applied(history: KeyHistory | undefined, number: number, said: KeyStatement): Promise<KeyHistory> {
  assert.equal(await judgeStatement(history, said, OWNER), undefined);
  return applyStatement(history, number, said);
}

async function revoke(device: DeviceId): Promise<KeyStatement> {
  const { aliceIdentity } = await testKeys();
  return await signRevocation(aliceIdentity.privateKey, OWNER, { device, timeMs: 5 });
}

async function certificate(
  of: TestDevice,
  fields: {
    identity?: "alice" | "bob";
    serial?: number;
    device?: DeviceId;
    leafKey?: Uint8Array;
    clusterId?: Uint8Array;
  } = {},
): Promise<Uint8Array> {
  const { aliceIdentity, bobIdentity } = await testKeys(), by = fields.identity === "bob" ? bobIdentity : aliceIdentity;
  return await makeCertificate({
    clusterId: fields.clusterId ?? TEST_CLUSTER,
    user: OWNER.user,
    device: fields.device ?? of.id,
    leafKey: fields.leafKey ?? of.leaf.publicKey,
    envelopeKey: of.envelopeKey,
    identityKey: by.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOT_AFTER_MS,
    serial: fields.serial ?? 1,
  }, by.privateKey);
}
