import assert from "node:assert/strict";
import {
  type CertificateFields,
  decodeCertificate,
  fingerprint,
  isRsa3072Spki,
  makeCertificate,
  verifyCertificate,
} from "../../../shared/crypto/mod.ts";
import { DecodeError } from "../../../shared/codec/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, testKeys } from "../../keys.ts";

const DAY_MS = 24 * 3600 * 1000;

async function fields(): Promise<CertificateFields> {
  const { alice } = await testKeys();
  return {
    clusterId: TEST_CLUSTER,
    user: alice.user,
    device: alice.id,
    leafKey: alice.leaf.publicKey,
    envelopeKey: alice.envelopeKey,
    identityKey: alice.identity.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOT_AFTER_MS,
    serial: 7,
  };
}

async function verdictOn(change: Partial<CertificateFields>): Promise<string> {
  const { alice } = await testKeys();
  const certificate = await makeCertificate({ ...await fields(), ...change }, alice.identity.privateKey);
  const verdict = await verifyCertificate(certificate, { clusterId: TEST_CLUSTER });
  return verdict.ok ? "ok" : verdict.reason;
}

Deno.test("makeCertificate() makes what verifyCertificate() accepts, field by field", async () => {
  const { alice } = await testKeys();
  const certificate = await makeCertificate(await fields(), alice.identity.privateKey);
  const verdict = await verifyCertificate(certificate, { clusterId: TEST_CLUSTER });
  assert.ok(verdict.ok);
  assert.deepEqual(verdict.certificate, { ...await fields(), suite: 1 });
  assert.deepEqual(verdict.identity, alice.identity.fingerprint);
  assert.equal((verdict.envelopeKey.algorithm as RsaHashedKeyAlgorithm).name, "RSA-OAEP");
  assert.deepEqual(decodeCertificate(certificate), verdict.certificate);
});

Deno.test("verifyCertificate() accepts the published vector", async () => {
  const vector = JSON.parse(await Deno.readTextFile(new URL("../../vectors/certificate.json", import.meta.url)));
  const bytes = Uint8Array.fromHex(vector.certificate);
  const verdict = await verifyCertificate(bytes, { clusterId: Uint8Array.fromHex(vector.clusterId) });
  assert.ok(verdict.ok);
  const { certificate } = verdict;
  assert.equal(certificate.user, vector.user);
  assert.equal(certificate.device, vector.device);
  assert.equal(certificate.leafKey.toHex(), vector.leafKey);
  assert.equal(certificate.envelopeKey.toHex(), vector.envelopeKey);
  assert.equal(certificate.identityKey.toHex(), vector.identityKey);
  assert.equal(fingerprint(certificate.identityKey).toHex(), vector.identityFingerprint);
  assert.deepEqual(
    [certificate.suite, certificate.notBeforeMs, certificate.notAfterMs, certificate.serial],
    [vector.suite, vector.notBeforeMs, vector.notAfterMs, vector.serial],
  );
});

Deno.test("verifyCertificate() refuses every flipped byte", async () => {
  const { alice } = await testKeys();
  for (let i = 0; i < alice.certificate.length; i++) {
    const changed = alice.certificate.slice();
    changed[i]! ^= 1;
    const verdict = await verifyCertificate(changed, { clusterId: TEST_CLUSTER });
    assert.equal(verdict.ok, false, `byte ${i}`);
  }
});

Deno.test("decodeCertificate() throws one typed error for every truncation and for trailing bytes", async () => {
  const { alice: { certificate } } = await testKeys();
  for (let length = 0; length < certificate.length; length++) {
    assert.throws(() => decodeCertificate(certificate.subarray(0, length)), DecodeError);
  }
  assert.throws(() => decodeCertificate(new Uint8Array([...certificate, 0])), DecodeError);
  assert.throws(() => decodeCertificate(new Uint8Array(5_000)), DecodeError);
});

Deno.test("verifyCertificate() refuses another cluster and another signer", async () => {
  const { alice, bob } = await testKeys();
  const elsewhere = await verifyCertificate(alice.certificate, { clusterId: new Uint8Array(16) });
  assert.deepEqual(elsewhere, { ok: false, reason: "other cluster" });
  const forged = await makeCertificate(await fields(), bob.identity.privateKey);
  assert.deepEqual(await verifyCertificate(forged, { clusterId: TEST_CLUSTER }), {
    ok: false,
    reason: "bad signature",
  });
});

Deno.test("verifyCertificate() refuses keys of another shape", async () => {
  const { alice } = await testKeys();
  const small = await crypto.subtle.generateKey(
    { name: "RSA-OAEP", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
    true,
    ["encrypt", "decrypt"],
  );
  const smallKey = new Uint8Array(await crypto.subtle.exportKey("spki", small.publicKey));
  assert.equal(await verdictOn({ envelopeKey: smallKey }), "bad envelope key");
  assert.equal(await verdictOn({ identityKey: smallKey }), "bad identity key");
  assert.equal(await verdictOn({ envelopeKey: new Uint8Array(422) }), "bad envelope key");
  assert.equal(await verdictOn({ envelopeKey: new Uint8Array() }), "bad envelope key");
  assert.equal(await verdictOn({ leafKey: new Uint8Array(32) }), "bad leaf key");
  const neutral = new Uint8Array(32);
  neutral[0] = 1;
  assert.equal(await verdictOn({ leafKey: neutral }), "bad leaf key");
  assert.equal(await verdictOn({ user: "Alice" as UserName }), "malformed");
  assert.equal(await verdictOn({ user: "a b" as UserName }), "malformed");
  assert.equal(await verdictOn({ envelopeKey: alice.identity.spki }), "ok");
});

Deno.test("isRsa3072Spki() knows one encoding of a key, since a fingerprint hashes it", async () => {
  const { alice } = await testKeys();
  assert.equal(isRsa3072Spki(alice.identity.spki), true);
  assert.equal(isRsa3072Spki(new Uint8Array([...alice.identity.spki, 0])), false);
  const otherExponent = alice.identity.spki.slice();
  otherExponent[otherExponent.length - 1] = 3;
  assert.equal(isRsa3072Spki(otherExponent), false);
  const even = alice.identity.spki.slice();
  even[even.length - 6]! &= 0xfe;
  assert.equal(isRsa3072Spki(even), false);
});

Deno.test("verifyCertificate() checks validity where a time is given, with a day of slack", async () => {
  const { alice } = await testKeys();
  const at = async (nowMs: number) => {
    const verdict = await verifyCertificate(alice.certificate, { clusterId: TEST_CLUSTER, nowMs });
    return verdict.ok ? "ok" : verdict.reason;
  };
  assert.equal(await at(TEST_NOT_BEFORE_MS - DAY_MS), "ok");
  assert.equal(await at(TEST_NOT_BEFORE_MS - DAY_MS - 1), "not yet valid");
  assert.equal(await at(TEST_NOT_AFTER_MS + DAY_MS), "ok");
  assert.equal(await at(TEST_NOT_AFTER_MS + DAY_MS + 1), "expired");
});
