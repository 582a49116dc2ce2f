/**
 * Who owns the wire and the servers' disk learns nothing: real clients talk through a recording relay, then everything that
 * was recorded or written is searched, and attacked with every key the data directory holds (SECURITY test 8).
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import bcrypt from "bcryptjs";
import { ChatClient, NotAuthenticatedError, RefusedError } from "../../client/mod.ts";
import { readRecoveryKey } from "../../client/account/recovery.ts";
import { Pepper, PepperError } from "../../server/pepper.ts";
import { type ClusterKeys, dataPaths, loadClusterKeys, TicketKeyFile } from "../../shared/cluster/mod.ts";
import {
  aeadOpen,
  archiveKeyId,
  createPrimitives,
  type Envelope,
  equalBytes,
  formatRecoveryKey,
  hkdfExpand,
  hkdfExtract,
  importOaepPrivate,
  isRecoveryProof,
  oaepDecrypt,
  openArchiveKey,
  openBackup,
  openChunk,
  readEnvelope,
  recoveryProofHash,
  recoverySecrets,
  sha256,
  type StretchedPassword,
  stretchPassword,
  x25519FromPrivate,
} from "../../shared/crypto/mod.ts";
import { deriveSecrets, INITIAL_LABEL, Tickets, transcriptHash } from "../../shared/handshake/mod.ts";
import { connect, formatHostPort, locate } from "../../shared/net/mod.ts";
import {
  ACCEPT_HEADER_BYTES,
  type AcceptHeader,
  decodeAcceptHeader,
  decodeInitial,
  decodeLocated,
  encodeLocated,
  type Initial,
  KeyKind,
  PacketType,
} from "../../shared/packet/mod.ts";
import type { KeyAgreement, Primitives } from "../../shared/primitives.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { type Recorded, Relay } from "../relay.ts";
import { inDirectory } from "../temporary.ts";
import { relayBetween } from "./between.ts";
import { fastchat, PASSWORD, startCluster, STRETCHING } from "./harness.ts";
import { inHome } from "./homes.ts";
import { Liar } from "./liar.ts";
import { Needles, readTree } from "./needles.ts";
import { Person } from "./people.ts";

const TO_BOB = ["the harbour at midnight", "日本語もだいじょうぶ？", "bring the second lantern"];
const TO_ALICE = ["which harbour do you mean", "the old one, of course"];
const WHILE_AWAY = ["first while away 4711", "second while away 4712", "third while away 4713"];
const TO_BOTH = ["for both of your devices", "and once more for both"];
const FROM_SECOND = ["written on the second device"];
const TEXTS = [TO_BOB, TO_ALICE, WHILE_AWAY, TO_BOTH, FROM_SECOND].flat();

const primitives = await createPrimitives();

Deno.test("what people say is nowhere on the wire or on the servers' disk, and no key of the servers opens it", async (t) => {
  await inDirectory(async (directory) => {
    const dataDir = join(directory, "data"), homes = join(directory, "homes");
    const cluster = await startCluster(2, [], dataDir);
    const { relay, server } = await relayBetween(cluster, { record: true });
    try {
      const recoveryKeys = new Map<string, Uint8Array>();
      await t.step(
        "two people on different servers talk; who was away and a second device get everything",
        () => converse(server, homes, recoveryKeys),
      );
      const ephemeral = x25519FromPrivate(primitives.random.bytes(32));
      await shakeHandsWith(ephemeral, server);
      const keys = await loadClusterKeys(dataDir, { create: false });
      const secrets = await passwordSecrets(dataDir, keys);

      await t.step(
        "no text, password, login secret or recovery key is in a datagram or a file",
        () => searchEverything(relay.recorded, dataDir, secrets, recoverySecretsOf(recoveryKeys, keys)),
      );
      await t.step(
        "with every key of the data directory no stored message opens",
        () => attackEnvelopes(dataDir, keys, homes),
      );
      await t.step(
        "with every key of the data directory no recorded handshake opens",
        () => attackHandshakes(relay.recorded, dataDir, keys, ephemeral),
      );
      await t.step(
        "Stolen database: without keys/, the right password cannot be told from a wrong one against hash or backup",
        () => attackDatabase(dataDir, keys, secrets),
      );
      await t.step(
        "Stolen database: without keys/, the right recovery key cannot be told from a wrong one against proof or seal",
        () => attackRecovery(dataDir, keys, recoverySecretsOf(recoveryKeys, keys)),
      );
      await t.step(
        "Stolen database: without keys/, the right recovery key cannot be told from a wrong one against archive",
        () => attackArchive(dataDir, keys, recoverySecretsOf(recoveryKeys, keys)),
      );
      await t.step(
        "Stolen database: a server that offers scrypt N=2^10 or a foreign salt is refused before anything is derived",
        () => lieAboutStretching(cluster.port, dataDir, keys, homes),
      );
    } finally {
      relay.close();
      await cluster.stop();
    }
  });
});

async function converse(server: string, homes: string, recoveryKeys: Map<string, Uint8Array>): Promise<void> {
  const open = async (name: string, home: string) => {
    const person = await Person.open({ server, name, home: join(homes, home) });
    const shown = person.client.takeRecoveryKey();
    if (shown !== undefined) recoveryKeys.set(name, readRecoveryKey(shown));
    return person;
  };
  const [alice, first] = await Promise.all([open("alice", "alice"), open("bob", "bob")]);
  let bob = first;
  const everybody = [alice];
  try {
    for (let tries = 0; bob.client.connectedTo === alice.client.connectedTo; tries++) {
      assert.ok(tries < 50, "bob never gets another server than alice");
      await bob.close();
      bob = await open("bob", "bob");
    }
    for (const text of TO_BOB) await alice.client.send("bob", text);
    for (const text of TO_ALICE) await bob.client.send("alice", text);
    await bob.until(() => bob.from("alice").length >= TO_BOB.length, "bob hears alice");
    await alice.until(() => alice.from("bob").length >= TO_ALICE.length, "alice hears bob");
    assert.deepEqual(bob.from("alice"), TO_BOB);
    assert.deepEqual(alice.from("bob"), TO_ALICE);

    await bob.close();
    for (const text of WHILE_AWAY) await alice.client.send("bob", text);
    const second = await open("bob", "bob-elsewhere");
    everybody.push(second);
    for (const text of TO_BOTH) await alice.client.send("bob", text);
    bob = await open("bob", "bob");
    await bob.until(() => bob.from("alice").length >= 8, "bob hears what he missed");
    await second.until(() => second.from("alice").length >= 2, "the second device hears alice");
    assert.deepEqual(bob.from("alice").slice(-5), [...WHILE_AWAY, ...TO_BOTH]);
    assert.deepEqual(second.from("alice"), TO_BOTH);

    for (const text of FROM_SECOND) await second.client.send("alice", text);
    await alice.until(() => alice.from("bob").length >= 3, "alice hears the second device");
    await bob.until(() => bob.from("bob").includes(FROM_SECOND[0]!), "bob sees what his second device sent");
    assert.deepEqual(alice.from("bob"), [...TO_ALICE, ...FROM_SECOND]);
    await alice.client.archive.switchOn(recoveryKeys.get("alice")!);
    await alice.client.archive.sync();
    const [a, b] = [alice, bob].map((person) => person.client.history(person === alice ? "bob" : "alice"));
    assert.deepEqual(a!.map(({ seq, text }) => [seq, text]), b!.map(({ seq, text }) => [seq, text]));
    assert.deepEqual([alice, bob, second].flatMap(({ refused }) => refused), []);
  } finally {
    await Promise.all([...everybody, bob].map((person) => person.close()));
  }
}

/** What the two passwords yield, by name; both people chose the same one. */
async function passwordSecrets(dataDir: string, keys: ClusterKeys): Promise<Map<string, StretchedPassword>> {
  const secrets = new Map<string, StretchedPassword>();
  for (const { name, salt, log2_n } of rows<UserRow>(dataDir, "SELECT * FROM users")) {
    secrets.set(name, await stretch(name, PASSWORD, salt, log2_n, keys));
  }
  assert.deepEqual([...secrets.keys()].sort(), ["alice", "bob"]);
  return secrets;
}

