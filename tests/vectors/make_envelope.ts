/**
 * Writes certificate.json and envelope.json anew from keys.json: `deno run -A tests/vectors/make_envelope.ts`.
 *
 * OAEP and PSS draw randomness, so these are for reading: another implementation must accept the certificate, and open the
 * envelope to this content. Intermediate values are computed here step by step after docs/PROTOCOL.md §10, not by the code
 * under test.
 */
import { createDecipheriv, createHash, hkdfSync } from "node:crypto";
import { NO_PREVIOUS, oaepDecrypt, readEnvelope, sealEnvelope } from "../../shared/crypto/mod.ts";
import { directConversationId, importOaepPublic } from "../../shared/crypto/mod.ts";
import type { MessageId } from "../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, TEST_NOW_MS, testKeys } from "../keys.ts";

const { alice, alice2, bob } = await testKeys();

await write("certificate.json", {
  certificate: alice.certificate.toHex(),
  clusterId: TEST_CLUSTER.toHex(),
  user: "alice",
  device: alice.id,
  leafKey: alice.leaf.publicKey.toHex(),
  envelopeKey: alice.envelopeKey.toHex(),
  identityKey: alice.identity.spki.toHex(),
  identityFingerprint: alice.identity.fingerprint.toHex(),
  suite: 1,
  notBeforeMs: TEST_NOT_BEFORE_MS,
  notAfterMs: TEST_NOT_AFTER_MS,
  serial: 1,
});

const conversation = directConversationId(TEST_CLUSTER, alice.user, bob.user);
const messageId = "000102030405060708090a0b0c0d0e0f" as MessageId;
const text = "Grüße, 世界 👋";
const body = await sealEnvelope({
  clusterId: TEST_CLUSTER,
  sender: { identity: alice.identity.fingerprint, device: alice.id, leaf: alice.leaf },
  recipientIdentity: bob.identity.fingerprint,
  devices: [
    { id: bob.id, envelopeKey: await importOaepPublic(bob.envelopeKey) },
    { id: alice2.id, envelopeKey: await importOaepPublic(alice2.envelopeKey) },
  ],
  conversation,
  messageId,
  counter: 1,
  previous: NO_PREVIOUS,
  timeMs: TEST_NOW_MS,
  text,
});
const read = readEnvelope(body);
if (!read.ok) throw new Error(read.reason);
const { headerBytes, wraps, sealed } = read.envelope;
const secret = (await oaepDecrypt(bob.envelopePrivate, "fastchat/envelope/1", wraps[0]!))!;
const binding = createHash("sha256").update(headerBytes).update(wraps[0]!).update(wraps[1]!).digest();
const key = new Uint8Array(hkdfSync("sha256", secret, binding, "fastchat/envelope/1 key", 32));
const nonce = new Uint8Array(hkdfSync("sha256", secret, binding, "fastchat/envelope/1 nonce", 12));
const decipher = createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
decipher.setAAD(headerBytes, { plaintextLength: sealed.length - 16 });
decipher.setAuthTag(sealed.subarray(-16));
const plaintext = new Uint8Array(decipher.update(sealed.subarray(0, -16)));
decipher.final();

await write("envelope.json", {
  keys: "keys.json: from alice1 to bob1, with a copy for alice2",
  clusterId: TEST_CLUSTER.toHex(),
  conversation,
  messageId,
  timeMs: TEST_NOW_MS,
  text,
  body: body.toHex(),
  bodySha256: createHash("sha256").update(body).digest("hex"),
  header: headerBytes.toHex(),
  secret: secret.toHex(),
  binding: binding.toString("hex"),
  key: key.toHex(),
  nonce: nonce.toHex(),
  signature: plaintext.subarray(0, 64).toHex(),
  content: plaintext.subarray(64).toHex(),
});

async function write(file: string, value: unknown): Promise<void> {
  await Deno.writeTextFile(new URL(file, import.meta.url), JSON.stringify(value, null, 2) + "\n");
}
