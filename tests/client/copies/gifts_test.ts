import assert from "node:assert/strict";
import { type Gift, Gifts } from "../../../client/copies/gifts.ts";
import { historyFromMs, QUARANTINE_MS } from "../../../client/trust/quarantine.ts";
import { Received } from "../../../client/copies/received.ts";
import type { BundlePart } from "../../../client/copies/bundle.ts";
import type { KeyHistory, LoggedDevice } from "../../../shared/crypto/mod.ts";
import type { DeviceId } from "../../../shared/protocol/mod.ts";
import { ALICE, ALICES_DEVICE, BOB, BOBS_DEVICE, idOf, TALK, withDatabase } from "../homes.ts";

function gift(changes: Partial<Gift> = {}): Gift {
  return {
    conversation: TALK,
    user: BOB,
    device: BOBS_DEVICE,
    bundle: idOf(1),
    dueMs: 50,
    madeMs: 20,
    sinceMs: undefined,
    upTo: 9,
    sent: 0,
    ...changes,
  };
}

Deno.test("Gifts keeps what is to be given, in the order in which it is due, until it is given", async () => {
  await withDatabase((database) => {
    const gifts = new Gifts(database), later = gift({ device: ALICES_DEVICE, user: ALICE, dueMs: 70, sinceMs: 3 });
    database.transaction(() => [later, gift()].forEach((one) => gifts.plan(one)));
    assert.deepEqual(gifts.all(), [gift(), later]);
    gifts.sent(gift(), 2);
    gifts.postpone(later, 10);
    assert.deepEqual(gifts.all(), [{ ...later, dueMs: 10 }, gift({ sent: 2 })]);
    gifts.drop(later);
    assert.deepEqual([gifts.has(ALICES_DEVICE), gifts.has(BOBS_DEVICE)], [false, true]);
    gifts.forget(20);
    assert(gifts.has(BOBS_DEVICE));
    gifts.forget(21);
    assert.deepEqual(gifts.all(), []);
  });
});

Deno.test("Gifts.plan() begins anew for a device that comes again, and nothing that is about the former one counts", async () => {
  await withDatabase((database) => {
    const gifts = new Gifts(database), again = gift({ bundle: idOf(2), upTo: 30 });
    gifts.plan(gift());
    gifts.sent(gift(), 2);
    gifts.plan(again);
    assert.deepEqual(gifts.all(), [again]);
    gifts.sent(gift(), 3);
    gifts.drop(gift());
    assert.deepEqual(gifts.all(), [again]);
  });
});

Deno.test("historyFromMs() is a day after a device was first seen, and at once for one that somebody stands in for", () => {
  const device = (changes: Partial<LoggedDevice>) => ({
    since: 4,
    approvedAt: undefined,
    endedAt: undefined,
    ...changes,
  });
  const from = (changes: Partial<LoggedDevice> | undefined, seenMs = 100) =>
    historyFromMs(
      {
        history: () => ({ devices: new Map(changes && [[BOBS_DEVICE, device(changes)]]) }) as unknown as KeyHistory,
        seenMs: (number) => number === 4 ? seenMs : undefined,
      },
      BOB,
      BOBS_DEVICE,
    );
  assert.equal(from({}), 100 + QUARANTINE_MS);
  assert.equal(from({ approvedAt: 6 }), 0);
  assert.equal(from({ approvedAt: 6, endedAt: 7 }), undefined);
  assert.equal(from(undefined), undefined);
  assert.equal(from({ since: 5 }), undefined, "nobody knows when");
});

Deno.test("Received.add() tells when a bundle is whole, and a part once", async () => {
  await withDatabase((database) => {
    const received = new Received(database);
    const from = { conversation: TALK, user: BOB, device: BOBS_DEVICE, nowMs: 50 };
    const part = (number: number, parts = 2) => ({ bundle: idOf(1), part: number, parts }) as BundlePart;
    assert.deepEqual(received.add(part(1), from, 3), { messages: 3, isWhole: false });
    assert.equal(received.add(part(1), from, 3), undefined);
    assert.deepEqual(received.add(part(0), { ...from, device: "cc".repeat(16) as DeviceId }, 1), {
      messages: 1,
      isWhole: false,
    });
    assert.deepEqual(received.takeIncomplete(50), []);
    assert.deepEqual(received.add(part(0), { ...from, nowMs: 60 }, 4), { messages: 7, isWhole: true });
    assert.deepEqual(received.takeIncomplete(51), [{ conversation: TALK, user: BOB, received: 1, parts: 2 }]);
    assert.deepEqual(received.takeIncomplete(99), [], "told once");
  });
});