/** What the two recovery keys yield, by name. */
function recoverySecretsOf(recoveryKeys: Map<string, Uint8Array>, { clusterId }: ClusterKeys) {
  assert.deepEqual([...recoveryKeys.keys()].sort(), ["alice", "bob"]);
  return new Map([...recoveryKeys].map(([name, key]) => [
    name,
    { key, ...recoverySecrets({ key, clusterId, name: name as UserName }) },
  ]));
}

function searchEverything(
  recorded: readonly Recorded[],
  dataDir: string,
  secrets: Map<string, StretchedPassword>,
  recovery: ReturnType<typeof recoverySecretsOf>,
) {
  const needles = new Needles().text("the password", PASSWORD);
  for (const text of TEXTS) needles.text(`the text ${JSON.stringify(text)}`, text);
  for (const [name, { loginSecret, backupKey }] of secrets) {
    needles.text(`${name}'s login secret`, loginSecret);
    needles.bytes(`${name}'s login secret, decoded`, Uint8Array.fromBase64(loginSecret, { alphabet: "base64url" }));
    needles.bytes(`${name}'s backup key`, backupKey);
  }
  for (const [name, { key, proof }] of recovery) {
    needles.text(`${name}'s recovery key`, formatRecoveryKey(key)).bytes(`${name}'s proof`, proof);
  }
  // The search finds what is there: each form in the middle of something, and what servers do know.
  for (const { what, bytes } of needles.forms) {
    const around = new Uint8Array(bytes.length + 2000).fill(7);
    around.set(bytes, 1000);
    assert.ok(needles.findIn(around).includes(what), `The search is blind to ${what}`);
  }
  const files = readTree(dataDir);
  const names = new Needles().bytes("a device's certificate", new TextEncoder().encode("fastchat/device/1"));
  assert.ok(files.some(({ bytes }) => names.findIn(bytes).length > 0), "Not even certificates are on disk");
  assert.ok(recorded.length > 100, `Only ${recorded.length} datagrams were recorded`);
  for (const direction of ["up", "down"]) assert.ok(recorded.some((datagram) => datagram.direction === direction));

  for (const { path, bytes } of files) assert.deepEqual(needles.findIn(bytes), [], path);
  for (const { direction, bytes } of recorded) assert.deepEqual(needles.findIn(bytes), [], `a datagram ${direction}`);
}

