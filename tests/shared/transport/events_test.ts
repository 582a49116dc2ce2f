import assert from "node:assert/strict";
import { HINTS_QUEUED_MAX } from "../../../shared/limits.ts";
import { EventQueue } from "../../../shared/transport/events.ts";

const CLOSED = { type: "closed", reason: { code: 0, reason: "", byPeer: true } } as const;

function drain(queue: EventQueue): string[] {
  const types: string[] = [];
  for (let event = queue.poll(); event; event = queue.poll()) types.push(event.type);
  return types;
}

Deno.test("EventQueue gives what was pushed, in order, once", () => {
  const queue = new EventQueue();
  queue.push({ type: "confirmed" }), queue.push({ type: "stream", id: 0 });
  assert.deepEqual(drain(queue), ["confirmed", "stream"]);
  queue.push({ type: "heard" });
  assert.deepEqual(drain(queue), ["heard"]);
  assert.equal(queue.poll(), undefined);
});

Deno.test("EventQueue: nothing follows closed, and what came before it may still be read", () => {
  const queue = new EventQueue();
  queue.push({ type: "readable", id: 0 }), queue.push(CLOSED);
  queue.push({ type: "readable", id: 4 }), queue.push(CLOSED);
  assert.deepEqual(drain(queue), ["readable", "closed"]);
  queue.push({ type: "heard" });
  assert.deepEqual(drain(queue), []);
});

Deno.test("EventQueue drops hints beyond the bound, and nothing else, until all was read", () => {
  const queue = new EventQueue(), hint = { type: "hint", bytes: new Uint8Array(1) } as const;
  for (let i = 0; i < 2 * HINTS_QUEUED_MAX; i++) queue.push(hint);
  queue.push({ type: "ticket", bytes: new Uint8Array(1) });
  queue.poll();
  queue.push(hint);
  assert.deepEqual(drain(queue), [...new Array(HINTS_QUEUED_MAX - 1).fill("hint"), "ticket"]);
  queue.push(hint);
  assert.deepEqual(drain(queue), ["hint"]);
});
