/** A server that goes on from a backup older than what its clients have seen: a real SQLite store under real clients. */
import assert from "node:assert/strict";
import type { ChatClient, ChatEvent } from "../../client/mod.ts";
import type { CommitListener } from "../../server/bus/bus.ts";
import { makeReady } from "../../server/store/backup.ts";
import { SqliteDatabase } from "../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../server/store/sqlite_store.ts";
import type { Store } from "../../server/store/store.ts";
import { silentLogger } from "../../shared/log.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { inDirectory } from "../temporary.ts";
import { type ChatWorld, withWorld } from "./chat_world.ts";

Deno.test("ChatClient ahead of a restored server drops nothing new, repeats nothing, and says once what happened", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "1");
    await until(bob, () => texts(bob).length === 1);
    await backups.make();
    for (const text of ["2", "3", "4"]) await alice.send("bob", text);
    await until(bob, () => texts(bob).length === 4);
    const delivered = await bob.send("alice", "have them");
    await until(bob, () => bob.status(delivered.id).state === "delivered");
    await both(alice, bob);
    await backups.restore();

    const again = await world.open("alice", { password: undefined }),
      him = await world.open("bob", { password: undefined });
    await again.send("bob", "5");
    await him.send("alice", "6");
    await until(him, () => texts(him).includes("5"));
    await until(again, () => texts(again).includes("6"));
    assert.deepEqual(texts(him), ["1", "2", "3", "4", RESTORED, "5"]);
    assert.deepEqual(texts(again), ["have them", RESTORED, "6"]);
    assert.equal(him.status(delivered.id).state, "delivered", "whoever says to have it has it");
    assert.deepEqual([await gaps(again), await gaps(him)], [[], []]);

    // A later start has nothing more to say.
    const third = await world.open("bob", { password: undefined });
    assert.deepEqual(texts(third), ["1", "2", "3", "4", RESTORED, "5"]);
  }));

Deno.test("ChatClient sends again what a restored server lost before anybody had it, under its id and once", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice");
    await (await world.open("bob")).close();
    await alice.send("bob", "1");
    await backups.make();
    const sent = [await alice.send("bob", "2"), await alice.send("bob", "3")];
    assert.deepEqual(sent.map(({ state }) => state), ["stored", "stored"]);
    await alice.close();
    await backups.restore();

    const bob = await world.open("bob", { password: undefined });
    assert.deepEqual(texts(bob), ["1", RESTORED]);
    const again = await world.open("alice", { password: undefined });
    await until(bob, () => texts(bob).includes("3"));
    assert.deepEqual(texts(bob), ["1", RESTORED, "2", "3"]);
    const heard: ChatEvent[] = [];
    await until(again, () => sent.every(({ id }) => again.status(id).state === "delivered"), heard);
    assert.deepEqual(again.history("bob").map(({ text }) => text), ["1", "2", "3"], "each once, where it was");
    assert.deepEqual(again.outbox(), []);
    const told = [...heard, ...await rest(again)]
      .flatMap((event) => event.type === "state" && event.id === sent[0]!.id ? [[event.state, event.reason]] : []);
    assert.deepEqual(told, [
      ["stored", undefined],
      ["queued", "The server was restored from a backup that does not have it"],
      ["stored", undefined],
      ["delivered", undefined],
    ]);
    assert.deepEqual(await gaps(bob), []);
  }));

Deno.test("ChatClient: who has read what the server lost does not see it twice when its author sends it again", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "1");
    await until(bob, () => texts(bob).length === 1);
    await backups.make();
    await alice.close();
    // Bob reads it, and Alice is gone before she hears so.
    const short = await world.open("alice", { password: undefined });
    const { id } = await short.send("bob", "2");
    await short.close();
    await until(bob, () => texts(bob).length === 2);
    await bob.close();
    await backups.restore();

    const him = await world.open("bob", { password: undefined });
    const again = await world.open("alice", { password: undefined });
    await until(again, () => again.status(id).state === "delivered");
    await again.send("bob", "3");
    await until(him, () => texts(him).includes("3"));
    assert.deepEqual(texts(him), ["1", "2", RESTORED, "3"]);
    assert.deepEqual(await gaps(him), [], "no number of hers is missing");
  }));

