import assert from "node:assert/strict";
import { Shown } from "../../../client/talk/shown.ts";
import type { MessageEvent } from "../../../client/events.ts";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { ALICE, BOB, BOBS_DEVICE, fromBob, historyWithBob, idOf, TALK, withDatabase } from "../homes.ts";

const texts = (rows: readonly { event: unknown }[]) => rows.map(({ event }) => (event as MessageEvent).text);

Deno.test("History.add() keeps the first row of a place", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database);
    history.add(fromBob(1));
    history.add(fromBob(1, { id: idOf(9), text: "another" }));
    assert.deepEqual(history.messagesIn(TALK, 10).map(({ text }) => text), ["text 1"]);
  });
});

Deno.test("History.messagesIn() gives the newest in order of the log, whatever order they came in", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database);
    for (const seq of [2, 1, 4, 3]) history.add(fromBob(seq));
    assert.deepEqual(history.messagesIn(TALK, 3).map(({ seq }) => seq), [2, 3, 4]);
    assert.deepEqual(history.messagesIn("0b".repeat(16) as ConversationId, 3), []);
    assert.deepEqual(history.messagesIn(TALK, 1)[0], {
      type: "message",
      id: idOf(4),
      conversation: TALK,
      from: BOB,
      to: ALICE,
      device: BOBS_DEVICE,
      text: "text 4",
      time: "1970-01-01T00:00:04.000Z",
      seq: 4,
    });
  });
});

Deno.test("History.replace() makes a refused row readable and unshown", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), shown = new Shown(database), body = new Uint8Array([1, 2]);
    const { text: _, ...refused } = fromBob(1, { reason: "Its key changed", body });
    history.add(refused);
    const [row] = shown.unshown(10);
    assert.deepEqual(row!.event, {
      type: "refused",
      conversation: TALK,
      seq: 1,
      to: BOB,
      claimedFrom: BOB,
      reason: "Its key changed",
      time: "1970-01-01T00:00:01.000Z",
    });
    shown.mark(row!.position);
    assert(!history.has(TALK, BOBS_DEVICE, idOf(1)), "the id of a refused row is only a claim");
    const [kept] = history.retryable(BOB);
    assert.deepEqual(kept!.body, body);
    history.replace(fromBob(1));
    assert.deepEqual(texts(shown.unshown(10)), ["text 1"]);
    assert.deepEqual(history.retryable(BOB), []);
    assert(history.has(TALK, BOBS_DEVICE, idOf(1)));
  });
});
