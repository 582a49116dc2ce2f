/** What was said before somebody came, handed to them (SECURITY M15): real clients, real server core. */
import assert from "node:assert/strict";
import { ChatClient, linkDevice, UsageError } from "../../../client/mod.ts";
import { QUARANTINE_MS } from "../../../client/trust/quarantine.ts";
import type { NewHistoryPart } from "../../../server/store/history.ts";
import { type Store, StoreUnavailableError } from "../../../server/store/store.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { type ChatWorld, PASSWORD, withWorld } from "../chat_world.ts";
import { nextNotice } from "../notices.ts";
import { until } from "../until.ts";

const names = (...all: string[]) => all as UserName[];

/** What there is to read, each with whose copy it is. */
function texts(chat: ChatClient, address = "#team"): string[] {
  return chat.history(address, 1_000).map(({ from, text, copyFrom }) =>
    `${from}: ${text}${copyFrom === undefined ? "" : ` (${copyFrom})`}`
  );
}

/** Alice and Bob in a group, where something was said. */
async function withTeam(
  use: (world: ChatWorld, team: { alice: ChatClient; bob: ChatClient }) => Promise<void>,
  options: { readonly wrapStore?: (store: Store) => Store } = {},
): Promise<void> {
  await withWorld(async (world) => {
    const [alice, bob] = await Promise.all(["alice", "bob"].map((name) => world.open(name)));
    await alice!.createGroup("Team");
    await alice!.changeGroup("team", { do: "add", names: names("bob") });
    await until(bob!, () => bob!.groups().length === 1);
    await alice!.send("#team", "before");
    await until(bob!, () => texts(bob!).includes("alice: before"));
    await use(world, { alice: alice!, bob: bob! });
  }, options);
}

/** A store that does something in its own way. */
function storeWith(own: { putHistory(store: Store, part: NewHistoryPart): ReturnType<Store["putHistory"]> }) {
  return (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key === "putHistory"
          ? (part: NewHistoryPart) => own.putHistory(target, part)
          : Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key),
    });
}

/** Alice's second device, added by her password alone. */
async function second(world: ChatWorld): Promise<{ laptop: ChatClient; id: DeviceId }> {
  const laptop = await world.open("alice", { home: world.home("alice2"), register: false, deviceName: "laptop" });
  return { laptop, id: (await laptop.devices()).find(({ self }) => self)!.id };
}

/** What is to be given by a home, and has not been yet. */
function gifts(world: ChatWorld, name: string): number {
  return world.inHome(name, ({ database }) => database.get("SELECT count(*) AS count FROM gifts")!["count"] as number);
}

/** Waits until a home has read that a user has two devices. */
async function untilSeen(world: ChatWorld, by: ChatClient, user: string): Promise<void> {
  const count = () =>
    world.inHome(
      by.name,
      ({ database }) => database.get("SELECT count(*) AS count FROM key_entries WHERE user = ?", user)!["count"],
    );
  await until(by, () => count() === 2);
}

/** As if a home had seen every entry of the key log, and everybody who came, a day ago. */
function aDayLater(world: ChatWorld, name: string): void {
  world.inHome(name, ({ database }) =>
    database.transaction(() => {
      database.run("UPDATE key_entries SET seen_ms = seen_ms - ?", QUARANTINE_MS);
      database.run("UPDATE gifts SET due_ms = due_ms - ?", QUARANTINE_MS);
    }));
}

async function share(alice: ChatClient, bob: ChatClient): Promise<void> {
  await alice.changeGroup("team", { do: "settings", sharedHistory: true });
  const shares = () => alice.talk("#team", 100).some((event) => event.type === "change" && event.changes.some(isOn));
  await until(alice, shares);
  await bob.send("#team", "bob's");
  await alice.send("#team", "alice's");
  await until(alice, () => texts(alice).includes("bob: bob's"));
}

const isOn = ({ what, value }: { what: string; value?: string }) => what === "history" && value === "on";

