import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { AddressTokens, TOKEN_BYTES, TokenPurpose } from "../../../shared/handshake/mod.ts";

const primitives = await createPrimitives();
const key = new Uint8Array(32).fill(7), clusterId = new Uint8Array(16).fill(8);
const tokens = new AddressTokens(primitives, key, clusterId);
const NOW = 1_900_000_000;
const purposes = Object.values(TokenPurpose);

Deno.test("AddressTokens: what make() gave check() takes, with its purpose, until it expires", () => {
  for (const purpose of purposes) {
    const token = tokens.make(purpose, "192.0.2.7", NOW);
    const lifetime = purpose === TokenPurpose.newToken ? 86_400 : 30;
    assert.equal(token.length, TOKEN_BYTES);
    assert.equal(tokens.check(token, "192.0.2.7", NOW), purpose);
    assert.equal(tokens.check(token, "192.0.2.7", NOW + lifetime - 1), purpose);
    assert.equal(tokens.check(token, "192.0.2.7", NOW + lifetime), undefined);
    assert.equal(tokens.check(token, "192.0.2.7", NOW - lifetime), purpose, "a clock that is a little behind");
    assert.equal(tokens.check(token, "192.0.2.7", NOW - 2 * lifetime), undefined);
  }
});

Deno.test("AddressTokens: the layout is docs/PROTOCOL.md §3", () => {
  const token = tokens.make(TokenPurpose.retry, "192.0.2.7", NOW);
  const head = "02" + (NOW + 30).toString(16).padStart(12, "0");
  const mac = createHmac("sha256", key).update("fastchat/token/1").update(Uint8Array.fromHex(head)).update(clusterId)
    .update(Uint8Array.fromHex("04c0000207")).digest("hex").slice(0, 32);
  assert.equal(token.toHex(), head + mac);
});

Deno.test("AddressTokens: bound to the address, not to its spelling (H6)", () => {
  const v4 = tokens.make(TokenPurpose.locate, "192.0.2.7", NOW);
  assert.equal(tokens.check(v4, "::ffff:192.0.2.7", NOW), TokenPurpose.locate);
  assert.equal(tokens.check(v4, "::ffff:c000:207", NOW), TokenPurpose.locate);
  for (const host of ["192.0.2.8", "192.0.3.7", "::192.0.2.7", "::1", "nonsense", ""]) {
    assert.equal(tokens.check(v4, host, NOW), undefined, host);
  }
  const v6 = tokens.make(TokenPurpose.locate, "2001:db8:1:2::a", NOW);
  assert.equal(tokens.check(v6, "2001:db8:1:2:ffff::1", NOW), TokenPurpose.locate, "the same /64");
  assert.equal(tokens.check(v6, "2001:db8:1:3::a", NOW), undefined);
});

Deno.test("AddressTokens: another purpose, expiry, key or cluster is refused; so is every flipped bit and length (H6)", () => {
  const token = tokens.make(TokenPurpose.locate, "192.0.2.7", NOW);
  for (const purpose of [0, 2, 3, 4, 255]) {
    const other = token.slice();
    other[0] = purpose;
    assert.equal(tokens.check(other, "192.0.2.7", NOW), undefined);
  }
  for (let bit = 0; bit < TOKEN_BYTES * 8; bit++) {
    const other = token.slice();
    other[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(tokens.check(other, "192.0.2.7", NOW), undefined, `bit ${bit}`);
  }
  for (let length = 0; length < TOKEN_BYTES; length++) {
    assert.equal(tokens.check(token.subarray(0, length), "192.0.2.7", NOW), undefined);
  }
  assert.equal(tokens.check(new Uint8Array([...token, 0]), "192.0.2.7", NOW), undefined);
  const otherKey = new AddressTokens(primitives, new Uint8Array(32), clusterId);
  const otherCluster = new AddressTokens(primitives, key, new Uint8Array(16));
  assert.equal(otherKey.check(token, "192.0.2.7", NOW), undefined);
  assert.equal(otherCluster.check(token, "192.0.2.7", NOW), undefined);
});

Deno.test("AddressTokens: random bytes never pass and never throw", () => {
  const lengths = fc.oneof(fc.uint8Array({ minLength: 23, maxLength: 23 }), fc.uint8Array({ maxLength: 60 }));
  fc.assert(fc.property(lengths, (bytes) => {
    assert.equal(tokens.check(bytes, "192.0.2.7", NOW), undefined);
  }));
});

Deno.test("AddressTokens.make() refuses what is no address, and owns its keys", () => {
  assert.throws(() => tokens.make(TokenPurpose.locate, "localhost", NOW), TypeError);
  const mine = key.slice();
  const own = new AddressTokens(primitives, mine, clusterId);
  mine.fill(0);
  assert.equal(own.check(tokens.make(TokenPurpose.locate, "::1", NOW), "::1", NOW), TokenPurpose.locate);
  assert.throws(() => new AddressTokens(primitives, new Uint8Array(31), clusterId), /31 bytes/);
});
