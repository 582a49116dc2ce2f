import assert from "node:assert/strict";
import fc from "fast-check";
import { oaepDecrypt } from "../../../shared/crypto/mod.ts";
import { ServerHandshake, TokenPurpose } from "../../../shared/handshake/mod.ts";
import { decodeRetry, encodeInitial, type Initial, RetryReason } from "../../../shared/packet/mod.ts";
import { Cluster, connected, flipped, HOST, NOW_SECONDS } from "./fixture.ts";

const cluster = await Cluster.create();
const { primitives } = cluster;
const EMPTY = new Uint8Array(0);

function initialWith(fields: Partial<Initial>): Uint8Array {
  return encodeInitial({
    version: 1,
    versions: [1],
    token: cluster.token(),
    clientEphemeral: primitives.keyAgreement().publicKey,
    keyKind: 0,
    key: new Uint8Array(384).fill(1),
    ...fields,
  });
}

Deno.test("ServerHandshake.receive() asks for a token first, and spends no RSA without a valid one", () => {
  const bad = {
    none: EMPTY,
    random: primitives.random.bytes(23),
    "of another address": cluster.token("192.0.2.8"),
    expired: cluster.tokens.make(TokenPurpose.locate, HOST, NOW_SECONDS - 30),
    "of another cluster": new Uint8Array(23),
  };
  for (const [what, token] of Object.entries(bad)) {
    const packet = initialWith({ token });
    const retry = decodeRetry(cluster.retry(packet))!;
    assert.equal(retry.reason, RetryReason.token, what);
    assert.deepEqual(retry.echo, primitives.sha256(packet).slice(0, 16));
    assert.equal(cluster.tokens.check(retry.token, HOST, NOW_SECONDS), TokenPurpose.retry);
  }
});

Deno.test("ServerHandshake.receive() takes a token of each purpose", () => {
  for (const purpose of Object.values(TokenPurpose)) {
    const token = cluster.tokens.make(purpose, HOST, NOW_SECONDS);
    assert.equal(cluster.request(initialWith({ token })).tokenPurpose, purpose);
  }
});

Deno.test("ServerHandshake.receive() answers another version with those it speaks, whatever the layout behind it", () => {
  const packet = new Uint8Array(1200).fill(0xff);
  packet.set([3, 0, 9]);
  const retry = decodeRetry(cluster.retry(packet))!;
  assert.equal(retry.reason, RetryReason.version);
  assert.deepEqual(retry.versions, [1]);
});

Deno.test("ServerHandshake.receive() is silent about wrong sizes, layouts and lists of versions", () => {
  const good = initialWith({});
  assert.equal(cluster.receive(good)?.type, "decrypt");
  assert.equal(cluster.receive(good.subarray(0, 1199)), undefined);
  assert.equal(cluster.receive(new Uint8Array([...good, 0])), undefined);
  assert.equal(
    cluster.receive(initialWith({ versions: [2] })),
    undefined,
    "its own version is not among those offered",
  );
  const kind = 1 + 2 + 3 + 24 + 32;
  assert.equal(cluster.receive(flipped(good, kind, 0x7f)), undefined);
  assert.equal(cluster.receive(flipped(good, kind + 1, 0x40)), undefined, "the key's length leads out of the packet");
});

Deno.test("ServerHandshake.receive() checks length and range of the ciphertext (SECURITY H7)", () => {
  const modulus = cluster.clusterKey.slice(33, 33 + 384);
  for (const length of [0, 32, 383, 385]) {
    assert.equal(cluster.receive(initialWith({ key: new Uint8Array(length) })), undefined);
  }
  assert.equal(cluster.receive(initialWith({ key: modulus })), undefined, "the modulus itself");
  assert.equal(cluster.receive(initialWith({ key: new Uint8Array(384).fill(0xff) })), undefined);
  const below = modulus.slice(), above = modulus.slice();
  below[383]!--;
  above[383]!++;
  assert.equal(cluster.receive(initialWith({ key: below }))?.type, "decrypt");
  assert.equal(cluster.receive(initialWith({ key: above })), undefined);
});

