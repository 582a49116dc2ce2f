import assert from "node:assert/strict";
import { createHash, hkdfSync, scryptSync } from "node:crypto";
import { StretchingRefused, type StretchOptions, stretchPassword } from "../../../shared/crypto/mod.ts";
import { SCRYPT_LOG2_N_MIN } from "../../../shared/limits.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";

const CLUSTER = new Uint8Array(16).fill(0xc1);
const SALT = new Uint8Array(16).fill(0x5a);
const NAME = "alice" as UserName;
/** Cheap: what is tested here does not depend on the cost. */
const CHEAP = { testOnlyLog2NMin: 4 };

function options(change: Partial<StretchOptions> = {}): StretchOptions {
  return {
    password: "a long enough passphrase",
    clusterId: CLUSTER,
    name: NAME,
    stretching: { salt: SALT, log2N: 4 },
    ...CHEAP,
    ...change,
  };
}

Deno.test("stretchPassword() is docs/PROTOCOL.md §11, step by step", async () => {
  const stretched = await stretchPassword(options());
  const salt = createHash("sha256").update("fastchat/pw/1").update(CLUSTER).update(NAME).update(SALT).digest();
  const secret = scryptSync("a long enough passphrase", salt, 32, { N: 16, r: 8, p: 1 });
  const expand = (label: string, length: number) =>
    new Uint8Array(hkdfSync("sha256", secret, new Uint8Array(32), label, length));
  assert.equal(
    stretched.loginSecret,
    expand("fastchat/pw/1 login", 32).toBase64({ alphabet: "base64url", omitPadding: true }),
  );
  assert.deepEqual(stretched.backupKey, expand("fastchat/pw/1 backup", 64));
  assert.match(stretched.loginSecret, /^[A-Za-z0-9_-]{43}$/);
});

Deno.test("stretchPassword() works at the floor that real accounts have", async () => {
  const { loginSecret } = await stretchPassword({
    password: "a long enough passphrase",
    clusterId: CLUSTER,
    name: NAME,
    stretching: { salt: SALT, log2N: SCRYPT_LOG2_N_MIN },
  });
  assert.match(loginSecret, /^[A-Za-z0-9_-]{43}$/);
});

Deno.test("stretchPassword() depends on password, name, cluster, salt and cost", async () => {
  const changes: Partial<StretchOptions>[] = [
    {},
    { password: "a long enough passphrasf" },
    { name: "alicf" as UserName },
    { clusterId: new Uint8Array(16) },
    { stretching: { salt: new Uint8Array(16), log2N: 4 } },
    { stretching: { salt: SALT, log2N: 5 } },
  ];
  const secrets = await Promise.all(
    changes.map(async (change) => (await stretchPassword(options(change))).loginSecret),
  );
  assert.equal(new Set(secrets).size, changes.length);
  assert.equal((await stretchPassword(options())).loginSecret, secrets[0]);
});

Deno.test("stretchPassword() takes every spelling of one password in Unicode as one", async () => {
  const composed = await stretchPassword(options({ password: "pässword ﬁne" }));
  const decomposed = await stretchPassword(options({ password: "pa\u0308ssword fine" }));
  assert.equal(composed.loginSecret, decomposed.loginSecret);
});

Deno.test("stretchPassword() gives keys that do not follow from one another", async () => {
  const stretched = await stretchPassword(options());
  const first = stretched.atRestKey(new Uint8Array(16)), second = stretched.atRestKey(new Uint8Array(16).fill(1));
  assert.equal(first.length, 32);
  assert.notDeepEqual(first, second);
  const login = Uint8Array.fromBase64(stretched.loginSecret, { alphabet: "base64url" });
  const keys = [login, stretched.backupKey.subarray(0, 32), stretched.backupKey.subarray(32), first, second];
  assert.equal(new Set(keys.map((key) => key.toHex())).size, keys.length);
});

Deno.test("stretchPassword() refuses a server's cheap, endless or foreign offer before anything is derived", async () => {
  // One deed is visible from outside before anything can be derived: the password is read.
  const refused = async (change: Partial<StretchOptions>, why: RegExp) => {
    let passwordRead = false;
    const trap: StretchOptions = {
      ...options(),
      ...change,
      get password(): string {
        passwordRead = true;
        return "a long enough passphrase";
      },
    };
    await assert.rejects(stretchPassword(trap), (error: unknown) => {
      assert.ok(error instanceof StretchingRefused);
      assert.match(error.message, why);
      return true;
    });
    assert.equal(passwordRead, false);
  };
  for (const log2N of [0, 1, 10, 16]) {
    await refused({ stretching: { salt: SALT, log2N }, testOnlyLog2NMin: SCRYPT_LOG2_N_MIN }, /at least 2\^17/);
  }
  await refused({ stretching: { salt: SALT, log2N: 3 } }, /2\^3 rounds, at least 2\^4/);
  await refused({ stretching: { salt: SALT, log2N: 21 } }, /at most 2\^20/);
  await refused({ stretching: { salt: SALT, log2N: 255 } }, /at most/);
  await refused({ stretching: { salt: SALT.subarray(1), log2N: 4 } }, /salt is 15 bytes/);
  await refused({ stretching: { salt: new Uint8Array(), log2N: 4 } }, /salt is 0 bytes/);
  await refused({ stretching: { salt: new Uint8Array(17), log2N: 4 } }, /salt is 17 bytes/);
  await refused({ clusterId: new Uint8Array(15) }, /cluster id/);
  await refused({ offeredClusterId: new Uint8Array(16) }, /another cluster/);
  await refused({ lastUsed: { log2N: 5 } }, /last time it was 2\^5/);
  await refused({ lastUsed: { log2N: 4, salt: new Uint8Array(16) } }, /salt is not this account's/);
});

Deno.test("stretchPassword() accepts what the account had before, or more", async () => {
  const before = { lastUsed: { log2N: 4, salt: SALT }, offeredClusterId: CLUSTER };
  assert.equal((await stretchPassword(options(before))).loginSecret, (await stretchPassword(options())).loginSecret);
  await stretchPassword(options({ lastUsed: { log2N: 4 }, stretching: { salt: new Uint8Array(16), log2N: 6 } }));
});
