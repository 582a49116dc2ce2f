import assert from "node:assert/strict";
import type { RefusedEvent } from "../../../client/events.ts";
import { eventLine } from "../../../client/faces/lines.ts";
import type { ConversationId, UserName } from "../../../shared/protocol/mod.ts";

const REFUSED: RefusedEvent = {
  type: "refused",
  conversation: "0".repeat(32) as ConversationId,
  seq: 4,
  to: "bob",
  reason: "It is damaged",
  time: "2026-11-23T10:00:00.000Z",
};

/** Without its time and colours. */
function line(event: Partial<RefusedEvent>): string {
  // deno-lint-ignore no-control-regex
  return eventLine({ ...REFUSED, ...event }, "alice").replace(/\x1b\[\d*m/g, "").slice(6);
}

Deno.test("eventLine() says where something is that is not shown, and who claims to have said it, if anybody does", () => {
  const bob = "bob" as UserName;
  assert.equal(line({ claimedFrom: bob }), "[not shown: It is damaged; the server says it is from bob]");
  assert.equal(
    line({ claimedFrom: bob, to: "#dev", group: "dev" }),
    "[not shown in #dev: It is damaged; the server says it is from bob]",
  );
  assert.equal(line({ reason: "3 earlier messages were removed" }), "[bob: 3 earlier messages were removed]");
});
