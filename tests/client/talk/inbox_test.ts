import assert from "node:assert/strict";
import type { Engine } from "../../../client/e2ee/engine.ts";
import { Inbox } from "../../../client/talk/inbox.ts";
import type { InboxOptions } from "../../../client/talk/inbox_options.ts";
import { History } from "../../../client/talk/history.ts";
import { BOB, TALK, withDatabase } from "../homes.ts";

Deno.test("Inbox.joined() makes no group of a direct conversation that is not listed yet", async () => {
  await withDatabase((database) => {
    const history = new History(database);
    // Of all that an inbox works with, a Welcome without a row touches these two.
    const inbox = new Inbox({ database, history } as InboxOptions);
    inbox.joined({} as Engine, TALK, { kind: "nothing", warnings: [] });
    assert.equal(history.conversation(TALK), undefined);
    // The list comes later, and says whose it is.
    history.addConversation({ id: TALK, peer: BOB, cursor: 0 });
    assert.equal(history.conversationWith(BOB)?.id, TALK);
    assert.deepEqual(history.groups(), []);
  });
});
