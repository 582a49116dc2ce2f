/** Linking on the server: who may leave, find, grant and use what lies at a place (docs/PROTOCOL.md §18). */
import assert from "node:assert/strict";
import { encodeKeyStatement, makeDeviceProof, sha256, signApproval } from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import { LINK_COMPARE_MS, LINK_LETTER_BYTES_MAX, LINK_MS } from "../../shared/limits.ts";
import type { RequestOf, UserName } from "../../shared/protocol/mod.ts";
import { TEST_CLUSTER, type TestDevice, testKeys } from "../keys.ts";
import { expectError, expectType, Harness, makeDevice, type TestClient } from "./harness.ts";

const PLACE = new Uint8Array(32).fill(5), OFFER = new Uint8Array([1, 2]), GRANT = new Uint8Array([3]);
const ALICE = "alice" as UserName;

function offer(client: TestClient) {
  return client.ask({ type: "linkOffer", place: PLACE, offer: OFFER });
}

function granting(
  of: TestDevice,
  by: TestDevice,
  changes: Partial<RequestOf<"linkGrant">> = {},
): RequestOf<"linkGrant"> {
  const approval = signApproval(by.leaf, { clusterId: TEST_CLUSTER, user: ALICE }, {
    device: of.id,
    certificate: sha256(of.certificate),
    by: by.id,
    timeMs: 5,
  });
  return {
    type: "linkGrant",
    place: PLACE,
    certificate: of.certificate,
    approval: encodeKeyStatement(approval),
    grant: GRANT,
    ...changes,
  };
}

function logIn(device: TestDevice, client: TestClient): RequestOf<"linkLogin"> {
  return { type: "linkLogin", place: PLACE, device: device.id, proof: makeDeviceProof(device.leaf, client.bind) };
}

Deno.test("a device that was granted logs in without a password, approved, and as often as its answer is lost", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  const client = await harness.signedUp(alice), next = harness.connect();
  assert.equal(expectType(await offer(next), "linkGranted").grant, undefined);
  const found = expectType(await client.ask({ type: "linkFind", place: PLACE }), "linkOffer");
  assert.deepEqual(new Uint8Array(found.offer), OFFER);
  for (let time = 0; time < 2; time++) expectType(await client.ask(granting(alice2, alice)), "ok");
  assert.equal((await harness.store.keyLog(0, 10)).length, 3, "said once");
  assert.deepEqual(new Uint8Array(expectType(await offer(next), "linkGranted").grant!), GRANT);
  const session = expectType(await next.ask(logIn(alice2, next)), "session");
  assert.equal(session.name, "alice");
  const again = harness.connect();
  expectType(await again.ask(logIn(alice2, again)), "session");
  expectType(await again.ask({ type: "sync", after: undefined }), "sync");
});

Deno.test("nobody gets in by a place but the device that was granted there, with its key", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys(), client = await harness.signedUp(alice);
  const stranger = harness.connect();
  expectError(await stranger.ask(logIn(alice2, stranger)), ErrorCode.badCredentials);
  await offer(stranger);
  expectError(await stranger.ask(logIn(alice2, stranger)), ErrorCode.badCredentials);
  expectError(await stranger.ask(logIn(alice, stranger)), ErrorCode.badCredentials);
  expectType(await client.ask(granting(alice2, alice)), "ok");
  expectError(await stranger.ask({ ...logIn(alice2, stranger), proof: new Uint8Array(64) }), ErrorCode.badCredentials);
  expectError(await stranger.ask(logIn(alice, stranger)), ErrorCode.badCredentials);
  const elsewhere = { ...logIn(alice2, stranger), place: new Uint8Array(32) };
  expectError(await stranger.ask(elsewhere), ErrorCode.badCredentials);
  expectError(await stranger.ask({ type: "linkFind", place: PLACE }), ErrorCode.notAuthenticated);
  expectError(await stranger.ask(granting(alice2, alice)), ErrorCode.notAuthenticated);
});

