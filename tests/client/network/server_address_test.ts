import assert from "node:assert/strict";
import { UsageError } from "../../../client/errors.ts";
import { parseServerAddress } from "../../../client/network/server_address.ts";
import { formatFingerprint } from "../../../shared/crypto/mod.ts";

Deno.test("parseServerAddress() reads names, IPv6 and fingerprints, and says what is wrong", () => {
  const fingerprint = new Uint8Array(32).fill(7);
  assert.deepEqual(parseServerAddress("Chat.example.org:9000"), { host: "chat.example.org", port: 9000 });
  assert.deepEqual(parseServerAddress("[::1]:9000"), { host: "::1", port: 9000 });
  assert.deepEqual(parseServerAddress(`h:1#${formatFingerprint(fingerprint)}`), { host: "h", port: 1, fingerprint });
  for (const wrong of ["", "h", ":9", "h:0", "h:65536", "h:9#zz", "::1:9000", "a b:9", "h:9x"]) {
    assert.throws(() => parseServerAddress(wrong), UsageError, wrong);
  }
});
