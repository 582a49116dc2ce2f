import assert from "node:assert/strict";
import type { Database } from "../../../client/home/database.ts";
import type { Engine } from "../../../client/e2ee/engine.ts";
import type { NoticeEvent } from "../../../client/events.ts";
import { ConversationKind, Conversations } from "../../../client/talk/conversations.ts";
import { ListedGroups } from "../../../client/talk/listed_groups.ts";
import type { ConversationHead, ConversationId } from "../../../shared/protocol/mod.ts";
import { ALICE, BOB, historyWithBob, TALK, withDatabase } from "../homes.ts";

const DEV = "1d".repeat(16) as ConversationId;

/** Alice's home, which knows #dev, and what a server lists for her. */
function world(database: Database, ...listed: readonly ConversationId[]) {
  historyWithBob(database);
  const conversations = new Conversations(database), notices: NoticeEvent[] = [], refreshed: ConversationId[] = [];
  conversations.addGroup({ id: DEV, cursor: 1 });
  const members = [ALICE, BOB].map((name) => ({ name, role: "member" as const }));
  conversations.setGroup(DEV, { name: "dev", topic: "", ended: false, members });
  const heads = listed.map((conversation): ConversationHead => ({
    conversation,
    kind: conversation === TALK ? ConversationKind.direct : ConversationKind.group,
    members: [],
    head: 1,
    begins: 0,
    cursor: 1,
    epoch: 1,
  }));
  const groups = new ListedGroups({
    database,
    conversations,
    inbox: {
      heads: () => Promise.resolve(heads),
      refresh: (id) => Promise.resolve(void refreshed.push(id)),
    },
    host: { with: (work) => work(undefined as unknown as Engine) },
    onNotice: (notice) => notices.push(notice),
  });
  return { conversations, groups, notices, refreshed };
}

Deno.test("ListedGroups.compare() tells once of a group that the server lists no more, and that it is the server's word", () =>
  withDatabase(async (database) => {
    const { conversations, groups, notices } = world(database, TALK), known = conversations.groups();
    await groups.compare(known);
    assert(conversations.get(DEV)!.ended);
    assert.deepEqual(notices.map(({ code, name, conversation }) => [code, name, conversation]), [
      ["members-differ", "#dev", DEV],
    ]);
    assert.match(notices[0]!.text, /^The server says that you are not in #dev any more/);
    await groups.compare(known);
    assert.equal(notices.length, 1);
  }));

Deno.test("ListedGroups.compare() asks the group's own state where the server lists an ended one again", () =>
  withDatabase(async (database) => {
    const { conversations, groups, notices, refreshed } = world(database, DEV);
    await groups.compare(conversations.groups());
    assert.deepEqual([notices, refreshed], [[], []], "as it is known");
    conversations.setEnded(DEV);
    await groups.compare(conversations.groups());
    assert.deepEqual([notices, refreshed], [[], [DEV]]);
  }));

Deno.test("ListedGroups.isExpected() is so for groups of which this home has no state, or had one", () =>
  withDatabase(async (database) => {
    assert.equal(await world(database, TALK, DEV).groups.isExpected(), false);
    const unknown = "2e".repeat(16) as ConversationId;
    const { conversations, groups } = world(database, unknown);
    assert.equal(await groups.isExpected(), true);
    conversations.addGroup({ id: unknown, cursor: 0 });
    assert.equal(await groups.isExpected(), true, "without a name nobody has been let in");
    const again = world(database, DEV);
    again.conversations.setEnded(DEV);
    assert.equal(await again.groups.isExpected(), true);
  }));
