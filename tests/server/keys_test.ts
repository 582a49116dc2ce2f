/** The key log on the server: who may state what, and what becomes of it (docs/PROTOCOL.md §16). */
import assert from "node:assert/strict";
import {
  encodeKeyStatement,
  type KeyStatement,
  makeCertificate,
  sha256,
  signApproval,
  signDeviceName,
  signPolicy,
  signRevocation,
  signRotation,
} from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, type TestDevice, testKeys } from "../keys.ts";
import {
  enrolment,
  expectError,
  expectType,
  Harness,
  logIn,
  resumption,
  SECRET,
  settle,
  type TestClient,
  until,
} from "./harness.ts";

const ALICE = "alice" as UserName, OWNER = { clusterId: TEST_CLUSTER, user: ALICE };

/** Alice with two devices, the second enrolled by password. */
async function twoDevices() {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  const client = await harness.signedUp(alice), second = harness.connect();
  expectType(await second.ask({ type: "login", name: "alice", loginSecret: SECRET, device: undefined }), "enrolNeeded");
  const session = expectType(await second.ask(await enrolment(alice2, second)), "session");
  return { harness, client, second, alice, alice2, token: session.token };
}

function state(client: TestClient, said: KeyStatement) {
  return client.ask({ type: "stateKeys", statement: encodeKeyStatement(said) });
}

async function revocation(of: TestDevice, by: TestDevice = of): Promise<KeyStatement> {
  return await signRevocation(by.identity.privateKey, OWNER, { device: of.id, timeMs: 5 });
}

async function policy(by: TestDevice, approval: boolean, number = 1): Promise<KeyStatement> {
  return await signPolicy(by.identity.privateKey, OWNER, { approval, number, timeMs: 5 });
}

function approval(of: TestDevice, by: TestDevice): KeyStatement {
  return signApproval(by.leaf, OWNER, { device: of.id, certificate: sha256(of.certificate), by: by.id, timeMs: 5 });
}

Deno.test("keyLog gives everybody pages of the whole log, and keyEntries what is asked for", async () => {
  const { client, alice2 } = await twoDevices();
  const page = expectType(await client.ask({ type: "keyLog", after: 0 }), "keyLog");
  assert.deepEqual([page.entries.map(({ user }) => user), page.length], [["alice", "alice"], 2]);
  const { entries } = expectType(await client.ask({ type: "keyEntries", numbers: [2, 9] }), "keyEntries");
  assert.deepEqual(entries.map(({ number, entry }) => [number, sha256(entry).toHex()]), [
    [2, page.entries[1]!.hash.toHex()],
  ]);
  assert(entries[0]!.entry.toHex().includes(alice2.id));
});

Deno.test("nobody reads or states anything in the key log before a session", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), stranger = harness.connect();
  await harness.signedUp(alice);
  for (
    const request of [
      { type: "keyLog", after: 0 },
      { type: "keyEntries", numbers: [1] },
      { type: "stateKeys", statement: encodeKeyStatement(await revocation(alice)) },
      { type: "rotate", statement: new Uint8Array(), backup: new Uint8Array() },
      { type: "devices" },
    ] as const
  ) expectError(await stranger.ask({ ...request, numbers: [1] } as never), ErrorCode.notAuthenticated);
});

Deno.test("stateKeys revokes: the device's connection ends, its token is void, and it alone is told why", async () => {
  const { harness, client, second, alice, alice2, token } = await twoDevices();
  expectType(await client.ask({ type: "subscribe" }), "ok");
  expectType(await state(client, await revocation(alice2, alice)), "ok");
  await until(() => second.closed !== undefined);
  assert.deepEqual([second.closed!.code, second.closed!.reason], [CloseCode.sessionEnded, "This device was revoked"]);
  assert.equal(client.closed, undefined);
  await settle();
  assert.deepEqual(client.events.filter(({ type }) => type === "keyLogGrown"), [{ type: "keyLogGrown", length: 3 }]);
  const back = harness.connect();
  expectError(await back.ask(resumption(alice2, back, token)), ErrorCode.deviceRevoked);
  expectError(await back.ask(logIn(alice2, back)), ErrorCode.deviceRevoked);
  // Without its key it is one like any other.
  const thief = harness.connect(), claimed = resumption(alice2, thief, token);
  expectError(await thief.ask({ ...claimed, proof: new Uint8Array(64) }), ErrorCode.badCredentials);
  const entering = harness.connect();
  expectType(
    await entering.ask({ type: "login", name: "alice", loginSecret: SECRET, device: undefined }),
    "enrolNeeded",
  );
  expectError(await entering.ask(await enrolment(alice2, entering)), ErrorCode.deviceRevoked);
  expectType(await state(client, await revocation(alice2, alice)), "ok");
  assert.equal((await harness.store.keyLog(0, 10)).length, 3, "said once");
});

Deno.test("a revocation that comes while the device logs in leaves it no session", async () => {
  const { harness, client, alice, alice2 } = await twoDevices();
  const { store } = harness, create = store.createSession.bind(store);
  Object.assign(store, {
    createSession: async (session: Parameters<typeof create>[0]) => {
      const generation = await create(session);
      Object.assign(store, { createSession: create });
      expectType(await state(client, await revocation(alice2, alice)), "ok");
      return generation;
    },
  });
  const late = harness.connect();
  expectError(await late.ask(logIn(alice2, late)), ErrorCode.badCredentials);
  expectError(await late.ask({ type: "devices" }), ErrorCode.notAuthenticated);
});

