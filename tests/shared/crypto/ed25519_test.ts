import assert from "node:assert/strict";
import { Ed25519KeyPair, ed25519Verify, generateRsaPkcs8 } from "../../../shared/crypto/mod.ts";
import file from "../../vectors/ed25519.json" with { type: "json" };

const hex = Uint8Array.fromHex;

for (const vector of file.vectors) {
  Deno.test(`ed25519: RFC 8032 test ${vector.name}`, () => {
    const pair = Ed25519KeyPair.fromSeed(hex(vector.seed));
    assert.equal(pair.publicKey.toHex(), vector.public);
    assert.equal(pair.sign(hex(vector.message)).toHex(), vector.signature);
    assert.ok(ed25519Verify(hex(vector.public), hex(vector.signature), hex(vector.message)));
  });
}

Deno.test("Ed25519KeyPair.fromPkcs8() brings the same pair back", () => {
  const pair = Ed25519KeyPair.generate();
  const again = Ed25519KeyPair.fromPkcs8(pair.pkcs8);
  const message = new Uint8Array([1, 2, 3]);
  assert.equal(pair.pkcs8.length, 48);
  assert.deepEqual(again.publicKey, pair.publicKey);
  assert.ok(ed25519Verify(pair.publicKey, again.sign(message), message));
});

Deno.test("Ed25519KeyPair.fromPkcs8() refuses what is not an Ed25519 key", async () => {
  assert.throws(() => Ed25519KeyPair.fromPkcs8(new Uint8Array(48)));
  assert.throws(() => Ed25519KeyPair.fromSeed(new Uint8Array(31)), RangeError);
  const rsa = await generateRsaPkcs8();
  assert.throws(() => Ed25519KeyPair.fromPkcs8(rsa), TypeError);
});

Deno.test("ed25519Verify() refuses another key, message or signature, and any wrong length", () => {
  const pair = Ed25519KeyPair.generate(), other = Ed25519KeyPair.generate();
  const message = new TextEncoder().encode("hello");
  const signature = pair.sign(message);
  assert.ok(ed25519Verify(pair.publicKey, signature, message));
  assert.ok(!ed25519Verify(other.publicKey, signature, message));
  assert.ok(!ed25519Verify(pair.publicKey, signature, message.subarray(1)));
  for (let at = 0; at < signature.length; at++) {
    const flipped = signature.slice();
    flipped[at]! ^= 0x40;
    assert.ok(!ed25519Verify(pair.publicKey, flipped, message), `byte ${at}`);
  }
  assert.ok(!ed25519Verify(pair.publicKey, signature.subarray(1), message));
  assert.ok(!ed25519Verify(pair.publicKey.subarray(1), signature, message));
  assert.ok(!ed25519Verify(new Uint8Array(32).fill(0xff), signature, message));
});
