import assert from "node:assert/strict";
import { Conversations } from "../../../client/talk/conversations.ts";
import { OwnProgress } from "../../../client/talk/own_progress.ts";
import { historyWithBob, TALK, withDatabase } from "../homes.ts";

Deno.test("OwnProgress.untold() names conversations of which something is to be said, and told() takes nothing back", async () => {
  await withDatabase((database) => {
    historyWithBob(database);
    const conversations = new Conversations(database),
      progress = new OwnProgress(database),
      hash = new Uint8Array(32).fill(3);
    conversations.setCursor(TALK, 4);
    assert.deepEqual(progress.untold(true), [], "of a place that is not known nothing can be said");
    conversations.setCursor(TALK, 5, hash);
    assert.deepEqual(progress.of(TALK), { cursor: 5, hash, delivered: 0, read: 0 });
    assert.deepEqual(progress.untold(false), [TALK]);
    progress.told(TALK, { delivered: 5, read: 2 });
    progress.told(TALK, { delivered: 4, read: 1 });
    assert.deepEqual(progress.of(TALK), { cursor: 5, hash, delivered: 5, read: 2 });
    assert.deepEqual(progress.untold(false), []);
    assert.deepEqual(progress.untold(true), [TALK]);
  });
});
