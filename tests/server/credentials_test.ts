/** Recovery keys and other passwords: every road, and every refusal (docs/PROTOCOL.md §17; SECURITY P4, P7, P8). */
import assert from "node:assert/strict";
import {
  encodeKeyStatement,
  makeDeviceProof,
  makeEnrolProof,
  makeRecoveryProof,
  recoveryProofHash,
  signPasswordStatement,
  signPolicy,
} from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import type { Request, RequestOf, UserName } from "../../shared/protocol/mod.ts";
import { Pepper, PepperError } from "../../server/pepper.ts";
import { CredentialWhat } from "../../server/store/store.ts";
import { TEST_CLUSTER, type TestDevice, testKeys } from "../keys.ts";
import {
  BACKUP,
  enrolment,
  expectError,
  expectType,
  Harness,
  logIn,
  OTHER_SECRET,
  registration,
  SECRET,
  settle,
  type Speaker,
  type TestClient,
  until,
} from "./harness.ts";

const PROOF = new Uint8Array(32).fill(0x70);
const SEAL = new Uint8Array([9, 8, 7, 6]);
const NEW_SECRET = "C".repeat(43);
const NEW_BACKUP = new Uint8Array([5, 5, 5]);

Deno.test("setRecovery keeps nothing that can be guessed against or read, and makes the key before void", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = await harness.signedUp(alice);
  expectType(await client.ask(await setting(alice, client)), "ok");
  const stored = (await harness.store.credentials(alice.user))!.recovery!;
  for (const [what, plain] of [["proof", PROOF], ["its hash", recoveryProofHash(PROOF)], ["the seal", SEAL]] as const) {
    for (const row of [stored.proofHash, stored.backup]) assert(!row.toHex().includes(plain.toHex()), what);
  }
  assert.equal(stored.madeMs, harness.services.nowMs());
  const other = new Uint8Array(32).fill(0x71);
  expectType(await client.ask(await setting(alice, client, { proof: other })), "ok");
  expectError(await harness.connect().ask({ type: "recover", name: "alice", proof: PROOF }), ErrorCode.badCredentials);
  expectType(await harness.connect().ask({ type: "recover", name: "alice", proof: other }), "recovery");
});

Deno.test("setRecovery needs a session and the identity's signature over this connection, this proof and this seal", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys(), client = await harness.signedUp(alice);
  expectError(await harness.connect().ask(await setting(alice, client)), ErrorCode.notAuthenticated);
  const elsewhere = await setting(alice, harness.connect());
  const request = await setting(alice, client);
  const wrong: RequestOf<"setRecovery">[] = [
    elsewhere,
    { ...request, proof: new Uint8Array(32) },
    { ...request, backup: new Uint8Array([1]) },
    await setting(bob, client),
    { ...request, identityProof: new Uint8Array() },
  ];
  for (const each of wrong) expectError(await client.ask(each), ErrorCode.badCredentials);
  expectError(await client.ask({ ...request, backup: new Uint8Array() }), ErrorCode.malformed);
  assert.equal((await harness.store.credentials(alice.user))?.recovery, undefined);
});

Deno.test("recover: a wrong key, a name without one and a name that nobody has are one answer (P3)", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  const client = await harness.signedUp(alice);
  await harness.signedUp(bob);
  expectType(await client.ask(await setting(alice, client)), "ok");
  const answers = [];
  for (
    const [name, proof] of [
      ["alice", new Uint8Array(32).fill(1)],
      ["bob", PROOF],
      ["nobody", PROOF],
      ["not a name!", PROOF],
      ["bob", new Uint8Array(32)],
      ["nobody", new Uint8Array(32)],
    ] as const
  ) {
    answers.push(await harness.connect().ask({ type: "recover", name, proof }));
  }
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  assert.equal(expectError(answers[0]!, ErrorCode.badCredentials).message, "Wrong name or recovery key");
  assert.equal(harness.bcryptRuns, 2, "for the two sign-ups alone: a key of 160 bits needs nothing slow");
});

Deno.test("recover is limited like log-ins, and locks nobody out who has the password (P7)", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = await harness.signedUp(alice);
  expectType(await client.ask(await setting(alice, client)), "ok");
  const wrong = { type: "recover", name: "alice", proof: new Uint8Array(32) } as const;
  for (let tries = 0; tries < 5; tries++) {
    expectError(await harness.connect().ask(wrong), ErrorCode.badCredentials);
  }
  const busy = expectError(await harness.connect().ask(wrong), ErrorCode.busy);
  assert(busy.retryAfterMs > 0);
  expectError(await harness.connect().ask({ ...wrong, proof: PROOF }), ErrorCode.busy);
  const stranger = harness.connect();
  expectType(await stranger.ask({ ...logIn(alice, stranger), device: undefined }), "enrolNeeded");
  expectType(await harness.connect("198.51.100.7").ask({ ...wrong, proof: PROOF }), "recovery");
});

