import assert from "node:assert/strict";
import fc from "fast-check";
import { oaepDecrypt, oaepEncrypt } from "../../../shared/crypto/mod.ts";
import { deriveSecrets, TokenPurpose, transcriptHash } from "../../../shared/handshake/mod.ts";
import {
  ACCEPT_HEADER_BYTES,
  decodeInitial,
  encodeAcceptHeader,
  encodeRetry,
  RetryReason,
} from "../../../shared/packet/mod.ts";
import { Cluster, connected, flipped, HOST, NOW_SECONDS } from "./fixture.ts";

const cluster = await Cluster.create();
const { primitives } = cluster;
const EMPTY = new Uint8Array(0);

function retryTo(
  initial: Uint8Array,
  reason: 1 | 2 | 3 | 4,
  token = EMPTY,
  versions: readonly number[] = [1],
): Uint8Array {
  return encodeRetry({ version: 1, echo: primitives.sha256(initial).slice(0, 16), reason, versions, token });
}

Deno.test("handshake: both sides end with the same secrets after one round trip", async () => {
  const client = cluster.client();
  const initial = await cluster.initial(client);
  const resetToken = primitives.random.bytes(16);
  const accepted = await cluster.accept(initial, { resetToken, grant: () => new Uint8Array([1, 2, 3]) });
  client.handleDatagram(accepted.packet, 20_000);
  const outcome = connected(client);
  assert.deepEqual(outcome.secrets, accepted.secrets);
  assert.deepEqual(outcome.connectionId.subarray(0, 3), new Uint8Array([2, 0, 0]));
  assert.deepEqual(outcome.resetToken, resetToken);
  assert.deepEqual(outcome.parameters, cluster.acceptOptions().parameters);
  assert.deepEqual(outcome.servers, cluster.acceptOptions().servers);
  assert.deepEqual(outcome.ticket, new Uint8Array([1, 2, 3]));
  assert.equal(cluster.tokens.check(outcome.token, HOST, NOW_SECONDS + 80_000), TokenPurpose.newToken);
  assert.equal(client.nextDeadlineUs(), undefined);
  assert.equal(client.pollTransmit(), undefined);
  const all = Object.values(outcome.secrets).map((bytes) => bytes.toHex());
  assert.equal(new Set(all).size, 4, "every purpose has a secret of its own");
});

Deno.test("handshake: INITIAL and ACCEPT are within a datagram, and no secret is in them", async () => {
  const client = cluster.client();
  const secret = client.encryption!.plaintext;
  const initial = await cluster.initial(client);
  const { packet, secrets } = await cluster.accept(initial);
  assert.equal(initial.length, 1200);
  assert.ok(packet.length <= 1200);
  const wire = initial.toHex() + packet.toHex();
  for (const hidden of [secret, ...Object.values(secrets)]) assert.ok(!wire.includes(hidden.toHex()));
  assert.ok(!wire.includes(new TextEncoder().encode("chat.example").toHex()), "what ACCEPT tells is sealed");
});

Deno.test("handshake: two handshakes share nothing, though the server's key is the same", async () => {
  const outcomes = [];
  for (let i = 0; i < 2; i++) {
    const client = cluster.client();
    client.handleDatagram((await cluster.accept(await cluster.initial(client))).packet, 0);
    outcomes.push(connected(client));
  }
  assert.notDeepEqual(outcomes[0]!.secrets.bind, outcomes[1]!.secrets.bind);
  assert.notDeepEqual(outcomes[0]!.secrets.clientSecret, outcomes[1]!.secrets.clientSecret);
});

Deno.test("ClientHandshake resends the same bytes with back-off, and gives up at its timeout", async () => {
  const client = cluster.client({ nowUs: 1_000_000 });
  const initial = await cluster.initial(client, 1_000_000);
  const sentUs = [1_000_000];
  for (;;) {
    const deadlineUs = client.nextDeadlineUs();
    if (deadlineUs === undefined) break;
    client.handleTimeout(deadlineUs - 1);
    assert.equal(client.pollTransmit(), undefined, "nothing is sent early");
    client.handleTimeout(deadlineUs);
    const packet = client.pollTransmit();
    if (!packet) continue;
    assert.deepEqual(packet, initial);
    sentUs.push(deadlineUs);
  }
  const gapsMs = sentUs.slice(1).map((atUs, index) => (atUs - sentUs[index]!) / 1000);
  assert.deepEqual(gapsMs, [250, 500, 1000, 2000, 2000, 2000, 2000]);
  assert.deepEqual(client.outcome, { type: "failed", reason: "timeout" });
});

