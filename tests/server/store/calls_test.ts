import assert from "node:assert/strict";
import { type CallLink, Calls } from "../../../server/store/calls.ts";
import { AnswerStatus, FrameKind } from "../../../server/store/link.ts";
import { MemoryStore } from "../../../server/store/memory.ts";
import { Hub } from "../../../server/bus/hub.ts";
import { operationByTag, operations } from "../../../server/store/operations.ts";
import { StoreFullError, StoreUnavailableError } from "../../../server/store/store.ts";
import { DecodeError, read, Reader, Writer } from "../../../shared/codec/mod.ts";
import { befriend, newUser, recordOf } from "./fixtures.ts";

Deno.test("Calls are made again to the next leader, in the old order and before newer ones", async () => {
  const calls = new Calls();
  const early = calls.call(operations.users, { after: "a", limit: 1 });
  const first = new FakeLink();
  calls.follow(first);
  const late = calls.call(operations.users, { after: "b", limit: 1 });
  assert.deepEqual(first.asked("after"), ["a", "b"]);
  calls.lose();
  const later = calls.call(operations.users, { after: "c", limit: 1 });
  const second = new FakeLink();
  calls.follow(second);
  assert.deepEqual(second.asked("after"), ["a", "b", "c"]);
  second.answer(calls, 1, (writer) => operations.users.writeResult(writer, ["y" as never]));
  second.answer(calls, 0, (writer) => operations.users.writeResult(writer, ["x" as never]));
  assert.deepEqual([await early, await late], [["x"], ["y"]]);
  calls.close();
  await assert.rejects(later, StoreUnavailableError);
});

Deno.test("Calls that wait are performed here once we lead", async () => {
  const calls = new Calls(), store = new MemoryStore(), hub = new Hub();
  await befriend(store);
  calls.follow(new FakeLink());
  const record = recordOf("alice", "bob", 1);
  const waiting = calls.call(operations.append, [record]);
  await store.append([record]);
  calls.lose();
  calls.lead({ store, hub });
  assert.deepEqual(await waiting, [{ status: "stored", seq: 1, timeMs: 5_000, duplicate: true }]);
  assert.deepEqual(await calls.call(operations.users, { after: "", limit: 9 }), ["alice", "bob"]);
  calls.close();
});

Deno.test("Calls without a leader are given up after a while, and too many are refused at once", async () => {
  const calls = new Calls({ callMsMax: 0, watchMs: 1 });
  await assert.rejects(calls.call(operations.online, {}), StoreUnavailableError);
  const large = calls.call(operations.online, {}, 60 << 20);
  const refused = calls.call(operations.online, {}, 60 << 20);
  await assert.rejects(refused, /too much/);
  await assert.rejects(large, /in time/);
  const again = calls.call(operations.online, {}, 60 << 20);
  await assert.rejects(again, /in time/);
  calls.close();
});

Deno.test("Calls give the leader's refusals their names back", async () => {
  const calls = new Calls(), link = new FakeLink();
  calls.follow(link);
  const kinds: [AnswerStatus, new (message: string) => Error][] = [
    [AnswerStatus.Full, StoreFullError],
    [AnswerStatus.Unavailable, StoreUnavailableError],
    [AnswerStatus.Refused, RangeError],
    [AnswerStatus.Failed, Error],
  ];
  for (const [at, [status, kind]] of kinds.entries()) {
    const call = calls.call(operations.createUser, newUser("alice"));
    link.answer(calls, at, (writer) => writer.bytes(new TextEncoder().encode("the reason")), status);
    await assert.rejects(call, (error) => error instanceof kind && error.message === "the reason");
  }
  calls.close();
});

Deno.test("Calls: an answer that breaks its schema fails its call and the link; one for nobody is dropped", async () => {
  const calls = new Calls(), link = new FakeLink();
  calls.follow(link);
  const call = calls.call(operations.append, [recordOf("alice", "bob", 1)]);
  assert.throws(() => link.answer(calls, 0, (writer) => writer.bytes(new Uint8Array([1, 9]))), DecodeError);
  await assert.rejects(call, StoreUnavailableError);
  link.answer(calls, 0, (writer) => writer.bytes(new Uint8Array([1, 9])));
  calls.close();
});

/** Keeps requests as the leader would read them. */
class FakeLink implements CallLink {
  readonly #requests: { id: number; args: { [name: string]: unknown } }[] = [];

  send(kind: FrameKind, write: (writer: Writer) => void): number {
    assert.equal(kind, FrameKind.Request);
    const writer = new Writer();
    write(writer);
    const reader = new Reader(writer.finish()), id = reader.varint();
    const args = read(operationByTag(reader.u8())!.args, reader) as { [name: string]: unknown };
    reader.finish();
    this.#requests.push({ id, args });
    return writer.length;
  }

  asked(name: string): unknown[] {
    return this.#requests.map(({ args }) => args[name]);
  }

  answer(calls: Calls, request: number, write: (writer: Writer) => void, status = AnswerStatus.Ok): void {
    const writer = new Writer();
    writer.varint(this.#requests[request]!.id);
    writer.u8(status);
    write(writer);
    calls.answered(new Reader(writer.finish()));
  }
}