async function attackEnvelopes(dataDir: string, keys: ClusterKeys, homes: string): Promise<void> {
  const clusterKey = await importOaepPrivate(keys.privateKeyPkcs8);
  const secrets = secretsOf(dataDir);
  const bodies = rows<{ body: Uint8Array }>(dataDir, "SELECT body FROM log").map(({ body }) => body);
  assert.ok(bodies.length > TEXTS.length, "texts, and commits between them");
  const envelopes = bodies.map(readEnvelope).flatMap((read) => read.ok ? [read.envelope] : []);
  assert.ok(envelopes.length > 0, "the first message to somebody travels in an envelope");
  for (const envelope of envelopes) {
    for (const wrap of envelope.wraps) {
      assert.equal(await oaepDecrypt(clusterKey, ENVELOPE_LABEL, wrap), undefined);
      assert.equal(await oaepDecrypt(clusterKey, INITIAL_LABEL, wrap), undefined);
    }
    for (const secret of secrets) assert.equal(openContent(envelope, secret), undefined);
  }
  // The same attack with the one key that is right: it opens, so it would have been noticed. What is in there is sealed once more,
  // by the group's keys: who breaks RSA alone has read nothing.
  const bob = (await inHome(join(homes, "bob"), ({ credentials }) => credentials.deviceKeys()))!;
  let opened = 0;
  for (const envelope of envelopes) {
    const wrap = envelope.wraps[envelope.header.devices.indexOf(bob.id)];
    const secret = wrap && await oaepDecrypt(bob.envelopePrivate, ENVELOPE_LABEL, wrap);
    const content = secret && openContent(envelope, secret);
    if (content === undefined) continue;
    opened++;
    assert.ok(!TEXTS.some((text) => new TextDecoder("latin1").decode(content).includes(text)));
  }
  assert.ok(opened > 0);
}

/** docs/PROTOCOL.md §10, written down a second time. */
function openContent(envelope: Envelope, secret: Uint8Array): Uint8Array | undefined {
  const root = hkdfExtract(sha256(envelope.headerBytes, ...envelope.wraps), secret);
  return aeadOpen({
    key: hkdfExpand(root, "fastchat/envelope/1 key", 32),
    nonce: hkdfExpand(root, "fastchat/envelope/1 nonce", 12),
    aad: envelope.headerBytes,
    sealed: envelope.sealed,
  });
}

