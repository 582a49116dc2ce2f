import assert from "node:assert/strict";
import { KeyChangedError, RefusedError, TimedOutError } from "../../../client/errors.ts";
import { History } from "../../../client/talk/history.ts";
import { Outbox } from "../../../client/talk/outbox.ts";
import { sha256 } from "../../../shared/crypto/mod.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import type { Database } from "../../../client/home/database.ts";
import { Shown } from "../../../client/talk/shown.ts";
import { ALICE, ALICES_DEVICE, BOB, historyWithBob, idOf, TALK, withDatabase } from "../homes.ts";

const SELF = { name: ALICE, device: ALICES_DEVICE };

function outboxWith(database: Database, count: number): { outbox: Outbox; history: History } {
  const history = historyWithBob(database), outbox = new Outbox(database, history);
  for (let i = 1; i <= count; i++) outbox.add({ id: idOf(i), peer: BOB, text: `text ${i}`, createdMs: i });
  return { outbox, history };
}

const sealed = (counter: number) => ({ conversation: TALK, counter, epoch: 2, body: new Uint8Array([counter, 7]) });

Deno.test("Outbox.waiting() gives rows in the order of their places", async () => {
  await withDatabase((database) => {
    const { outbox } = outboxWith(database, 5);
    const first = outbox.waiting(0, 2);
    assert.deepEqual(first.map(({ id }) => id), [idOf(1), idOf(2)]);
    assert.deepEqual(outbox.waiting(first[1]!.place, 9).map(({ id }) => id), [idOf(3), idOf(4), idOf(5)]);
  });
});

Deno.test("Outbox.stored() moves a row to the history with its seq, once", async () => {
  await withDatabase((database) => {
    const { outbox, history } = outboxWith(database, 1);
    assert(!outbox.stored(idOf(1), { seq: 9, timeMs: 1 }, SELF), "what was never sealed cannot be stored");
    assert(outbox.seal(idOf(1), sealed(1)));
    assert.deepEqual(outbox.fate(idOf(1)), { state: "waiting" });
    assert(outbox.stored(idOf(1), { seq: 9, timeMs: 1_000 }, SELF));
    assert(!outbox.stored(idOf(1), { seq: 10, timeMs: 2_000 }, SELF));
    assert.deepEqual(outbox.fate(idOf(1)), { state: "stored", stored: { conversation: TALK, seq: 9, timeMs: 1_000 } });
    assert(outbox.isEmpty);
    const [message] = history.messagesIn(TALK, 10);
    assert.deepEqual([message!.from, message!.to, message!.text, message!.seq], [ALICE, BOB, "text 1", 9]);
    assert.deepEqual(new Shown(database).unshown(10), [], "what one sent oneself is not unshown");
    assert.deepEqual(outbox.chain(TALK), { counter: 1, hash: sha256(sealed(1).body) });
  });
});

Deno.test("Outbox.withdraw() takes back only what was never sealed", async () => {
  await withDatabase((database) => {
    const { outbox } = outboxWith(database, 2);
    assert(outbox.seal(idOf(2), sealed(1)));
    assert(outbox.withdraw(idOf(1), new TimedOutError("too late")));
    assert(!outbox.withdraw(idOf(1), new TimedOutError("too late")), "once");
    assert(!outbox.withdraw(idOf(2), new TimedOutError("too late")));
    assert.equal(outbox.fate(idOf(1)).state, "failed");
    assert(!outbox.seal(idOf(1), sealed(2)), "a withdrawn row is not sent");
    assert.deepEqual(outbox.waiting(0, 9).map(({ id }) => id), [idOf(2)]);
  });
});

Deno.test("Outbox.lastCounter() counts what is sealed and what is stored", async () => {
  await withDatabase((database) => {
    const { outbox } = outboxWith(database, 3);
    assert.equal(outbox.lastCounter(TALK), 0);
    outbox.seal(idOf(1), sealed(1));
    outbox.seal(idOf(2), sealed(2));
    assert.equal(outbox.lastCounter(TALK), 2);
    outbox.stored(idOf(1), { seq: 1, timeMs: 1 }, SELF);
    assert.equal(outbox.lastCounter(TALK), 2);
    assert.equal(outbox.chain(TALK).counter, 1, "the chain goes on from what is stored");
    outbox.stored(idOf(2), { seq: 2, timeMs: 1 }, SELF);
    assert.equal(outbox.lastCounter(TALK), 2);
  });
});

