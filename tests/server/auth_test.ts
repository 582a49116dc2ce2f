/** Signing up, logging in, enrolling, resuming: every road in, and every refusal (docs/PROTOCOL.md §7.1; SECURITY P1 to P7). */
import assert from "node:assert/strict";
import { hmacSha256, makeDeviceProof, sha256 } from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import type { DeviceId, Request, UserName } from "../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOW_MS, testKeys } from "../keys.ts";
import {
  BACKUP,
  enrolment,
  expectError,
  expectType,
  Harness,
  logIn,
  makeDevice,
  OTHER_SECRET,
  registration,
  resumption,
  SECRET,
  TestClient,
  until,
} from "./harness.ts";

const NAME_ALICE = "alice" as UserName;

Deno.test("register makes the user, begins a session, and keeps nothing that can be guessed against", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = harness.connect();
  const session = expectType(await client.ask(registration(alice, client)), "session");
  assert.equal(session.name, "alice");
  assert.equal(session.token.length, 32);
  assert.equal(session.expiresMs, harness.services.nowMs() + 30 * 24 * 3600 * 1000);
  const account = (await harness.store.account(NAME_ALICE))!;
  for (const row of [account.passwordHash, account.backup]) {
    const text = new TextDecoder("latin1").decode(row);
    assert(!text.includes("$2b$") && !text.includes(SECRET));
    assert(row.join().indexOf(BACKUP.join()) < 0, "the backup is sealed once more");
  }
  assert.equal(await harness.store.session(session.token, TEST_NOW_MS), undefined, "only the token's hash is kept");
  assert.equal((await harness.store.session(sha256(session.token), TEST_NOW_MS))?.user, "alice");
  expectType(await client.ask({ type: "sync", after: undefined }), "sync");
});

Deno.test("register takes a name in any case and keeps it in lower case", async () => {
  const harness = await Harness.open(), { alice } = await testKeys(), client = harness.connect();
  const session = expectType(await client.ask(registration(alice, client, { name: "Alice" })), "session");
  assert.equal(session.name, "alice");
});

Deno.test("register refuses what is not right, each with its reason, and makes nobody", async () => {
  const { alice, bob } = await testKeys();
  const expired = await makeDevice(alice, { notAfterMs: TEST_NOW_MS - 10 * 24 * 3600 * 1000 });
  const foreign = await makeDevice(alice, { clusterId: new Uint8Array(16) });
  const forged = alice.certificate.slice();
  forged[forged.length - 1]! ^= 1;
  const cases: [string, number, Parameters<typeof registration>[2]][] = [
    ["a secret that is no base64url", ErrorCode.malformed, { loginSecret: "ä".repeat(21) }],
    ["a secret that is too short", ErrorCode.malformed, { loginSecret: "A".repeat(42) }],
    ["no name", ErrorCode.badName, { name: "" }],
    ["a name with a space", ErrorCode.badName, { name: "al ice" }],
    ["a name that begins with a dot", ErrorCode.badName, { name: ".alice" }],
    ["scrypt below the floor", ErrorCode.malformed, { stretching: { salt: new Uint8Array(16), log2N: 16 } }],
    ["scrypt beyond reason", ErrorCode.malformed, { stretching: { salt: new Uint8Array(16), log2N: 40 } }],
    ["another's certificate", ErrorCode.badCertificate, { certificate: bob.certificate }],
    ["an expired certificate", ErrorCode.badCertificate, { certificate: expired.certificate }],
    ["another cluster's certificate", ErrorCode.badCertificate, { certificate: foreign.certificate }],
    ["a forged certificate", ErrorCode.badCertificate, { certificate: forged }],
    ["no certificate", ErrorCode.badCertificate, { certificate: new Uint8Array() }],
    ["another identity key", ErrorCode.badCertificate, { identityKey: bob.identity.spki }],
    ["a proof by another key", ErrorCode.badCredentials, {
      deviceProof: makeDeviceProof(bob.leaf, new Uint8Array(32)),
    }],
  ];
  const harness = await Harness.open();
  for (const [what, code, changes] of cases) {
    const client = harness.connect();
    const response = await client.ask(registration(alice, client, changes));
    assert(response.type === "error" && response.code === code, `${what}: ${JSON.stringify(response)}`);
    expectError(await client.ask({ type: "sync", after: undefined }), ErrorCode.notAuthenticated);
  }
  assert.deepEqual(await harness.store.users("", 10), []);
  assert.equal(harness.bcryptRuns, 0, "nothing of that costs a bcrypt");
});

