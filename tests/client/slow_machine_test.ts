/** Clients whose machine takes its time for every step: longer than a program keeps its home when it seems to be done with it. */
import assert from "node:assert/strict";
import { until } from "./until.ts";
import { withWorld } from "./chat_world.ts";

/** More than a share of the home lingers (client/home/ownership.ts). */
const SLOW_MS = 250;

/** Runs while everything that this thread seals or signs with RSA takes long. */
async function onSlowMachine(run: () => Promise<void>): Promise<void> {
  const { encrypt, sign } = crypto.subtle;
  let slowed = 0;
  const slowly = <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
    async function (this: SubtleCrypto, ...args: A): Promise<R> {
      slowed++;
      await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
      return await work.apply(crypto.subtle, args);
    };
  Object.assign(crypto.subtle, { encrypt: slowly(encrypt), sign: slowly(sign) });
  try {
    await run();
    assert.ok(slowed > 0, "Nothing was slow");
  } finally {
    Object.assign(crypto.subtle, { encrypt, sign });
  }
}

Deno.test("ChatClient lets in whoever asks, by itself, however long its machine takes to seal", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.createGroup("team");
    const link = await alice.groupLink("team");
    let tries = 0;
    const { store } = world.harness, take = store.takeKeyPackages.bind(store);
    Object.assign(store, { takeKeyPackages: (...args: Parameters<typeof take>) => (tries++, take(...args)) });
    await onSlowMachine(async () => {
      await bob.joinGroup(link);
      await until(bob, () => bob.groups().some(({ name, ended }) => name === "team" && !ended));
    });
    assert.equal(tries, 1, "at the first try: nothing was for nothing");
    await bob.send("#team", "here I am");
    await until(alice, () => alice.history("#team").some(({ text }) => text === "here I am"));
  });
});
