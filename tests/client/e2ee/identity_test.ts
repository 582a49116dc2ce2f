import assert from "node:assert/strict";
import { DeviceKeys, Identity } from "../../../client/e2ee/mod.ts";
import {
  decryptPem,
  oaepDecrypt,
  oaepEncrypt,
  openBackup,
  sealBackup,
  verifyCertificate,
  verifyDeviceProof,
  verifyEnrolProof,
} from "../../../shared/crypto/mod.ts";
import { DecodeError } from "../../../shared/codec/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOW_MS, testKeys } from "../../keys.ts";

const BIND = new Uint8Array(32).fill(3);

Deno.test("Identity and DeviceKeys, made side by side, certify, enrol and prove", async () => {
  const [identity, device] = await Promise.all([Identity.generate(), DeviceKeys.generate()]);
  assert.match(device.id, /^[0-9a-f]{32}$/);
  const certificate = await identity.certify({
    clusterId: TEST_CLUSTER,
    user: "alice" as UserName,
    device,
    nowMs: TEST_NOW_MS,
  });
  const verdict = await verifyCertificate(certificate, { clusterId: TEST_CLUSTER, nowMs: TEST_NOW_MS });
  assert.ok(verdict.ok);
  assert.deepEqual(verdict.identity, identity.fingerprint);
  assert.equal(verdict.certificate.device, device.id);
  assert.deepEqual(verdict.certificate.leafKey, device.leafKey);
  const wrapped = await oaepEncrypt(verdict.envelopeKey, "label", new Uint8Array([1, 2, 3]));
  assert.deepEqual(await oaepDecrypt(device.envelopePrivate, "label", wrapped), new Uint8Array([1, 2, 3]));
  const identityProof = await identity.proveEnrolment({ bind: BIND, certificate });
  assert.equal(await verifyEnrolProof(identity.spki, BIND, certificate, identityProof), true);
  assert.equal(verifyDeviceProof(verdict.certificate.leafKey, BIND, device.prove(BIND)), true);
});

Deno.test("Identity.fromPkcs8() is the same person again, from a backup as from a file", async () => {
  const { alice } = await testKeys();
  const identity = await Identity.fromPkcs8(alice.identity.pkcs8);
  assert.deepEqual(identity.fingerprint, alice.identity.fingerprint);
  assert.deepEqual(identity.spki, alice.identity.spki);
  const owner = { backupKey: new Uint8Array(64).fill(4), clusterId: TEST_CLUSTER, name: "alice" as UserName };
  const opened = openBackup({ ...owner, backup: sealBackup({ ...owner, pkcs8: identity.pkcs8 }) });
  assert.ok(opened.ok);
  assert.deepEqual((await Identity.fromPkcs8(opened.pkcs8)).fingerprint, identity.fingerprint);
  const pem = await identity.toPem("a passphrase");
  assert.deepEqual((await Identity.fromPem(pem, "a passphrase"))?.fingerprint, identity.fingerprint);
  assert.equal(await Identity.fromPem(pem, "another one"), undefined);
  assert.equal(await decryptPem(pem, "another one"), undefined);
  await assert.rejects(Identity.fromPem("no key", "a passphrase"), DecodeError);
});

Deno.test("Identity.fromPkcs8() refuses what is no RSA-3072 key", async () => {
  const { alice } = await testKeys();
  await assert.rejects(Identity.fromPkcs8(alice.leaf.pkcs8));
  await assert.rejects(Identity.fromPkcs8(new Uint8Array(10)));
  const odd = await crypto.subtle.generateKey(
    { name: "RSA-PSS", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
    true,
    ["sign", "verify"],
  );
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", odd.privateKey));
  await assert.rejects(Identity.fromPkcs8(pkcs8), RangeError);
});

Deno.test("Identity.wipe() overwrites its own copy only", async () => {
  const { alice } = await testKeys();
  const before = alice.identity.pkcs8.toHex();
  const identity = await Identity.fromPkcs8(alice.identity.pkcs8);
  identity.wipe();
  assert.ok(identity.pkcs8.every((byte) => byte === 0));
  assert.equal(alice.identity.pkcs8.toHex(), before);
});

Deno.test("DeviceKeys.fromPem() reads what toPem() wrote and nothing less", async () => {
  const device = await DeviceKeys.generate();
  const pem = device.toPem(), again = await DeviceKeys.fromPem(pem);
  assert.equal(again.id, device.id);
  assert.deepEqual(again.leafKey, device.leafKey);
  assert.deepEqual(again.envelopeKey, device.envelopeKey);
  assert.equal(again.toPem(), pem);
  const blocks = pem.split(/(?=-----BEGIN)/);
  for (const bad of ["", blocks[1]!, blocks[0]! + blocks[1]!, blocks[1]! + blocks[2]!, pem + blocks[1]!]) {
    await assert.rejects(DeviceKeys.fromPem(bad), DecodeError);
  }
  await assert.rejects(DeviceKeys.fromPem(blocks[0]! + blocks[2]! + blocks[1]!), DecodeError);
});
