import assert from "node:assert/strict";
import { NOBODYS_DEVICE, Own } from "../../../client/talk/message_row.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { Shown } from "../../../client/talk/shown.ts";
import type { MessageEvent } from "../../../client/events.ts";
import { ALICE, ALICES_DEVICE, BOB, fromBob, historyWithBob, TALK, withDatabase } from "../homes.ts";

const texts = (rows: readonly { event: unknown }[]) => rows.map(({ event }) => (event as MessageEvent).text);

Deno.test("Shown.unshown() gives what others sent, once marked never again", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), shown = new Shown(database);
    history.add(fromBob(1));
    history.add(fromBob(2, { sender: ALICE, recipient: BOB, device: ALICES_DEVICE, own: Own.here }));
    history.add(fromBob(3, { sender: ALICE, recipient: BOB, own: Own.elsewhere }));
    history.add(fromBob(4));
    const first = shown.unshown(1);
    assert.deepEqual(texts(first), ["text 1"]);
    shown.mark(first[0]!.position);
    assert.deepEqual(texts(shown.unshown(10)), ["text 4"]);
    shown.mark(1_000);
    assert.deepEqual(shown.unshown(10), []);
    shown.mark(0);
    history.add(fromBob(5));
    assert.deepEqual(texts(shown.unshown(10)), ["text 5"], "the cursor is never behind nor ahead of what is there");
  });
});

Deno.test("Shown.unshown() has rows that stand for what does not come, and nobody who claims to have said it", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database),
      shown = new Shown(database),
      { text: _, ...row } = fromBob(1, { reason: "It was restored" });
    history.add({ ...row, device: NOBODYS_DEVICE });
    assert.deepEqual(shown.unshown(10)[0]!.event, {
      type: "refused",
      conversation: TALK,
      seq: 1,
      to: BOB,
      reason: "It was restored",
      time: "1970-01-01T00:00:01.000Z",
    });
  });
});

Deno.test("Shown.summaries() counts what is unshown", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), shown = new Shown(database);
    assert.deepEqual(shown.summaries(), [{ name: BOB, conversation: TALK, unread: 0 }]);
    history.add(fromBob(1));
    history.add(fromBob(2));
    history.add(fromBob(3, { own: Own.here }));
    shown.mark(1);
    assert.deepEqual(shown.summaries(), [
      { name: BOB, conversation: TALK, unread: 1, lastTime: "1970-01-01T00:00:03.000Z" },
    ]);
  });
});

Deno.test("Shown.readUpTo() ends before the first message of another that is unshown, wherever it stands", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), shown = new Shown(database), conversations = new Conversations(database);
    conversations.setCursor(TALK, 3);
    assert.equal(shown.readUpTo(TALK), 3, "there is nothing to read");
    for (const seq of [1, 3, 2]) history.add(fromBob(seq, seq === 1 ? { own: Own.here } : {}));
    assert.equal(shown.readUpTo(TALK), 1);
    shown.mark(2);
    assert.equal(shown.readUpTo(TALK), 1, "the third was shown before the second came");
    assert.deepEqual(shown.conversationsBetween(1, 2), [TALK]);
    shown.mark(3);
    assert.equal(shown.readUpTo(TALK), 3);
    assert.deepEqual(shown.conversationsBetween(0, 1), [], "what one said oneself");
  });
});
