import assert from "node:assert/strict";
import type { Engine } from "../../../client/e2ee/engine.ts";
import { Inbox } from "../../../client/talk/inbox.ts";
import type { InboxOptions } from "../../../client/talk/inbox_options.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { BOB, TALK, withDatabase } from "../homes.ts";

Deno.test("Inbox.joined() makes no group of a direct conversation that is not listed yet", async () => {
  await withDatabase((database) => {
    const conversations = new Conversations(database);
    // Of all that an inbox works with, a Welcome without a row touches these two.
    const inbox = new Inbox({ database, conversations } as InboxOptions);
    inbox.joined({} as Engine, TALK, { kind: "nothing", warnings: [] });
    assert.equal(conversations.get(TALK), undefined);
    // The list comes later, and says whose it is.
    conversations.add({ id: TALK, peer: BOB, cursor: 0 });
    assert.equal(conversations.with(BOB)?.id, TALK);
    assert.deepEqual(conversations.groups(), []);
  });
});