Deno.test("ClientHandshake times out though its RSA never came", () => {
  const client = cluster.client();
  assert.equal(client.nextDeadlineUs(), 10_000_000);
  client.handleTimeout(10_000_000);
  assert.deepEqual(client.outcome, { type: "failed", reason: "timeout" });
  assert.equal(client.encryption, undefined);
});

Deno.test("ClientHandshake follows RETRY with a token: fresh ephemeral, fresh secret, then ACCEPT", async () => {
  const client = cluster.client({ token: EMPTY });
  const first = await cluster.initial(client);
  const answer = cluster.retry(first);
  assert.ok(answer.length <= 120);
  client.handleDatagram(answer, 5000);
  client.handleDatagram(answer, 5000);
  const second = await cluster.initial(client, 6000);
  const before = decodeInitial(first)!, after = decodeInitial(second)!;
  assert.equal(cluster.tokens.check(after.token, HOST, NOW_SECONDS), TokenPurpose.retry);
  assert.notDeepEqual(after.clientEphemeral, before.clientEphemeral);
  assert.notDeepEqual(after.key, before.key, "a ciphertext is never decrypted twice");
  client.handleDatagram(answer, 7000);
  assert.equal(client.encryption, undefined, "a late duplicate of the RETRY asks for nothing");
  client.handleDatagram((await cluster.accept(second)).packet, 8000);
  connected(client);
});

Deno.test("ClientHandshake takes an ACCEPT for an INITIAL before the RETRY it followed", async () => {
  const client = cluster.client();
  const first = await cluster.initial(client);
  const { packet } = await cluster.accept(first);
  client.handleDatagram(retryTo(first, RetryReason.token, new Uint8Array(23)), 1000);
  await cluster.initial(client, 2000);
  client.handleDatagram(packet, 3000);
  connected(client);
});

Deno.test("ClientHandshake follows at most three RETRYs, and none ends it", async () => {
  const client = cluster.client();
  const first = await cluster.initial(client);
  let current = first;
  for (let i = 0; i < 3; i++) {
    client.handleDatagram(retryTo(current, RetryReason.token, new Uint8Array([i + 1])), i);
    current = await cluster.initial(client, i);
  }
  client.handleDatagram(retryTo(current, RetryReason.token, new Uint8Array([9])), 9);
  assert.equal(client.encryption, undefined);
  assert.equal(client.pollTransmit(), undefined);
  client.handleDatagram((await cluster.accept(first)).packet, 10);
  connected(client);
});

Deno.test("ClientHandshake follows nothing that does not echo its INITIAL or asks for nothing new", async () => {
  const client = cluster.client();
  const initial = await cluster.initial(client);
  const token = new Uint8Array(23);
  for (let at = 3; at < 19; at++) client.handleDatagram(flipped(retryTo(initial, RetryReason.token, token), at), 1);
  client.handleDatagram(retryTo(initial, RetryReason.token, EMPTY), 1);
  client.handleDatagram(retryTo(initial, RetryReason.ticket, token), 1);
  client.handleDatagram(retryTo(initial, RetryReason.version, EMPTY, [1]), 1);
  client.handleDatagram(retryTo(initial, RetryReason.token, token).slice(0, -1), 1);
  assert.equal(client.encryption, undefined);
  assert.equal(client.pollTransmit(), undefined);
  client.handleDatagram((await cluster.accept(initial)).packet, 2);
  connected(client);
});

Deno.test("ClientHandshake waits a second after `busy`, whatever the number of such answers", async () => {
  const client = cluster.client();
  const initial = await cluster.initial(client);
  const busy = cluster.server.busy(initial);
  for (let nowUs = 0; nowUs < 900_000; nowUs += 100_000) client.handleDatagram(busy, nowUs);
  assert.equal(client.nextDeadlineUs(), 1_000_000);
  client.handleTimeout(1_000_000);
  assert.deepEqual(client.pollTransmit(), initial, "the same INITIAL");
  client.handleTimeout(10_000_000);
  assert.deepEqual(client.outcome, { type: "failed", reason: "busy" });
});

Deno.test("ClientHandshake tells a server that speaks none of its versions from silence, but only in the end", async () => {
  const client = cluster.client();
  const initial = await cluster.initial(client);
  client.handleDatagram(retryTo(initial, RetryReason.version, EMPTY, [7]), 1);
  assert.equal(client.outcome, undefined);
  client.handleTimeout(10_000_000);
  assert.deepEqual(client.outcome, { type: "failed", reason: "version" });
});

Deno.test("ClientHandshake with a ticket asks for no RSA until the server does not know it", async () => {
  const ticket = { ticket: primitives.random.bytes(200), secret: primitives.random.bytes(32) };
  const client = cluster.client({ ticket });
  assert.equal(client.encryption, undefined);
  const first = await cluster.initial(client);
  assert.deepEqual(decodeInitial(first)!.key, ticket.ticket);
  client.handleDatagram(cluster.retry(first), 1);
  assert.ok(client.encryption);
  const second = await cluster.initial(client, 2);
  assert.equal(decodeInitial(second)!.key.length, 384);
  client.handleDatagram((await cluster.accept(second)).packet, 3);
  connected(client);
});

