import assert from "node:assert/strict";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import { THROTTLE_DEFAULTS, Throttles } from "../../server/throttles.ts";

function busy(waitMs?: number) {
  return (error: unknown) => {
    assert(error instanceof RequestError);
    assert.equal(error.code, ErrorCode.busy);
    assert(error.retryAfterMs > 0);
    if (waitMs !== undefined) assert.equal(error.retryAfterMs, waitMs);
    return true;
  };
}

const stranger = { address: "192.0.2.1", name: "alice", provenDevice: undefined };

Deno.test("Throttles.logIn() locks an (address, account) out, neither the address nor the account", () => {
  const throttles = new Throttles(THROTTLE_DEFAULTS);
  for (let i = 0; i < 5; i++) throttles.logIn(stranger, 0);
  assert.throws(() => throttles.logIn(stranger, 0), busy(1000));
  throttles.logIn({ ...stranger, name: "bob" }, 0);
  throttles.logIn({ ...stranger, address: "192.0.2.2" }, 0);
});

Deno.test("Throttles.logIn(): a device that proves itself is not locked out by others' failures, its own do count", () => {
  const throttles = new Throttles({ ...THROTTLE_DEFAULTS, wrongPasswordsFreePerAccount: 10, burst: 50 });
  for (let i = 0; i < 200; i++) {
    try {
      throttles.logIn({ ...stranger, address: i % 2 === 0 ? "192.0.2.1" : `198.51.100.${i}` }, 0);
    } catch { /* as it should */ }
  }
  assert.throws(
    () => throttles.logIn({ ...stranger, address: "203.0.113.1" }, 0),
    busy(),
    "the account is locked softly",
  );
  const proven = { ...stranger, provenDevice: "d1" };
  for (let i = 0; i < 5; i++) throttles.logIn(proven, 0);
  assert.throws(() => throttles.logIn(proven, 0), busy(1000));
  throttles.logIn({ ...proven, provenDevice: "d2" }, 0);
});

Deno.test("Throttles.logIn() bounds an address whatever names it tries, and sign-ups apart from it", () => {
  const throttles = new Throttles({ ...THROTTLE_DEFAULTS, logInRate: 50, signUpRate: 20, burst: 10 });
  for (let i = 0; i < 10; i++) throttles.logIn({ ...stranger, name: `n${i}` }, 0);
  assert.throws(() => throttles.logIn({ ...stranger, name: "other" }, 0), busy(20));
  for (let i = 0; i < 10; i++) throttles.signUp(stranger.address, 0);
  assert.throws(() => throttles.signUp(stranger.address, 0), busy(50));
  throttles.signUp("192.0.2.2", 0);
});

Deno.test("Throttles.clear() and forgive() give the tries back", () => {
  const throttles = new Throttles(THROTTLE_DEFAULTS);
  for (let i = 0; i < 20; i++) {
    throttles.logIn(stranger, 0);
    if (i % 2 === 0) throttles.clear(stranger);
    else throttles.forgive(stranger, 0);
  }
});
