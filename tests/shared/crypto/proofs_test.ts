import assert from "node:assert/strict";
import {
  makeDeviceProof,
  makeEnrolProof,
  makeRecoveryProof,
  verifyDeviceProof,
  verifyEnrolProof,
  verifyRecoveryProof,
} from "../../../shared/crypto/mod.ts";
import { testKeys } from "../../keys.ts";

const BIND = new Uint8Array(32).fill(1);
const OTHER_BIND = new Uint8Array(32).fill(2);

Deno.test("verifyDeviceProof() accepts a proof on its own connection by its own device only", async () => {
  const { alice, alice2 } = await testKeys();
  const proof = makeDeviceProof(alice.leaf, BIND);
  assert.equal(proof.length, 64);
  assert.equal(verifyDeviceProof(alice.leaf.publicKey, BIND, proof), true);
  assert.equal(verifyDeviceProof(alice.leaf.publicKey, OTHER_BIND, proof), false);
  assert.equal(verifyDeviceProof(alice2.leaf.publicKey, BIND, proof), false);
  assert.equal(verifyDeviceProof(alice.leaf.publicKey, BIND, proof.subarray(1)), false);
  // The label keeps it apart from every other signature of the device.
  assert.equal(verifyDeviceProof(alice.leaf.publicKey, BIND, alice.leaf.sign(BIND)), false);
});

Deno.test("verifyEnrolProof() binds identity, connection and certificate together", async () => {
  const { alice, alice2, bob } = await testKeys();
  const { spki, privateKey } = alice.identity;
  const proof = await makeEnrolProof(privateKey, BIND, alice.certificate);
  assert.equal(await verifyEnrolProof(spki, BIND, alice.certificate, proof), true);
  assert.equal(await verifyEnrolProof(spki, OTHER_BIND, alice.certificate, proof), false);
  assert.equal(await verifyEnrolProof(spki, BIND, alice2.certificate, proof), false);
  assert.equal(await verifyEnrolProof(bob.identity.spki, BIND, alice.certificate, proof), false);
  assert.equal(await verifyEnrolProof(spki, BIND, alice.certificate, proof.subarray(1)), false);
});

Deno.test("verifyRecoveryProof() binds identity, connection, proof and seal together", async () => {
  const { alice, bob } = await testKeys();
  const { spki, privateKey } = alice.identity;
  const recovery = { proof: new Uint8Array(32).fill(5), backup: new Uint8Array([1, 2, 3]) };
  const signature = await makeRecoveryProof(privateKey, BIND, recovery);
  assert.equal(await verifyRecoveryProof(spki, BIND, recovery, signature), true);
  assert.equal(await verifyRecoveryProof(spki, OTHER_BIND, recovery, signature), false);
  assert.equal(await verifyRecoveryProof(bob.identity.spki, BIND, recovery, signature), false);
  assert.equal(await verifyRecoveryProof(spki, BIND, { ...recovery, proof: new Uint8Array(32) }, signature), false);
  assert.equal(await verifyRecoveryProof(spki, BIND, { ...recovery, backup: new Uint8Array() }, signature), false);
});