Deno.test("Shared history: a newcomer is given what was said since it was switched on, as the copy of who let them in", async () => {
  await withTeam(async (world, { alice, bob }) => {
    await share(alice, bob);
    const { historySinceMs } = await bob.groupDetails("team");
    assert(historySinceMs > 0);
    const carol = await world.open("carol"), events = carol.events(), told = alice.events();
    await alice.changeGroup("team", { do: "add", names: names("carol") });
    await until(carol, () => carol.groups().length === 1);
    await until(carol, () => texts(carol).length === 2);
    assert.deepEqual(texts(carol), ["bob: bob's (alice)", "alice: alice's (alice)"]);
    assert.match(
      await nextNotice(events, "history"),
      /^alice has handed you 2 messages of #Team from 20.* on, as a copy$/,
    );
    assert.match(await nextNotice(told, "history"), /^A new device of carol was handed 2 messages of #Team$/);
    assert.deepEqual(carol.unshown().filter(({ event }) => event.type !== "change"), [], "nothing to be read");
    assert.equal(carol.conversations()[0]!.unread, 0);
    // She goes on as anybody, and passes on nothing that is a copy.
    await carol.send("#team", "carol's");
    await until(bob, () => texts(bob).includes("carol: carol's"));
    const dave = await world.open("dave");
    await alice.changeGroup("team", { do: "role", name: carol.name, role: "admin" });
    await until(carol, () => carol.group("team").role === "admin");
    await carol.changeGroup("team", { do: "add", names: names("dave") });
    await until(dave, () => dave.groups().length === 1 && texts(dave).length === 1);
    assert.deepEqual(texts(dave), ["carol: carol's (carol)"]);
  });
});

Deno.test("Shared history: without the setting, and after it was switched off, a newcomer opens nothing of what was said before", async () => {
  await withTeam(async (world, { alice, bob }) => {
    const carol = await world.open("carol"), dave = await world.open("dave");
    await alice.changeGroup("team", { do: "add", names: names("carol") });
    await until(carol, () => carol.groups().length === 1);
    await share(alice, bob);
    await alice.changeGroup("team", { do: "settings", sharedHistory: false });
    await alice.changeGroup("team", { do: "add", names: names("dave") });
    await until(dave, () => dave.groups().length === 1);
    await alice.send("#team", "to all");
    for (const chat of [carol, dave]) await until(chat, () => texts(chat).includes("alice: to all"));
    assert.deepEqual(
      texts(carol),
      ["bob: bob's", "alice: alice's", "alice: to all"],
      "what came after her, she reads herself",
    );
    assert.deepEqual(texts(dave), ["alice: to all"]);
    assert.equal(gifts(world, "alice"), 0);
    for (const chat of [carol, dave]) {
      const id = (await chat.devices())[0]!.id;
      assert.deepEqual(await world.harness.store.history(chat.name, id, 0), []);
    }
  });
});

Deno.test("Shared history: switched off and on again, it begins with the last time", async () => {
  await withTeam(async (world, { alice, bob }) => {
    await share(alice, bob);
    for (const sharedHistory of [false, true]) await alice.changeGroup("team", { do: "settings", sharedHistory });
    await alice.send("#team", "since then");
    const carol = await world.open("carol");
    await alice.changeGroup("team", { do: "add", names: names("carol") });
    await until(carol, () => carol.groups().length === 1 && texts(carol).length > 0);
    assert.deepEqual(texts(carol), ["alice: since then (alice)"]);
  });
});

Deno.test("Shared history: one's own device that the password alone has added is given a group's when another one approves it", async () => {
  await withTeam(async (world, { alice, bob }) => {
    await share(alice, bob);
    const { laptop, id } = await second(world);
    await until(laptop, () => laptop.groups().length === 1);
    await until(alice, () => gifts(world, "alice") === 1);
    await alice.send("#team", "to both");
    await until(laptop, () => texts(laptop).includes("alice: to both"));
    assert.deepEqual(await world.harness.store.history(alice.name, id, 0), [], "a day has not passed");
    assert.deepEqual(texts(laptop), ["alice: to both"]);
    await alice.approveDevice("laptop");
    await until(laptop, () => texts(laptop).length === 3);
    assert.deepEqual(texts(laptop), ["bob: bob's (alice)", "alice: alice's (alice)", "alice: to both"]);
    await until(alice, () => gifts(world, "alice") === 0);
    assert.equal(laptop.history("#team", 1_000)[1]!.state, undefined, "of a copy nobody knows who has it");
  });
});

Deno.test("Shared history: a device that nobody approves is given it after a day, by somebody else where the first is not there", async () => {
  await withTeam(async (world, { alice, bob }) => {
    await share(alice, bob);
    await alice.close();
    const { laptop, id } = await second(world);
    await until(laptop, () => laptop.groups().length === 1);
    await until(bob, () => gifts(world, "bob") === 1);
    await bob.close();
    const early = await world.open("bob", { password: undefined });
    await early.send("#team", "not yet");
    await until(laptop, () => texts(laptop).includes("bob: not yet"));
    assert.deepEqual(await world.harness.store.history(alice.name, id, 0), []);
    await untilSeen(world, early, "alice");
    await early.close();
    aDayLater(world, "bob");
    await world.open("bob", { password: undefined });
    await until(laptop, () => texts(laptop).length === 3);
    assert.deepEqual(texts(laptop), ["bob: bob's (bob)", "alice: alice's (bob)", "bob: not yet"]);
    // Alice comes back, waits her day, and gives it too: nobody else's copy stands in the way of one's own.
    const back = await world.open("alice", { password: undefined });
    await until(back, () => texts(back).includes("bob: not yet"));
    await until(back, () => gifts(world, "alice") === 1);
    await untilSeen(world, back, "alice");
    await back.close();
    aDayLater(world, "alice");
    const again = await world.open("alice", { password: undefined });
    await until(again, () => gifts(world, "alice") === 0);
    assert.deepEqual(
      texts(laptop),
      ["bob: bob's (bob)", "alice: alice's (bob)", "bob: not yet"],
      "what is there stays",
    );
  });
});

Deno.test("Shared history: what a giver could not leave at the server it leaves at the next connection", async () => {
  let isAway = true, asked = 0;
  const wrapStore = storeWith({
    putHistory: (store, part) => {
      if (!isAway) return store.putHistory(part);
      asked++;
      return Promise.reject(new StoreUnavailableError("The leader is gone"));
    },
  });
  await withTeam(async (world, { alice, bob }) => {
    await share(alice, bob);
    const carol = await world.open("carol");
    await alice.changeGroup("team", { do: "add", names: names("carol") });
    await until(carol, () => carol.groups().length === 1);
    await until(alice, () => asked > 0);
    await alice.close();
    assert.equal(gifts(world, "alice"), 1);
    isAway = false;
    const again = await world.open("alice", { password: undefined });
    await until(carol, () => texts(carol).length === 2);
    await until(again, () => gifts(world, "alice") === 0);
  }, { wrapStore });
});

Deno.test("ChatClient.shareHistory() hands what two people said to one's other device, not before it is approved", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "first");
    await bob.send("alice", "second");
    await until(alice, () => texts(alice, "bob").length === 2);
    const { laptop, id } = await second(world);
    await bob.send("alice", "to both");
    await until(laptop, () => texts(laptop, "bob").length === 1);
    await assert.rejects(alice.shareHistory("laptop"), (error) => {
      assert(error instanceof UsageError);
      assert.match(error.message, /password alone.*fastchat device approve \w{8}, or try again in 24 h.*device revoke/);
      return true;
    });
    await assert.rejects(laptop.shareHistory((await alice.devices())[0]!.id), /added by password itself/);
    await assert.rejects(alice.shareHistory((await alice.devices())[0]!.id), /That is this device/);
    await assert.rejects(alice.shareHistory("tablet"), UsageError);
    await alice.approveDevice("laptop");
    const later = { sinceMs: Date.now() + 60_000 };
    assert.deepEqual(await alice.shareHistory("laptop", later), { ...NOTHING, device: id });
    const shared = await alice.shareHistory("laptop");
    assert.deepEqual(shared, { ...NOTHING, device: id, conversations: 1, messages: shared.messages });
    await until(laptop, () => texts(laptop, "bob").length === 3);
    assert.deepEqual(texts(laptop, "bob"), ["alice: first (alice)", "bob: second (alice)", "bob: to both"]);
    assert.deepEqual(laptop.history("bob").map(({ to }) => to), ["bob", "alice", "alice"]);
    // Once more changes nothing, and what the laptop says goes on from there.
    await alice.shareHistory("laptop");
    await laptop.send("bob", "from the laptop");
    await until(bob, () => texts(bob, "alice").includes("alice: from the laptop"));
    assert.equal(texts(laptop, "bob").length, 4);
  });
});

