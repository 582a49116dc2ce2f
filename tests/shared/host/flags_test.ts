import assert from "node:assert/strict";
import {
  allowOnly,
  choiceFlag,
  hostFlag,
  numberFlag,
  parseFlags,
  textFlag,
  UsageError,
} from "../../../shared/host/mod.ts";

const OPTIONS = { "data": { type: "string" }, "json": { type: "boolean" } } as const;

Deno.test("parseFlags() reads options in any place and drops one leading separator", () => {
  const { values, positionals } = parseFlags(["--", "check", "--data=dir", "--json", "more"], OPTIONS);
  assert.deepEqual([values["data"], values["json"], positionals], ["dir", true, ["check", "more"]]);
});

Deno.test("parseFlags() refuses what is unknown, lacks its text, or is negative, in a sentence of ours", () => {
  for (const words of [["--colour", "red"], ["--data"], ["--json=yes"], ["-3"]]) {
    assert.throws(() => parseFlags(words, OPTIONS), (error) => {
      assert.ok(error instanceof UsageError);
      return !/positional|'--'/.test(error.message);
    }, words.join(" "));
  }
});

Deno.test("numberFlag() takes whole numbers within its bounds, the bounds included", () => {
  const read = (word: string | undefined) => numberFlag({ n: word }, "n", 7, 2, 20);
  assert.deepEqual([undefined, "2", "20"].map(read), [7, 2, 20]);
  for (const word of ["1", "21", "", "2.0", "0x3", "1e1", " 3"]) {
    assert.throws(() => read(word), /--n takes a number from 2 to 20/, word);
  }
});

Deno.test("choiceFlag(), hostFlag() and allowOnly() name what was wanted", () => {
  assert.equal(choiceFlag({}, "mode", ["open", "closed"]), "open");
  assert.throws(() => choiceFlag({ mode: "ajar" }, "mode", ["open", "closed"]), /open or closed, not 'ajar'/);
  assert.equal(hostFlag({ host: "[::1]" }, "host"), "::1");
  assert.throws(() => hostFlag({ host: "two words" }, "host"), /--host needs an address/);
  assert.equal(textFlag({ json: true }, "json"), undefined);
  allowOnly({ data: "d" }, ["data"], "check");
  assert.throws(() => allowOnly({ data: "d", json: true }, ["data"], "check"), /--json is not an option of check/);
});
