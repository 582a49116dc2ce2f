import assert from "node:assert/strict";
import { constants, createPrivateKey, createPublicKey, privateDecrypt, publicEncrypt, sign, verify } from "node:crypto";
import {
  fingerprint,
  formatFingerprint,
  generateRsaPkcs8,
  importOaepPrivate,
  importOaepPublic,
  importPssPrivate,
  importPssPublic,
  oaepDecrypt,
  oaepEncrypt,
  parseFingerprint,
  pssSign,
  pssVerify,
  spkiFromPkcs8,
  systemRandom,
} from "../../../shared/crypto/mod.ts";
import { testKeys } from "../../keys.ts";

const { aliceIdentity, bobIdentity } = await testKeys();
const { pkcs8, spki } = aliceIdentity;
const secret = systemRandom.bytes(32);

Deno.test("generateRsaPkcs8() makes RSA-3072 keys that serve either use", async () => {
  const fresh = await generateRsaPkcs8();
  const publicKey = await spkiFromPkcs8(fresh);
  assert.equal(publicKey.length, 422);
  const sealed = await oaepEncrypt(await importOaepPublic(publicKey), "x", secret);
  assert.deepEqual(await oaepDecrypt(await importOaepPrivate(fresh), "x", sealed), secret);
  const signature = await pssSign(await importPssPrivate(fresh), secret);
  assert.ok(await pssVerify(await importPssPublic(publicKey), signature, secret));
});

Deno.test("spkiFromPkcs8() is the platform's public key", async () => {
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  const twin = createPublicKey(key).export({ format: "der", type: "spki" });
  assert.deepEqual(await spkiFromPkcs8(pkcs8), new Uint8Array(twin));
});

Deno.test("oaepEncrypt() and oaepDecrypt() interoperate with the platform's RSA-OAEP-SHA256", async () => {
  const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  const publicKey = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  const options = {
    padding: constants.RSA_PKCS1_OAEP_PADDING,
    oaepHash: "sha256",
    oaepLabel: Buffer.from("fastchat/initial/1"),
  };
  const ours = await oaepEncrypt(await importOaepPublic(spki), "fastchat/initial/1", secret);
  assert.deepEqual(new Uint8Array(privateDecrypt({ key: privateKey, ...options }, ours)), secret);
  const theirs = new Uint8Array(publicEncrypt({ key: publicKey, ...options }, secret));
  assert.deepEqual(await oaepDecrypt(await importOaepPrivate(pkcs8), "fastchat/initial/1", theirs), secret);
});

Deno.test("oaepDecrypt() gives nothing for another label, key, length or content", async () => {
  const key = await importOaepPrivate(pkcs8);
  const sealed = await oaepEncrypt(await importOaepPublic(spki), "right", secret);
  assert.equal(sealed.length, 384);
  assert.deepEqual(await oaepDecrypt(key, "right", sealed), secret);
  assert.equal(await oaepDecrypt(key, "wrong", sealed), undefined);
  assert.equal(await oaepDecrypt(await importOaepPrivate(bobIdentity.pkcs8), "right", sealed), undefined);
  assert.equal(await oaepDecrypt(key, "right", sealed.subarray(1)), undefined);
  assert.equal(await oaepDecrypt(key, "right", new Uint8Array(384)), undefined);
  assert.equal(await oaepDecrypt(key, "right", new Uint8Array(384).fill(0xff)), undefined);
  const flipped = sealed.slice();
  flipped[383]! ^= 1;
  assert.equal(await oaepDecrypt(key, "right", flipped), undefined);
});

Deno.test("pssSign() and pssVerify() interoperate with the platform's RSA-PSS-SHA256, salt 32", async () => {
  const options = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  const publicKey = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  const ours = await pssSign(await importPssPrivate(pkcs8), secret);
  assert.ok(verify("sha256", secret, { key: publicKey, ...options }, ours));
  const theirs = new Uint8Array(sign("sha256", secret, { key: privateKey, ...options }));
  assert.ok(await pssVerify(await importPssPublic(spki), theirs, secret));
});

Deno.test("pssVerify() refuses another key, message or signature", async () => {
  const key = await importPssPublic(spki);
  const signature = await pssSign(await importPssPrivate(pkcs8), secret);
  assert.ok(await pssVerify(key, signature, secret));
  assert.ok(!await pssVerify(await importPssPublic(bobIdentity.spki), signature, secret));
  assert.ok(!await pssVerify(key, signature, secret.subarray(1)));
  assert.ok(!await pssVerify(key, signature.subarray(1), secret));
  for (const at of [0, 100, 383]) {
    const flipped = signature.slice();
    flipped[at]! ^= 1;
    assert.ok(!await pssVerify(key, flipped, secret));
  }
});

Deno.test("importing refuses keys that are not RSA-3072", async () => {
  const small = await crypto.subtle.generateKey(
    { name: "RSA-PSS", hash: "SHA-256", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
    true,
    ["sign", "verify"],
  );
  const smallPkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", small.privateKey));
  const smallSpki = new Uint8Array(await crypto.subtle.exportKey("spki", small.publicKey));
  for (const load of [importOaepPrivate, importPssPrivate]) await assert.rejects(load(smallPkcs8), RangeError);
  for (const load of [importOaepPublic, importPssPublic]) {
    await assert.rejects(load(smallSpki), RangeError);
    await assert.rejects(load(new Uint8Array(422)));
  }
});

Deno.test("formatFingerprint() and parseFingerprint() round-trip, one text for one fingerprint", () => {
  const bytes = fingerprint(spki);
  const text = formatFingerprint(bytes);
  assert.match(text, /^SHA256:[A-Za-z0-9_-]{43}$/);
  assert.deepEqual(parseFingerprint(text), bytes);
  assert.deepEqual(parseFingerprint(text.slice(7)), bytes);
  assert.deepEqual(parseFingerprint(bytes.toHex()), bytes);
  assert.deepEqual(parseFingerprint(bytes.toHex().toUpperCase()), bytes);
  const zeros = "A".repeat(43);
  assert.deepEqual(parseFingerprint(zeros), new Uint8Array(32));
  // The last character carries four bits; "B" would set a bit that belongs to no byte.
  for (
    const bad of [
      "",
      "SHA256:",
      text + "=",
      text.slice(0, -1),
      zeros.slice(1) + "B",
      bytes.toHex().slice(2),
      "é".repeat(43),
    ]
  ) {
    assert.equal(parseFingerprint(bad), undefined, bad);
  }
});

Deno.test("the platform's RSA leaves this thread free: the event loop turns while it runs (SECURITY H7)", async () => {
  const key = await importOaepPrivate(pkcs8);
  const sealed = await oaepEncrypt(await importOaepPublic(spki), "x", secret);
  let turns = 0, isDone = false;
  const turn = () => {
    turns++;
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  for (let i = 0; i < 10; i++) await oaepDecrypt(key, "x", sealed);
  isDone = true;
  // On this thread there would be two or three for each; a decryption takes as long as thousands of them.
  assert(turns > 200, `The event loop turned ${turns} times during 10 decryptions`);
});
