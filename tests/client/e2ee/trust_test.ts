import assert from "node:assert/strict";
import { judgeIdentity, KeyChanged, mayTrust, requirePinned } from "../../../client/e2ee/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";

const OLD = new Uint8Array(32).fill(1), NEW = new Uint8Array(32).fill(2);
const BOB = "bob" as UserName;

Deno.test("judgeIdentity() pins at first use and calls everything else changed", () => {
  assert.equal(judgeIdentity(undefined, NEW), "first");
  assert.equal(judgeIdentity(OLD, OLD.slice()), "known");
  assert.equal(judgeIdentity(OLD, NEW), "changed");
});

Deno.test("mayTrust() accepts only the identity that was shown", () => {
  assert.equal(mayTrust(NEW, NEW.slice()), true);
  assert.equal(mayTrust(NEW, OLD), false);
  assert.equal(mayTrust(undefined, NEW), false);
});

Deno.test("requirePinned() throws what names both fingerprints", () => {
  requirePinned(BOB, OLD, OLD.slice());
  assert.throws(() => requirePinned(BOB, undefined, OLD), TypeError);
  assert.throws(() => requirePinned(BOB, OLD, NEW), (error: unknown) => {
    assert.ok(error instanceof KeyChanged);
    assert.deepEqual([error.user, error.pinned, error.offered], [BOB, OLD, NEW]);
    assert.match(error.message, /^The key of bob is SHA256:\S{43}, pinned is SHA256:\S{43}$/);
    return true;
  });
});
