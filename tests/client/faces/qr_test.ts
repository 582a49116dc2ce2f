import assert from "node:assert/strict";
import fc from "fast-check";
import { qrModules, qrRows } from "../../../client/faces/qr.ts";
import { safetyUri } from "../../../client/e2ee/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { scan } from "../../scanner.ts";

const name = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,31}$/) as fc.Arbitrary<UserName>;

Deno.test("qrRows(qrModules()): a scanner reads what was written, from any number and any two names", () => {
  fc.assert(
    fc.property(name, name, fc.stringMatching(/^[0-9]{60}$/), (one, other, number) => {
      fc.pre(one !== other);
      const uri = safetyUri(one, other, number);
      assert.equal(scan(qrRows(qrModules(uri), false)), uri);
    }),
    { numRuns: 30 },
  );
});

Deno.test("qrModules(): the longest names' code fits 80 by 24, quiet zone and all", () => {
  const longest = qrModules(safetyUri("a".repeat(32) as UserName, ("b" + "_".repeat(31)) as UserName, "9".repeat(60)));
  assert.equal(longest.length, 45);
  const rows = qrRows(longest, false);
  assert.equal(rows.length, 23);
  for (const row of rows) assert.equal([...row].length, 45);
  for (const edge of [...longest.slice(0, 4), ...longest.slice(-4)]) assert(edge.every((isDark) => !isDark));
  for (const row of longest) assert([...row.slice(0, 4), ...row.slice(-4)].every((isDark) => !isDark));
});

Deno.test("qrRows() says black on white where there are colours, and draws the light modules where there are none", () => {
  const modules = [[true, false, true, false], [true, false, false, true], [true, false, true, true]];
  assert.deepEqual(qrRows(modules, false), [" █▄▀", "▄█▄▄"]);
  assert.deepEqual(
    qrRows(modules, true),
    ["█ ▀▄", "▀ ▀▀"].map((row) => `\x1b[38;5;16;48;5;231m${row}\x1b[0m`),
  );
});