Deno.test("register refuses a device proof that was made for another connection (P6)", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  const first = harness.connect(), second = harness.connect();
  const { deviceProof } = registration(alice, first);
  expectError(await second.ask(registration(alice, second, { deviceProof })), ErrorCode.badCredentials);
});

Deno.test("register refuses a taken name, but lets the same device with the same password finish a lost sign-up", async () => {
  const harness = await Harness.open(), { alice, bobIdentity } = await testKeys();
  await harness.signedUp(alice);
  const impostor = await makeDevice({ ...alice, identity: bobIdentity });
  const other = harness.connect();
  expectError(await other.ask(registration(impostor, other)), ErrorCode.nameTaken);
  const again = harness.connect();
  expectType(await again.ask(registration(alice, again)), "session");
  const guessing = harness.connect();
  expectError(await guessing.ask(registration(alice, guessing, { loginSecret: OTHER_SECRET })), ErrorCode.nameTaken);
  assert.equal(harness.services.counters.signUps, 1);
});

Deno.test("register and its stretch are refused where registration is closed, login is not", async () => {
  const harness = await Harness.open({ registration: "closed" }), { alice } = await testKeys();
  const client = harness.connect();
  expectError(await client.ask(registration(alice, client)), ErrorCode.registrationClosed);
  expectError(await client.ask({ type: "stretch", name: "alice", purpose: 1 }), ErrorCode.registrationClosed);
  expectType(await client.ask({ type: "stretch", name: "alice", purpose: 2 }), "stretching");
});

Deno.test("stretch: a name that nobody has looks like any other, always the same (P3)", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  await harness.signedUp(alice);
  const client = harness.connect();
  const ask = async (name: string) => expectType(await client.ask({ type: "stretch", name, purpose: 2 }), "stretching");
  const known = await ask("alice"), unknown = await ask("nobody");
  assert.deepEqual(known.stretching, registration(alice, client).stretching);
  assert.deepEqual({ ...unknown, stretching: undefined }, { ...known, stretching: undefined });
  assert.equal(unknown.stretching.log2N, known.stretching.log2N);
  assert.deepEqual(unknown.clusterId, TEST_CLUSTER);
  assert.deepEqual(await ask("nobody"), unknown);
  assert.deepEqual(await ask("NOBODY"), unknown);
  assert.notDeepEqual((await ask("somebody")).stretching.salt, unknown.stretching.salt);
  const expected = hmacSha256(harness.services.saltKey, new TextEncoder().encode("nobody")).slice(0, 16);
  assert.deepEqual(unknown.stretching.salt, expected);
  assert.equal((await ask("not a name!")).stretching.salt.length, 16);
});

Deno.test("stretch for a sign-up says at once that a name is taken or no name, and gives a fresh salt else", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  await harness.signedUp(alice);
  const client = harness.connect();
  expectError(await client.ask({ type: "stretch", name: "ALICE", purpose: 1 }), ErrorCode.nameTaken);
  expectError(await client.ask({ type: "stretch", name: "a b", purpose: 1 }), ErrorCode.badName);
  const salts = [];
  for (let i = 0; i < 2; i++) {
    salts.push(
      expectType(await client.ask({ type: "stretch", name: "carol", purpose: 1 }), "stretching").stretching.salt,
    );
  }
  assert.notDeepEqual(salts[0], salts[1]);
});

Deno.test("login: an enrolled device that proves itself gets a session of its own", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  await harness.signedUp(alice);
  const tokens = [];
  for (let i = 0; i < 2; i++) {
    const client = harness.connect();
    tokens.push(expectType(await client.ask(logIn(alice, client)), "session").token);
  }
  assert.notDeepEqual(tokens[0], tokens[1]);
});

