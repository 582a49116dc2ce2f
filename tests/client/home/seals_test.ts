import assert from "node:assert/strict";
import fc from "fast-check";
import { FastChatError } from "../../../client/errors.ts";
import {
  keyIdOf,
  openByPassword,
  openByToken,
  ownerOf,
  sealByPassword,
  sealByToken,
} from "../../../client/home/seals.ts";
import { VaultError } from "../../../client/home/vault.ts";
import { stretched, TEST_OWNER } from "../passwords.ts";

const KEY = new Uint8Array(32).map((_, at) => 255 - at);
const TOKEN = new Uint8Array(32).fill(5);

Deno.test("sealByPassword() opens by the same password alone, and says for whom it has to be stretched", async () => {
  const right = await stretched("violet otter"), wrong = await stretched("violet otters");
  const sealed = sealByPassword(KEY, right, TEST_OWNER);
  assert.deepEqual(ownerOf(sealed), TEST_OWNER);
  assert.deepEqual(openByPassword(sealed, right), KEY);
  assert.equal(openByPassword(sealed, wrong), undefined);
  const elsewhere = await stretched("violet otter", { ...TEST_OWNER, clusterId: new Uint8Array(16).fill(3) });
  assert.equal(openByPassword(sealed, elsewhere), undefined);
  assert.notDeepEqual(sealByPassword(KEY, right, TEST_OWNER), sealed, "two homes of one person have nothing in common");
});

Deno.test("sealByToken() opens by the same token alone", () => {
  const sealed = sealByToken(KEY, TOKEN);
  assert.deepEqual(openByToken(sealed, TOKEN), KEY);
  assert.equal(openByToken(sealed, TOKEN.with(31, 4)), undefined);
});

Deno.test("a seal that was damaged anywhere is told from a wrong password", async () => {
  const password = await stretched("violet otter");
  for (
    const [sealed, open] of [
      [sealByPassword(KEY, password, TEST_OWNER), (bytes: Uint8Array) => openByPassword(bytes, password)],
      [sealByToken(KEY, TOKEN), (bytes: Uint8Array) => openByToken(bytes, TOKEN)],
    ] as const
  ) {
    for (let at = 0; at < sealed.length; at++) {
      assert.throws(() => open(sealed.with(at, sealed[at]! ^ 1)), VaultError, `byte ${at}`);
    }
    for (let length = 0; length < sealed.length; length++) {
      assert.throws(() => open(sealed.subarray(0, length)), VaultError, `${length} bytes`);
    }
  }
});

Deno.test("a seal never throws anything but VaultError at random bytes", async () => {
  const password = await stretched("violet otter");
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    for (const open of [() => openByPassword(bytes, password), () => openByToken(bytes, TOKEN), () => ownerOf(bytes)]) {
      assert.throws(open, (error) => error instanceof VaultError && error instanceof FastChatError);
    }
  }));
});

Deno.test("keyIdOf() tells keys apart and not what they are", () => {
  assert.equal(keyIdOf(KEY).length, 16);
  assert.notDeepEqual(keyIdOf(KEY), keyIdOf(KEY.with(0, 0)));
  assert.equal(new Set([...keyIdOf(KEY)].filter((byte) => KEY.includes(byte))).size < 16, true);
});