Deno.test("linkMeet: only a user's own session says where one meets, anybody finds it by the name, for two minutes", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys(), stranger = harness.connect();
  const client = await harness.signedUp(alice), other = await harness.signedUp(bob);
  const commitment = new Uint8Array(32).fill(1), another = new Uint8Array(32).fill(2);
  const find = async (name: string) =>
    expectType(await stranger.ask({ type: "linkMeet", name, commitment: undefined }), "linkLetter").letter;
  assert.equal(await find("alice"), undefined);
  expectError(await stranger.ask({ type: "linkMeet", name: "alice", commitment }), ErrorCode.notAuthenticated);
  expectError(await other.ask({ type: "linkMeet", name: "alice", commitment }), ErrorCode.forbidden);
  assert.equal(await find("alice"), undefined);
  for (const said of [commitment, another]) {
    expectType(await client.ask({ type: "linkMeet", name: "alice", commitment: said }), "linkLetter");
    assert.deepEqual(new Uint8Array((await find("Alice"))!), said);
  }
  assert.equal(await find("bob"), undefined);
  assert.equal(await find("nobody"), undefined);
  harness.nowUs += LINK_COMPARE_MS * 1000;
  assert.equal(await find("alice"), undefined);
});

Deno.test("linkLetter: the first letter at a place stays, whoever asks; a device's offer is none", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), stranger = harness.connect();
  const client = await harness.signedUp(alice), letter = new Uint8Array([1]), another = new Uint8Array([2]);
  const leave = async (by: TestClient, letter?: Uint8Array) => {
    const found = expectType(await by.ask({ type: "linkLetter", place: PLACE, letter }), "linkLetter").letter;
    return found && new Uint8Array(found);
  };
  assert.equal(await leave(stranger), undefined);
  assert.deepEqual(await leave(stranger, letter), letter);
  for (const by of [client, stranger]) assert.deepEqual(await leave(by, another), letter);
  assert.deepEqual(await leave(client), letter);
  harness.nowUs += LINK_MS * 1000;
  assert.equal(await leave(client), undefined);
  const long = new Uint8Array(LINK_LETTER_BYTES_MAX + 1);
  expectType(await stranger.ask({ type: "linkOffer", place: PLACE, offer: long }), "linkGranted");
  assert.equal(await leave(client), undefined);
});

Deno.test("linkMeet and linkLetter count against the address, as everything before a log-in", async () => {
  const harness = await Harness.open({ throttles: { signUpRate: 1, logInRate: 1, burst: 1 } }),
    stranger = harness.connect();
  const ask = (at: number) =>
    stranger.ask(
      at % 2 === 0
        ? { type: "linkMeet", name: "alice", commitment: undefined }
        : { type: "linkLetter", place: PLACE, letter: undefined },
    );
  for (let at = 0; at < 10; at++) expectType(await ask(at), "linkLetter");
  for (let at = 0; at < 2; at++) expectError(await ask(at), ErrorCode.busy);
});

Deno.test("linkGrant takes a device of the caller's own identity, approved by it, at a place where one waits", async () => {
  const harness = await Harness.open(),
    { alice, alice2, bob } = await testKeys(),
    client = await harness.signedUp(alice);
  expectError(await client.ask(granting(alice2, alice)), ErrorCode.notFound);
  expectError(await client.ask({ type: "linkFind", place: PLACE }), ErrorCode.notFound);
  await offer(harness.connect());
  const foreign = await makeDevice(bob, { user: "alice" });
  expectError(await client.ask(granting(foreign, alice)), ErrorCode.badCertificate);
  expectError(await client.ask(granting(await makeDevice(bob), alice)), ErrorCode.badCertificate);
  const { approval } = granting(await makeDevice(alice), alice);
  expectError(await client.ask(granting(alice2, alice, { approval })), ErrorCode.malformed);
  expectError(await client.ask(granting(alice2, alice, { certificate: new Uint8Array([1]) })), ErrorCode.malformed);
  assert.equal((await harness.store.keyLog(0, 10)).length, 1, "nothing came of it");
});