Deno.test("Outbox.fail() hands each kind of error to whoever asks, in another process too", async () => {
  const change = { kind: "peer", subject: "bob", pinned: "SHA256:a", offered: "SHA256:b" } as const;
  const errors = [
    new RefusedError("There is nobody called bob", ErrorCode.unknownName),
    new KeyChangedError(change),
    new TimedOutError("too late"),
  ];
  await withDatabase((database) => {
    const { outbox } = outboxWith(database, errors.length);
    for (const [i, error] of errors.entries()) {
      outbox.fail(idOf(i + 1), error);
      const fate = new Outbox(database, new History(database)).fate(idOf(i + 1));
      assert(fate.state === "failed");
      assert.equal(fate.error.constructor, error.constructor);
      assert.deepEqual([fate.error.message, fate.error.exitCode], [error.message, error.exitCode]);
      if (error instanceof RefusedError) assert.equal((fate.error as RefusedError).code, error.code);
      if (error instanceof KeyChangedError) assert.deepEqual((fate.error as KeyChangedError).change, change);
    }
    assert.deepEqual(outbox.list().map(({ reason }) => reason), errors.map(({ message }) => message));
    for (const { id } of outbox.list()) assert.equal(outbox.drop(id), "dropped");
    assert.deepEqual(outbox.list(), []);
    assert(outbox.isEmpty);
  });
});

Deno.test("Outbox.fail() of what the server refused frees its counter and those behind it", async () => {
  await withDatabase((database) => {
    const { outbox } = outboxWith(database, 4);
    for (const n of [1, 2, 3]) outbox.seal(idOf(n), sealed(n));
    outbox.stored(idOf(1), { seq: 1, timeMs: 1 }, SELF);
    outbox.fail(idOf(2), new RefusedError("no", ErrorCode.tooLarge), true);
    assert.equal(outbox.lastCounter(TALK), 1);
    assert.equal(outbox.row(idOf(3))!.sealed, undefined, "it was refused with the one before it, and is sealed anew");
    assert.deepEqual(outbox.waiting(0, 9).map(({ id }) => id), [idOf(3), idOf(4)]);
  });
});

Deno.test("Outbox.fail() of what may be stored keeps it: where the log has it, it becomes a message", async () => {
  await withDatabase((database) => {
    const { outbox, history } = outboxWith(database, 1);
    outbox.seal(idOf(1), sealed(1));
    outbox.fail(idOf(1), new TimedOutError("who knows"));
    assert.equal(outbox.lastCounter(TALK), 1, "its counter may be used");
    assert.deepEqual(outbox.sealedBody(idOf(1)), sealed(1).body);
    assert(outbox.stored(idOf(1), { seq: 1, timeMs: 1 }, SELF));
    assert.equal(history.messagesIn(TALK, 9)[0]!.text, "text 1");
    assert.deepEqual(outbox.list(), []);
  });
});

Deno.test("Outbox.drop() takes out what has not left, and nothing that has", async () => {
  await withDatabase((database) => {
    const { outbox } = outboxWith(database, 2);
    outbox.seal(idOf(1), sealed(1));
    assert.equal(outbox.drop(idOf(1)), "sent");
    assert.equal(outbox.drop(idOf(2)), "dropped");
    assert.equal(outbox.drop(idOf(2)), "unknown");
  });
});

Deno.test("Outbox.forgetFailures() forgets those nobody asked about", async () => {
  await withDatabase((database) => {
    const { outbox } = outboxWith(database, 2);
    outbox.fail(idOf(1), new TimedOutError("late"));
    outbox.fail(idOf(2), new TimedOutError("late"));
    outbox.forgetFailures(2);
    assert.equal(outbox.fate(idOf(1)).state, "gone");
    assert.equal(outbox.fate(idOf(2)).state, "failed");
  });
});
