/** Groups between real clients: what is said, who hears it, what is told of changes, and what a server may not spoil. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type ChatClient, type ChatEvent, KeyChangedError, type StateEvent, UsageError } from "../../client/mod.ts";
import { Changes } from "../../client/home/changes.ts";
import { Database } from "../../client/home/database.ts";
import { CertificateCache, sealFor } from "../../client/e2ee/mod.ts";
import { Own } from "../../client/talk/message_row.ts";
import { openHome } from "../../client/home_parts.ts";
import { directConversationId, NO_PREVIOUS } from "../../shared/crypto/mod.ts";
import type { DirectoryEntry, MessageId, UserName } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { TEST_CLUSTER, testKeys } from "../keys.ts";
import { type ChatWorld, withWorld } from "./chat_world.ts";

const names = (...all: string[]) => all as UserName[];

/** Looks again at every change of the home until the condition holds. */
async function until(chat: ChatClient, condition: () => boolean): Promise<void> {
  const database = Database.open(join(chat.home, "fastchat.db")), changes = new Changes(database, 10);
  try {
    await new Promise<void>((resolve) => {
      const look = () => condition() && resolve();
      changes.listen(look);
      look();
    });
  } finally {
    changes.close();
    database.close();
  }
}

/** What there is to read in a conversation, changes as `NAME WHAT WHO`. */
function lines(chat: ChatClient, address = "#team"): string[] {
  return chat.talk(address, 1_000).flatMap((event) =>
    event.type === "message"
      ? [`${event.from}: ${event.text}`]
      : event.changes.map(({ what, who }) => [event.by, what, who].filter(Boolean).join(" "))
  );
}

async function withTeam(
  use: (world: ChatWorld, team: { alice: ChatClient; bob: ChatClient; carol: ChatClient }) => Promise<void>,
  options: { readonly wrapStore?: (store: Store) => Store } = {},
): Promise<void> {
  await withWorld(async (world) => {
    const [alice, bob, carol] = await Promise.all(["alice", "bob", "carol"].map((name) => world.open(name)));
    assert.equal(await alice!.createGroup("Team"), "#Team");
    await alice!.changeGroup("#team", { do: "add", names: names("bob", "carol") });
    await Promise.all([bob!, carol!].map((chat) => until(chat, () => chat.groups().length === 1)));
    await use(world, { alice: alice!, bob: bob!, carol: carol! });
  }, options);
}

Deno.test("ChatClient: what is said in a group reaches everybody, in one order, under its name", async () => {
  await withTeam(async (_world, { alice, bob, carol }) => {
    const everybody = [alice, bob, carol], events = bob.events();
    const sent = await Promise.all(everybody.map((chat) => chat.send("#TEAM", `from ${chat.name}`)));
    for (const chat of everybody) {
      await until(chat, () => lines(chat).filter((line) => line.includes("from")).length === 3);
    }
    const [first, ...rest] = everybody.map((chat) =>
      chat.history("#team").map(({ seq, from, text }) => [seq, from, text])
    );
    for (const other of rest) assert.deepEqual(other, first);
    assert.equal(new Set(sent.map(({ seq }) => seq)).size, 3);
    const heard: ChatEvent[] = [];
    while (heard.filter(({ type }) => type === "message").length < 2) heard.push((await events.next()).value);
    const message = heard.find(({ type }) => type === "message") as Extract<ChatEvent, { type: "message" }>;
    assert.deepEqual([message.to, message.group, message.conversation], ["#Team", "Team", sent[0]!.conversation]);
    assert.deepEqual(alice.conversations().map(({ name, group }) => [name, group]), [["#Team", "Team"]]);
    assert.equal(bob.conversations()[0]!.unread, 2, "what changed is nothing to read");
    // The server stores one row for all, and reads none of it.
    const { records } = (await _world.harness.store.read(alice.name, sent[0]!.conversation, 0, 100))!;
    for (const { body } of records) assert(!new TextDecoder("latin1").decode(body).includes("from "));
  });
});

