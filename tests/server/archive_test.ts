/** Archives of history at the server: every road, and every refusal (docs/PROTOCOL.md §21; SECURITY P8). */
import assert from "node:assert/strict";
import {
  archiveKeyId,
  makeDropArchive,
  makeRecoveryProof,
  openArchiveKey,
  recoverySecrets,
  sealArchiveKey,
} from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import { ARCHIVE_CHUNK_BYTES_MAX } from "../../shared/limits.ts";
import type { RequestOf, UserName } from "../../shared/protocol/mod.ts";
import { Pepper, PepperError } from "../../server/pepper.ts";
import { TEST_CLUSTER, type TestDevice, testKeys } from "../keys.ts";
import { expectError, expectType, Harness, logIn, type Speaker, until } from "./harness.ts";

const OWNER = { clusterId: TEST_CLUSTER, name: "alice" as UserName };
const KEY = new Uint8Array(32).fill(1), KEY_ID = archiveKeyId(KEY), STREAM = new Uint8Array(16).fill(2);

Deno.test("setArchiveKey takes a session and the recovery key of now; what is kept is under the pepper", async () => {
  const { harness, alice, client } = await opened();
  expectError(await harness.connect().ask(setting(1)), ErrorCode.notAuthenticated);
  expectError(await client.ask(setting(1)), ErrorCode.badCredentials);
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  expectError(await client.ask(setting(2)), ErrorCode.badCredentials);
  expectError(await client.ask({ ...setting(1), sealed: new Uint8Array() }), ErrorCode.malformed);
  assert.equal(await harness.store.archive(alice.user), undefined);
  const request = setting(1);
  expectType(await client.ask(request), "ok");
  const { sealed } = (await harness.store.archive(alice.user))!;
  assert(!sealed.toHex().includes(request.sealed.toHex()));
  const { key, streams, bytesMax } = expectType(await client.ask({ type: "archive" }), "archive");
  assert.deepEqual([key?.keyId, key?.sealed, key?.isCurrent, streams, bytesMax], [
    KEY_ID,
    request.sealed,
    true,
    [],
    1 << 20,
  ]);
  assert.equal(key?.madeMs, harness.services.nowMs());
});

Deno.test("setArchiveKey seals the key for another recovery key; another key takes the archive's end first", async () => {
  const { alice, client } = await opened();
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  expectType(await client.ask(setting(1)), "ok");
  expectType(await client.ask(chunk(1)), "ok");
  expectType(await client.ask(await recovery(alice, client, 2)), "ok");
  assert.equal(expectType(await client.ask({ type: "archive" }), "archive").key?.isCurrent, false);
  expectError(await client.ask(setting(1)), ErrorCode.badCredentials);
  expectType(await client.ask(setting(2)), "ok");
  const now = expectType(await client.ask({ type: "archive" }), "archive");
  assert.deepEqual([now.key?.isCurrent, now.streams.length], [true, 1]);
  const other = { ...setting(2), keyId: new Uint8Array(16) };
  expectError(await client.ask(other), ErrorCode.forbidden);
  expectType(await client.ask(await dropping(alice, client)), "ok");
  expectType(await client.ask(other), "ok");
});