/** Shakes hands through the relay like any client, except that its ephemeral key is known to the attacker. */
async function shakeHandsWith(ephemeral: KeyAgreement, server: string): Promise<void> {
  const [host, port] = server.split(":") as [string, string];
  const located = await locate({ host, port: Number(port), timeoutMs: 60_000, primitives });
  const careless: Primitives = { ...primitives, keyAgreement: () => ephemeral };
  const { channel, ended } = await connect({ located, timeoutMs: 60_000, primitives: careless });
  channel.close(0, "");
  await ended;
}

async function attackHandshakes(
  recorded: readonly Recorded[],
  dataDir: string,
  keys: ClusterKeys,
  careless: KeyAgreement,
): Promise<void> {
  const clusterKey = await importOaepPrivate(keys.privateKeyPkcs8);
  const ticketKeys = await TicketKeyFile.open({ dataDir, nowMs: Date.now, maxAgeMs: Infinity });
  const tickets = new Tickets(primitives, () => ticketKeys.keys);
  ticketKeys.close();
  const secrets = secretsOf(dataDir);
  const handshakes = recordedHandshakes(recorded);
  const kinds = new Set(handshakes.map(({ initial }) => initial.keyKind));
  assert.deepEqual(kinds, new Set([KeyKind.rsa, KeyKind.ticket]), "Both kinds of handshake are on record");
  let opened = 0;
  for (const handshake of handshakes) {
    // What RSA or a ticket carries is no secret to the thief of their keys: forward secrecy is X25519's.
    const { keyKind, key } = handshake.initial;
    const keySecret = keyKind === KeyKind.rsa
      ? await oaepDecrypt(clusterKey, INITIAL_LABEL, key)
      : tickets.open(key, Date.now() / 1000)?.secret;
    assert.ok(keySecret?.length === 32);
    const { clientEphemeral } = handshake.initial, { serverEphemeral } = handshake.header;
    const guesses = [new Uint8Array(32), clientEphemeral, serverEphemeral, keySecret, ...secrets];
    for (const secret of [keySecret, ...secrets]) {
      const guess = x25519FromPrivate(secret);
      for (const peer of [clientEphemeral, serverEphemeral]) guesses.push(guess.agree(peer)!);
    }
    for (const shared of guesses) assert.equal(opensAccept(handshake, keys, keySecret, shared), false);
    // The same attack on the client whose ephemeral key is known: it opens, so it would have been noticed.
    if (!equalBytes(clientEphemeral, careless.publicKey)) continue;
    assert.equal(opensAccept(handshake, keys, keySecret, careless.agree(serverEphemeral)!), true);
    opened++;
  }
  assert.equal(opened, 1);
}

interface RecordedHandshake {
  readonly echo: string;
  readonly initial: Initial;
  readonly initialBytes: Uint8Array;
  readonly header: AcceptHeader;
  readonly acceptBytes: Uint8Array;
}

function recordedHandshakes(recorded: readonly Recorded[]): RecordedHandshake[] {
  const initials = new Map<string, Uint8Array>();
  const found = new Map<string, RecordedHandshake>();
  for (const { bytes } of recorded) {
    if (bytes[0] === PacketType.initial) initials.set(sha256(bytes).slice(0, 16).toHex(), bytes);
    const header = bytes[0] === PacketType.accept ? decodeAcceptHeader(bytes) : undefined;
    const initialBytes = header && initials.get(header.echo.toHex());
    const initial = initialBytes && decodeInitial(initialBytes);
    if (!header || !initialBytes || !initial) continue;
    const echo = header.echo.toHex();
    found.set(echo, { echo, initial, initialBytes, header, acceptBytes: bytes });
  }
  return [...found.values()];
}

function opensAccept(
  { initial, initialBytes, header, acceptBytes }: RecordedHandshake,
  keys: ClusterKeys,
  keySecret: Uint8Array,
  shared: Uint8Array,
): boolean {
  const transcript = transcriptHash(primitives, {
    versionsOffered: initial.versions,
    versionChosen: header.version,
    clusterKey: keys.spki,
    initial: initialBytes,
    connectionId: header.connectionId,
    serverEphemeral: header.serverEphemeral,
  });
  const { acceptKey, acceptIv } = deriveSecrets(primitives, { keySecret, shared, transcript });
  const packet = acceptBytes.slice();
  return primitives.packetKey(acceptKey, acceptIv).open(packet, ACCEPT_HEADER_BYTES, packet.length, 0) >= 0;
}