Deno.test("ChatClient: who is in a group, its name and its topic are told as they change, to those who were there", async () => {
  await withTeam(async (_world, { alice, bob, carol }) => {
    await alice.changeGroup("team", { do: "role", name: carol.name, role: "admin" });
    await until(carol, () => carol.group("team").role === "admin");
    await carol.changeGroup("team", { do: "topic", topic: "where to\x1b[31m go" });
    await carol.changeGroup("team", { do: "rename", name: "Walks" });
    await until(bob, () => bob.groups()[0]?.name === "Walks");
    await assert.rejects(bob.changeGroup("walks", { do: "remove", names: names("alice") }));
    assert.deepEqual(lines(bob, "#walks").slice(-3), ["alice role carol", "carol topic", "carol renamed"]);
    assert.deepEqual(
      { ...bob.group("#Walks"), conversation: "" },
      {
        address: "#Walks",
        name: "Walks",
        conversation: "",
        topic: "where to[31m go",
        members: [
          { name: "alice", role: "owner" },
          { name: "bob", role: "member" },
          { name: "carol", role: "admin" },
        ],
        role: "member",
        ended: false,
      },
    );
    await until(alice, () => alice.groups()[0]?.name === "Walks");
    const details = await alice.groupDetails("walks");
    assert.deepEqual(details.members.map(({ name, devices }) => [name, devices.length]), [
      ["alice", 1],
      ["bob", 1],
      ["carol", 1],
    ]);
    await assert.rejects(alice.createGroup("a\nb"), UsageError);
    await assert.rejects(alice.changeGroup("walks", { do: "rename", name: "" }), UsageError);
    await assert.rejects(alice.changeGroup("nothing", { do: "topic", topic: "x" }), UsageError);
  });
});

Deno.test("ChatClient: whoever was removed keeps what was said and hears no more; added again, they go on from there", async () => {
  await withTeam(async (_world, { alice, bob, carol }) => {
    await alice.send("#team", "with carol");
    await until(carol, () => lines(carol).includes("alice: with carol"));
    await alice.changeGroup("team", { do: "remove", names: names("carol") });
    await until(carol, () => carol.group("team").ended);
    assert.deepEqual([carol.group("team").members, carol.group("team").role], [[], undefined]);
    await assert.rejects(carol.send("#team", "still here"), UsageError);
    await alice.send("#team", "without carol");
    await until(bob, () => lines(bob).includes("alice: without carol"));
    assert.deepEqual(lines(bob).slice(-2), ["alice removed carol", "alice: without carol"]);
    await alice.changeGroup("team", { do: "add", names: names("carol") });
    await until(carol, () => !carol.group("team").ended);
    await carol.send("#team", "here again");
    await until(alice, () => lines(alice).includes("carol: here again"));
    assert(!lines(carol).includes("alice: without carol"), "what was said meanwhile was not for her");
    assert(lines(carol).includes("alice: with carol"));
  });
});

Deno.test("ChatClient.leaveGroup() ends it for oneself and is told to the others", async () => {
  await withTeam(async (_world, { alice, bob, carol }) => {
    await assert.rejects(alice.leaveGroup("team"), /owner|admin/i);
    await bob.leaveGroup("team");
    await until(bob, () => bob.group("team").ended);
    await until(alice, () => lines(alice).includes("bob left bob"));
    await carol.send("#team", "who is left");
    await until(alice, () => lines(alice).includes("carol: who is left"));
    await until(alice, () => alice.group("team").members.length === 2);
    assert(!lines(bob).includes("carol: who is left"));
    await assert.rejects(bob.send("#team", "one more thing"), UsageError);
  });
});

Deno.test("ChatClient: a message in a group is delivered and read by so many of so many", async () => {
  await withTeam(async (world, { alice, bob, carol }) => {
    await carol.close();
    bob.readReceipts = true;
    const { id } = await alice.send("#team", "who has it?");
    await until(bob, () => lines(bob).includes("alice: who has it?"));
    bob.markShown(bob.unshown().at(-1)!.position);
    const told: StateEvent[] = [];
    const states = alice.events();
    const hear = async (wanted: (state: StateEvent) => boolean) => {
      for (let isThere = false; !isThere;) {
        const { value } = await states.next();
        if (value.type !== "state" || value.id !== id) continue;
        told.push(value);
        isThere = wanted(value);
      }
    };
    await hear(({ read }) => read === 1);
    assert.deepEqual(
      told.map(({ state, delivered, read, members }) => `${state} ${delivered} ${read} of ${members}`).at(-1),
      "stored 1 1 of 2",
    );
    assert.equal(told.at(-1)!.to, "#Team");
    await world.open("carol", { password: undefined });
    await hear(({ state }) => state === "delivered");
    assert.deepEqual([told.at(-1)!.delivered, told.at(-1)!.read], [2, 1]);
    assert.equal(alice.status(id).state, "delivered");
    // Who came later was not meant, and who went is not waited for.
    const dave = await world.open("dave");
    await alice.changeGroup("team", { do: "add", names: names("dave") });
    await until(dave, () => dave.groups().length === 1);
    assert.equal(alice.status(id).members, 2);
    await alice.changeGroup("team", { do: "remove", names: names("bob", "dave") });
    const { id: later } = await alice.send("#team", "to carol alone");
    await until(alice, () => alice.status(later).state === "delivered");
    assert.equal(alice.status(later).members, 1);
  });
});

