/** History that devices hand to new ones, as clients ask for it: who may, who is told, what it is answered with. */
import assert from "node:assert/strict";
import { ErrorCode } from "../../shared/errors.ts";
import { HISTORY_PAIR_BYTES_MAX } from "../../shared/limits.ts";
import type { ConversationId, MessageId, RequestOf } from "../../shared/protocol/mod.ts";
import { testKeys } from "../keys.ts";
import { expectType, Harness, until } from "./harness.ts";

const GROUP = "22".repeat(16) as ConversationId;

Deno.test("putHistory is for members' devices, history and dropHistory for the device itself", async () => {
  const harness = await Harness.open(), { alice, bob } = await testKeys();
  const a = await harness.signedUp(alice), b = await harness.signedUp(bob);
  const body = new Uint8Array([1, 2, 3]);
  const part = (changes: Partial<RequestOf<"putHistory">> = {}): RequestOf<"putHistory"> => ({
    type: "putHistory",
    conversation: GROUP,
    to: bob.id,
    bundle: "33".repeat(16) as MessageId,
    part: 0,
    parts: 1,
    unlessGiven: false,
    body,
    ...changes,
  });
  expectType(await a.ask({ type: "createGroup", conversation: GROUP }), "conversation");
  assert.equal(expectType(await a.ask(part()), "error").code, ErrorCode.forbidden, "Bob is in no such group");
  const added = {
    messageId: "11".repeat(16) as MessageId,
    lastCommit: 0,
    body,
    add: ["bob"],
    remove: [],
    welcomes: [],
  };
  expectType(await a.ask({ type: "commit", conversation: GROUP, ...added, tree: new Uint8Array() }), "stored");
  expectType(await b.ask({ type: "subscribe" }), "ok");
  expectType(await a.ask(part()), "ok");
  await until(() => b.events.some(({ type }) => type === "historyWaits"));
  assert.equal(a.events.some(({ type }) => type === "historyWaits"), false);
  assert.equal(expectType(await a.ask(part({ part: 1 })), "error").code, ErrorCode.malformed);
  expectType(await a.ask(part({ bundle: "44".repeat(16) as MessageId, unlessGiven: true })), "historyGiven");
  const [waiting] = expectType(await b.ask({ type: "history", after: 0 }), "historyParts").parts;
  assert.deepEqual({ ...waiting, body: [...waiting!.body] }, { number: 1, conversation: GROUP, body: [1, 2, 3] });
  assert.deepEqual(expectType(await b.ask({ type: "history", after: 1 }), "historyParts").parts, []);
  assert.deepEqual(expectType(await a.ask({ type: "history", after: 0 }), "historyParts").parts, [], "it is for Bob");
  expectType(await a.ask({ type: "dropHistory", numbers: [1], taken: true }), "ok");
  assert.equal(expectType(await b.ask({ type: "history", after: 0 }), "historyParts").parts.length, 1);
  expectType(await b.ask({ type: "dropHistory", numbers: [1], taken: true }), "ok");
  assert.deepEqual(expectType(await b.ask({ type: "history", after: 0 }), "historyParts").parts, []);
  const large = new Uint8Array(1 << 20), parts = 1 + HISTORY_PAIR_BYTES_MAX / large.length;
  for (let at = 0; at < parts - 1; at++) {
    expectType(await a.ask(part({ bundle: "55".repeat(16) as MessageId, part: at, parts, body: large })), "ok");
  }
  const full = await a.ask(part({ bundle: "55".repeat(16) as MessageId, part: parts - 1, parts, body: large }));
  assert.equal(expectType(full, "error").code, ErrorCode.limit);
});

Deno.test("history and putHistory are for whoever is logged in", async () => {
  const harness = await Harness.open(), stranger = harness.connect();
  assert.equal(expectType(await stranger.ask({ type: "history", after: 0 }), "error").code, ErrorCode.notAuthenticated);
});