Deno.test("ChatClient: a conversation of which the backup knows nothing begins again behind what its people remember", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await backups.make();
    await alice.send("bob", "1");
    await bob.send("alice", "2");
    await until(bob, () => texts(bob).length === 1);
    await until(alice, () => texts(alice).length === 1);
    await both(alice, bob);
    await backups.restore();

    const again = await world.open("alice", { password: undefined }),
      him = await world.open("bob", { password: undefined });
    await again.send("bob", "3");
    await until(him, () => texts(him).includes("3"));
    await him.send("alice", "4");
    await until(again, () => texts(again).includes("4"));
    assert.deepEqual(texts(him), ["1", RESTORED, "3"]);
    assert.deepEqual(texts(again), ["2", RESTORED, "4"]);
  }));

Deno.test("ChatClient: a group whose newest change the backup has goes on, and what it lost is sent again", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.createGroup("Team");
    await alice.changeGroup("#team", { do: "add", names: ["bob" as UserName] });
    await alice.send("#team", "1");
    await until(bob, () => said(bob).includes("1"));
    // His keys are replaced with the first thing that he says, which is a change, too.
    await bob.send("#team", "2");
    await until(alice, () => said(alice).includes("2"));
    await backups.make();
    await alice.send("#team", "3");
    await until(bob, () => said(bob).includes("3"));
    await bob.close();
    const unheard = await alice.send("#team", "nobody has this yet");
    await alice.close();
    await backups.restore();

    const again = await world.open("alice", { password: undefined }),
      him = await world.open("bob", { password: undefined });
    await until(him, () => said(him).includes("nobody has this yet"));
    await him.send("#team", "4");
    await again.send("#team", "5");
    await until(again, () => said(again).includes("4") && again.status(unheard.id).state === "delivered");
    await until(him, () => said(him).includes("5"));
    for (const chat of [again, him]) {
      assert.deepEqual(said(chat).toSorted(), ["1", "2", "3", "4", "5", "nobody has this yet"], chat.name);
      assert.equal(texts(chat).filter((text) => text === RESTORED).length, 1, chat.name);
    }
  }));

Deno.test("ChatClient: people who first meet after a restore see nothing of it", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await both(alice, bob);
    await backups.make();
    await backups.restore();
    const again = await world.open("alice", { password: undefined }),
      him = await world.open("bob", { password: undefined });
    await again.send("bob", "1");
    await until(him, () => texts(him).length === 1);
    assert.deepEqual(texts(him), ["1"]);
    assert.deepEqual(await gaps(him), []);
  }));

Deno.test("ChatClient: who first writes to somebody after a restore need not wait until they are there", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.close();
    await bob.close();
    await backups.make();
    await backups.restore();
    const again = await world.open("alice", { password: undefined });
    await again.send("bob", "1");
    await again.close();
    const him = await world.open("bob", { password: undefined });
    await until(him, () => texts(him).length === 1);
    assert.deepEqual([texts(him), await gaps(him)], [["1"], []]);
  }));

Deno.test("ChatClient tells of a server that was set back by other means than a restore", () =>
  withRestorable(async (world, backups) => {
    const alice = await world.open("alice");
    await (await world.open("bob")).close();
    await alice.send("bob", "1");
    await backups.make();
    await alice.send("bob", "2");
    await alice.close();
    const before = await world.open("bob", { password: undefined });
    assert.deepEqual(await gaps(before), [], "as long as it is the same");
    await backups.copyBack();
    const again = await world.open("bob", { password: undefined });
    assert.match((await gaps(again)).join(), /^The server has gone back: .* fastchat-balancer restore$/);
  }));

