import assert from "node:assert/strict";
import { explain } from "../../server/refusal.ts";
import { StoreFullError, StoreUnavailableError } from "../../server/store/store.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";

Deno.test("explain() says what a client can do about it, and no word of what only the log should have", () => {
  const told = (error: unknown) => {
    const { response, isOurs } = explain(error);
    assert(response.type === "error" && response.messageId === undefined && response.epoch === 0);
    return [response.code, response.message, response.retryAfterMs, isOurs];
  };
  assert.deepEqual(told(new RequestError(ErrorCode.busy, "Wait", 40)), [ErrorCode.busy, "Wait", 40, false]);
  const [code, message, retryAfterMs, isOurs] = told(new StoreUnavailableError("no leader at 127.0.0.1:9"));
  assert.deepEqual([code, isOurs], [ErrorCode.unavailable, false]);
  assert(Number(retryAfterMs) > 0, "it is worth asking again");
  assert.doesNotMatch(String(message), /127/);
  assert.deepEqual(told(new StoreFullError("/secret/path")), [
    ErrorCode.diskFull,
    "The server's disk is full",
    0,
    true,
  ]);
  for (const error of [new TypeError("x is undefined"), "thrown", undefined]) {
    assert.deepEqual(told(error), [ErrorCode.internal, "The server made a mistake", 0, true]);
  }
});
