import assert from "node:assert/strict";
import { CloseCode } from "../../shared/errors.ts";
import { silentLogger } from "../../shared/log.ts";
import { GapRepair } from "../../server/gap.ts";
import { StoreUnavailableError } from "../../server/store/store.ts";
import type { ConversationId, MessageId } from "../../shared/protocol/mod.ts";
import { TEST_NOW_MS, testKeys } from "../keys.ts";
import { expectType, Harness, message, until } from "./harness.ts";

Deno.test("GapRepair tells subscribed sessions of the conversations in which they may have missed something", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  const a = await harness.signedUp(alice), b = await harness.signedUp(bob);
  const { head } = expectType(await a.ask({ type: "openDirect", peer: "bob" }), "conversation");
  const empty = expectType(await b.ask({ type: "openDirect", peer: "bob" }), "conversation");
  const lane = a.lane();
  for (let i = 1; i <= 3; i++) lane.append(message(head.conversation, i, head.epoch));
  await lane.answers(3);
  expectType(await b.ask({ type: "subscribe" }), "ok");
  let failures = 2, asked = 0;
  const store = {
    conversations: (...args: Parameters<typeof harness.store.conversations>) => {
      asked++;
      if (failures-- > 0) return Promise.reject(new StoreUnavailableError("The leader is gone"));
      return harness.store.conversations(...args);
    },
    session: harness.store.session.bind(harness.store),
    ...NOTHING_WAITS,
  };
  const { server } = harness;
  const repair = new GapRepair({
    store,
    server,
    logger: silentLogger,
    pause: () => Promise.resolve(),
    nowMs: () => TEST_NOW_MS,
  });
  repair.start();
  await until(() => server.fanout.feedsBehind === 1);
  server.tick(harness.nowUs);
  await until(() => b.events.length === 1);
  assert.deepEqual(b.events, [{ type: "behind", conversation: head.conversation, head: 3 }]);
  assert.notEqual(empty.head.conversation, head.conversation);
  assert.deepEqual(a.events, [], "who has not subscribed asks anyway");
  assert.equal(asked, 3);
  await repair.stop();
});

Deno.test("GapRepair makes another pass for a gap during a pass, and ends when it is stopped", async () => {
  const harness = await Harness.open(), { alice } = await testKeys();
  const a = await harness.signedUp(alice);
  expectType(await a.ask({ type: "subscribe" }), "ok");
  let passes = 0;
  const repair: GapRepair = new GapRepair({
    store: {
      conversations: () => {
        if (++passes === 1) repair.start();
        return Promise.resolve([]);
      },
      session: harness.store.session.bind(harness.store),
      ...NOTHING_WAITS,
    },
    server: harness.server,
    logger: silentLogger,
    pause: () => Promise.resolve(),
    nowMs: () => TEST_NOW_MS,
  });
  repair.start();
  await until(() => passes === 2);
  await repair.stop();
  repair.start();
  await repair.stop();
  assert.equal(passes, 2);
});

Deno.test("GapRepair closes connections whose session ended while nobody could tell", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  const a = await harness.signedUp(alice), b = await harness.signedUp(bob);
  const { server } = harness;
  const heard = server.sessions.closeEnded.bind(server.sessions);
  server.sessions.closeEnded = () => {};
  await harness.store.raiseGeneration(alice.user);
  server.sessions.closeEnded = heard;
  assert.equal(a.closed, undefined, "the notice was missed");
  const { store } = harness;
  const options = { store, server, logger: silentLogger, pause: () => Promise.resolve(), nowMs: () => TEST_NOW_MS };
  const repair = new GapRepair(options);
  repair.start();
  await until(() => a.closed !== undefined);
  assert.equal(a.closed!.code, CloseCode.sessionEnded);
  await repair.stop();
  assert.equal(b.closed, undefined);
});

Deno.test("GapRepair tells of what waits in no log: Welcomes, history, and devices that want to be let in", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  const a = await harness.signedUp(alice), b = await harness.signedUp(bob);
  const { head } = expectType(await a.ask({ type: "openDirect", peer: "bob" }), "conversation");
  const { conversation } = head, body = new Uint8Array([1]);
  const entry = { conversation, messageId: "11".repeat(16) as MessageId, lastCommit: 0, body, add: [], remove: [] };
  const welcomes = [{ device: bob.id, body }];
  expectType(await a.ask({ type: "commit", ...entry, welcomes, tree: body }), "stored");
  expectType(await b.ask({ type: "acknowledge", cursors: [{ conversation, seq: 1 }] }), "ok");
  expectType(await a.ask({ type: "ask", conversation, kind: 1, body }), "ok");
  const group = "22".repeat(16) as ConversationId, handed = { to: bob.id, bundle: "33".repeat(16) as MessageId, body };
  expectType(await a.ask({ type: "createGroup", conversation: group }), "conversation");
  const added = { ...entry, conversation: group, add: ["bob"], welcomes: [], tree: new Uint8Array() };
  expectType(await a.ask({ type: "commit", ...added }), "stored");
  const part = { conversation: group, part: 0, parts: 1, unlessGiven: false, ...handed };
  expectType(await a.ask({ type: "putHistory", ...part }), "ok");
  expectType(await b.ask({ type: "subscribe" }), "ok");
  const { server, store } = harness;
  const options = { store, server, logger: silentLogger, pause: () => Promise.resolve(), nowMs: () => TEST_NOW_MS };
  const repair = new GapRepair(options);
  repair.start();
  await until(() => b.events.length === 3);
  const timeMs = harness.services.nowMs();
  assert.deepEqual(structuredClone(b.events), [
    { type: "welcomed", conversation },
    { type: "historyWaits" },
    { type: "asked", ask: { conversation, user: "alice", device: alice.id, kind: 1, body, timeMs } },
  ]);
  await repair.stop();
});

const NOTHING_WAITS = {
  asks: () => Promise.resolve([]),
  welcomesWaiting: () => Promise.resolve([]),
  history: () => Promise.resolve([]),
};