Deno.test("ChatClient is not led past what is there by a server that only says it was restored", () => {
  let lies = false;
  return withRestorable(async (world) => {
    const alice = await world.open("alice");
    await (await world.open("bob")).close();
    await alice.send("bob", "1");
    await alice.send("bob", "2");
    lies = true;
    const bob = await world.open("bob", { password: undefined });
    assert.deepEqual(texts(bob), [], "numbers beyond the newest are not believed");
    await bob.close();
    lies = false;
    const again = await world.open("bob", { password: undefined });
    assert.deepEqual(texts(again), ["1", "2"]);
  }, (page) => lies ? { records: [], begins: 1e9, restored: { kept: 0, madeMs: 1, restoredMs: 2 } } : page);
});

/** Runs with a store that can be copied and set back while no client is there. */
async function withRestorable(
  use: (
    world: ChatWorld,
    backups: { make(): Promise<void>; restore(): Promise<void>; copyBack(): Promise<void> },
  ) => Promise<void>,
  read: (page: Awaited<ReturnType<Store["read"]>>) => typeof page = (page) => page,
): Promise<void> {
  await inDirectory(async (directory) => {
    const path = `${directory}/store.db`, backup = `${directory}/backup.db`;
    let hub: CommitListener | undefined, madeMs = 0;
    const open = () => {
      const listener = new Proxy({} as CommitListener, { get: (_, key) => Reflect.get(hub!, key).bind(hub) });
      return new SqliteStore(new SqliteDatabase(path), { listener, logger: silentLogger });
    };
    let store = open();
    const current = new Proxy({} as Store, {
      get: (_, key) =>
        key !== "read"
          ? Reflect.get(store, key).bind(store)
          : async (...args: Parameters<Store["read"]>) => read(await store.read(...args)),
    });
    const exchange = async (change: () => Promise<void>) => {
      await store.close();
      await change();
      store = open();
    };
    try {
      await withWorld(async (world) => {
        hub = world.harness.hub;
        await use(world, {
          make: () => exchange(() => (madeMs = Date.now(), Deno.copyFile(path, backup))),
          copyBack: () => exchange(() => Deno.copyFile(backup, path)),
          restore: () =>
            exchange(async () => {
              await Deno.copyFile(backup, path);
              makeReady(path, { madeMs, restoredMs: Date.now(), endSessions: false });
            }),
        });
      }, { wrapStore: () => current });
    } finally {
      await store.close();
    }
  });
}

async function both(...clients: ChatClient[]): Promise<void> {
  for (const client of clients) await client.close();
}

/** Waits for events until it is so. */
async function until(client: ChatClient, isSo: () => boolean, heard: ChatEvent[] = []): Promise<void> {
  if (isSo()) return;
  for await (const event of client.events({ own: true })) {
    heard.push(event);
    if (isSo()) return;
  }
  assert.ok(isSo(), "the client was closed before");
}

/** What others said, and what is said in place of what is missing, in the order it came. */
function texts(chat: ChatClient): string[] {
  return chat.unshown(100).map(({ event }) =>
    event.type === "message" ? event.text : event.type === "refused" ? event.reason.replace(MOMENT, "…") : event.type
  );
}

/** What was said in the group, once for each time that it is there. */
function said(chat: ChatClient): string[] {
  if (chat.groups().length === 0) return [];
  return chat.talk("#team", 100).flatMap((event) => event.type === "message" ? [event.text] : []);
}

/** Closes; what was told of gaps. */
async function gaps(chat: ChatClient): Promise<string[]> {
  return (await rest(chat)).flatMap((event) => event.type === "notice" && event.code === "gap" ? [event.text] : []);
}

async function rest(chat: ChatClient): Promise<ChatEvent[]> {
  const events = chat.events({ own: true }), heard: ChatEvent[] = [];
  await chat.close();
  for await (const event of events) heard.push(event);
  return heard;
}

const MOMENT = /\d{4}-\d\d-\d\d \d\d:\d\d UTC/g;
const RESTORED = "The server was restored from a backup: what was said between … and … is on the devices that have it";
