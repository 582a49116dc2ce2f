import assert from "node:assert/strict";
import fc from "fast-check";
import { parseSafetyUri, safetyUri } from "../../../client/e2ee/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";

const DIGITS = "0123456789".repeat(6);
const name = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,31}$/) as fc.Arbitrary<UserName>;

Deno.test("safetyUri() is the same on both sides and reads as it was written, in any case", () => {
  assert.equal(
    safetyUri("bob_b" as UserName, "alice" as UserName, DIGITS),
    `FASTCHAT:VERIFY/1/ALICE/BOB$B/${DIGITS}`,
  );
  fc.assert(fc.property(name, name, fc.stringMatching(/^[0-9]{60}$/), (one, other, number) => {
    fc.pre(one !== other);
    const uri = safetyUri(one, other, number);
    assert.equal(safetyUri(other, one, number), uri);
    assert.match(uri, /^[0-9A-Z $%*+\-.\/:]{1,144}$/, "alphanumeric mode, version 5");
    const names = one < other ? [one, other] : [other, one];
    assert.deepEqual(parseSafetyUri(uri), { names, number });
    assert.deepEqual(parseSafetyUri(` ${uri.toLowerCase()}\n`), { names, number });
  }));
});

Deno.test("parseSafetyUri() refuses everything else", () => {
  const others = [
    "",
    DIGITS,
    `HTTPS://VERIFY/1/A/B/${DIGITS}`,
    `FASTCHAT:VERIFY/2/A/B/${DIGITS}`,
    `FASTCHAT:VERIFY/1/B/A/${DIGITS}`,
    `FASTCHAT:VERIFY/1/A/A/${DIGITS}`,
    `FASTCHAT:VERIFY/1/A/B/${DIGITS}/C`,
    `FASTCHAT:VERIFY/1/A/B/${DIGITS.slice(1)}`,
    "FASTCHAT:VERIFY/1/A/B",
    "FASTCHAT:VERIFY/1/A",
    `FASTCHAT:VERIFY/1/A B/C/${DIGITS}`,
    `FASTCHAT:VERIFY/1/A\u001b/C/${DIGITS}`,
  ];
  for (const other of others) assert.equal(parseSafetyUri(other), undefined, other);
});
