/** What a copy of a home is good for, with its password (SECURITY's test 5, M12): nothing that was said before, nothing that is said after. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StateRows } from "../../client/e2ee/groups/state_row.ts";
import { type ChatClient, DeviceRevokedError } from "../../client/mod.ts";
import type { ConversationId, DirectoryEntry, UserName } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { testKeys } from "../keys.ts";
import { type ChatWorld, PASSWORD, withWorld } from "./chat_world.ts";
import { readByThief, steal } from "./thief.ts";
import { until } from "./until.ts";

const names = (...all: string[]) => all as UserName[];

Deno.test("Stolen state: a copied home opens nothing earlier, and after a revocation and one update by each nothing later", async () => {
  const server = new HelpfulServer();
  await withWorld(async (world) => {
    const { alice2 } = await testKeys();
    const alice = await world.open("alice"), bob = await world.open("bob");
    const laptop = await world.open("alice2", { name: "alice", register: false });
    await alice.createGroup("Team");
    await alice.changeGroup("team", { do: "add", names: names("bob") });
    await alice.changeGroup("team", { do: "role", name: bob.name, role: "admin" });
    await until(laptop, () => laptop.groups()[0]?.members.length === 2);
    await until(bob, () => bob.groups()[0]?.role === "admin");
    const team = alice.group("team").conversation as ConversationId;
    const rows = async (after = 0) => (await world.harness.store.read(alice.name, team, after, 256))!.records;
    const everySoOften: string[] = [];
    const early = steal(laptop, join(world.folder, "early"));
    for (const [chat, text] of [[alice, "a1"], [bob, "b1"], [laptop, "l1"], [alice, "a2"], [bob, "b2"]] as const) {
      everySoOften.push(...secretRows(laptop.home));
      await chat.send("#team", text);
      await until(laptop, () => said(laptop).includes(text));
    }
    // Commits of both, so that there are past epochs too.
    for (const [chat, topic] of [[alice, "one"], [bob, "two"], [alice, "three"]] as const) {
      everySoOften.push(...secretRows(laptop.home));
      await chat.changeGroup("team", { do: "topic", topic });
      await until(laptop, () => laptop.groups()[0]?.topic === topic);
      await until(bob, () => bob.groups()[0]?.topic === topic);
    }
    await laptop.send("#team", "l2");
    await until(bob, () => said(bob).includes("l2"));
    const before = await rows();

    // What was used up is overwritten, and the log behind the database is emptied: nothing of it is in any page.
    const wal = join(laptop.home, "fastchat.db-wal");
    for (let tries = 0; Deno.statSync(wal).size > 0; tries++) {
      assert(tries < 400, "the write-ahead log is never emptied");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const stolen = steal(laptop, join(world.folder, "stolen"));
    const bytes = [...Deno.readDirSync(stolen.directory)]
      .map(({ name }) => Deno.readFileSync(join(stolen.directory, name)).toHex()).join(" ");
    const now = new Set(secretRows(stolen.directory)), gone = everySoOften.filter((row) => !now.has(row));
    assert(gone.length > 10, `${gone.length} rows were replaced meanwhile`);
    for (const row of now) assert(bytes.includes(row), "the search is blind");
    assert.deepEqual(gone.filter((row) => bytes.includes(row)), []);
    assert.deepEqual(await readByThief(stolen, team, before), [], "nothing earlier");
    // The same thief with an earlier copy reads on: it is the keys that are gone, not the thief who is blind.
    assert.deepEqual(await readByThief(early, team, before), ["a1", "b1", "l1", "a2", "b2", "l2"]);
    await alice.send("#team", "while nobody knows");
    assert.deepEqual(await readByThief(stolen, team, await rows(before.length)), ["while nobody knows"]);

    // From here on the server is the thief's friend: it shows the device as if nothing had happened.
    await server.befriend(world);
    await alice.revokeDevice(alice2.id, PASSWORD);
    await alice.changeGroup("team", { do: "topic", topic: "update of alice" });
    await until(bob, () => bob.groups()[0]?.topic === "update of alice");
    await bob.changeGroup("team", { do: "topic", topic: "update of bob" });
    await until(alice, () => alice.groups()[0]?.topic === "update of bob");
    const from = (await rows()).length;
    // The thief asks to be let in, under the device's own key.
    world.harness.server.groupNews({
      type: "asked",
      ask: {
        conversation: team,
        user: alice.name,
        device: alice2.id,
        kind: 1,
        body: new Uint8Array(),
        timeMs: Date.now(),
      },
      members: names("alice", "bob"),
    } as never);
    await alice.send("#team", "a3");
    await bob.send("#team", "b3");
    await until(alice, () => said(alice).includes("b3"));
    const later = await rows(from);
    assert(later.length >= 2);
    assert.deepEqual(await readByThief(stolen, team, later), [], "nothing later");
    for (const chat of [alice, bob]) {
      const { members } = await chat.groupDetails("team");
      assert.deepEqual(members.map(({ name, devices }) => [name, devices.length]), [["alice", 1], ["bob", 1]]);
    }
    // Its tickets, its session and its keys are worth nothing either.
    const again = { name: "alice", register: false, home: stolen.directory, unlock: stolen.key };
    await assert.rejects(world.open("alice2", again), DeviceRevokedError);
    await assert.rejects(world.open("alice2", { ...again, fresh: true }), DeviceRevokedError);
  }, { wrapStore: (store) => server.wrap(store) });
});

Deno.test("Stolen state: whoever only listens with a copied home is out after the next update of its owner", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const { conversation } = await alice.send("bob", "first");
    await until(bob, () => bob.history("alice").length === 1);
    await bob.send("alice", "answer");
    await until(alice, () => alice.history("bob").length === 2);
    const rows = async (after = 0) => (await world.harness.store.read(alice.name, conversation, after, 256))!.records;
    const before = await rows();
    const stolen = steal(bob, join(world.folder, "stolen"));
    assert.deepEqual(await readByThief(stolen, conversation, before), [], "nothing earlier, envelopes among it");
    await alice.send("bob", "overheard");
    assert.deepEqual(await readByThief(stolen, conversation, await rows(before.length)), ["overheard"]);
    await bob.close();
    // As if a week had gone by: new keys of his come before his next message.
    world.inHome("bob", ({ database, vault }) => {
      const states = new StateRows(database, vault);
      states.write(conversation, { ...states.load(conversation)!, keysDue: true });
    });
    const again = await world.open("bob", { password: undefined }), from = (await rows()).length;
    await again.send("alice", "with new keys");
    await until(alice, () => alice.history("bob").some(({ text }) => text === "with new keys"));
    await alice.send("bob", "not for everybody");
    await until(again, () => again.history("alice").some(({ text }) => text === "not for everybody"));
    const later = await rows(from);
    assert.equal(later.length, 3, "new keys, and two messages");
    assert.deepEqual(await readByThief(stolen, conversation, later), [], "nothing later");
  });
});

function said(chat: ChatClient): string[] {
  return chat.history("#team", 100).map(({ text }) => text);
}

/** Sealed ratchets, epochs and keys, as hex: salt and ciphertext are random, so each stands for itself. */
function secretRows(home: string): string[] {
  const database = new DatabaseSync(join(home, "fastchat.db"), { readOnly: true, timeout: 10_000 });
  try {
    const rows = database.prepare(
      `SELECT value AS sealed FROM mls_rows WHERE key LIKE 'ratchet/%' OR key LIKE 'epoch/%'
       UNION ALL SELECT key FROM mls_keys`,
    ).all();
    return rows.map(({ sealed }) => (sealed as Uint8Array).slice(0, 60).toHex());
  } finally {
    database.close();
  }
}

