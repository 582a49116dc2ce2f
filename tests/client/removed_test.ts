/** Messages that the server removed before this device read them: one placeholder, and on with what is there. */
import assert from "node:assert/strict";
import type { ChatClient, ChatEvent } from "../../client/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { type ChatWorld, withWorld } from "./chat_world.ts";

Deno.test("ChatClient names once what was removed before it came, and shows the rest", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await hearsFirst(world, alice);
    for (const text of ["2", "3", "4", "5", "6"]) await alice.send("bob", text);
    await remove(world, 5);
    const bob = await world.open("bob", { password: undefined });
    assert.deepEqual(texts(bob), ["1", removed("3 earlier messages were"), "5", "6"]);
    await alice.send("bob", "7");
    assert.deepEqual(await closed(bob, 5), {
      texts: ["1", removed("3 earlier messages were"), "5", "6", "7"],
      notices: [],
    });
    const again = await world.open("bob", { password: undefined });
    assert.deepEqual(await closed(again, 5), {
      texts: ["1", removed("3 earlier messages were"), "5", "6", "7"],
      notices: [],
    });
  });
});

Deno.test("ChatClient goes on where everything was removed", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await hearsFirst(world, alice);
    await alice.send("bob", "2");
    await remove(world, 3);
    const bob = await world.open("bob", { password: undefined });
    const sent = await bob.send("alice", "3");
    assert.equal(sent.seq, 4);
    await alice.send("bob", "4");
    assert.deepEqual(await closed(bob, 3), {
      texts: ["1", removed("An earlier message was"), "4"],
      notices: [],
    });
  });
});

Deno.test("ChatClient says nothing of messages that it had before they were removed", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await hearsFirst(world, alice);
    await remove(world, 2);
    await alice.send("bob", "2");
    const bob = await world.open("bob", { password: undefined });
    assert.deepEqual(await closed(bob, 2), { texts: ["1", "2"], notices: [] });
  });
});

Deno.test("ChatClient steps over nothing that the server had not spoken of", async () => {
  let lies = false;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "read"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (...args: Parameters<Store["read"]>) =>
            lies ? { records: [], begins: 1_000_000 } : await target.read(...args),
    });
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await hearsFirst(world, alice);
    await alice.send("bob", "2");
    lies = true;
    const bob = await world.open("bob", { password: undefined });
    assert.deepEqual(texts(bob), ["1"]);
    await bob.close();
    lies = false;
    const again = await world.open("bob", { password: undefined });
    assert.deepEqual(texts(again), ["1", "2"]);
  }, { wrapStore });
});

/** Bob has the first message, and is gone. */
async function hearsFirst(world: ChatWorld, alice: ChatClient): Promise<void> {
  await (await world.open("bob")).close();
  await alice.send("bob", "1");
  await (await world.open("bob", { password: undefined })).close();
}

/** The oldest so many rows are old enough to go. */
async function remove(world: ChatWorld, count: number): Promise<void> {
  const nowMs = Date.now() + 10 * DAY_MS;
  assert.equal(
    await world.harness.store.trim({ nowMs, ageMsMax: DAY_MS, bytesMax: undefined, recordsMax: count }),
    count,
  );
}

function texts(chat: ChatClient): string[] {
  return chat.unshown(100).map(({ event }) =>
    event.type === "message" ? event.text : event.type === "refused" ? event.reason : ""
  );
}

function removed(what: string): string {
  return `${what} removed by the server, which does not keep them for ever`;
}

/** Closes once so many messages of others are there: what they say, and what was told of gaps. */
async function closed(chat: ChatClient, count: number): Promise<{ texts: string[]; notices: string[] }> {
  const events = chat.events({ own: true }), heard: ChatEvent[] = [];
  while (texts(chat).length < count) heard.push((await events.next()).value);
  const there = texts(chat);
  await chat.close();
  for await (const event of events) heard.push(event);
  const notices = heard.flatMap((event) => event.type === "notice" && event.code === "gap" ? [event.text] : []);
  return { texts: there, notices };
}

const DAY_MS = 24 * 3600 * 1000;
