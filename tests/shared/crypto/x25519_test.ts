import assert from "node:assert/strict";
import { createPrimitives, sha256, x25519, x25519FromPrivate } from "../../../shared/crypto/mod.ts";
import type { RandomSource } from "../../../shared/primitives.ts";
import file from "../../vectors/x25519.json" with { type: "json" };

const hex = Uint8Array.fromHex;

for (const vector of file.vectors) {
  Deno.test(`x25519: RFC 7748 ${vector.name}`, () => {
    const pair = x25519FromPrivate(hex(vector.private));
    if (vector.public) assert.equal(pair.publicKey.toHex(), vector.public);
    assert.equal(pair.agree(hex(vector.peer))?.toHex(), vector.shared);
  });
}

Deno.test("x25519: two fresh pairs agree, and differ from one another", async () => {
  const primitives = await createPrimitives();
  const a = primitives.keyAgreement(), b = primitives.keyAgreement();
  assert.notDeepEqual(a.publicKey, b.publicKey);
  assert.deepEqual(a.agree(b.publicKey), b.agree(a.publicKey));
  assert.equal(a.agree(b.publicKey)?.length, 32);
});

Deno.test("KeyAgreement.agree() refuses every point of low order and every wrong length", async () => {
  const pair = (await createPrimitives()).keyAgreement();
  // The points of order 1, 2, 4 and 8, and their other encodings modulo 2^255-19.
  const lowOrder = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  ];
  for (const point of lowOrder) assert.equal(pair.agree(hex(point)), undefined, point);
  for (const length of [0, 31, 33]) assert.equal(pair.agree(new Uint8Array(length).fill(9)), undefined);
});

Deno.test("createPrimitives() with a seeded source gives the same pairs again", async () => {
  const seeded = (): RandomSource => {
    let counter = 0;
    return { bytes: (length) => sha256(new Uint8Array([counter++])).slice(0, length) };
  };
  const first = await createPrimitives({ random: seeded() }), second = await createPrimitives({ random: seeded() });
  const pairs = [first, second].map((primitives) => [primitives.keyAgreement(), primitives.keyAgreement()]);
  assert.deepEqual(pairs[0]!.map((pair) => pair.publicKey), pairs[1]!.map((pair) => pair.publicKey));
  assert.notDeepEqual(pairs[0]![0]!.publicKey, pairs[0]![1]!.publicKey);
  assert.deepEqual(x25519(seeded()).publicKey, pairs[0]![0]!.publicKey);
});
