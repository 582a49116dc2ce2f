import assert from "node:assert/strict";
import { createHash, createHmac, hkdfSync } from "node:crypto";
import fc from "fast-check";
import { equalBytes, hkdfExpand, hkdfExtract, hmacSha256, sha256 } from "../../../shared/crypto/mod.ts";
import file from "../../vectors/hkdf.json" with { type: "json" };

const hex = Uint8Array.fromHex;

for (const vector of file.vectors) {
  Deno.test(`hkdf: RFC 5869 ${vector.name}`, () => {
    const prk = hkdfExtract(hex(vector.salt), hex(vector.ikm));
    assert.equal(prk.toHex(), vector.prk);
    assert.equal(hkdfExpand(prk, hex(vector.info), vector.okm.length / 2).toHex(), vector.okm);
  });
}

Deno.test("hkdfExpand() agrees with the platform's HKDF at every length and label", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 1, maxLength: 64 }),
    fc.uint8Array({ maxLength: 64 }),
    fc.string({ maxLength: 30 }),
    fc.integer({ min: 1, max: 200 }),
    (ikm, salt, label, length) => {
      const twin = new Uint8Array(hkdfSync("sha256", ikm, salt, label, length));
      assert.deepEqual(hkdfExpand(hkdfExtract(salt, ikm), label, length), twin);
    },
  ));
});

Deno.test("hkdfExpand() refuses more than RFC 5869 allows", () => {
  assert.equal(hkdfExpand(new Uint8Array(32), "x", 255 * 32).length, 255 * 32);
  assert.throws(() => hkdfExpand(new Uint8Array(32), "x", 255 * 32 + 1), /cannot expand/);
  assert.throws(() => hkdfExpand(new Uint8Array(32), "x", 0), /cannot expand/);
});

Deno.test("sha256() and hmacSha256() hash the parts as one", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 4 }), fc.uint8Array(), (parts, key) => {
    const whole = new Uint8Array(parts.flatMap((part) => [...part]));
    assert.equal(sha256(...parts).toHex(), createHash("sha256").update(whole).digest("hex"));
    assert.equal(hmacSha256(key, ...parts).toHex(), createHmac("sha256", key).update(whole).digest("hex"));
  }));
});

Deno.test("equalBytes() compares content and length", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(), (bytes, at) => {
    const other = bytes.slice();
    assert.ok(equalBytes(bytes, other));
    other[at % other.length]! ^= 1 << (at % 8);
    assert.ok(!equalBytes(bytes, other));
    assert.ok(!equalBytes(bytes, bytes.subarray(1)));
  }));
  assert.ok(equalBytes(new Uint8Array(0), new Uint8Array(0)));
});
