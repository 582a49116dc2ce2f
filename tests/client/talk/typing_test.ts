import assert from "node:assert/strict";
import { Typing } from "../../../client/talk/typing.ts";
import type { ConversationId, UserName } from "../../../shared/protocol/mod.ts";
import { TestTimers } from "../live_timers.ts";

const [ALICE, BOB] = ["alice", "bob"] as UserName[] as [UserName, UserName];
const [TALK, OTHER] = ["0a".repeat(16), "0b".repeat(16)] as ConversationId[] as [ConversationId, ConversationId];

class World {
  readonly timers = new TestTimers();
  readonly sent: [ConversationId, boolean][] = [];
  readonly changes: [string, boolean][] = [];
  readonly typing = new Typing({
    send: (conversation, active) => this.sent.push([conversation, active]),
    onChange: (name, _conversation, typing) => this.changes.push([name, typing]),
    timers: this.timers,
  });
}

Deno.test("Typing.typed() says it every three seconds however many keys are pressed, and that it has ended", async () => {
  const { typing, sent, timers } = new World();
  for (let key = 0; key < 100; key++) {
    typing.typed(TALK);
    await timers.pass(100);
  }
  assert.deepEqual(sent, [[TALK, true], [TALK, true], [TALK, true], [TALK, true]]);
  await timers.pass(5_000);
  assert.deepEqual(sent.slice(4), [[TALK, false]]);
  await timers.pass(60_000);
  assert.equal(sent.length, 5);
  assert.equal(timers.waiting, 0);
});

Deno.test("Typing.stopped() says so once; typing elsewhere ends it here", async () => {
  const { typing, sent, timers } = new World();
  typing.stopped();
  typing.typed(TALK);
  typing.typed(OTHER);
  typing.stopped();
  typing.stopped();
  await timers.pass(60_000);
  assert.deepEqual(sent, [[TALK, true], [TALK, false], [OTHER, true], [OTHER, false]]);
  typing.typed(TALK);
  assert.deepEqual(sent.slice(4), [[TALK, true]], "after a stop it is said at once");
});

Deno.test("Typing.heard() tells of the beginning and the end, also where no end is heard", async () => {
  const { typing, changes, timers } = new World();
  for (let second = 0; second < 9; second += 3) {
    typing.heard(BOB, TALK, 6_000);
    await timers.pass(3_000);
  }
  assert.deepEqual(changes, [["bob", true]]);
  await timers.pass(3_000);
  assert.deepEqual(changes.splice(0), [["bob", true], ["bob", false]]);
  typing.heard(BOB, TALK, 0);
  assert.deepEqual(changes, []);
  typing.heard(BOB, TALK, 2 ** 50);
  await timers.pass(30_000);
  assert.deepEqual(changes.splice(0), [["bob", true], ["bob", false]], "for ever is not believed");
  typing.heard(BOB, TALK, 6_000);
  typing.heard(BOB, TALK, 0);
  assert.deepEqual(changes, [["bob", true], ["bob", false]]);
});

Deno.test("Typing.arrived() ends it: what was being typed is there", () => {
  const { typing, changes } = new World();
  typing.heard(BOB, TALK, 6_000);
  typing.heard(ALICE, OTHER, 6_000);
  typing.arrived(TALK);
  assert.deepEqual(changes, [["bob", true], ["alice", true], ["bob", false]]);
});

Deno.test("Typing keeps a bounded number of people, and says its own end when it is closed", () => {
  const { typing, changes, sent, timers } = new World();
  for (let count = 0; count < 1_000; count++) typing.heard(`n${count}` as UserName, TALK, 6_000);
  assert.equal(changes.length, 256);
  typing.typed(TALK);
  typing.close();
  assert.deepEqual(sent, [[TALK, true], [TALK, false]]);
  assert.equal(timers.waiting, 0);
});