Deno.test("ClientHandshake resumes where the ticket's secret is what the server derived from (H8's shape)", async () => {
  const ticket = { ticket: primitives.random.bytes(200), secret: primitives.random.bytes(32) };
  const client = cluster.client({ ticket });
  const initial = await cluster.initial(client);
  const { packet, secrets } = acceptBy(initial, { keySecret: ticket.secret });
  client.handleDatagram(packet, 1);
  assert.deepEqual(connected(client).secrets.bind, secrets.bind);
});

Deno.test("H1: an ACCEPT with any bit changed is ignored, and the true one is taken after it", async () => {
  const client = cluster.client();
  const initial = await cluster.initial(client);
  const { packet } = await cluster.accept(initial);
  for (let at = 0; at < packet.length; at++) client.handleDatagram(flipped(packet, at, 1 << (at % 8)), 1);
  for (let end = 0; end < packet.length; end++) client.handleDatagram(packet.slice(0, end), 1);
  client.handleDatagram(new Uint8Array([...packet, 0]), 1);
  assert.equal(client.outcome, undefined);
  client.handleDatagram(packet, 2);
  connected(client);
});

Deno.test("H1: random datagrams never end a handshake or throw", async () => {
  const client = cluster.client();
  const initial = await cluster.initial(client);
  const echo = primitives.sha256(initial).slice(0, 16);
  fc.assert(fc.property(
    fc.constantFrom(2, 4, 5, 0x40),
    fc.boolean(),
    fc.uint8Array({ maxLength: 300 }),
    (type, isEchoed, tail) => {
      const packet = new Uint8Array([type, 0, 1, ...(isEchoed ? echo : []), ...tail]);
      client.handleDatagram(packet, 1);
      assert.equal(client.outcome, undefined);
    },
  ));
});

Deno.test("H1: an ACCEPT under another cluster's key is ignored", async () => {
  const impostor = await Cluster.create([1], "bob");
  let client: ReturnType<Cluster["client"]>, initial: Uint8Array;
  do {
    client = cluster.client({ token: impostor.token() });
    initial = await cluster.initial(client);
    // What is not below the impostor's modulus, it would not even try: that is another test (SECURITY H7).
  } while (impostor.receive(initial) === undefined);
  // The impostor cannot open the secret; it answers with one of its own choosing.
  const request = impostor.request(initial);
  assert.equal(await oaepDecrypt(impostor.privateKey, request.label, request.ciphertext), undefined);
  const forged = impostor.server.accept(request, primitives.random.bytes(32), impostor.acceptOptions())!;
  client.handleDatagram(forged.packet, 1);
  assert.equal(client.outcome, undefined);
});

Deno.test("H1: a client that was given another cluster key opens nothing, even with the right secret", async () => {
  const other = await Cluster.create([1], "bob");
  const client = cluster.client({ clusterKey: other.clusterKey });
  const { encryption } = client;
  client.provideCiphertext(await oaepEncrypt(cluster.publicKey, encryption!.label, encryption!.plaintext), 0);
  client.handleDatagram((await cluster.accept(client.pollTransmit()!)).packet, 1);
  assert.equal(client.outcome, undefined);
});

Deno.test("H1: an ACCEPT for another client's INITIAL is ignored", async () => {
  const client = cluster.client(), other = cluster.client();
  await cluster.initial(client);
  client.handleDatagram((await cluster.accept(await cluster.initial(other))).packet, 1);
  assert.equal(client.outcome, undefined);
});

Deno.test("H1: an all-zero X25519 result is refused, whoever sends the key", async () => {
  const client = cluster.client();
  const secret = client.encryption!.plaintext;
  const initial = await cluster.initial(client);
  // A peer that knows the RSA secret and leaves the exchange out: shared = zeros.
  const { packet } = acceptBy(initial, {
    keySecret: secret,
    shared: new Uint8Array(32),
    serverEphemeral: new Uint8Array(32),
  });
  client.handleDatagram(packet, 1);
  assert.equal(client.outcome, undefined);
  const honest = acceptBy(initial, { keySecret: secret });
  client.handleDatagram(honest.packet, 2);
  connected(client);
});