Deno.test("putArchiveChunk keeps order, size and quota; each refusal has its code", async () => {
  const { harness, alice, client } = await opened();
  expectError(await client.ask(chunk(1)), ErrorCode.notFound);
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  expectType(await client.ask(setting(1)), "ok");
  expectError(await client.ask(chunk(0)), ErrorCode.malformed);
  expectError(await client.ask({ ...chunk(1), body: new Uint8Array() }), ErrorCode.malformed);
  expectError(await client.ask(chunk(2)), ErrorCode.forbidden);
  expectType(await client.ask(chunk(1)), "ok");
  expectType(await client.ask(chunk(1)), "ok");
  expectError(await client.ask({ ...chunk(1), body: new Uint8Array(5) }), ErrorCode.forbidden);
  expectError(await client.ask({ ...chunk(2), keyId: STREAM }), ErrorCode.notFound);
  // The harness keeps a mebibyte for each.
  const large = { ...chunk(2), body: new Uint8Array(1 << 20) };
  expectError(await client.ask(large), ErrorCode.limit);
  expectType(await client.ask({ ...large, body: large.body.subarray(0, (1 << 20) - 300) }), "ok");
  expectError(await client.ask(chunk(3)), ErrorCode.limit);
  const { chunks } = expectType(await client.ask({ type: "archiveChunks", stream: STREAM, after: 0 }), "archiveChunks");
  assert.deepEqual(chunks.map(({ number, body }) => [number, body.length]), [[1, 300], [2, (1 << 20) - 300]]);
  const rest = expectType(await client.ask({ type: "archiveChunks", stream: STREAM, after: 2 }), "archiveChunks");
  assert.deepEqual(rest.chunks, []);
  const lane = client.lane();
  lane.send({ ...chunk(3), body: new Uint8Array(ARCHIVE_CHUNK_BYTES_MAX - 1) });
  expectError((await lane.answers(1))[0]!, ErrorCode.limit);
  assert.equal(harness.services.settings.archiveBytesMax, 1 << 20);
});

Deno.test("a chunk that is larger than one may be ends the connection", async () => {
  const { client } = await opened();
  const lane = client.lane();
  assert.throws(
    () => lane.send({ ...chunk(1), body: new Uint8Array(ARCHIVE_CHUNK_BYTES_MAX + 1) }),
    "no client of ours",
  );
  // Bytes that say so all the same.
  const length = ARCHIVE_CHUNK_BYTES_MAX + 1, bytes = new Uint8Array(64 + length);
  bytes.set([50, ...KEY_ID, ...STREAM, 1]);
  new DataView(bytes.buffer).setUint32(34, 0x80000000 | length);
  lane.stream.send(bytes);
  await until(() => client.closed !== undefined);
  assert.equal(client.closed?.code, CloseCode.malformedMessage);
});

Deno.test("an archive is its user's: nobody else sees it, adds to it or ends it", async () => {
  const { harness, alice, client } = await opened(), { bob } = await testKeys();
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  expectType(await client.ask(setting(1)), "ok");
  expectType(await client.ask(chunk(1)), "ok");
  const other = await harness.signedUp(bob);
  const seen = expectType(await other.ask({ type: "archive" }), "archive");
  assert.deepEqual([seen.key, seen.streams], [undefined, []]);
  expectError(await other.ask(chunk(2)), ErrorCode.notFound);
  const read = expectType(await other.ask({ type: "archiveChunks", stream: STREAM, after: 0 }), "archiveChunks");
  assert.deepEqual(read.chunks, []);
  expectType(await other.ask(await dropping(bob, other)), "ok");
  assert.equal((await harness.store.archive(alice.user))?.streams.length, 1);
});

Deno.test("dropArchive takes the identity's signature over this connection: a stolen session is not enough", async () => {
  const { harness, alice, client } = await opened(), { bob } = await testKeys();
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  expectType(await client.ask(setting(1)), "ok");
  const again = harness.connect();
  expectType(await again.ask(logIn(alice, again)), "session");
  const right = await dropping(alice, client);
  const wrong = [
    { ...right, identityProof: new Uint8Array(10) },
    await dropping(bob, client),
    await dropping(alice, again),
    { ...await dropping(alice, client, STREAM), keyId: KEY_ID },
  ];
  for (const each of wrong) expectError(await client.ask(each), ErrorCode.badCredentials);
  assert.notEqual(await harness.store.archive(alice.user), undefined);
  expectType(await client.ask(right), "ok");
  expectType(await client.ask(right), "ok");
  assert.equal(await harness.store.archive(alice.user), undefined);
});

