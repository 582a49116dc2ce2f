/** Presence and typing through a whole server, in virtual time: what is asked, and what comes as hints. */
import assert from "node:assert/strict";
import { encode } from "../../shared/codec/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import { WATCH_NAMES_MAX } from "../../shared/limits.ts";
import {
  type ConversationId,
  type HintDown,
  hintDown,
  hintUp,
  readHint,
  request,
  type UserName,
} from "../../shared/protocol/mod.ts";
import { PRESENCE_GRACE_US } from "../../server/bus/presence_board.ts";
import { TYPING_TTL_MS, WATCH_TTL_US } from "../../server/presence.ts";
import { HINTS_BURST } from "../../server/typing.ts";
import type { Store } from "../../server/store/store.ts";
import { testKeys } from "../keys.ts";
import { expectError, expectType, Harness, logIn, makeDevice, settle, type TestClient } from "./harness.ts";

const NOBODY = "nobody" as UserName;

/** Alice, Bob and Carol, who are logged in and subscribed, and a board that has been there for long. */
async function world(options: Parameters<typeof Harness.open>[0] = {}) {
  const harness = await Harness.open(options), keys = await testKeys();
  harness.hub.presence.tick(harness.nowUs);
  pass(harness, PRESENCE_GRACE_US);
  const carolsDevice = await makeDevice(keys.bob, { user: "carol" });
  const [alice, bob, carol] = await Promise.all(
    [keys.alice, keys.bob, carolsDevice].map((device) => harness.signedUp(device)),
  );
  const { head } = expectType(await alice!.ask({ type: "openDirect", peer: "bob" }), "conversation");
  return { harness, keys, alice: ears(alice!), bob: ears(bob!), carol: ears(carol!), talk: head.conversation };
}

/** Lets time pass for the server and the board. */
function pass(harness: Harness, us: number): void {
  for (const endUs = harness.nowUs + us; harness.nowUs < endUs;) {
    harness.nowUs = Math.min(endUs, harness.nowUs + 250_000);
    harness.hub.presence.tick(harness.nowUs);
    harness.server.tick(harness.nowUs);
  }
}

/** Keeps the hints that come. */
function ears(client: TestClient) {
  const hints: HintDown[] = [];
  client.channel.handler!.onHint = (bytes) => hints.push(readHint(hintDown, bytes)!);
  return {
    client,
    async take(): Promise<HintDown[]> {
      for (let turn = 0; turn < 5; turn++) await settle();
      return hints.splice(0);
    },
    async watch(...names: string[]): Promise<readonly string[]> {
      return expectType(await client.ask({ type: "watch", names }), "presence").online;
    },
    type: (conversation: ConversationId, active = true) =>
      client.channel.sendHint(encode(hintUp, { type: "typing", conversation, active })),
  };
}

Deno.test("watch answers who is here, and hints tell of changes until the time is over", async () => {
  const { harness, keys, alice, bob } = await world();
  assert.deepEqual(await alice.watch("bob", "BOB", NOBODY, "not a name"), ["bob"]);
  bob.client.channel.close(0, "");
  assert.deepEqual(await alice.take(), [], "Bob may be back in a moment");
  pass(harness, PRESENCE_GRACE_US + 500_000);
  const [gone] = await alice.take();
  assert.deepEqual({ ...gone, ttlMs: 0 }, { type: "presence", name: "bob", online: false, ttlMs: 0 });
  const left = WATCH_TTL_US / 1000 - PRESENCE_GRACE_US / 1000;
  assert(gone!.ttlMs <= left && gone!.ttlMs > left - 1_000, "it holds for what is left of the watch");
  assert.deepEqual(await alice.watch("bob"), []);
  const again = harness.connect();
  expectType(await again.ask(logIn(keys.bob, again)), "session");
  assert.deepEqual((await alice.take()).map((hint) => hint.type === "presence" && hint.online), [true]);

  pass(harness, WATCH_TTL_US + 1);
  assert.equal(harness.server.presence.watched, 0, "who asks no more is told no more");
  again.channel.close(0, "");
  pass(harness, 2 * PRESENCE_GRACE_US);
  assert.deepEqual(await alice.take(), []);
});

Deno.test("a client that comes back on another connection within the grace was never gone", async () => {
  const { harness, keys, alice, bob } = await world();
  await alice.watch("bob");
  bob.client.pair.sever();
  await settle();
  pass(harness, PRESENCE_GRACE_US - 500_000);
  const again = harness.connect();
  expectType(await again.ask(logIn(keys.bob, again)), "session");
  pass(harness, 3 * PRESENCE_GRACE_US);
  assert.deepEqual(await alice.take(), []);
  assert.deepEqual(await alice.watch("bob"), ["bob"]);
});