async function attackDatabase(
  dataDir: string,
  keys: ClusterKeys,
  secrets: Map<string, StretchedPassword>,
): Promise<void> {
  for (const { path, bytes } of readTree(dataDir)) {
    assert.doesNotMatch(new TextDecoder("latin1").decode(bytes), BCRYPT, `${path} has a bcrypt hash in clear`);
  }
  const users = rows<UserRow>(dataDir, "SELECT * FROM users");
  const peppers = [...blobsOf(dataDir), new Uint8Array(32)];
  for (const { name, salt, log2_n, password_hash, backup } of users) {
    const right = secrets.get(name)!, wrong = await stretch(name, `${PASSWORD}!`, salt, log2_n, keys);
    const owner = { clusterId: keys.clusterId, name: name as UserName };
    // With the pepper both can be told apart, so these rows are what a log-in looks at.
    const pepper = new Pepper(keys.pepper);
    const hash = new TextDecoder().decode(pepper.open("password", owner.name, password_hash));
    assert.match(hash, BCRYPT);
    assert.equal(await bcrypt.compare(right.loginSecret, hash), true);
    assert.equal(await bcrypt.compare(wrong.loginSecret, hash), false);
    const sealed = pepper.open("backup", owner.name, backup);
    assert.equal(openBackup({ ...owner, backup: sealed, backupKey: right.backupKey }).ok, true);
    assert.equal(openBackup({ ...owner, backup: sealed, backupKey: wrong.backupKey }).ok, false);
    // Without it the stored bytes answer the same to every guess.
    for (const { backupKey, loginSecret } of [right, wrong]) {
      assert.equal(openBackup({ ...owner, backup, backupKey }).ok, false);
      const text = new TextDecoder("latin1").decode(password_hash);
      assert.equal(await bcrypt.compare(loginSecret, text).catch(() => false), false);
      for (
        const key of [backupKey.subarray(0, 32), backupKey.subarray(32), sha256(new TextEncoder().encode(loginSecret))]
      ) {
        assert.throws(() => new Pepper(key).open("password", owner.name, password_hash), PepperError);
        assert.throws(() => new Pepper(key).open("backup", owner.name, backup), PepperError);
      }
    }
    for (const guess of peppers) {
      assert.throws(() => new Pepper(guess).open("password", owner.name, password_hash), PepperError);
      assert.throws(() => new Pepper(guess).open("backup", owner.name, backup), PepperError);
    }
  }
}

function attackRecovery(dataDir: string, keys: ClusterKeys, recovery: ReturnType<typeof recoverySecretsOf>): void {
  const stored = rows<RecoveryRow>(
    dataDir,
    "SELECT name, proof_hash, recoveries.backup FROM recoveries JOIN users ON users.id = recoveries.user",
  );
  assert.equal(stored.length, 2);
  const peppers = [...blobsOf(dataDir), new Uint8Array(32)];
  for (const { name, proof_hash, backup } of stored) {
    const owner = { clusterId: keys.clusterId, name: name as UserName }, by = "recovery" as const;
    const right = recovery.get(name)!, wrong = recoverySecrets({ ...owner, key: primitives.random.bytes(20) });
    // With the pepper both can be told apart, so these rows are what a recovery looks at.
    const pepper = new Pepper(keys.pepper), hash = pepper.open("recovery", owner.name, proof_hash);
    assert.deepEqual([right, wrong].map(({ proof }) => isRecoveryProof(proof, hash)), [true, false]);
    const sealed = pepper.open("recovery-backup", owner.name, backup);
    assert.equal(openBackup({ ...owner, by, backup: sealed, backupKey: right.sealKey }).ok, true);
    assert.equal(openBackup({ ...owner, by, backup: sealed, backupKey: wrong.sealKey }).ok, false);
    // Without it the stored bytes answer the same to every guess.
    for (const { proof, sealKey } of [right, wrong]) {
      assert.equal(openBackup({ ...owner, by, backup, backupKey: sealKey }).ok, false);
      for (let at = 0; at + 32 <= proof_hash.length; at++) {
        assert.equal(isRecoveryProof(proof, proof_hash.subarray(at, at + 32)), false);
      }
      peppers.push(proof, recoveryProofHash(proof), sealKey.subarray(0, 32), sealKey.subarray(32));
    }
    for (const guess of peppers) {
      assert.throws(() => new Pepper(guess).open("recovery", owner.name, proof_hash), PepperError);
      assert.throws(() => new Pepper(guess).open("recovery-backup", owner.name, backup), PepperError);
    }
  }
}

