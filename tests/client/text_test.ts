import assert from "node:assert/strict";
import { UsageError } from "../../client/errors.ts";
import { checkText } from "../../client/text.ts";
import { TEXT_BYTES_MAX } from "../../shared/limits.ts";

Deno.test("checkText() takes 1 byte to 1 MiB of well-formed text", () => {
  checkText("x");
  checkText("é".repeat(TEXT_BYTES_MAX / 2));
  for (const wrong of ["", "x".repeat(TEXT_BYTES_MAX + 1), "é".repeat(TEXT_BYTES_MAX / 2) + "x", "\ud800"]) {
    assert.throws(() => checkText(wrong), UsageError);
  }
});
