/** Key packages: what is accepted, what is not, and that no bytes make the reader throw (SECURITY M3, M10). */
import assert from "node:assert/strict";
import fc from "fast-check";
import { makeKeyPackage, readKeyPackage } from "../../../../client/e2ee/mls/mod.ts";
import { testKeys } from "../../../keys.ts";
import { makeDevice, mlsFor } from "./people.ts";

const NOW_MS = Date.UTC(2030, 0, 1), DAY_MS = 24 * 3600 * 1000;

Deno.test("readKeyPackage() accepts one for 30 days", async () => {
  const mls = await mlsFor("x-wing"), device = await makeDevice("bob");
  for (const lastResort of [false, true]) {
    const own = await makeKeyPackage(mls, device, { nowMs: NOW_MS, lastResort });
    const at = (nowMs: number) => readKeyPackage(mls, own.publicBytes, { nowMs });
    const verdict = await at(NOW_MS);
    assert(verdict.ok);
    assert.deepEqual([verdict.holder.user, verdict.lastResort], ["bob", lastResort]);
    assert((await at(NOW_MS + 30 * DAY_MS)).ok);
    assert.deepEqual(await at(NOW_MS + 30 * DAY_MS + 1000), { ok: false, reason: "expired" });
    assert((await at(NOW_MS - 2 * DAY_MS)).ok, "a slow clock");
    assert.deepEqual(await at(NOW_MS - 3 * DAY_MS), { ok: false, reason: "not yet valid" });
  }
});

Deno.test("readKeyPackage() refuses another suite, another device's certificate and other kinds of message", async () => {
  const mls = await mlsFor(), other = await mlsFor("x-wing"), device = await makeDevice("bob");
  const own = await makeKeyPackage(mls, device, { nowMs: NOW_MS });
  assert.deepEqual(await readKeyPackage(other, own.publicBytes, { nowMs: NOW_MS }), {
    ok: false,
    reason: "other suite",
  });
  const { certificate } = await makeDevice("alice");
  const stolen = await makeKeyPackage(mls, { ...device, certificate }, { nowMs: NOW_MS });
  // Signed by a key that the certificate does not name.
  assert.deepEqual(await readKeyPackage(mls, stolen.publicBytes, { nowMs: NOW_MS }), {
    ok: false,
    reason: "bad signature",
  });
  const { alice } = await testKeys(), forged = alice.certificate.slice();
  forged[forged.length - 1]! ^= 1;
  const bad = await makeKeyPackage(mls, { certificate: forged, leafPkcs8: alice.leaf.pkcs8 }, { nowMs: NOW_MS });
  assert.deepEqual(await readKeyPackage(mls, bad.publicBytes, { nowMs: NOW_MS }), {
    ok: false,
    reason: "bad credential",
  });
});

Deno.test("readKeyPackage() never throws and takes no changed byte", async () => {
  const mls = await mlsFor(), { publicBytes } = await makeKeyPackage(mls, await makeDevice("bob"), { nowMs: NOW_MS });
  const judge = (bytes: Uint8Array) => readKeyPackage(mls, bytes, { nowMs: NOW_MS });
  for (let at = 0; at < publicBytes.length; at += 5) {
    assert.equal((await judge(publicBytes.with(at, publicBytes[at]! ^ (1 << (at % 8))))).ok, false, `byte ${at}`);
    assert.deepEqual(await judge(publicBytes.slice(0, at)), { ok: false, reason: "malformed" });
  }
  assert.deepEqual(await judge(new Uint8Array([...publicBytes, 0])), { ok: false, reason: "malformed" });
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (tail) => {
      assert.equal((await judge(tail)).ok, false);
      assert.equal((await judge(new Uint8Array([0, 1, 0, 5, ...tail]))).ok, false);
    }),
    { numRuns: 200 },
  );
});