const NOTHING = { conversations: 0, messages: 0, isCut: false, isPending: false };

Deno.test("ChatClient.shareHistory() hands it to a device that was linked at once, which finds it when it opens", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob"), code = Promise.withResolvers<string>();
    await alice.send("bob", "before the laptop");
    await until(bob, () => texts(bob, "alice").length === 1);
    const linked = linkDevice({
      server: { host: "memory", port: 9000 },
      timeoutMs: 60_000,
      dial: world.dial,
      home: () => world.home("laptop"),
      onCode: code.resolve,
    });
    linked.catch(code.reject);
    const id = await alice.grantDevice(await code.promise, PASSWORD);
    assert.deepEqual((await alice.shareHistory(id)).messages, 1);
    const laptop = await ChatClient.open({ home: (await linked).home, dial: world.dial });
    try {
      await until(laptop, () => texts(laptop, "bob").length === 1);
      assert.deepEqual(texts(laptop, "bob"), ["alice: before the laptop (alice)"]);
    } finally {
      await laptop.close();
    }
  });
});

Deno.test("ChatClient.shareHistory() hands the newest of what is too much, and says so", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "the oldest");
    for (const letter of "abcdef") await bob.send("alice", letter.repeat(900_000));
    await alice.send("bob", "the newest");
    await until(alice, () => texts(alice, "bob").length === 8);
    const { laptop } = await second(world), events = laptop.events();
    await alice.approveDevice("laptop");
    const shared = await alice.shareHistory("laptop");
    assert.deepEqual([shared.messages, shared.isCut, shared.isPending], [5, true, false]);
    assert.match(
      await nextNotice(events, "history"),
      /^Another device of yours has handed you 5 messages with bob, as a copy; older/,
    );
    assert.deepEqual(laptop.history("bob").map(({ text }) => text.slice(0, 10)), [
      ..."cdef".split("").map((letter) => letter.repeat(10)),
      "the newest",
    ]);
  });
});