Deno.test("recover gives the sealed identity and what others are shown, and grants nothing but finishing it", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = await harness.signedUp(alice);
  expectType(await client.ask(await setting(alice, client)), "ok");
  const other = harness.connect();
  const answer = expectType(await other.ask({ type: "recover", name: "ALICE", proof: PROOF }), "recovery");
  assert.deepEqual(answer.backup, SEAL);
  assert.equal(answer.entry.name, "alice");
  assert.deepEqual(answer.entry.identityKey, alice.identity.spki);
  assert.deepEqual(answer.entry.certificates, [alice.certificate]);
  assert.deepEqual([answer.serial, answer.keepsBackup, answer.log2NMin], [0, true, 17]);
  const forbidden: Request[] = [
    { type: "users", after: "", onlineOnly: false },
    { type: "backup" },
    { type: "sync", after: undefined },
    { type: "credentials", device: undefined },
    { type: "ownBackup", loginSecret: SECRET },
    await setting(alice, other),
  ];
  for (const request of forbidden) expectError(await other.ask(request), ErrorCode.notAuthenticated);
});

Deno.test("finishRecovery sets another password and enrols the device, all or nothing; the old password is refused", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys(), old = await harness.signedUp(alice);
  expectType(await old.ask(await setting(alice, old)), "ok");
  expectType(await old.ask({ type: "subscribe" }), "ok");
  const client = await shown(harness);
  const session = expectType(await client.ask(await finishing(alice2, client)), "session");
  assert.equal(session.name, "alice");
  expectType(await client.ask({ type: "sync", after: undefined }), "sync");
  const account = (await harness.store.account(alice.user))!;
  assert.deepEqual(account.devices.map(({ id }) => id), [alice.id, alice2.id]);
  const refused = harness.connect(), right = harness.connect();
  expectError(await refused.ask(logIn(alice, refused)), ErrorCode.badCredentials);
  expectType(await right.ask(logIn(alice, right, NEW_SECRET)), "session");
  await settle();
  const told = old.events.filter((event) => event.type === "credentialsChanged");
  assert.deepEqual(told.map(({ change: { what, device } }) => [what, device]), [[CredentialWhat.Recovered, alice2.id]]);
  assert.equal(old.closed, undefined, "nobody asked for the others to be signed out");
  const again = await shown(harness);
  assert(again, "the recovery key stays good");
});

Deno.test("finishRecovery signs all others out where that is asked for", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys(), old = await harness.signedUp(alice);
  expectType(await old.ask(await setting(alice, old)), "ok");
  const client = await shown(harness);
  expectType(await client.ask(await finishing(alice2, client, { endOthers: true })), "session");
  await until(() => old.closed !== undefined);
  assert.equal(old.closed?.code, CloseCode.sessionEnded);
  assert.equal(client.closed, undefined);
});

Deno.test("finishRecovery needs the proof on this connection, the identity and the device, and leaves all as it was else", async () => {
  const harness = await Harness.open(), { alice, alice2, bob } = await testKeys(), old = await harness.signedUp(alice);
  expectType(await old.ask(await setting(alice, old)), "ok");
  const stranger = harness.connect();
  expectError(await stranger.ask(await finishing(alice2, stranger)), ErrorCode.notAuthenticated);
  const client = await shown(harness), good = await finishing(alice2, client);
  const elsewhere = await finishing(alice2, old);
  const salt = registration(alice, client).stretching.salt;
  const cases: [string, number, Partial<RequestOf<"finishRecovery">>][] = [
    ["an enrolment of another connection", ErrorCode.badCredentials, { identityProof: elsewhere.identityProof }],
    ["a device of another connection", ErrorCode.badCredentials, { deviceProof: elsewhere.deviceProof }],
    ["another's certificate", ErrorCode.badCertificate, { certificate: bob.certificate }],
    ["a statement of another serial", ErrorCode.badCredentials, { serial: 2 }],
    ["no serial", ErrorCode.malformed, { serial: 0 }],
    ["the salt it had", ErrorCode.malformed, { stretching: { salt, log2N: 17 } }],
    ["less work", ErrorCode.malformed, { stretching: { ...good.stretching, log2N: 16 } }],
    ["no backup where there was one", ErrorCode.malformed, { backup: new Uint8Array() }],
    ["a secret out of pattern", ErrorCode.malformed, { loginSecret: "x" }],
  ];
  const runs = harness.bcryptRuns;
  for (const [what, code, changes] of cases) {
    const answer = await client.ask({ ...good, ...changes });
    assert(answer.type === "error" && answer.code === code, `${what}: ${JSON.stringify(answer)}`);
  }
  assert.equal(harness.bcryptRuns, runs, "nothing of that costs a bcrypt");
  const login = harness.connect();
  expectType(await login.ask(logIn(alice, login)), "session");
  assert.equal((await harness.store.account(alice.user))?.devices.length, 1);
  // A key that was replaced in between proves nothing any more.
  expectType(await old.ask(await setting(alice, old, { proof: new Uint8Array(32).fill(2) })), "ok");
  expectError(await client.ask(good), ErrorCode.badCredentials);
});

