import assert from "node:assert/strict";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { changeTexts } from "../../../client/faces/change_text.ts";

const lines = (what: "added" | "removed", ...names: string[]) => names.map((who) => ({ what, who: who as UserName }));
const crowd = (count: number) => Array.from({ length: count }, (_, at) => `m${at}`);
const by = "alice" as UserName;

Deno.test("changeTexts() names everybody who came, unless they are very many: then a few, oneself among them, and how many", () => {
  assert.deepEqual(changeTexts({ by, changes: lines("added", "bob", "carol") }, "bob"), [
    "alice added you",
    "alice added carol",
  ]);
  assert.equal(changeTexts({ by, changes: lines("added", ...crowd(8)) }, "bob").length, 8);
  assert.deepEqual(
    changeTexts({
      by,
      changes: [...lines("removed", ...crowd(9)), ...lines("added", ...crowd(199), "bob"), {
        what: "topic",
        value: "x",
      }],
    }, "bob"),
    ["alice removed m0, m1, m2 and 6 more", "alice added you, m0, m1 and 197 more", "alice set the topic: x"],
  );
});

Deno.test("changeTexts() says of whoever changed their own role what they are now", () => {
  const role = (who: string) => [{ what: "role" as const, who: who as UserName, value: "member" }];
  assert.deepEqual(changeTexts({ by, changes: role("alice") }, "bob"), ["alice is a member now"]);
  assert.deepEqual(changeTexts({ by, changes: role("alice") }, "alice"), ["you are a member now"]);
  assert.deepEqual(changeTexts({ by, changes: role("bob") }, "bob"), ["alice made you a member"]);
});