Deno.test("H1: versions stripped on the way are found out by what the server sealed", async () => {
  const newer = await Cluster.create([2, 1]);
  // A server made to choose badly: it seals the list of what it speaks all the same.
  const client = newer.client({ versions: [2, 1], versionsOfCluster: [1] });
  const keySecret = client.encryption!.plaintext;
  const initial = await newer.initial(client);
  assert.deepEqual(decodeInitial(initial)!.versions, [2, 1]);
  const stripped = acceptBy(initial, { keySecret, cluster: newer, version: 1, versions: [2, 1] });
  client.handleDatagram(stripped.packet, 1);
  assert.deepEqual(client.outcome, { type: "failed", reason: "downgrade" });
});

Deno.test("H1: an honest newer server chooses the better version though LOCATED hid it", async () => {
  const newer = await Cluster.create([2, 1]);
  const client = newer.client({ versions: [2, 1], versionsOfCluster: [1] });
  const accepted = await newer.accept(await newer.initial(client));
  client.handleDatagram(accepted.packet, 1);
  assert.equal(accepted.version, 2);
  assert.equal(connected(client).version, 2);
});

Deno.test("H1: changed versions in INITIAL make another transcript, so nothing opens", async () => {
  const newer = await Cluster.create([2, 1]);
  const client = newer.client({ versions: [2, 1], versionsOfCluster: [1] });
  const initial = await newer.initial(client);
  // The second byte of the first version offered: 2 becomes 1, so the server sees [1, 1].
  const stripped = flipped(initial, 5, 3);
  assert.deepEqual(decodeInitial(stripped)!.versions, [1, 1]);
  const { packet, version } = await newer.accept(stripped);
  assert.equal(version, 1);
  client.handleDatagram(packet, 1);
  assert.equal(client.outcome, undefined, "its echo is another INITIAL's");
  const patched = packet.slice();
  patched.set(primitives.sha256(initial).subarray(0, 16), 3);
  client.handleDatagram(patched, 2);
  assert.equal(client.outcome, undefined, "nor does it open with the echo corrected");
});

Deno.test("ClientHandshake follows RETRY with a version that both speak, and the transcript knows", async () => {
  const older = await Cluster.create([1]);
  const client = older.client({ versions: [2, 1] });
  const first = await older.initial(client);
  assert.equal(decodeInitial(first)!.version, 2);
  client.handleDatagram(older.retry(first), 1);
  const second = await older.initial(client, 2);
  assert.equal(decodeInitial(second)!.version, 1);
  client.handleDatagram((await older.accept(second)).packet, 3);
  assert.equal(connected(client).version, 1);
});

Deno.test("ClientHandshake reports what the true server sealed but no ACCEPT is", async () => {
  const client = cluster.client();
  const secret = client.encryption!.plaintext;
  const initial = await cluster.initial(client);
  client.handleDatagram(acceptBy(initial, { keySecret: secret, body: new Uint8Array(3) }).packet, 1);
  assert.deepEqual(client.outcome, { type: "failed", reason: "malformed" });
});

/**
 * An ACCEPT made by hand from docs/PROTOCOL.md §2.5 and §4, by somebody who knows the key secret and need not keep the
 * rules.
 */
function acceptBy(initial: Uint8Array, options: {
  keySecret: Uint8Array;
  cluster?: Cluster;
  version?: number;
  versions?: readonly number[];
  shared?: Uint8Array;
  serverEphemeral?: Uint8Array;
  body?: Uint8Array;
}) {
  const { clusterKey } = options.cluster ?? cluster;
  const fields = decodeInitial(initial)!;
  const pair = primitives.keyAgreement();
  const serverEphemeral = options.serverEphemeral ?? pair.publicKey;
  const shared = options.shared ?? pair.agree(fields.clientEphemeral)!;
  const version = options.version ?? 1, connectionId = new Uint8Array(8);
  const transcript = transcriptHash(primitives, {
    versionsOffered: fields.versions,
    versionChosen: version,
    clusterKey,
    initial,
    connectionId,
    serverEphemeral,
  });
  const secrets = deriveSecrets(primitives, { keySecret: options.keySecret, shared, transcript });
  const echo = primitives.sha256(initial).slice(0, 16);
  const header = encodeAcceptHeader({ version, echo, connectionId, serverEphemeral });
  const list = options.versions ?? [1];
  const versionBytes = list.map((one) => one.toString(16).padStart(4, "0")).join("");
  const body = options.body ??
    Uint8Array.fromHex(`0${list.length}${versionBytes}${"00".repeat(16)}003c8010000044000500000000`);
  const packet = new Uint8Array(ACCEPT_HEADER_BYTES + body.length + 16);
  packet.set(header);
  packet.set(body, ACCEPT_HEADER_BYTES);
  primitives.packetKey(secrets.acceptKey, secrets.acceptIv).seal(packet, ACCEPT_HEADER_BYTES, body.length, 0);
  return { packet, secrets };
}
