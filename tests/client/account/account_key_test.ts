/** The key that a user's devices seal to each other by (SECURITY P9): which homes have it, and for how long the private half. */
import assert from "node:assert/strict";
import { accountKeyOf, PRIVATE_MS } from "../../../client/account/account_key.ts";
import { openHome } from "../../../client/home_parts.ts";
import { unlock } from "../../../client/account/unlock.ts";
import { x25519FromPrivate } from "../../../shared/crypto/mod.ts";
import { PASSWORD, withOldHome } from "../old_home.ts";

Deno.test("accountKeyOf() is a pair that follows from identity and cluster", () => {
  const identity = new Uint8Array(1_792).fill(1), cluster = new Uint8Array(16).fill(2);
  const key = accountKeyOf(identity, cluster);
  assert.deepEqual(accountKeyOf(identity, cluster), key);
  assert.deepEqual(x25519FromPrivate(key.privateKey).publicKey, key.publicKey);
  assert.notDeepEqual(accountKeyOf(identity, new Uint8Array(16)), key);
  assert.notDeepEqual(accountKeyOf(identity.with(0, 2), cluster), key);
});

Deno.test("a home that has no account key gets it with the password, and keeps the private half for a day", async () => {
  await withOldHome(async (home) => {
    const { credentials, database } = openHome(home);
    try {
      assert.equal(credentials.accountKey(Date.now()), undefined);
      await unlock(credentials, { password: "something else entirely" });
      assert.equal(credentials.accountKey(Date.now()), undefined);
      await unlock(credentials, { password: PASSWORD });
      const identity = (await credentials.identity(PASSWORD))!, { clusterId } = credentials.account()!;
      const expected = accountKeyOf(identity.pkcs8, clusterId), nowMs = Date.now();
      assert.deepEqual(credentials.accountKey(nowMs), expected);
      const later = { publicKey: expected.publicKey, privateKey: undefined };
      assert.deepEqual(credentials.accountKey(nowMs + PRIVATE_MS), later);
      assert.deepEqual(credentials.accountKey(nowMs), later, "it is gone from the disk, whatever the clock says");
      credentials.saveAccountKey(identity, clusterId, nowMs);
      assert.deepEqual(credentials.accountKey(nowMs), expected);
      assert.deepEqual(credentials.accountKey(nowMs - 1), later, "a clock that was put back does not make it last");
    } finally {
      database.close();
    }
  });
});