Deno.test("login: wrong password, unknown name and no name are one answer at one cost (P3)", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  await harness.signedUp(alice);
  const answers = [];
  for (
    const request of [
      (client: TestClient) => logIn(alice, client, OTHER_SECRET),
      (client: TestClient) => logIn(bob, client),
      (client: TestClient) => ({ ...logIn(bob, client), name: "not a name!" }),
      (client: TestClient) => ({ ...logIn(alice, client, OTHER_SECRET), device: undefined }),
    ] as ((client: TestClient) => Request)[]
  ) {
    const client = harness.connect(), before = harness.bcryptRuns;
    answers.push(await client.ask(request(client)));
    assert.equal(harness.bcryptRuns, before + 1);
    assert.equal(harness.server.sessions.of(alice.user).length, 1);
  }
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  expectError(answers[0]!, ErrorCode.badCredentials);
});

Deno.test("login refuses a secret out of pattern before anything else (P2)", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  await harness.signedUp(alice);
  const runs = harness.bcryptRuns;
  for (const secret of ["", "A".repeat(42), "A".repeat(42) + "\0", "\u0080".repeat(21), "A".repeat(42) + "="]) {
    const client = harness.connect();
    expectError(await client.ask({ ...logIn(alice, client), loginSecret: secret }), ErrorCode.malformed);
  }
  assert.equal(harness.bcryptRuns, runs);
});

Deno.test("login with an unknown device, a wrong proof or an expired certificate leads to enrolment, not to a session", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  const { user } = alice;
  const expiring = await makeDevice(alice, { notAfterMs: TEST_NOW_MS + 1000 });
  const first = await harness.signedUp(expiring);
  const elsewhere = makeDeviceProof(expiring.leaf, first.bind);
  const claims = [undefined, { id: alice2.id, proof: new Uint8Array(64) }, { id: expiring.id, proof: elsewhere }];
  for (const device of claims) {
    const client = harness.connect();
    const response = await client.ask({ type: "login", name: user, loginSecret: SECRET, device });
    assert.equal(expectType(response, "enrolNeeded").name, user);
  }
  harness.nowUs += 3 * 24 * 3600 * 1_000_000;
  const client = harness.connect();
  expectType(await client.ask(logIn(expiring, client)), "enrolNeeded");
  assert.equal(harness.server.sessions.of(user).length, 1);
});

Deno.test("who is enrolling may fetch the backup and enrol, and nothing else (P6)", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  await harness.signedUp(alice);
  const client = harness.connect();
  expectType(await client.ask({ ...logIn(alice2, client), device: undefined }), "enrolNeeded");
  const forbidden: Request[] = [
    { type: "users", after: "", onlineOnly: false },
    { type: "directory", names: ["alice"] },
    { type: "openDirect", peer: "alice" },
    { type: "sync", after: undefined },
    { type: "subscribe" },
    { type: "logout" },
    { type: "acknowledge", cursors: [] },
    { type: "read", conversation: "00".repeat(16) as never, after: 0, limit: 1 },
    {
      type: "append",
      conversation: "00".repeat(16) as never,
      messageId: "00".repeat(16) as never,
      expectedEpoch: 0,
      body: new Uint8Array(),
    },
  ];
  for (const request of forbidden) expectError(await client.ask(request), ErrorCode.notAuthenticated);
  assert.deepEqual(expectType(await client.ask({ type: "backup" }), "backup").backup, BACKUP);
  expectType(await client.ask(await enrolment(alice2, client)), "session");
  expectType(await client.ask({ type: "sync", after: undefined }), "sync");
  expectError(await client.ask({ type: "backup" }), ErrorCode.forbidden);
  assert.equal((await harness.store.account(NAME_ALICE))!.devices.length, 2);
});

Deno.test("enrol refuses without the identity's and the device's signatures over this very connection", async () => {
  const harness = await Harness.open(), { alice, alice2, bobIdentity } = await testKeys();
  await harness.signedUp(alice);
  const start = async () => {
    const client = harness.connect();
    expectType(await client.ask({ ...logIn(alice2, client), device: undefined }), "enrolNeeded");
    return client;
  };
  const other = await start();
  const elsewhere = await enrolment(alice2, other);
  const byBob = await makeDevice({ ...alice2, identity: bobIdentity });
  const cases: [number, (client: TestClient) => Promise<Partial<Awaited<ReturnType<typeof enrolment>>>>][] = [
    // deno-lint-ignore require-await
    [ErrorCode.badCredentials, async () => ({ identityProof: elsewhere.identityProof })],
    // deno-lint-ignore require-await
    [ErrorCode.badCredentials, async () => ({ deviceProof: elsewhere.deviceProof })],
    // deno-lint-ignore require-await
    [ErrorCode.badCredentials, async () => ({ identityProof: new Uint8Array() })],
    [ErrorCode.badCertificate, (client) => enrolment(byBob, client)],
    // deno-lint-ignore require-await
    [ErrorCode.badCertificate, async () => ({ certificate: new Uint8Array(100) })],
  ];
  for (const [code, changes] of cases) {
    const client = await start();
    expectError(await client.ask({ ...await enrolment(alice2, client), ...await changes(client) }), code);
    expectError(await client.ask({ type: "sync", after: undefined }), ErrorCode.notAuthenticated);
  }
  assert.equal((await harness.store.account(NAME_ALICE))!.devices.length, 1);
});

