import assert from "node:assert/strict";
import { nearest } from "../../shared/suggest.ts";

Deno.test("nearest() finds what was meant and nothing far away", () => {
  assert.equal(nearest("lsiten", ["send", "listen"]), "listen");
  assert.equal(nearest("hist", ["history", "send"]), "history");
  assert.equal(nearest("localhost", ["login", "listen"]), undefined);
});