Deno.test("ChatClient: two groups of one name are told apart by their addresses", async () => {
  await withTeam(async (_world, { alice, bob }) => {
    await bob.createGroup("team");
    await bob.changeGroup(bob.groups().find(({ role }) => role === "owner")!.address, {
      do: "add",
      names: names("alice"),
    });
    await until(alice, () => alice.groups().length === 2);
    await assert.rejects(alice.send("#team", "which?"), /Several groups.*#\w+~[0-9a-f]{4}/);
    for (const { address, conversation } of alice.groups()) {
      assert.match(address, /^#team~[0-9a-f]{4,}$/i);
      assert.equal((await alice.send(address, `to ${address}`)).conversation, conversation);
      assert.deepEqual(alice.history(address).map(({ text, to }) => [text, to]), [[`to ${address}`, address]]);
    }
  });
});

Deno.test("ChatClient: two processes of one home take turns in a group, and nothing is doubled or lost", async () => {
  await withTeam(async (world, { alice, bob }) => {
    const other = await world.open("alice", { password: undefined });
    const wanted: string[] = [];
    for (let round = 0; round < 6; round++) {
      const texts = [`a${round}`, `o${round}`, `b${round}`];
      wanted.push(...texts);
      await Promise.all([alice.send("#team", texts[0]!), other.send("#team", texts[1]!), bob.send("#team", texts[2]!)]);
    }
    for (const chat of [alice, other, bob]) {
      await until(chat, () => chat.history("#team", 100).length >= wanted.length);
      assert.deepEqual(chat.history("#team", 100).map(({ text }) => text).sort(), wanted.toSorted());
    }
    assert.deepEqual(alice.unshown(100).filter(({ event }) => event.type === "refused"), []);
    assert.deepEqual(bob.unshown(100).filter(({ event }) => event.type === "refused"), []);
  });
});

Deno.test("ChatClient: somebody's changed identity stops what is sent to them and to their groups, and nothing else", async () => {
  let swapped: DirectoryEntry | undefined;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "directory"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (names: never) =>
            (await target.directory(names)).map((entry) => entry.name === "bob" && swapped ? swapped : entry),
    });
  await withTeam(async (world, { alice, bob, carol }) => {
    await alice.send("#team", "before");
    const [entry] = await world.harness.store.directory([carol.name]);
    swapped = { ...entry!, name: bob.name };
    await assert.rejects(alice.send("bob", "secret"), KeyChangedError);
    await assert.rejects(alice.send("#team", "secret too"), KeyChangedError);
    await alice.send("carol", "to you alone");
    await until(carol, () => carol.history("alice").length === 1);
    swapped = undefined;
    await alice.trust("bob");
    await alice.send("#team", "after");
    await until(bob, () => lines(bob).includes("alice: after"));
    assert(!lines(bob).some((line) => line.includes("secret")));
  }, { wrapStore });
});

Deno.test("ChatClient: a group that the server only claims there is shows nowhere and keeps nobody waiting", async () => {
  let isLying = false;
  const ghost = "6e".repeat(16);
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "conversations"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (...args: Parameters<Store["conversations"]>) => {
            const heads = await target.conversations(...args);
            const lie = { conversation: ghost, kind: 2, members: [], head: 3, begins: 0, cursor: 0, epoch: 1 };
            return isLying ? [...heads, lie as unknown as typeof heads[number]] : heads;
          },
    });
  await withTeam(async (world, { alice, bob }) => {
    await alice.close();
    isLying = true;
    const again = await world.open("alice", { password: undefined });
    await bob.send("#team", "hello");
    await until(again, () => lines(again).includes("bob: hello"));
    await again.send("#team", "hello yourself");
    assert.deepEqual(again.conversations().map(({ name }) => name), ["#Team"]);
    assert.equal(again.groups().length, 1);
  }, { wrapStore });
});