Deno.test("stateKeys takes nothing that does not count, and nothing that is not to be stated", async () => {
  const { harness, client, alice, alice2 } = await twoDevices(), { bob } = await testKeys();
  const refused: [KeyStatement, number][] = [
    [await revocation(alice2, bob), ErrorCode.forbidden],
    [approval(alice2, alice2), ErrorCode.forbidden],
    [await policy(alice, true), ErrorCode.forbidden],
    [{ type: "device", certificate: alice2.certificate }, ErrorCode.malformed],
    [
      { type: "rotate", certificate: alice.certificate, timeMs: 1, signature: new Uint8Array(384) },
      ErrorCode.malformed,
    ],
  ];
  for (const [said, code] of refused) expectError(await state(client, said), code);
  expectError(await client.ask({ type: "stateKeys", statement: new Uint8Array([7]) }), ErrorCode.malformed);
  expectType(await state(client, await policy(alice, false)), "ok");
  assert.equal((await harness.store.keyLog(0, 10)).length, 2);
});

Deno.test("a policy keeps a new device waiting: no session, no place in the directory, until another approves it", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys(), client = await harness.signedUp(alice);
  expectType(await state(client, await policy(alice, true)), "ok");
  const next = harness.connect();
  expectType(await next.ask({ type: "login", name: "alice", loginSecret: SECRET, device: undefined }), "enrolNeeded");
  const waits = expectError(await next.ask(await enrolment(alice2, next)), ErrorCode.approvalNeeded);
  assert(waits.message.includes(`device approve ${alice2.id.slice(0, 8)}`));
  expectError(await next.ask({ type: "sync", after: undefined }), ErrorCode.notAuthenticated);
  const again = harness.connect();
  expectError(await again.ask(logIn(alice2, again)), ErrorCode.approvalNeeded);
  const { entries } = expectType(await client.ask({ type: "directory", names: ["alice"] }), "directory");
  assert.equal(entries[0]!.certificates.length, 1);
  expectType(await state(client, approval(alice2, alice)), "ok");
  expectType(await state(client, approval(alice2, alice)), "ok");
  assert.equal((await harness.store.keyLog(0, 10)).length, 4);
  const last = harness.connect();
  expectType(await last.ask(logIn(alice2, last)), "session");
});

Deno.test("rotate replaces the identity from the device that asks; others end, and enrol anew under it", async () => {
  const { harness, client, second, alice, alice2, token } = await twoDevices(), { bobIdentity } = await testKeys();
  const certify = (device: TestDevice, serial: number) =>
    makeCertificate({
      clusterId: TEST_CLUSTER,
      user: ALICE,
      device: device.id,
      leafKey: device.leaf.publicKey,
      envelopeKey: device.envelopeKey,
      identityKey: bobIdentity.spki,
      notBeforeMs: TEST_NOT_BEFORE_MS,
      notAfterMs: TEST_NOT_AFTER_MS,
      serial,
    }, bobIdentity.privateKey);
  const said = await signRotation(alice.identity.privateKey, { ...OWNER, from: alice.identity.fingerprint }, {
    certificate: await certify(alice, 2),
    timeMs: 5,
  });
  const request = { type: "rotate", statement: encodeKeyStatement(said), backup: new Uint8Array([9]) } as const;
  expectError(await second.ask(request), ErrorCode.forbidden);
  expectError(
    await client.ask({ ...request, statement: encodeKeyStatement(await policy(alice, false)) }),
    ErrorCode.malformed,
  );
  expectType(await client.ask(request), "ok");
  await until(() => second.closed !== undefined);
  assert.equal(client.closed, undefined);
  expectType(await client.ask(request), "ok");
  assert.equal((await harness.store.keyLog(0, 10)).length, 3, "said once");
  const { entries } = expectType(await client.ask({ type: "directory", names: ["alice"] }), "directory");
  assert.deepEqual(new Uint8Array(entries[0]!.identityKey), bobIdentity.spki);
  const back = harness.connect();
  expectError(await back.ask(resumption(alice2, back, token)), ErrorCode.badCredentials);
  expectType(await back.ask(logIn(alice2, back)), "enrolNeeded");
  const { backup } = expectType(await back.ask({ type: "backup" }), "backup");
  assert.deepEqual(new Uint8Array(backup), new Uint8Array([9]));
  expectError(await back.ask(await enrolment(alice2, back)), ErrorCode.badCertificate);
  const anew = { ...alice2, identity: bobIdentity, certificate: await certify(alice2, 2) };
  expectType(await back.ask(await enrolment(anew, back)), "session");
});

Deno.test("devices tells a user the names of their own devices, and nobody else's", async () => {
  const { harness, client, second, alice } = await twoDevices(), { bob } = await testKeys();
  const signature = signDeviceName(alice.leaf, { ...OWNER, device: alice.id, name: "tower" });
  expectType(await client.ask({ type: "nameDevice", name: "tower", signature }), "ok");
  const { devices } = expectType(await second.ask({ type: "devices" }), "devices");
  assert.deepEqual(devices.map(({ device, name }) => [device, name]), [[alice.id, "tower"]]);
  const other = await harness.signedUp(bob);
  assert.deepEqual(expectType(await other.ask({ type: "devices" }), "devices").devices, []);
});