/** A server that keeps helping a device that was revoked: its certificate stays in the directory, its key packages are given out. */
class HelpfulServer {
  #entry: DirectoryEntry | undefined;
  #packages: readonly { readonly user: UserName; readonly device: string; readonly keyPackage: Uint8Array }[] = [];

  async befriend({ harness: { store } }: ChatWorld): Promise<void> {
    const [alice] = names("alice"), { alice2, bob } = await testKeys();
    [this.#entry] = await store.directory([alice!]);
    this.#packages = await store.takeKeyPackages({
      user: bob.user,
      device: bob.id,
      conversation: "0".repeat(32) as ConversationId,
      names: [alice!],
      nowMs: Date.now(),
    }).then((packages) => packages.filter(({ device }) => device === alice2.id));
    assert.equal(this.#packages.length, 1);
  }

  wrap(store: Store): Store {
    const lies: Partial<Store> = {
      directory: async (asked) =>
        (await store.directory(asked)).map((entry) => entry.name === this.#entry?.name ? this.#entry : entry),
      takeKeyPackages: async (asked) => {
        const packages = await store.takeKeyPackages(asked);
        return asked.names.includes("alice" as UserName) ? [...packages, ...this.#packages as never[]] : packages;
      },
    };
    return new Proxy(store, {
      get: (target, key) => (lies as never)[key] ?? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key),
    });
  }
}