Deno.test("a client that was killed is gone within half a minute; one that only has nothing to say stays", async () => {
  const { harness, alice, bob, carol } = await world();
  await alice.watch("bob", "carol");
  // Killed: it neither speaks nor answers, and nobody heard it go.
  bob.client.pair.client.pause();
  for (let second = 0; second < 34; second++) {
    pass(harness, 1_000_000);
    await settle();
  }
  const told = (await alice.take()).map((hint) => hint.type === "presence" && [hint.name, hint.online]);
  assert.deepEqual(told, [["bob", false]]);
  assert.deepEqual(await carol.watch("alice", "bob"), ["alice"]);
  assert.deepEqual([alice.client.closed, carol.client.closed], [undefined, undefined]);
});

Deno.test("watch takes the place of what the connection watched before; without a session there is none", async () => {
  const { harness, alice, bob, carol } = await world();
  assert.deepEqual(await alice.watch("bob", "carol"), ["bob", "carol"]);
  assert.deepEqual(await alice.watch("carol"), ["carol"]);
  bob.client.channel.close(0, "");
  await settle();
  pass(harness, 2 * PRESENCE_GRACE_US);
  assert.deepEqual(await alice.take(), []);
  await carol.watch("alice");
  carol.client.channel.close(0, "");
  await settle();
  assert.equal(harness.server.presence.watched, 1);
  expectError(await harness.connect().ask({ type: "watch", names: ["bob"] }), ErrorCode.notAuthenticated);
});

Deno.test("watch asks to wait while a new leader does not know who is here", async () => {
  const harness = await Harness.open(), keys = await testKeys();
  const alice = await harness.signedUp(keys.alice);
  const busy = expectError(await alice.ask({ type: "watch", names: ["bob"] }), ErrorCode.busy);
  assert(busy.retryAfterMs > 0);
  await harness.signedUp(keys.bob);
  assert.deepEqual(expectType(await alice.ask({ type: "watch", names: ["bob"] }), "presence").online, ["bob"]);
});

Deno.test("watch of more people than a connection may ends it", async () => {
  const { alice } = await world();
  const names = Array.from({ length: WATCH_NAMES_MAX }, (_, i) => `n${i}`);
  assert.deepEqual(await alice.watch(...names), []);
  const bytes = encode(request, { type: "watch", names });
  // One more than the list may have: the count is a varint of two bytes behind the tag.
  const longer = Uint8Array.of(...bytes, 2, ...new TextEncoder().encode("zz"));
  longer[2] = longer[2]! + 1;
  const stream = alice.client.channel.openStream();
  stream.send(longer);
  await settle();
  await settle();
  assert.notEqual(alice.client.closed, undefined);
});

Deno.test("typing reaches the other members who watch, and nobody else", async () => {
  const { alice, bob, carol, talk } = await world();
  bob.type(talk);
  assert.deepEqual(await alice.take(), [], "Alice has not asked for any");
  for (const one of [alice, bob, carol]) await one.watch("dave");
  bob.type(talk);
  assert.deepEqual(await alice.take(), [{ type: "typing", conversation: talk, name: "bob", ttlMs: TYPING_TTL_MS }]);
  bob.type(talk, false);
  assert.deepEqual(await alice.take(), [{ type: "typing", conversation: talk, name: "bob", ttlMs: 0 }]);
  assert.deepEqual([await bob.take(), await carol.take()], [[], []]);
});

Deno.test("typing of somebody who is no member goes nowhere, and asks the store once", async () => {
  let lookUps = 0;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get(target, name) {
        if (name === "conversations") lookUps++;
        const value = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  const { harness, alice, bob, carol, talk } = await world({ wrapStore });
  for (const one of [alice, bob]) await one.watch("dave");
  for (let count = 0; count < 4; count++) {
    carol.type(talk);
    bob.type("00".repeat(16) as ConversationId);
    await settle();
  }
  assert.deepEqual([await alice.take(), await bob.take()], [[], []]);
  assert.equal(lookUps, 2);
  pass(harness, 61_000_000);
  carol.type(talk);
  await settle();
  assert.equal(lookUps, 3, "members may change");
});

Deno.test("hints beyond their rate and bytes that are none are dropped, and the connection lives", async () => {
  const { harness, alice, bob, talk } = await world();
  await alice.watch("dave");
  bob.type(talk);
  await alice.take();
  pass(harness, 10_000_000);
  for (let count = 0; count < 3 * HINTS_BURST; count++) {
    bob.type(talk);
    await settle();
  }
  assert.equal((await alice.take()).length, HINTS_BURST);
  pass(harness, 10_000_000);
  bob.client.channel.sendHint(new Uint8Array([9, 9, 9]));
  bob.client.channel.sendHint(new Uint8Array(0));
  bob.type(talk);
  assert.equal((await alice.take()).length, 1);
  assert.equal(bob.client.closed, undefined);
  // Nobody is logged in there: nothing is heard, nothing happens.
  const stranger = harness.connect();
  stranger.channel.sendHint(encode(hintUp, { type: "typing", conversation: talk, active: true }));
  assert.deepEqual(await alice.take(), []);
});
