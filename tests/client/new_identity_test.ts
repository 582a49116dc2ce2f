/**
 * Somebody who has lost everything and was set back by whoever runs the server: another identity under the same name, which the
 * former one has not signed (SECURITY M8, M13). A real SQLite store under real clients.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ChatClient, KeyChangedError, KeyLogError } from "../../client/mod.ts";
import type { CommitListener } from "../../server/bus/bus.ts";
import { SqliteDatabase } from "../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../server/store/sqlite_store.ts";
import type { Store } from "../../server/store/store.ts";
import { EMPTY_KEY_LOG, formatFingerprint, nextKeyLogHead } from "../../shared/crypto/mod.ts";
import { silentLogger } from "../../shared/log.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { inDirectory } from "../temporary.ts";
import { type ChatWorld, withWorld } from "./chat_world.ts";
import { nextNotice } from "./notices.ts";
import { until } from "./until.ts";

Deno.test("ChatClient: who comes back with another identity is written to again once that is accepted, on each device", () =>
  withOperator(async (world, operator) => {
    const alice = await world.open("alice"), phone = await openPhone(world, true), former = await world.open("bob");
    await alice.send("bob", "1");
    await until(former, () => texts(former, "alice").length === 1);
    await former.send("alice", "2");
    for (const chat of [alice, phone]) await until(chat, () => texts(chat, "bob").length === 2);
    const bob = await setBack(world, operator, [alice, phone, former]);
    // He writes first: it waits for somebody who knows him again.
    const waiting = bob.send("alice", "it is me");

    const again = await accepted(world, world.home("alice"), () => world.open("alice", { password: undefined }));
    const events = again.events(), heard: string[] = [];
    const stops = (error: unknown) => error instanceof KeyChangedError && error.exitCode === 6;
    await assert.rejects(again.send("bob", "to whom?"), stops);
    assert.match(await nextNotice(events, "key-changed"), /The key of bob changed/);
    (async () => {
      for await (const event of events) if (event.type === "notice") heard.push(event.text);
    })().catch(() => {});
    assert.equal(again.trustOf("bob").trust, "changed", "the banner stays");
    assert.deepEqual(texts(bob, "alice"), []);
    assert.equal(await again.trust("bob"), formatFingerprint(bob.fingerprint));
    // Nothing more is needed for what waited.
    await waiting;
    await again.send("bob", "3");
    await until(bob, () => texts(bob, "alice").includes("3"));
    await until(again, () => texts(again, "bob").includes("it is me"));
    assert.deepEqual(texts(bob, "alice"), ["it is me", "3"]);

    assert.deepEqual(
      heard.filter((text) => /receipt/.test(text)),
      [],
      "what his devices say is nothing to be warned of",
    );
    const other = await accepted(world, world.home("alice2"), () => openPhone(world));
    await until(other, () => texts(other, "bob").includes("3"));
    await assert.rejects(other.send("bob", "from the phone"), stops);
    await other.trust("bob");
    await other.send("bob", "4");
    await until(bob, () => texts(bob, "alice").includes("4"));
    await bob.send("alice", "5");
    for (const chat of [again, other]) {
      await until(chat, () => texts(chat, "bob").includes("5"));
      assert.deepEqual(texts(chat, "bob"), ["1", "2", "it is me", "3", "4", "5"]);
      assert.equal(chat.trustOf("bob").trust, "unverified");
    }
  }));

Deno.test("ChatClient: in a group whoever came back is let in anew by an admin, and the others are told what is missing", () =>
  withOperator(async (world, operator) => {
    const alice = await world.open("alice"), carol = await world.open("carol"), former = await world.open("bob");
    await alice.createGroup("Team");
    await alice.changeGroup("team", { do: "add", names: ["bob", "carol"] as UserName[] });
    await alice.send("#team", "1");
    for (const chat of [carol, former]) {
      await until(chat, () => chat.groups().length === 1 && chat.history("#team").length === 1);
    }
    const bob = await setBack(world, operator, [alice, carol, former]);

    const again = await accepted(world, world.home("alice"), () => world.open("alice", { password: undefined }));
    const hers = await accepted(world, world.home("carol"), () => world.open("carol", { password: undefined }));
    for (const chat of [again, hers]) {
      await chat.meet("bob");
      await assert.rejects(chat.send("#team", "to whom?"), KeyChangedError);
      await chat.trust("bob");
      await assert.rejects(chat.send("#team", "to whom?"), (error) => {
        assert(error instanceof KeyChangedError);
        assert.equal(error.exitCode, 6);
        assert.match(error.message, /fastchat group add GROUP bob/);
        return true;
      });
      assert.equal(chat.trustOf("bob").trust, "unverified", "which is no new warning about him");
    }
    await again.changeGroup("team", { do: "add", names: ["bob"] as UserName[] });
    await until(bob, () => bob.groups().length === 1);
    await hers.send("#team", "2");
    await until(bob, () => bob.history("#team").length === 1);
    await bob.send("#team", "3");
    for (const chat of [again, hers]) await until(chat, () => texts(chat, "#team").includes("3"));
    assert.deepEqual(texts(again, "#team"), ["1", "2", "3"]);
    assert.deepEqual(bob.history("#team").map(({ text }) => text), ["2", "3"]);
  }));

/** What somebody said and heard there. */
function texts(chat: ChatClient, address: string): string[] {
  return chat.history(address, 50).map(({ text }) => text);
}