Deno.test("without a backup on the server a recovery and another password make none (P4)", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys(), old = harness.connect();
  expectType(await old.ask(registration(alice, old, { backup: new Uint8Array() })), "session");
  expectType(await old.ask(await setting(alice, old)), "ok");
  const client = harness.connect();
  const shown = expectType(await client.ask({ type: "recover", name: "alice", proof: PROOF }), "recovery");
  assert.equal(shown.keepsBackup, false);
  expectType(await client.ask(await finishing(alice2, client)), "session");
  assert.deepEqual((await harness.store.account(alice.user))?.backup, new Uint8Array());
  expectType(await client.ask(await changing(alice, { loginSecret: NEW_SECRET, serial: 2, salt: 8 })), "ok");
  assert.deepEqual((await harness.store.account(alice.user))?.backup, new Uint8Array());
});

Deno.test("changePassword: the old one is refused from then on, the backup is the new one's, other devices are told", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  const client = await harness.signedUp(alice), second = await enrolled(harness, alice2);
  expectType(await second.ask({ type: "subscribe" }), "ok");
  expectType(await client.ask({ type: "subscribe" }), "ok");
  expectType(await client.ask(await changing(alice)), "ok");
  const refused = harness.connect(), right = harness.connect();
  expectError(await refused.ask(logIn(alice, refused)), ErrorCode.badCredentials);
  const stretching = expectType(await right.ask({ type: "stretch", name: "alice", purpose: 2 }), "stretching");
  assert.deepEqual(stretching.stretching, { salt: new Uint8Array(16).fill(4), log2N: 17 });
  expectType(await right.ask({ ...logIn(alice, right, NEW_SECRET), device: undefined }), "enrolNeeded");
  assert.deepEqual(expectType(await right.ask({ type: "backup" }), "backup").backup, NEW_BACKUP);
  await settle();
  const changesTo = (speaker: Speaker) => speaker.events.filter((event) => event.type === "credentialsChanged");
  assert.deepEqual(changesTo(second).map(({ change }) => [change.what, change.device]), [
    [CredentialWhat.Password, alice.id],
  ]);
  assert.deepEqual(changesTo(client), [], "who did it knows");
  assert.equal(second.closed, undefined);
});

Deno.test("changePassword with endOthers ends every other session, live and not, and keeps this one", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  const client = harness.connect();
  const { token } = expectType(await client.ask(registration(alice, client)), "session");
  const second = await enrolled(harness, alice2);
  expectType(await client.ask(await changing(alice, { endOthers: true })), "ok");
  await until(() => second.closed !== undefined);
  assert.equal(second.closed?.code, CloseCode.sessionEnded);
  assert.equal(client.closed, undefined);
  expectType(await client.ask({ type: "sync", after: undefined }), "sync");
  const back = harness.connect();
  const proof = makeDeviceProof(alice.leaf, back.bind);
  expectType(await back.ask({ type: "resume", name: "alice", token, device: alice.id, proof }), "session");
});

Deno.test("changePassword with a wrong old one changes nothing, and is counted against its device alone (P7)", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  const client = await harness.signedUp(alice), second = await enrolled(harness, alice2);
  const wrong = await changing(alice, { loginSecret: OTHER_SECRET });
  for (let tries = 0; tries < 5; tries++) {
    assert.equal(expectError(await client.ask(wrong), ErrorCode.badCredentials).message, "Wrong password");
    harness.nowUs += 1_000_000;
  }
  harness.nowUs -= 1_000_000;
  expectError(await client.ask(wrong), ErrorCode.busy);
  expectType(await second.ask(await changing(alice)), "ok");
  assert.equal((await harness.store.credentials(alice.user))?.password?.change.device, alice2.id);
});

