import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { aeadSeal, openBackup, sealBackup } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";

const OWNER = {
  backupKey: new Uint8Array(64).map((_, index) => index),
  clusterId: new Uint8Array(16).fill(0xc1),
  name: "alice" as UserName,
};
const PKCS8 = new TextEncoder().encode("an identity key, which is some 1,800 bytes long in truth");
const FAILED = { ok: false, reason: "wrong key or changed" } as const;

Deno.test("openBackup() opens what sealBackup() made, each time another one", () => {
  const first = sealBackup({ ...OWNER, pkcs8: PKCS8 }), second = sealBackup({ ...OWNER, pkcs8: PKCS8 });
  assert.notDeepEqual(first, second);
  for (const backup of [first, second]) assert.deepEqual(openBackup({ ...OWNER, backup }), { ok: true, pkcs8: PKCS8 });
});

Deno.test("sealBackup() is docs/PROTOCOL.md §12, byte by byte", () => {
  const nonce = new Uint8Array(12).fill(7);
  const backup = sealBackup({ ...OWNER, pkcs8: PKCS8, random: { bytes: () => nonce } });
  const aad = new Uint8Array([
    ...new TextEncoder().encode("fastchat/backup/1"),
    ...OWNER.clusterId,
    ...new TextEncoder().encode("alice"),
  ]);
  const ciphertext = aeadSeal({ key: OWNER.backupKey.subarray(0, 32), nonce, aad, plaintext: PKCS8 });
  const committed = new Uint8Array([1, ...nonce, 0x40, ciphertext.length, ...ciphertext]);
  const commitment = createHmac("sha256", OWNER.backupKey.subarray(32)).update(committed).digest();
  assert.equal(backup.toHex(), new Uint8Array([...committed, ...commitment]).toHex());
});

Deno.test("openBackup() refuses every changed byte and every truncation", () => {
  const backup = sealBackup({ ...OWNER, pkcs8: PKCS8 });
  for (let i = 0; i < backup.length; i++) {
    const changed = backup.slice();
    changed[i]! ^= 1;
    assert.equal(openBackup({ ...OWNER, backup: changed }).ok, false, `byte ${i}`);
    assert.equal(openBackup({ ...OWNER, backup: backup.subarray(0, i) }).ok, false, `${i} bytes`);
  }
  assert.equal(openBackup({ ...OWNER, backup: new Uint8Array([...backup, 0]) }).ok, false);
  assert.deepEqual(openBackup({ ...OWNER, backup: new Uint8Array([2, ...backup.subarray(1)]) }), {
    ok: false,
    reason: "unknown version",
  });
});

Deno.test("openBackup() refuses another password's key, another name and another cluster", () => {
  const backup = sealBackup({ ...OWNER, pkcs8: PKCS8 });
  const otherKey = OWNER.backupKey.slice();
  otherKey[40]! ^= 1;
  assert.deepEqual(openBackup({ ...OWNER, backupKey: otherKey, backup }), FAILED);
  assert.deepEqual(openBackup({ ...OWNER, name: "alicf" as UserName, backup }), FAILED);
  assert.deepEqual(openBackup({ ...OWNER, clusterId: new Uint8Array(16), backup }), FAILED);
});

Deno.test("openBackup() checks the commitment: a ciphertext that opens is not enough", () => {
  const backup = sealBackup({ ...OWNER, pkcs8: PKCS8 });
  // Right key to decrypt, another to commit: a ciphertext made to open under several passwords looks like this.
  const sameSealKey = OWNER.backupKey.slice();
  sameSealKey.fill(0, 32);
  assert.deepEqual(openBackup({ ...OWNER, backupKey: sameSealKey, backup }), FAILED);
  // Right commitment, but not by this key's ciphertext.
  const sameCommitKey = OWNER.backupKey.slice();
  sameCommitKey.fill(0, 0, 32);
  assert.deepEqual(openBackup({ ...OWNER, backupKey: sameCommitKey, backup }), FAILED);
});