function openPhone(world: ChatWorld, isNew = false): Promise<ChatClient> {
  return world.open("alice", { home: world.home("alice2"), ...(isNew ? {} : { password: undefined }) });
}

/** Bob's new account, in an empty home, and a server that has forgotten the former one. */
async function setBack(world: ChatWorld, operator: Operator, clients: readonly ChatClient[]): Promise<ChatClient> {
  for (const chat of clients) await chat.close();
  await operator.rename("bob", "bob.lost");
  const fresh = { home: world.home("bob-again") };
  await (await world.open("bob", fresh)).close();
  await operator.inherit("bob.lost", "bob");
  return await world.open("bob", { ...fresh, password: undefined });
}

/** The key log is another one than it was: nothing goes on before its person has heard why, and has said so. */
async function accepted(world: ChatWorld, home: string, open: () => Promise<ChatClient>): Promise<ChatClient> {
  const before = await open();
  await assert.rejects(before.devices(), KeyLogError);
  await before.close();
  await ChatClient.trustServer({ home, server: "memory:9000", dial: world.dial });
  return await open();
}

interface Operator {
  /** Takes an account out of the way, and what its devices are out of the key log. */
  rename(from: string, to: string): Promise<void>;
  /** One account is in the conversations of another. */
  inherit(from: string, to: string): Promise<void>;
}

/** Runs with a store in whose tables somebody writes by hand, while no client is there. */
async function withOperator(use: (world: ChatWorld, operator: Operator) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    const path = join(directory, "store.db");
    let hub: CommitListener | undefined;
    const open = () => {
      const listener = new Proxy({} as CommitListener, { get: (_, key) => Reflect.get(hub!, key).bind(hub) });
      return new SqliteStore(new SqliteDatabase(path), { listener, logger: silentLogger });
    };
    let store = open();
    const write = async (change: (database: DatabaseSync) => void) => {
      await store.close();
      const database = new DatabaseSync(path);
      try {
        change(database);
      } finally {
        database.close();
        store = open();
      }
    };
    const operator: Operator = {
      rename: (from, to) =>
        write((database) => {
          database.prepare("UPDATE users SET name = ? WHERE name = ?").run(to, from);
          withoutEntriesOf(database, to);
        }),
      inherit: (from, to) =>
        write((database) => {
          const [old, now] = [from, to].map((name) =>
            database.prepare("SELECT id FROM users WHERE name = ?").get(name)!["id"]!
          );
          database.prepare("UPDATE members SET user = ? WHERE user = ?").run(now!, old!);
        }),
    };
    const current = new Proxy({} as Store, { get: (_, key) => Reflect.get(store, key).bind(store) });
    try {
      await withWorld(async (world) => {
        hub = world.harness.hub;
        await use(world, operator);
      }, { wrapStore: () => current });
    } finally {
      await store.close();
    }
  });
}

/** The log as if that user's entries had never been. */
function withoutEntriesOf(database: DatabaseSync, name: string): void {
  const rows = database.prepare(
    "SELECT l.user, u.name, l.hash, e.entry FROM key_log l JOIN users u ON u.id = l.user JOIN key_entries e USING (number) ORDER BY number",
  ).all().filter((row) => row["name"] !== name);
  database.exec("DELETE FROM key_entries; DELETE FROM key_log");
  let head = EMPTY_KEY_LOG;
  for (const [at, row] of rows.entries()) {
    head = nextKeyLogHead(head, row["name"] as UserName, row["hash"] as Uint8Array);
    database.prepare("INSERT INTO key_log (number, user, hash, head) VALUES (?, ?, ?, ?)")
      .run(at + 1, row["user"]!, row["hash"]!, head);
    database.prepare("INSERT INTO key_entries (number, entry) VALUES (?, ?)").run(at + 1, row["entry"]!);
  }
}