Deno.test("changePassword needs the identity's word on this stretching, with a salt of its own and no less work", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys(), client = await harness.signedUp(alice);
  expectError(await harness.connect().ask(await changing(alice)), ErrorCode.notAuthenticated);
  const good = await changing(alice);
  const cases: [number, RequestOf<"changePassword">][] = [
    [ErrorCode.badCredentials, { ...good, statement: (await changing(bob)).statement }],
    [ErrorCode.badCredentials, { ...good, serial: 2 }],
    [ErrorCode.badCredentials, { ...good, stretching: { ...good.stretching, log2N: 18 } }],
    [ErrorCode.malformed, { ...good, stretching: { ...good.stretching, log2N: 16 } }],
    [ErrorCode.malformed, await changing(alice, { salt: 3 })],
    [ErrorCode.malformed, { ...good, backup: new Uint8Array() }],
  ];
  for (const [code, request] of cases) expectError(await client.ask(request), code);
  assert.equal((await harness.store.credentials(alice.user))?.password, undefined);
});

Deno.test("changePassword sent again after it was done is fine, with the new password only", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = await harness.signedUp(alice);
  const request = await changing(alice);
  expectType(await client.ask(request), "ok");
  expectType(await client.ask(request), "ok");
  const guess = { ...request, newLoginSecret: OTHER_SECRET };
  expectError(await client.ask(guess), ErrorCode.badCredentials);
  const stale = await changing(alice, { loginSecret: NEW_SECRET, salt: 6 });
  expectError(await client.ask(stale), ErrorCode.badCredentials);
});

Deno.test("credentials: a session, or an enrolled device that proves itself, learns what changed; nobody else (P3)", async () => {
  const harness = await Harness.open(), { alice, alice2, bob } = await testKeys();
  const client = await harness.signedUp(alice);
  const before = expectType(await client.ask({ type: "credentials", device: undefined }), "credentials");
  assert.deepEqual([before.recoveryMs, before.password, before.keepsBackup], [0, undefined, true]);
  expectType(await client.ask(await setting(alice, client)), "ok");
  const request = await changing(alice);
  expectType(await client.ask(request), "ok");
  const other = harness.connect();
  const claim = (device: TestDevice, name: string, bind = other.bind): Request => ({
    type: "credentials",
    device: { name, id: device.id, proof: makeDeviceProof(device.leaf, bind) },
  });
  const told = expectType(await other.ask(claim(alice, "alice")), "credentials");
  assert.deepEqual(told.stretching, request.stretching);
  assert.deepEqual(told.identityKey, alice.identity.spki);
  assert.deepEqual(told.clusterId, TEST_CLUSTER);
  assert.deepEqual([told.password?.serial, told.password?.statement], [1, request.statement]);
  assert.equal(told.recoveryMs, harness.services.nowMs());
  const answers = [];
  for (
    const each of [
      claim(alice, "alice", client.bind),
      claim(alice2, "alice"),
      claim(bob, "bob"),
      claim(bob, "alice"),
      claim(alice, "nobody"),
      claim(alice, "not a name!"),
    ]
  ) {
    answers.push(await other.ask(each));
  }
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  expectError(answers[0]!, ErrorCode.badCredentials);
  expectError(await other.ask({ type: "credentials", device: undefined }), ErrorCode.notAuthenticated);
});

Deno.test("ownBackup takes a session and the password (P6)", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = await harness.signedUp(alice);
  expectError(await harness.connect().ask({ type: "ownBackup", loginSecret: SECRET }), ErrorCode.notAuthenticated);
  expectError(await client.ask({ type: "ownBackup", loginSecret: OTHER_SECRET }), ErrorCode.badCredentials);
  expectError(await client.ask({ type: "ownBackup", loginSecret: "x" }), ErrorCode.malformed);
  assert.deepEqual(expectType(await client.ask({ type: "ownBackup", loginSecret: SECRET }), "backup").backup, BACKUP);
});

Deno.test("finishRecovery lets a device in that would have to wait for approval: those that could approve may be lost", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys(), client = await harness.signedUp(alice);
  expectType(await client.ask(await setting(alice, client)), "ok");
  const owner = { clusterId: TEST_CLUSTER, user: alice.user };
  const policy = await signPolicy(alice.identity.privateKey, owner, { approval: true, number: 1, timeMs: 1 });
  expectType(await client.ask({ type: "stateKeys", statement: encodeKeyStatement(policy) }), "ok");
  const stranger = harness.connect();
  expectType(await stranger.ask({ ...logIn(alice2, stranger), device: undefined }), "enrolNeeded");
  expectError(await stranger.ask(await enrolment(alice2, stranger)), ErrorCode.approvalNeeded);
  const recovered = await shown(harness);
  expectType(await recovered.ask(await finishing(alice2, recovered)), "session");
  expectType(await recovered.ask({ type: "sync", after: undefined }), "sync");
  const again = harness.connect();
  expectType(await again.ask(logIn(alice2, again, NEW_SECRET)), "session");
});