Deno.test("a server that keeps no archives says so, and still gives and ends what there is", async () => {
  const { harness, alice, client } = await opened();
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  expectType(await client.ask(setting(1)), "ok");
  expectType(await client.ask(chunk(1)), "ok");
  Object.assign(harness.services.settings, { archiveBytesMax: 0 });
  expectType(await client.ask(await recovery(alice, client, 2)), "ok");
  expectType(await client.ask(setting(2)), "ok");
  expectError(await client.ask(chunk(2)), ErrorCode.limit);
  assert.equal(expectType(await client.ask({ type: "archive" }), "archive").bytesMax, 0);
  const { chunks } = expectType(await client.ask({ type: "archiveChunks", stream: STREAM, after: 0 }), "archiveChunks");
  assert.equal(chunks.length, 1);
  expectType(await client.ask(await dropping(alice, client)), "ok");
  expectError(await client.ask(setting(2)), ErrorCode.limit);
});

Deno.test("guessing recovery keys at an archive is slowed down like wrong passwords", async () => {
  const { alice, client } = await opened();
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  const codes: number[] = [];
  for (let at = 0; at < 30; at++) {
    const answer = await client.ask(setting(3));
    codes.push(answer.type === "error" ? answer.code : 0);
  }
  assert.equal(codes[0], ErrorCode.badCredentials);
  assert(codes.includes(ErrorCode.busy), codes.join(" "));
});

Deno.test("Stolen database: without keys/ the right recovery key cannot be told from a wrong one against an archive", async () => {
  const { harness, alice, client } = await opened();
  expectType(await client.ask(await recovery(alice, client, 1)), "ok");
  expectType(await client.ask(setting(1)), "ok");
  const { sealed } = (await harness.store.archive(alice.user))!;
  const pepper = new Pepper(new Uint8Array(32).fill(9)), other = new Pepper(new Uint8Array(32).fill(8));
  const opens = (by: number, bytes: Uint8Array) =>
    openArchiveKey({ ...OWNER, sealKey: secretsOf(by).sealKey, sealed: bytes }).ok;
  assert.deepEqual([1, 2].map((by) => opens(by, pepper.open("archive", alice.user, sealed))), [true, false]);
  assert.deepEqual([1, 2].map((by) => opens(by, sealed)), [false, false]);
  assert.throws(() => other.open("archive", alice.user, sealed), PepperError);
  assert.throws(() => pepper.open("recovery-backup", alice.user, sealed), PepperError, "no row takes another's place");
  assert.throws(() => pepper.open("archive", "bob" as UserName, sealed), PepperError);
});

async function opened() {
  const harness = await Harness.open(), { alice } = await testKeys();
  return { harness, alice, client: await harness.signedUp(alice) };
}

/** @param which Recovery keys have numbers here. */
function secretsOf(which: number) {
  return recoverySecrets({ ...OWNER, key: new Uint8Array(20).fill(which) });
}

async function recovery({ identity }: TestDevice, { bind }: Speaker, which: number): Promise<RequestOf<"setRecovery">> {
  const { proof } = secretsOf(which), backup = new Uint8Array([1]);
  const identityProof = await makeRecoveryProof(identity.privateKey, bind, { proof, backup });
  return { type: "setRecovery", proof, backup, identityProof };
}

function setting(which: number): RequestOf<"setArchiveKey"> {
  const { proof, sealKey } = secretsOf(which);
  return { type: "setArchiveKey", keyId: KEY_ID, sealed: sealArchiveKey({ ...OWNER, sealKey, key: KEY }), proof };
}

function chunk(number: number): RequestOf<"putArchiveChunk"> {
  return { type: "putArchiveChunk", keyId: KEY_ID, stream: STREAM, number, body: new Uint8Array(300).fill(number) };
}

async function dropping(
  { identity }: TestDevice,
  { bind }: Speaker,
  keyId = KEY_ID,
): Promise<RequestOf<"dropArchive">> {
  return { type: "dropArchive", keyId, identityProof: await makeDropArchive(identity.privateKey, bind, keyId) };
}