function attackArchive(dataDir: string, keys: ClusterKeys, recovery: ReturnType<typeof recoverySecretsOf>): void {
  const owner = { clusterId: keys.clusterId, name: "alice" as UserName };
  const [stored] = rows<ArchiveRow>(dataDir, "SELECT key_id, sealed_key FROM archives");
  const chunks = rows<ChunkRow>(dataDir, "SELECT stream, number, body FROM archive_chunks");
  assert.ok(stored !== undefined && chunks.length > 0);
  const { sealed_key } = stored, right = recovery.get("alice")!, bobs = recovery.get("bob")!;
  const wrong = recoverySecrets({ ...owner, key: primitives.random.bytes(20) });
  // With the pepper both can be told apart, and with the right one what was said is there.
  const sealed = new Pepper(keys.pepper).open("archive", owner.name, sealed_key);
  const opened = openArchiveKey({ ...owner, sealKey: right.sealKey, sealed });
  assert.equal(openArchiveKey({ ...owner, sealKey: wrong.sealKey, sealed }).ok, false);
  assert.ok(opened.ok && equalBytes(archiveKeyId(opened.key), stored.key_id));
  const reads = (key: Uint8Array) =>
    chunks.map(({ stream, number, body }) => openChunk({ key, ...owner, stream, number, sealed: body }));
  const said = reads(opened.key).map((content) => new TextDecoder().decode(content)).join();
  for (const text of [...TO_BOB, ...TO_ALICE]) assert.ok(said.includes(text));
  const needles = new Needles().bytes("the archive's key", opened.key);
  for (const { path, bytes } of readTree(dataDir)) assert.deepEqual(needles.findIn(bytes), [], path);
  // Without it the stored bytes answer the same to every guess, and so do the chunks.
  const guesses = [...blobsOf(dataDir), new Uint8Array(32), sha256(stored.key_id)];
  for (const { sealKey, proof } of [right, wrong, bobs]) {
    assert.equal(openArchiveKey({ ...owner, sealKey, sealed: sealed_key }).ok, false);
    guesses.push(proof, recoveryProofHash(proof), sealKey.subarray(0, 32), sealKey.subarray(32));
  }
  for (const guess of guesses) {
    assert.throws(() => new Pepper(guess).open("archive", owner.name, sealed_key), PepperError);
    assert.deepEqual(reads(guess), chunks.map(() => undefined));
  }
}