Deno.test("Stolen database: without keys/ the recovery key's rows open with no pepper but the right one, and tell no guess", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = await harness.signedUp(alice);
  expectType(await client.ask(await setting(alice, client)), "ok");
  const { proofHash, backup } = (await harness.store.credentials(alice.user))!.recovery!;
  const right = new Pepper(new Uint8Array(32).fill(9)), other = new Pepper(new Uint8Array(32).fill(8));
  assert.deepEqual(right.open("recovery", alice.user, proofHash), recoveryProofHash(PROOF));
  assert.deepEqual(right.open("recovery-backup", alice.user, backup), SEAL);
  for (const [purpose, row] of [["recovery", proofHash], ["recovery-backup", backup]] as const) {
    assert.throws(() => other.open(purpose, alice.user, row), PepperError);
    assert.throws(() => right.open(purpose, "bob" as UserName, row), PepperError, "no row takes another's place");
    assert.throws(() => right.open(purpose === "recovery" ? "password" : "backup", alice.user, row), PepperError);
  }
  // What is there of the right proof and of a wrong one looks alike: sealed, of one length, different each time.
  const rows = [];
  for (const proof of [PROOF, PROOF, new Uint8Array(32).fill(1)]) {
    expectType(await client.ask(await setting(alice, client, { proof })), "ok");
    rows.push((await harness.store.credentials(alice.user))!.recovery!.proofHash.toHex());
  }
  assert.equal(new Set(rows).size, 3);
  assert.equal(new Set(rows.map(({ length }) => length)).size, 1);
});

/** A connection that has shown the recovery key. */
async function shown(harness: Harness): Promise<TestClient> {
  const client = harness.connect();
  expectType(await client.ask({ type: "recover", name: "alice", proof: PROOF }), "recovery");
  return client;
}

/** A second device in a session of its own. */
async function enrolled(harness: Harness, device: TestDevice): Promise<TestClient> {
  const client = harness.connect();
  expectType(await client.ask({ ...logIn(device, client), device: undefined }), "enrolNeeded");
  const { certificate } = device;
  expectType(
    await client.ask({
      type: "enrol",
      certificate,
      identityProof: await makeEnrolProof(device.identity.privateKey, client.bind, certificate),
      deviceProof: makeDeviceProof(device.leaf, client.bind),
    }),
    "session",
  );
  return client;
}

async function setting(
  { identity }: TestDevice,
  { bind }: Speaker,
  { proof = PROOF, backup = SEAL } = {},
): Promise<RequestOf<"setRecovery">> {
  const identityProof = await makeRecoveryProof(identity.privateKey, bind, { proof, backup });
  return { type: "setRecovery", proof, backup, identityProof };
}

async function finishing(
  device: TestDevice,
  { bind }: Speaker,
  changes: Partial<RequestOf<"finishRecovery">> = {},
): Promise<RequestOf<"finishRecovery">> {
  const { certificate, identity, leaf } = device;
  return {
    type: "finishRecovery",
    ...await password(device, 1, 4),
    loginSecret: NEW_SECRET,
    backup: NEW_BACKUP,
    certificate,
    identityProof: await makeEnrolProof(identity.privateKey, bind, certificate),
    deviceProof: makeDeviceProof(leaf, bind),
    endOthers: false,
    ...changes,
  };
}

async function changing(
  device: TestDevice,
  options: { loginSecret?: string; serial?: number; salt?: number; endOthers?: boolean } = {},
): Promise<RequestOf<"changePassword">> {
  return {
    type: "changePassword",
    loginSecret: options.loginSecret ?? SECRET,
    ...await password(device, options.serial ?? 1, options.salt ?? 4),
    newLoginSecret: NEW_SECRET,
    backup: NEW_BACKUP,
    endOthers: options.endOthers ?? false,
  };
}

async function password({ identity }: TestDevice, serial: number, salt: number) {
  const stretching = { salt: new Uint8Array(16).fill(salt), log2N: 17 };
  const claim = { clusterId: TEST_CLUSTER, name: "alice" as UserName, stretching, serial };
  return { stretching, serial, statement: await signPasswordStatement(identity.privateKey, claim) };
}