Deno.test("ChatClient: what was said in the first form of encryption stays, and what is said next begins the group", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.close();
    const { alice: keys, bob: his } = await testKeys(), { store } = world.harness;
    const conversation = directConversationId(TEST_CLUSTER, alice.name, bob.name);
    assert(await store.openDirect(conversation, alice.name, bob.name));
    const [own, recipient] = await store.directory([bob.name, alice.name]);
    const certificates = new CertificateCache(TEST_CLUSTER);
    const seal = (counter: number, text: string, previous: Uint8Array) =>
      sealFor({
        clusterId: TEST_CLUSTER,
        self: { name: bob.name, identity: his.identity.fingerprint, device: his.id, leaf: his.leaf },
        recipient: recipient!.name === alice.name ? recipient! : own!,
        own: own!.name === bob.name ? own! : recipient!,
        pinned: () => keys.identity.fingerprint,
        certificates,
        messageId: counter.toString(16).padStart(32, "0") as MessageId,
        counter,
        previous,
        timeMs: Date.now(),
        text,
      });
    const first = await seal(1, "long ago", NO_PREVIOUS), second = await seal(2, "a little later", first.hash);
    for (const [at, { body, epoch }] of [first, second].entries()) {
      const messageId = (at + 1).toString(16).padStart(32, "0") as MessageId;
      const [stored] = await store.append([{
        conversation,
        messageId,
        expectedEpoch: epoch,
        body,
        user: bob.name,
        device: his.id,
        nowMs: Date.now(),
      }]);
      assert.equal(stored!.status, "stored");
    }
    const again = await world.open("alice", { password: undefined });
    assert.deepEqual(again.history("bob").map(({ text }) => text), ["long ago", "a little later"]);
    const sent = await again.send("bob", "and now");
    assert.equal(sent.seq, 4, "behind two old rows and the commit that makes the group");
    await until(bob, () => bob.history("alice").some(({ text }) => text === "and now"));
    await bob.send("alice", "so it is");
    await until(again, () => again.history("bob").length === 4);
    assert.deepEqual(again.unshown().filter(({ event }) => event.type === "refused"), []);
  });
});

Deno.test("ChatClient: a row is offered to the group once, whatever dies: its text and what it used up are one transaction", async () => {
  await withTeam(async (world, { alice, bob }) => {
    await bob.close();
    for (const text of ["1", "2", "3"]) await alice.send("#team", text);
    // The disk takes the second message only after a while.
    const parts = openHome(bob.home);
    parts.database.run(
      `CREATE TRIGGER full BEFORE UPDATE OF cursor ON conversations
       WHEN (SELECT count(*) FROM messages WHERE conversation = NEW.id AND kind = 1) = 2
       BEGIN SELECT RAISE(FAIL, 'disk is full'); END`,
    );
    parts.database.close();
    const again = await world.open("bob", { password: undefined });
    assert.deepEqual(again.history("#team").map(({ text }) => text), ["1"]);
    const database = openHome(bob.home).database;
    database.run("DROP TRIGGER full");
    database.close();
    await until(again, () => again.history("#team").length === 3);
    assert.deepEqual(again.history("#team").map(({ text }) => text), ["1", "2", "3"]);
    assert.deepEqual(again.unshown().filter(({ event }) => event.type === "refused"), []);
  });
});

Deno.test("ChatClient: what another device of one's own said in a group is one's own here, too", async () => {
  await withTeam(async (world, { alice, bob }) => {
    const second = await world.open("alice2", { name: "alice", register: false });
    await bob.send("#team", "for all of you");
    await until(second, () => second.groups().length === 1 && lines(second).includes("bob: for all of you"));
    await second.send("#team", "from the second");
    await until(alice, () => lines(alice).includes("alice: from the second"));
    const own = alice.history("#team").find(({ text }) => text === "from the second")!;
    assert.equal(own.from, "alice");
    const parts = openHome(alice.home);
    const row = parts.database.get("SELECT own FROM messages WHERE id = ?", own.id);
    parts.database.close();
    assert.equal(row!["own"], Own.elsewhere);
    await until(alice, () => alice.status(own.id).state === "delivered");
  });
});
