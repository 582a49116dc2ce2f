import assert from "node:assert/strict";
import { NOBODYS_DEVICE, Own } from "../../../client/talk/message_row.ts";
import type { MessageEvent } from "../../../client/events.ts";
import { ALICE, ALICES_DEVICE, BOB, BOBS_DEVICE, fromBob, historyWithBob, idOf, TALK, withDatabase } from "../homes.ts";

const texts = (rows: readonly { event: unknown }[]) => rows.map(({ event }) => (event as MessageEvent).text);

Deno.test("History.unshown() gives what others sent, once marked never again", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database);
    history.add(fromBob(1));
    history.add(fromBob(2, { sender: ALICE, recipient: BOB, device: ALICES_DEVICE, own: Own.here }));
    history.add(fromBob(3, { sender: ALICE, recipient: BOB, own: Own.elsewhere }));
    history.add(fromBob(4));
    const first = history.unshown(1);
    assert.deepEqual(texts(first), ["text 1"]);
    history.markShown(first[0]!.position);
    assert.deepEqual(texts(history.unshown(10)), ["text 4"]);
    history.markShown(1_000);
    assert.deepEqual(history.unshown(10), []);
    history.markShown(0);
    history.add(fromBob(5));
    assert.deepEqual(texts(history.unshown(10)), ["text 5"], "the cursor is never behind nor ahead of what is there");
  });
});

Deno.test("History.add() keeps the first row of a place", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database);
    history.add(fromBob(1));
    history.add(fromBob(1, { id: idOf(9), text: "another" }));
    assert.deepEqual(history.messages(BOB, 10).map(({ text }) => text), ["text 1"]);
  });
});

Deno.test("History.messages() gives the newest in order of the log, whatever order they came in", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database);
    for (const seq of [2, 1, 4, 3]) history.add(fromBob(seq));
    assert.deepEqual(history.messages(BOB, 3).map(({ seq }) => seq), [2, 3, 4]);
    assert.deepEqual(history.messages(ALICE, 3), []);
    assert.deepEqual(history.messages(BOB, 1)[0], {
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

Deno.test("History.unshown() has rows that stand for what does not come, and nobody who claims to have said it", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), { text: _, ...row } = fromBob(1, { reason: "It was restored" });
    history.add({ ...row, device: NOBODYS_DEVICE });
    assert.deepEqual(history.unshown(10)[0]!.event, {
      type: "refused",
      conversation: TALK,
      seq: 1,
      to: BOB,
      reason: "It was restored",
      time: "1970-01-01T00:00:01.000Z",
    });
  });
});

Deno.test("History.replace() makes a refused row readable and unshown", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), body = new Uint8Array([1, 2]);
    const { text: _, ...refused } = fromBob(1, { reason: "Its key changed", body });
    history.add(refused);
    const [shown] = history.unshown(10);
    assert.deepEqual(shown!.event, {
      type: "refused",
      conversation: TALK,
      seq: 1,
      to: BOB,
      claimedFrom: BOB,
      reason: "Its key changed",
      time: "1970-01-01T00:00:01.000Z",
    });
    history.markShown(shown!.position);
    assert(!history.has(TALK, BOBS_DEVICE, idOf(1)), "the id of a refused row is only a claim");
    const [kept] = history.retryable(BOB);
    assert.deepEqual(kept!.body, body);
    history.replace(fromBob(1));
    assert.deepEqual(texts(history.unshown(10)), ["text 1"]);
    assert.deepEqual(history.retryable(BOB), []);
    assert(history.has(TALK, BOBS_DEVICE, idOf(1)));
  });
});

Deno.test("History.summaries() counts what is unshown", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database);
    assert.deepEqual(history.summaries(), [{ name: BOB, conversation: TALK, unread: 0 }]);
    history.add(fromBob(1));
    history.add(fromBob(2));
    history.add(fromBob(3, { own: Own.here }));
    history.markShown(1);
    assert.deepEqual(history.summaries(), [
      { name: BOB, conversation: TALK, unread: 1, lastTime: "1970-01-01T00:00:03.000Z" },
    ]);
  });
});
