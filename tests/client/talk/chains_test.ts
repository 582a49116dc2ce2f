import assert from "node:assert/strict";
import { Chains } from "../../../client/talk/chains.ts";
import { BOBS_DEVICE, historyWithBob, TALK, withDatabase } from "../homes.ts";

Deno.test("Chains of others are as they were set, and the own one moves forward only", async () => {
  await withDatabase((database) => {
    historyWithBob(database);
    const chains = new Chains(database), hash = new Uint8Array(32).fill(5);
    assert.deepEqual(chains.own(TALK), { counter: 0, hash: new Uint8Array(32) });
    chains.setOwn(TALK, { counter: 3, hash });
    chains.setOwn(TALK, { counter: 2, hash: new Uint8Array(32) });
    assert.deepEqual(chains.own(TALK), { counter: 3, hash });
    assert.equal(chains.of(TALK, BOBS_DEVICE), undefined);
    chains.set(TALK, BOBS_DEVICE, { counter: 1, hash });
    chains.set(TALK, BOBS_DEVICE, { counter: 4, hash });
    assert.equal(chains.of(TALK, BOBS_DEVICE)?.counter, 4);
  });
});

Deno.test("Chains.cut() keeps what was counted and forgets what it followed", async () => {
  await withDatabase((database) => {
    historyWithBob(database);
    const chains = new Chains(database), hash = new Uint8Array(32).fill(5);
    chains.set(TALK, BOBS_DEVICE, { counter: 4, hash });
    chains.setOwn(TALK, { counter: 3, hash });
    chains.cut(TALK);
    assert.deepEqual(chains.of(TALK, BOBS_DEVICE), { counter: 4, hash: new Uint8Array() });
    assert.deepEqual(chains.own(TALK), { counter: 3, hash });
  });
});