Deno.test("enrol refuses a device id that somebody else has, and a device too many", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  await harness.signedUp(alice);
  await harness.signedUp(bob);
  const enrolOne = async (device: Awaited<ReturnType<typeof makeDevice>>) => {
    const client = harness.connect();
    expectType(await client.ask({ ...logIn(alice, client), device: undefined }), "enrolNeeded");
    return await client.ask(await enrolment(device, client));
  };
  expectError(await enrolOne(await makeDevice(alice, { id: bob.id })), ErrorCode.badCertificate);
  for (let devices = 1; devices < 32; devices++) expectType(await enrolOne(await makeDevice(alice)), "session");
  expectError(await enrolOne(await makeDevice(alice)), ErrorCode.limit);
});

Deno.test("resume: the token and the device's signature over this connection, nothing less", async () => {
  const harness = await Harness.open(), { alice, alice2, bob } = await testKeys();
  const first = harness.connect();
  const { token, expiresMs } = expectType(await first.ask(registration(alice, first)), "session");
  const client = harness.connect(), runs = harness.bcryptRuns;
  const resumed = expectType(await client.ask(resumption(alice, client, token)), "session");
  assert.deepEqual([resumed.token, resumed.expiresMs, resumed.name], [token, expiresMs, "alice"]);
  assert.equal(harness.bcryptRuns, runs, "no bcrypt");
  expectType(await client.ask({ type: "sync", after: undefined }), "sync");

  const changes: ((client: TestClient) => Partial<ReturnType<typeof resumption>>)[] = [
    () => ({ token: new Uint8Array(32) }),
    () => ({ name: "bob" }),
    () => ({ name: "not a name!" }),
    () => ({ device: bob.id }),
    () => ({ device: alice2.id }),
    () => ({ proof: makeDeviceProof(alice.leaf, first.bind) }),
    (client) => ({ proof: makeDeviceProof(alice2.leaf, client.bind) }),
  ];
  for (const change of changes) {
    const client = harness.connect();
    expectError(
      await client.ask({ ...resumption(alice, client, token), ...change(client) }),
      ErrorCode.badCredentials,
    );
  }
  harness.nowUs += 30 * 24 * 3600 * 1_000_000;
  const late = harness.connect();
  expectError(await late.ask(resumption(alice, late, token)), ErrorCode.badCredentials);
});

Deno.test("logout ends the token, the connection's rights, and other connections on the same token", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  const first = harness.connect();
  const { token } = expectType(await first.ask(registration(alice, first)), "session");
  const second = harness.connect(), apart = harness.connect();
  expectType(await second.ask(resumption(alice, second, token)), "session");
  expectType(await apart.ask(logIn(alice, apart)), "session");
  expectType(await first.ask({ type: "logout" }), "ok");
  expectError(await first.ask({ type: "sync", after: undefined }), ErrorCode.notAuthenticated);
  await until(() => second.closed !== undefined);
  assert.equal(second.closed!.code, CloseCode.sessionEnded);
  expectType(await apart.ask({ type: "sync", after: undefined }), "sync");
  const again = harness.connect();
  expectError(await again.ask(resumption(alice, again, token)), ErrorCode.badCredentials);
  assert.deepEqual(await harness.services.bus.online(), ["alice"]);
});

Deno.test("a connection that is logged in cannot log in again, not even with two log-ins at once", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  const client = await harness.signedUp(alice);
  expectError(await client.ask(logIn(alice, client)), ErrorCode.forbidden);
  const twice = harness.connect();
  const answers = await Promise.all([twice.ask(logIn(alice, twice)), twice.ask(logIn(alice, twice))]);
  assert.deepEqual(answers.map((answer) => answer.type).sort(), ["error", "session"]);
  assert.equal(harness.server.sessions.of(alice.user).length, 2);
});

