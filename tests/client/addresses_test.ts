import assert from "node:assert/strict";
import { addressOf, checkGroupName, findGroup, type NamedGroup, parseAddress } from "../../client/addresses.ts";
import { UsageError } from "../../client/errors.ts";
import type { ConversationId } from "../../shared/protocol/mod.ts";

const group = (start: string, name: string): NamedGroup => ({ id: start.padEnd(32, "0") as ConversationId, name });
const TEAM = group("ab12", "Team"), OTHER_TEAM = group("ab12f", "team"), WALKS = group("77", "Long Walks");
const ODD = group("99", "Team~ab12");

Deno.test("parseAddress() tells people from groups", () => {
  assert.deepEqual(parseAddress("BOB", []), { kind: "person", name: "bob" });
  assert.deepEqual(parseAddress("#long walks", [TEAM, WALKS]), { kind: "group", conversation: WALKS.id });
  for (const input of ["", "no such name!", "#", "#nobody's"]) {
    assert.throws(() => parseAddress(input, [TEAM]), UsageError, input);
  }
});

Deno.test("findGroup() takes a name however it is written, with and without its sign", () => {
  for (const input of ["Team", "#TEAM", "team"]) assert.equal(findGroup(input, [TEAM, WALKS]), TEAM.id);
  const composed = group("1", "Caf\u00e9");
  assert.equal(findGroup("cafe\u0301", [composed]), composed.id);
});

Deno.test("findGroup() names those that are meant by one name, and each of those addresses finds its group", () => {
  const groups = [TEAM, OTHER_TEAM, WALKS];
  assert.throws(() => findGroup("#team", groups), (error) => {
    assert(error instanceof UsageError);
    assert.match(error.message, /#Team~ab120, #team~ab12f/);
    return true;
  });
  for (const one of groups) assert.equal(findGroup(addressOf(one, groups), groups), one.id);
  assert.equal(addressOf(WALKS, groups), "#Long Walks");
  assert.throws(() => findGroup("#team~ab12", groups), /Several/, "too few digits");
  assert.throws(() => findGroup("#team~cd", groups), /in no group/);
});

Deno.test("findGroup() takes a name that looks like an address at its word", () => {
  assert.equal(findGroup("#team~ab12", [TEAM, ODD]), ODD.id);
  assert.equal(findGroup("#team", [TEAM, ODD]), TEAM.id);
});

Deno.test("checkGroupName() refuses what a screen could be fooled by", () => {
  assert.equal(checkGroupName("#Long Walks"), "Long Walks");
  assert.equal(checkGroupName("\u{1f600}".repeat(64)), "\u{1f600}".repeat(64));
  for (const input of ["", "#", " x", "x ", "a\nb", "a\x1b[31m", "x".repeat(65), "a\u202eb", "\u{1f600}".repeat(65)]) {
    assert.throws(() => checkGroupName(input), UsageError, JSON.stringify(input));
  }
});

Deno.test("findGroup() knows what somebody may have meant", () => {
  const groups = [{ id: "ab".repeat(16) as ConversationId, name: "Release week" }];
  assert.throws(() => findGroup("#relase week", groups), /no group called #relase week; did you mean #Release week\?/);
  assert.throws(() => findGroup("#dev", groups), /no group called #dev$/);
});