/** The operator himself turns evil: with the cluster's key he answers clients who look for a server. */
async function lieAboutStretching(port: number, dataDir: string, keys: ClusterKeys, homes: string): Promise<void> {
  const [alice] = rows<UserRow>(dataDir, "SELECT * FROM users WHERE name = 'alice'");
  const honest = { salt: alice!.salt, log2N: alice!.log2_n }, foreign = new Uint8Array(16).fill(5);
  const liar = await Liar.start(keys, { type: "stretching", stretching: honest, clusterId: keys.clusterId });
  const relay = new Relay({
    rewrite(datagram, direction) {
      const located = direction === "down" ? decodeLocated(datagram) : undefined;
      return located ? encodeLocated({ ...located, port: liar.port }) : datagram;
    },
  });
  const front = relay.map("127.0.0.1", port);
  const server = formatHostPort(front.host, front.port), home = join(homes, "alice");
  const open = () => ChatClient.login({ server, home, name: "alice", password: PASSWORD, timeoutMs: 60_000 });
  // Her home was made with the tests' cheap stretching: a real client could not unlock it by the password.
  const token = join(homes, "token"), unlocked = ["--token-file", token];
  assert.equal((await fastchat(["token", "create", token, "--home", home])).code, 0);
  const refused = async (reason: RegExp, asked: readonly string[] = ["stretch"]) => {
    liar.asked.length = 0;
    await assert.rejects(open(), (error) => error instanceof RefusedError && reason.test(error.message));
    assert.deepEqual(liar.asked.map(({ type }) => type), asked, "More was sent than questions how to stretch");
  };
  try {
    // What the tests may have for their own speed a real client refuses.
    for (const where of [join(homes, "somewhere-new"), home]) {
      liar.asked.length = 0;
      const login = ["login", "alice", "--home", where, "--server", server, ...(where === home ? unlocked : [])];
      const { stderr } = await fastchat(login, { env: { [STRETCHING]: "" } });
      assert.match(stderr, /offers 2\^10 rounds, at least 2\^17/);
      assert.deepEqual(liar.asked.map(({ type }) => type), ["stretch"]);
    }
    for (
      const [offer, reason, asked] of [
        [{ stretching: honest, clusterId: foreign }, /another cluster/],
        // Another device may have changed the password: whether the identity says so is asked, with nothing but a device's proof.
        [{ stretching: { ...honest, salt: foreign }, clusterId: keys.clusterId }, /salt is not this account's/, [
          "stretch",
          "credentials",
        ]],
        [{ stretching: { ...honest, log2N: 9 }, clusterId: keys.clusterId }, /offers 2\^9 rounds/],
        [{ stretching: { ...honest, log2N: 40 }, clusterId: keys.clusterId }, /asks for 2\^40 rounds/],
      ] as const
    ) {
      liar.offer = { type: "stretching", ...offer };
      await refused(reason, asked);
    }
    // The honest offer is followed: it was the offers that were refused.
    liar.offer = { type: "stretching", stretching: honest, clusterId: keys.clusterId };
    liar.asked.length = 0;
    await assert.rejects(open(), NotAuthenticatedError);
    assert.deepEqual(liar.asked.map(({ type }) => type), ["stretch", "login"]);
  } finally {
    relay.close();
    await liar.close();
  }
}

interface RecoveryRow {
  readonly name: string;
  readonly proof_hash: Uint8Array;
  readonly backup: Uint8Array;
}

interface ArchiveRow {
  readonly key_id: Uint8Array;
  readonly sealed_key: Uint8Array;
}

interface ChunkRow {
  readonly stream: Uint8Array;
  readonly number: number;
  readonly body: Uint8Array;
}

interface UserRow {
  readonly name: string;
  readonly salt: Uint8Array;
  readonly log2_n: number;
  readonly password_hash: Uint8Array;
  readonly backup: Uint8Array;
}

function stretch(name: string, password: string, salt: Uint8Array, log2N: number, keys: ClusterKeys) {
  return stretchPassword({
    password,
    name: name as UserName,
    clusterId: keys.clusterId,
    stretching: { salt, log2N },
    testOnlyLog2NMin: log2N,
  });
}

/** A thief's copy of the database, read while the servers go on. */
function rows<T>(dataDir: string, sql: string): T[] {
  const database = new DatabaseSync(join(dataDir, "store.db"), { readOnly: true, timeout: 10_000 });
  try {
    return database.prepare(sql).all() as T[];
  } finally {
    database.close();
  }
}

/** Everything of 32 bytes that the data directory holds: what DIR/keys and other files write in hex, and the database's blobs. */
function secretsOf(dataDir: string): Uint8Array[] {
  const { keys } = dataPaths(dataDir);
  const texts = readTree(dataDir).filter(({ path }) => !path.includes("store.db"))
    .map(({ bytes }) => new TextDecoder("latin1").decode(bytes));
  const written = texts.flatMap((text) => text.match(/\b[0-9a-f]{64}\b/gi) ?? []).map((hex) => Uint8Array.fromHex(hex));
  assert.ok(written.length >= 4, `${keys} should hold four secrets in hex`);
  return [...written, ...blobsOf(dataDir)];
}

/** Every blob of 32 bytes in the database. */
function blobsOf(dataDir: string): Uint8Array[] {
  const tables = rows<{ name: string }>(dataDir, "SELECT name FROM sqlite_schema WHERE type = 'table'");
  return tables.flatMap(({ name }) => rows<Record<string, unknown>>(dataDir, `SELECT * FROM "${name}"`))
    .flatMap((row) => Object.values(row))
    .filter((value): value is Uint8Array => value instanceof Uint8Array && value.length === 32);
}

const ENVELOPE_LABEL = "fastchat/envelope/1";
const BCRYPT = /\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}/;