Deno.test("log-ins are throttled per address and account; the enrolled device still gets in from the same address (P7)", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  await harness.signedUp(alice, "192.0.2.9");
  const guess = async (host: string) => {
    const client = harness.connect(host);
    return await client.ask({ ...logIn(alice, client, OTHER_SECRET), device: undefined });
  };
  for (let i = 0; i < 5; i++) expectError(await guess("192.0.2.1"), ErrorCode.badCredentials);
  const runs = harness.bcryptRuns;
  assert.equal(expectError(await guess("192.0.2.1"), ErrorCode.busy).retryAfterMs, 1000);
  assert.equal(harness.bcryptRuns, runs, "no bcrypt for who is locked out");
  expectError(await guess("192.0.2.2"), ErrorCode.badCredentials);
  const client = harness.connect("192.0.2.1");
  expectType(await client.ask(logIn(alice, client)), "session");
  harness.nowUs += 1_000_000;
  expectError(await guess("192.0.2.1"), ErrorCode.badCredentials);
  assert.equal(expectError(await guess("192.0.2.1"), ErrorCode.busy).retryAfterMs, 2000);
});

Deno.test("sign-ups are throttled per address (P7)", async () => {
  const harness = await Harness.open({ throttles: { burst: 1, signUpRate: 1 } }), { alice, bob } = await testKeys();
  await harness.signedUp(alice);
  const client = harness.connect();
  assert.equal(expectError(await client.ask(registration(bob, client)), ErrorCode.busy).retryAfterMs, 1000);
  await harness.signedUp(bob, "192.0.2.2");
});

Deno.test("an identity without a backup on the server stays without one", async () => {
  const harness = await Harness.open(), { alice, alice2 } = await testKeys();
  const first = harness.connect();
  expectType(await first.ask(registration(alice, first, { backup: new Uint8Array() })), "session");
  const client = harness.connect();
  expectType(await client.ask({ ...logIn(alice2, client), device: undefined }), "enrolNeeded");
  assert.equal(expectType(await client.ask({ type: "backup" }), "backup").backup.length, 0);
});

Deno.test("presence: online with the first session anywhere, offline with the end of the last", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  const first = await harness.signedUp(alice), watcher = await harness.signedUp(bob);
  const second = harness.connect();
  expectType(await second.ask(logIn(alice, second)), "session");
  const online = async () =>
    expectType(await watcher.ask({ type: "users", after: "", onlineOnly: true }), "users").users.map(({ name }) =>
      name
    );
  assert.deepEqual(await online(), ["alice", "bob"]);
  first.pair.client.close(0, "");
  await until(() => harness.server.connections === 2);
  assert.deepEqual(await online(), ["alice", "bob"]);
  second.pair.sever();
  await until(() => harness.server.connections === 1);
  assert.deepEqual(await online(), ["bob"]);
  const all = expectType(await watcher.ask({ type: "users", after: "", onlineOnly: false }), "users");
  assert.deepEqual(all.users, [{ name: "alice", online: false }, { name: "bob", online: true }] as unknown);
});

Deno.test("a log-in that ends after its connection leaves no session behind", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  await (await harness.signedUp(alice)).ask({ type: "logout" });
  const client = harness.connect();
  const lane = client.lane();
  lane.send(logIn(alice, client));
  client.pair.sever();
  await until(() => harness.server.connections === 1);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(harness.server.sessions.size, 0);
  assert.deepEqual(await harness.services.bus.online(), []);
});

Deno.test("connections on which nobody logs in are closed after five minutes", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  const stranger = harness.connect(), known = await harness.signedUp(alice);
  harness.server.tick(harness.nowUs += 299_000_000);
  harness.server.tick(harness.nowUs += 2_000_000);
  await until(() => stranger.closed !== undefined);
  assert.equal(known.closed, undefined);
  assert.equal(harness.server.connections, 1);
});

Deno.test("device ids in requests are only looked up, never trusted", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  await harness.signedUp(alice);
  const client = harness.connect();
  const claim = { id: "ff".repeat(16) as DeviceId, proof: makeDeviceProof(alice.leaf, client.bind) };
  expectType(await client.ask({ ...logIn(alice, client), device: claim }), "enrolNeeded");
});
