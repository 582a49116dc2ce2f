import assert from "node:assert/strict";
import { mark, type Reach, trustMark, trustSign } from "../../../client/faces/marks.ts";
import type { MessageState } from "../../../client/events.ts";
import { plain } from "../../golden.ts";

Deno.test("mark() says how many of a group have a message, while it is not all of them", () => {
  const cases: [MessageState, Reach | undefined, string][] = [
    ["queued", undefined, "queued"],
    ["stored", undefined, "✓"],
    ["stored", { delivered: 0, read: 0, members: 5 }, "✓"],
    ["stored", { delivered: 3, read: 1, members: 5 }, "✓✓ 3/5"],
    ["delivered", { delivered: 5, read: 0, members: 5 }, "✓✓"],
    ["delivered", { delivered: 5, read: 2, members: 5 }, "✓✓ read 2/5"],
    ["read", { delivered: 5, read: 5, members: 5 }, "✓✓ read"],
    ["delivered", { delivered: 1, read: 0, members: 1 }, "✓✓"],
    ["failed", undefined, "not sent"],
  ];
  for (const [state, reach, text] of cases) assert.equal(plain(mark(state, reach)), text);
});

Deno.test("trustMark() and trustSign() have nothing to say of strangers and of oneself", () => {
  const all = (["unknown", "unverified", "verified", "changed", "self"] as const).map((
    trust,
  ) => [plain(trustMark(trust)), trustSign(trust)]);
  assert.deepEqual(all, [["", ""], ["unverified", ""], ["🔒 verified", " 🔒"], ["! KEY CHANGED", " !"], ["", ""]]);
});
