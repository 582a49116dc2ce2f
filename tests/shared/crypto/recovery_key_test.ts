import assert from "node:assert/strict";
import { hkdfSync } from "node:crypto";
import fc from "fast-check";
import {
  formatRecoveryKey,
  generateRecoveryKey,
  isRecoveryProof,
  openBackup,
  parseRecoveryKey,
  recoveryProofHash,
  recoverySecrets,
  sealBackup,
  sha256,
  systemRandom,
  verifyPasswordStatement,
  verifyRecoveryProof,
} from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { testKeys } from "../../keys.ts";
import vector from "../../vectors/recovery.json" with { type: "json" };

const KEY = new Uint8Array(20).map((_, index) => 7 * index + 3);
const CLUSTER = new Uint8Array(16).fill(0xc1);
const NAME = "alice" as UserName;

Deno.test("formatRecoveryKey() writes 160 bits and a checksum as nine groups of four", () => {
  assert.match(formatRecoveryKey(KEY), /^([0-9A-HJKMNP-TV-Z]{4}-){8}[0-9A-HJKMNP-TV-Z]{4}$/);
  assert.equal(formatRecoveryKey(new Uint8Array(20)).slice(0, 39), Array(8).fill("0000").join("-"));
  assert.equal(formatRecoveryKey(new Uint8Array(20).fill(255)).slice(0, 39), Array(8).fill("ZZZZ").join("-"));
  // Crockford's own order: 0x00 0x44 0x32 0x14 0xc7 is 0 1 2 3 4 5 6 7.
  const counting = new Uint8Array(20);
  counting.set([0x00, 0x44, 0x32, 0x14, 0xc7]);
  assert.equal(formatRecoveryKey(counting).slice(0, 9), "0123-4567");
});

Deno.test("parseRecoveryKey() reads what formatRecoveryKey() wrote, however it was typed", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), (key) => {
    const text = formatRecoveryKey(key);
    const typed = [
      text,
      text.toLowerCase(),
      text.replaceAll("-", ""),
      ` ${text.replaceAll("-", "  ")}\n`,
      text.replaceAll("0", "o").replaceAll("1", "l"),
      text.replaceAll("0", "O").replaceAll("1", "i"),
    ];
    for (const each of typed) assert.deepEqual(parseRecoveryKey(each), { key });
  }));
});

Deno.test("parseRecoveryKey() notices every single wrong character, and says what is wrong", () => {
  const plain = formatRecoveryKey(KEY).replaceAll("-", "");
  for (let at = 0; at < plain.length; at++) {
    const other = plain[at] === "7" ? "8" : "7";
    const typed = plain.slice(0, at) + other + plain.slice(at + 1);
    assert.deepEqual(parseRecoveryKey(typed), {
      problem: "its checksum is wrong: a character differs from what was written down",
    }, `character ${at}`);
  }
  const problem = (text: string) => (parseRecoveryKey(text) as { problem: string }).problem;
  assert.equal(problem(plain.slice(1)), "it has 35 characters, a recovery key has 36");
  assert.equal(problem(plain + "0"), "it has 37 characters, a recovery key has 36");
  assert.equal(problem(""), "it has 0 characters, a recovery key has 36");
  assert.equal(problem(plain.slice(1) + "U"), 'no recovery key has "U" in it');
  assert.equal(problem(plain.slice(1) + "ä"), 'no recovery key has "Ä" in it');
});

Deno.test("generateRecoveryKey() gives another one each time, all of them good", () => {
  const keys = Array.from({ length: 100 }, () => generateRecoveryKey(systemRandom));
  assert.equal(new Set(keys).size, 100);
  for (const key of keys) assert("key" in parseRecoveryKey(key));
});

Deno.test("recoverySecrets() is docs/PROTOCOL.md §17: HKDF-SHA-256 with one label for each", () => {
  const { proof, sealKey } = recoverySecrets({ key: KEY, clusterId: CLUSTER, name: NAME });
  const salt = sha256(new TextEncoder().encode("fastchat/recovery/1"), CLUSTER, new TextEncoder().encode("alice"));
  const derive = (label: string, bytes: number) => new Uint8Array(hkdfSync("sha256", KEY, salt, label, bytes)).toHex();
  assert.equal(proof.toHex(), derive("fastchat/recovery/1 proof", 32));
  assert.equal(sealKey.toHex(), derive("fastchat/recovery/1 seal", 64));
  const others = [
    recoverySecrets({ key: KEY.map((byte, index) => index === 19 ? byte ^ 1 : byte), clusterId: CLUSTER, name: NAME }),
    recoverySecrets({ key: KEY, clusterId: new Uint8Array(16), name: NAME }),
    recoverySecrets({ key: KEY, clusterId: CLUSTER, name: "bob" as UserName }),
  ];
  for (const other of others) {
    assert.notDeepEqual(other.proof, proof);
    assert.notDeepEqual(other.sealKey, sealKey);
  }
});

Deno.test("isRecoveryProof() takes the one proof", () => {
  const { proof } = recoverySecrets({ key: KEY, clusterId: CLUSTER, name: NAME });
  const hash = recoveryProofHash(proof);
  assert.equal(isRecoveryProof(proof, hash), true);
  assert.equal(isRecoveryProof(new Uint8Array(32), hash), false);
  assert.notDeepEqual(hash, sha256(proof), "a hash with a label of its own");
});

Deno.test("a backup sealed by the recovery key opens by it alone, and never as the password's", () => {
  const { sealKey: backupKey } = recoverySecrets({ key: KEY, clusterId: CLUSTER, name: NAME });
  const owner = { backupKey, clusterId: CLUSTER, name: NAME }, pkcs8 = new TextEncoder().encode("an identity");
  const backup = sealBackup({ ...owner, by: "recovery", pkcs8 });
  assert.deepEqual(openBackup({ ...owner, by: "recovery", backup }), { ok: true, pkcs8 });
  assert.deepEqual(openBackup({ ...owner, backup }), { ok: false, reason: "wrong key or changed" });
  const byPassword = sealBackup({ ...owner, pkcs8 });
  assert.deepEqual(openBackup({ ...owner, by: "recovery", backup: byPassword }), {
    ok: false,
    reason: "wrong key or changed",
  });
});

Deno.test("the published vector: key, secrets, seal and signatures", async () => {
  const bytes = (name: keyof typeof vector) => Uint8Array.fromHex(vector[name] as string);
  const owner = { clusterId: bytes("clusterId"), name: vector.name as UserName };
  assert.equal(formatRecoveryKey(bytes("key")), vector.written);
  assert.deepEqual(parseRecoveryKey(vector.written), { key: bytes("key") });
  const { proof, sealKey } = recoverySecrets({ ...owner, key: bytes("key") });
  assert.deepEqual([proof.toHex(), sealKey.toHex()], [vector.proof, vector.sealKey]);
  assert.equal(recoveryProofHash(proof).toHex(), vector.proofHash);
  const random = { bytes: () => bytes("nonce") };
  const sealed = sealBackup({ ...owner, backupKey: sealKey, by: "recovery", pkcs8: bytes("plaintext"), random });
  assert.equal(sealed.toHex(), vector.backup);
  const { spki } = (await testKeys()).aliceIdentity, recovery = { proof, backup: sealed };
  assert.equal(await verifyRecoveryProof(spki, bytes("bind"), recovery, bytes("setRecoverySignature")), true);
  const { log2N, serial } = vector, statement = { ...owner, stretching: { salt: bytes("salt"), log2N }, serial };
  assert.equal(await verifyPasswordStatement(spki, statement, bytes("statementSignature")), true);
});