Deno.test("ServerHandshake.receive() knows no tickets yet", () => {
  const retry = decodeRetry(cluster.retry(initialWith({ keyKind: 1, key: primitives.random.bytes(100) })))!;
  assert.equal(retry.reason, RetryReason.ticket);
});

Deno.test("ServerHandshake never answers with more than it was sent, whatever it was sent", () => {
  const good = initialWith({});
  fc.assert(fc.property(fc.uint8Array({ maxLength: 1300 }), fc.nat(1199), fc.boolean(), (bytes, at, isFull) => {
    const packet = isFull ? good.slice() : new Uint8Array([3, 0, 1, ...bytes]);
    if (isFull) packet.set(bytes.subarray(0, 1200 - at), at);
    const action = cluster.receive(packet);
    if (action?.type === "retry") assert.ok(action.packet.length <= 120 && packet.length === 1200);
  }));
});

Deno.test("DecryptRequest keys tell a repeated INITIAL and a repeated ciphertext", async () => {
  const initial = await cluster.initial(cluster.client());
  const first = cluster.request(initial), again = cluster.request(initial);
  assert.equal(again.key, first.key);
  assert.equal(again.ciphertextKey, first.ciphertextKey);
  // The same ciphertext in another INITIAL: somebody wants to learn from how it is answered.
  const replayed = cluster.request(initialWith({ key: first.ciphertext }));
  assert.notEqual(replayed.key, first.key);
  assert.equal(replayed.ciphertextKey, first.ciphertextKey);
  const other = cluster.request(await cluster.initial(cluster.client()));
  assert.notEqual(other.ciphertextKey, first.ciphertextKey);
});

Deno.test("DecryptRequest owns its bytes: the receive buffer may be used again", async () => {
  const client = cluster.client();
  const buffer = (await cluster.initial(client)).slice();
  const request = cluster.request(buffer);
  buffer.fill(0);
  const secret = await oaepDecrypt(cluster.privateKey, request.label, request.ciphertext);
  client.handleDatagram(cluster.server.accept(request, secret, cluster.acceptOptions())!.packet, 1);
  connected(client);
});

Deno.test("ServerHandshake.accept() is silent alike about a failed decryption, a wrong length and a bad point", async () => {
  const request = cluster.request(await cluster.initial(cluster.client()));
  for (const secret of [undefined, EMPTY, new Uint8Array(31), new Uint8Array(33)]) {
    assert.equal(cluster.server.accept(request, secret, cluster.acceptOptions()), undefined);
  }
  const lowOrder = cluster.request(initialWith({ clientEphemeral: new Uint8Array(32) }));
  assert.equal(cluster.server.accept(lowOrder, new Uint8Array(32), cluster.acceptOptions()), undefined);
});

Deno.test("ServerHandshake.accept() takes a fresh ephemeral every time (SECURITY H1)", async () => {
  const client = cluster.client();
  const initial = await cluster.initial(client);
  const first = await cluster.accept(initial), second = await cluster.accept(initial);
  assert.notDeepEqual(first.packet.subarray(27, 59), second.packet.subarray(27, 59));
  assert.notDeepEqual(first.secrets.clientSecret, second.secrets.clientSecret);
});

Deno.test("ServerHandshake.accept() chooses the client's most wanted version that the server speaks", async () => {
  const newer = await Cluster.create([3, 2, 1]);
  const client = newer.client({ versions: [2, 3], versionsOfCluster: [3] });
  const initial = await newer.initial(client);
  const { packet, version } = await newer.accept(initial);
  assert.equal(version, 2);
  client.handleDatagram(packet, 1);
  assert.equal(connected(client).version, 2);
});

Deno.test("ServerHandshake refuses to start with a cluster key of another kind", () => {
  const { tokens } = cluster;
  for (
    const clusterKey of [
      new Uint8Array(422),
      cluster.clusterKey.subarray(1),
      new Uint8Array([...cluster.clusterKey, 0]),
    ]
  ) {
    assert.throws(() => new ServerHandshake({ primitives, versions: [1], clusterKey, tokens }), /RSA-3072/);
  }
});
