import assert from "node:assert/strict";
import { Confirmations } from "../../../client/talk/confirmations.ts";
import type { Database } from "../../../client/home/database.ts";
import { FastChatError, RefusedError, TimedOutError } from "../../../client/errors.ts";
import { Outbox } from "../../../client/talk/outbox.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import { ALICE, ALICES_DEVICE, BOB, historyWithBob, idOf, TALK, withDatabase } from "../homes.ts";
import { TestTimers } from "../live_timers.ts";

const SELF = { name: ALICE, device: ALICES_DEVICE }, ID = idOf(1);

/** One message in an outbox, and those who may wait for it. */
function world(database: Database, reason?: string) {
  const outbox = new Outbox(database, historyWithBob(database)), timers = new TestTimers(), stored: number[] = [];
  outbox.add({ id: ID, peer: BOB, text: "hi", createdMs: 1 });
  const confirmations = new Confirmations({
    outbox,
    reason: () => reason,
    onStored: (_conversation, seq) => stored.push(seq),
    timers,
  });
  const seal = () => outbox.seal(ID, { conversation: TALK, counter: 1, epoch: 2, body: new Uint8Array([7]) });
  return { outbox, timers, stored, confirmations, seal };
}

Deno.test("Confirmations.settle() tells of a message once the outbox says that it is stored", () =>
  withDatabase(async (database) => {
    const { outbox, stored, confirmations, seal, timers } = world(database);
    const sent = confirmations.of(ID, 1_000);
    assert(confirmations.areDue);
    confirmations.settle(ID);
    assert(confirmations.areDue, "it waits still");
    seal();
    outbox.stored(ID, { seq: 9, timeMs: 1_000 }, SELF);
    confirmations.settleAll();
    const time = "1970-01-01T00:00:01.000Z";
    assert.deepEqual(await sent, { id: ID, conversation: TALK, seq: 9, time, state: "stored" });
    assert.deepEqual(stored, [9]);
    assert(!confirmations.areDue);
    assert.equal(timers.waiting, 0, "the clock stands");
  }));

Deno.test("Confirmations.settle() tells why a message never will be", () =>
  withDatabase(async (database) => {
    const { outbox, confirmations } = world(database);
    const sent = confirmations.of(ID, undefined);
    outbox.fail(ID, new RefusedError("There is no bob", ErrorCode.notFound));
    confirmations.settle(ID);
    await assert.rejects(sent, RefusedError);
    await assert.rejects(async () => {
      const gone = confirmations.of(idOf(2), undefined);
      confirmations.settle(idOf(2));
      await gone;
    }, /no longer in the outbox/);
  }));

Deno.test("Confirmations.of() takes a message back where its time is over and it never left", () =>
  withDatabase(async (database) => {
    const { outbox, confirmations, timers } = world(database, "The disk is full");
    const sent = confirmations.of(ID, 2_000),
      failed = assert.rejects(sent, (error) => {
        assert(error instanceof TimedOutError);
        assert.equal(error.message, "Not sent within 2 s (The disk is full): the message was taken back");
        return true;
      });
    await timers.pass(1_999);
    assert(confirmations.areDue);
    await timers.pass(1);
    await failed;
    assert.deepEqual(outbox.waiting(0, 9), []);
  }));

Deno.test("Confirmations.of() says that a message which has left may have arrived, and leaves it in the outbox", () =>
  withDatabase(async (database) => {
    const { outbox, confirmations, timers, seal } = world(database);
    seal();
    const failed = assert.rejects(
      confirmations.of(ID, 500),
      /^TimedOutError: Not confirmed within 0.5 s: .* sent again/,
    );
    await timers.pass(500);
    await failed;
    assert.deepEqual(outbox.waiting(0, 9).map(({ id }) => id), [ID]);
  }));

Deno.test("Confirmations.of() believes another process that stored a message in its last moment", () =>
  withDatabase(async (database) => {
    const { outbox, confirmations, timers, seal } = world(database);
    const sent = confirmations.of(ID, 500);
    seal();
    outbox.stored(ID, { seq: 3, timeMs: 1 }, SELF);
    await timers.pass(500);
    assert.equal((await sent).seq, 3);
  }));

Deno.test("Confirmations.fail() tells all who wait", () =>
  withDatabase(async (database) => {
    const { confirmations } = world(database);
    const over = new FastChatError("The client is closed"), sent = confirmations.of(ID, 1_000);
    confirmations.fail(over);
    await assert.rejects(sent, over);
    assert(!confirmations.areDue);
  }));
