/** Our primitives and the library's own are interchangeable: a twin test. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { getCiphersuiteFromName } from "ts-mls/crypto/ciphersuite.js";
import { getCiphersuiteImpl } from "ts-mls/crypto/getCiphersuiteImpl.js";
import { loadSuite } from "../../../../client/e2ee/mls/mod.ts";
import { Ed25519KeyPair } from "../../../../shared/crypto/mod.ts";

for (const name of ["x25519", "x-wing"] as const) {
  Deno.test(`loadSuite() ${name} agrees with the library's provider`, async () => {
    const ours = await loadSuite(name), twin = await getCiphersuiteImpl(getCiphersuiteFromName(ours.name));
    assert.deepEqual([ours.kdf.size, ours.hpke.keyLength, ours.hpke.nonceLength], [
      twin.kdf.size,
      twin.hpke.keyLength,
      twin.hpke.nonceLength,
    ]);
    const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    const secret = bytes(ours.kdf.size), data = fc.uint8Array({ minLength: 1, maxLength: 400 });
    await fc.assert(
      fc.asyncProperty(secret, data, fc.integer({ min: 1, max: 200 }), async (key, info, length) => {
        assert.deepEqual(await ours.kdf.extract(key, info), await twin.kdf.extract(key, info));
        assert.deepEqual(await ours.kdf.expand(key, info, length), await twin.kdf.expand(key, info, length));
        assert.deepEqual(await ours.hash.digest(info), await twin.hash.digest(info));
        assert.deepEqual(ours.hashSync(info), await twin.hash.digest(info));
        const mac = await ours.hash.mac(key, info);
        assert.deepEqual(mac, await twin.hash.mac(key, info));
        assert(await ours.hash.verifyMac(key, mac, info));
        assert(!await ours.hash.verifyMac(key, mac.with(0, mac[0]! ^ 1), info));
      }),
      { numRuns: 30 },
    );
    const { keyLength, nonceLength } = ours.hpke;
    await fc.assert(
      fc.asyncProperty(bytes(keyLength), bytes(nonceLength), data, data, async (key, nonce, aad, plaintext) => {
        const sealed = await ours.hpke.encryptAead(key, nonce, aad, plaintext);
        assert.deepEqual(sealed, await twin.hpke.encryptAead(key, nonce, aad, plaintext));
        assert.deepEqual(await ours.hpke.decryptAead(key, nonce, aad, sealed), plaintext);
        await assert.rejects(ours.hpke.decryptAead(key, nonce, aad, sealed.with(0, sealed[0]! ^ 1)));
        await assert.rejects(ours.hpke.decryptAead(key, nonce, aad, sealed.slice(0, 15)));
      }),
      { numRuns: 30 },
    );
  });
}

Deno.test("loadSuite() signs with a device's key as it is stored, and with RFC 8032's seed", async () => {
  const { signature } = await loadSuite(), seed = new Uint8Array(32).fill(7), pair = Ed25519KeyPair.fromSeed(seed);
  const message = Uint8Array.of(1, 2, 3), signed = await signature.sign(pair.pkcs8, message);
  assert.deepEqual(await signature.sign(seed, message), signed);
  assert(await signature.verify(pair.publicKey, message, signed));
  assert(!await signature.verify(pair.publicKey, message, signed.with(0, signed[0]! ^ 1)));
});
