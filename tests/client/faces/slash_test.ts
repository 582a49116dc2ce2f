import assert from "node:assert/strict";
import { GROUP_ACTS } from "../../../client/group_acts.ts";
import { parseLine, SLASH_COMMANDS } from "../../../client/faces/slash.ts";

Deno.test("parseLine() takes slash and backslash, names and aliases", () => {
  for (const { name, aliases } of SLASH_COMMANDS) {
    for (const word of [name, ...aliases]) {
      for (const mark of ["/", "\\"]) {
        const line = parseLine(`${mark}${word.toUpperCase()} bob  5`),
          act = GROUP_ACTS.find(({ slash }) => slash[0] === name);
        if (act) assert.deepEqual(line, { type: "group", act, rest: "bob  5" });
        else assert.deepEqual(line, { type: "command", name, words: ["bob", "5"], rest: "bob  5" });
      }
    }
  }
});

Deno.test("parseLine() tells texts, direct messages and unknown commands apart", () => {
  assert.deepEqual(parseLine("hello /quit"), { type: "text", text: "hello /quit" });
  assert.deepEqual(parseLine("//etc/passwd"), { type: "text", text: "/etc/passwd" });
  assert.deepEqual(parseLine("@bob: two\nlines"), { type: "direct", name: "bob", text: "two\nlines" });
  assert.deepEqual(parseLine("@bob"), { type: "direct", name: "bob", text: "" });
  assert.deepEqual(parseLine("/onlin"), { type: "unknown", word: "onlin" });
});

Deno.test("SLASH_COMMANDS: no two commands answer to one name, and the ancestor's are there", () => {
  const words = SLASH_COMMANDS.flatMap(({ name, aliases }) => [name, ...aliases]);
  assert.equal(new Set(words).size, words.length);
  for (
    const word of ["quit", "online", "all", "groups", "create", "add", "kick", "make_admin", "delgrp", "read", "unread"]
  ) {
    assert(words.includes(word), word);
  }
});
