import assert from "node:assert/strict";
import { Chains } from "../../../client/talk/chains.ts";
import { ConversationKind, Conversations } from "../../../client/talk/conversations.ts";
import { History } from "../../../client/talk/history.ts";
import type { ConversationId, UserName } from "../../../shared/protocol/mod.ts";
import { ALICE, BOB, BOBS_DEVICE, fromBob, TALK, withDatabase } from "../homes.ts";

const DEV = "1d".repeat(16) as ConversationId;

Deno.test("Conversations.add() leaves what is known as it is", async () => {
  await withDatabase((database) => {
    const conversations = new Conversations(database);
    assert.equal(conversations.with(BOB), undefined);
    conversations.add({ id: TALK, peer: BOB, cursor: 3 });
    conversations.add({ id: TALK, peer: BOB, cursor: 7 });
    assert.deepEqual(conversations.get(TALK), {
      id: TALK,
      kind: ConversationKind.direct,
      peer: BOB,
      name: "",
      topic: "",
      ended: false,
      cursor: 3,
      begins: 3,
    });
    assert.deepEqual(conversations.with(BOB), conversations.get(TALK));
    assert.deepEqual(conversations.begun(), [{ id: TALK, kind: ConversationKind.direct, peer: BOB, cursor: 3 }]);
  });
});

Deno.test("Conversations.setGroup() joins a group, and endGroup() leaves its name and nobody in it", async () => {
  await withDatabase((database) => {
    const conversations = new Conversations(database), members = [BOB, ALICE].map((name) => ({ name, role: "member" }));
    conversations.addGroup({ id: DEV, cursor: 0 });
    assert.deepEqual(conversations.groups(), [], "it has no name yet");
    const facts = { name: "dev\u202e\u0007", topic: "what is\u0007 new", ended: false };
    conversations.setGroup(DEV, { ...facts, members: members as never });
    const [dev] = conversations.groups();
    const words = dev!.name + dev!.topic;
    assert(!["\u0007", "\u202e"].some((sign) => words.includes(sign)), "they are somebody else's words");
    assert.deepEqual(conversations.members(DEV).map(({ name }) => name), [ALICE, BOB]);
    assert.deepEqual([conversations.countMembers(DEV), conversations.countMembers(TALK)], [2, 0]);
    assert(conversations.isMember(DEV, BOB) && !conversations.isMember(DEV, "carol" as UserName));
    conversations.endGroup(DEV);
    assert.deepEqual([conversations.get(DEV)!.ended, conversations.get(DEV)!.name], [true, dev!.name]);
    assert.equal(conversations.countMembers(DEV), 0);
  });
});

Deno.test("Conversations.stepOver() begins behind a place, and what comes next follows nothing", async () => {
  await withDatabase((database) => {
    const conversations = new Conversations(database), chains = new Chains(database), history = new History(database);
    conversations.add({ id: TALK, peer: BOB, cursor: 0 });
    chains.set(TALK, BOBS_DEVICE, { counter: 4, hash: new Uint8Array(32).fill(5) });
    history.add(fromBob(3));
    history.add(fromBob(6));
    assert.deepEqual(history.lacking(TALK, 0, 6), { count: 4, last: 5 });
    assert.deepEqual(history.lacking(TALK, 0, 3), { count: 2, last: 2 });
    conversations.stepOver(TALK, 6);
    const { cursor, begins } = conversations.get(TALK)!;
    assert.deepEqual([cursor, begins], [6, 6]);
    assert.deepEqual(chains.of(TALK, BOBS_DEVICE), { counter: 4, hash: new Uint8Array() });
  });
});
