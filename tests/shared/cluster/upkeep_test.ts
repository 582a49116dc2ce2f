import assert from "node:assert/strict";
import { parseUpkeep, type Upkeep, upkeepWords } from "../../../shared/cluster/mod.ts";
import { UsageError } from "../../../shared/host/mod.ts";

Deno.test("parseUpkeep() reads what upkeepWords() writes", () => {
  const wishes: Upkeep[] = [
    { type: "check", dataDir: "/d", json: true },
    { type: "check", dataDir: undefined, json: false },
    { type: "backup", file: "/b", dataDir: "/d", withKeys: true, force: true },
    { type: "backup", file: "/b", dataDir: undefined, withKeys: false, force: false },
    { type: "restore", file: "/b", dataDir: "/d", verify: false, endSessions: false },
    { type: "restore", file: "/b", dataDir: "/d", verify: true, endSessions: true },
    { type: "restore", file: "/b", dataDir: undefined, verify: true, endSessions: false },
  ];
  for (const wish of wishes) assert.deepEqual(parseUpkeep(upkeepWords(wish)), wish);
  assert.deepEqual(parseUpkeep(["--", "check", "--data", "/d"]), { type: "check", dataDir: "/d", json: false });
});

Deno.test("parseUpkeep() leaves other words alone and says what is wrong with its own", () => {
  for (const words of [[], ["4", "9000"], ["stop"], ["backup", "--help"]]) assert.equal(parseUpkeep(words), undefined);
  const wrong: readonly (readonly [words: string, what: RegExp])[] = [
    ["backup", /takes one file/],
    ["restore /a /b --data /d", /takes one file/],
    ["restore /a", /Say where to/],
    ["restore /a --verify --end-sessions", /Say where to.*--end-sessions/],
    ["restore /a --data= --verify", /needs a directory/],
    ["check /a", /no further words/],
    ["check --end-sessions", /--end-sessions/],
    ["backup /a --verify", /--verify/],
  ];
  for (const [words, what] of wrong) {
    assert.throws(
      () => parseUpkeep(words.split(" ")),
      (error) => error instanceof UsageError && what.test(error.message),
      words,
    );
  }
});
