/** Clients that come back by ticket, against a real server core over memory channels. */
import assert from "node:assert/strict";
import type { ChatClient } from "../../client/chat_client.ts";
import { NotAuthenticatedError } from "../../client/errors.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { sha256 } from "../../shared/crypto/mod.ts";
import { type ChatWorld, withWorld } from "./chat_world.ts";

const ALICE = "alice" as UserName;

/** Alice, the second connection of the world; Bob, to whom she writes, is away. */
async function aliceAlone(world: ChatWorld): Promise<ChatClient> {
  await (await world.open("bob")).close();
  return await world.open("alice");
}

/** Ends the newest connection, and waits until there is another. */
async function cutOff(chat: ChatClient, world: ChatWorld): Promise<void> {
  const pairs = world.pairs.length;
  const events = chat.events();
  world.pairs.at(-1)!.sever();
  for await (const event of events) {
    if (event.type === "connection" && event.state === "connected" && world.pairs.length > pairs) return;
  }
}

function tokenHash(world: ChatWorld): Uint8Array {
  return sha256(world.inHome("alice", ({ credentials }) => credentials.session(0)!.token));
}

Deno.test("ChatClient comes back by ticket again and again: no password, no session token, nothing lost", async () => {
  await withWorld(async (world) => {
    const alice = await aliceAlone(world), { counters } = world.harness.services;
    const runs = world.harness.bcryptRuns;
    for (let round = 1; round <= 3; round++) {
      await cutOff(alice, world);
      assert.equal(counters.ticketLogIns, round);
      assert.equal((await alice.send("bob", `round ${round}`)).seq, round + 1);
    }
    assert.equal(counters.resumed, 0);
    assert.equal(world.harness.bcryptRuns, runs);
    // The next program of this home, too.
    await alice.close();
    const again = await world.open("alice", { password: undefined, register: false });
    assert.equal(counters.ticketLogIns, 4);
    assert.equal(counters.resumed, 0);
    await again.close();
  });
});

Deno.test("ChatClient: programs of one home do not take each other's place, and never use one ticket twice", async () => {
  await withWorld(async (world) => {
    const listening = await aliceAlone(world), { counters } = world.harness.services;
    for (let run = 1; run <= 3; run++) {
      const other = await world.open("alice", { password: undefined, register: false });
      assert.equal((await other.send("bob", `run ${run}`)).seq, run + 1);
      await other.close();
    }
    assert.equal(counters.ticketLogIns, 3);
    assert.equal(listening.history("bob").length, 3);
    assert.equal(world.pairs[1]!.client.closed, false);
    world.pairs[1]!.sever();
    assert.equal((await listening.send("bob", "still here")).seq, 5);
    assert.equal(counters.ticketLogIns, 4);
    assert.equal(counters.resumed, 0);
  });
});

Deno.test("ChatClient: a ticket that is no log-in any more leads to the session, then to the password", async () => {
  await withWorld(async (world) => {
    const alice = await aliceAlone(world), { store, services: { counters } } = world.harness;
    await store.raiseGeneration(ALICE, tokenHash(world));
    await cutOff(alice, world);
    assert.equal(counters.ticketLogIns, 0);
    assert.equal(counters.ticketLogInsRefused, 1);
    assert.equal(counters.resumed, 1);
    await cutOff(alice, world);
    assert.equal(counters.ticketLogIns, 1, "the session brought a new one");
    const { bcryptRuns } = world.harness;
    await store.raiseGeneration(ALICE);
    await alice.send("bob", "with the password that is still in memory");
    assert.equal(world.harness.bcryptRuns, bcryptRuns + 1);
    await alice.close();
    await store.raiseGeneration(ALICE);
    await assert.rejects(world.open("alice", { password: undefined, register: false }), NotAuthenticatedError);
  });
});

Deno.test("ChatClient uses no ticket where the password was asked for, or where the home has no session", async () => {
  await withWorld(async (world) => {
    await (await aliceAlone(world)).close();
    const { bcryptRuns, services: { counters } } = world.harness;
    await (await world.open("alice", { register: false, fresh: true })).close();
    assert.equal(counters.ticketLogIns, 0);
    assert.equal(world.harness.bcryptRuns, bcryptRuns + 1);
    world.inHome("alice", ({ credentials }) => credentials.forgetSession(credentials.session(0)!.token));
    await assert.rejects(world.open("alice", { password: undefined, register: false }), NotAuthenticatedError);
    assert.equal(counters.ticketLogIns, 0);
  });
});

Deno.test("ChatClient leaves a silent server for another, and stays where it is heard in time", async () => {
  await withWorld(async (world) => {
    const alice = await aliceAlone(world), { counters } = world.harness.services;
    const first = world.pairs.at(-1);
    // Heard again before another server was asked: everybody waits a moment, to come apart.
    first!.client.tell("silent");
    first!.client.tell("heard");
    await alice.send("bob", "one");
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.equal(world.pairs.length, 2);
    const events = alice.events();
    first!.client.tell("silent");
    while (world.pairs.length === 2) await events.next();
    assert.equal((await alice.send("bob", "two")).seq, 3);
    assert.equal(world.pairs.length, 3);
    assert.deepEqual(world.excluded.at(-1), [0], "not the silent one");
    assert.equal(first!.client.closed, true);
    assert.equal(counters.ticketLogIns, 1);
  });
});

Deno.test("ChatClient keeps a silent server while no other can be reached, and its ticket too", async () => {
  await withWorld(async (world) => {
    const alice = await aliceAlone(world), { counters } = world.harness.services;
    world.unreachable = true;
    const dialled = world.excluded.length;
    world.pairs[1]!.client.tell("silent");
    while (world.excluded.length === dialled) await new Promise((resolve) => setTimeout(resolve, 5));
    world.pairs[1]!.client.tell("heard");
    assert.equal((await alice.send("bob", "over the old one")).seq, 2);
    world.unreachable = false;
    await cutOff(alice, world);
    assert.equal(counters.ticketLogIns, 1);
  });
});
