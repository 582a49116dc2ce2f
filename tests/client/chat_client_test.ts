import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import {
  CannotReachError,
  type ChatClient,
  type ChatEvent,
  KeyChangedError,
  type MessageEvent,
  NotAuthenticatedError,
  type NoticeEvent,
  RefusedError,
  TimedOutError,
  UsageError,
} from "../../client/mod.ts";
import { ChatClient as Client } from "../../client/mod.ts";
import { sha256 } from "../../shared/crypto/mod.ts";
import { TEXT_BYTES_MAX } from "../../shared/limits.ts";
import type { DirectoryEntry, Record } from "../../shared/protocol/mod.ts";
import { type Store, type StoreAppend, StoreUnavailableError } from "../../server/store/store.ts";
import { type ChatWorld, PASSWORD, withWorld } from "./chat_world.ts";

const texts = (messages: readonly MessageEvent[]) => messages.map(({ text }) => text);

/** The texts that nobody was shown, once there are so many. */
async function unshown(chat: ChatClient, count: number): Promise<string[]> {
  await seen(chat, () => chat.unshown(10_000).length >= count);
  return chat.unshown(10_000).map(({ event }) =>
    event.type === "message" ? event.text : `refused: ${event.type === "refused" && event.reason}`
  );
}

/** Waits for a change of the home after which the condition holds. */
async function seen(chat: ChatClient, condition: () => boolean): Promise<void> {
  const events = chat.events({ own: true });
  while (!condition()) await events.next();
  await events.return!();
}

/** Ends the first connection of the world, and waits until its client knows. */
async function cutOff(chat: ChatClient, world: ChatWorld): Promise<void> {
  const events = chat.events();
  world.pairs[0]!.sever();
  for await (const event of events) if (event.type === "connection" && event.state === "reconnecting") return;
}

async function nextMessage(events: AsyncIterableIterator<ChatEvent>): Promise<MessageEvent> {
  for (;;) {
    const { value } = await events.next();
    if (value.type === "message") return value;
  }
}

async function nextNotice(events: AsyncIterableIterator<ChatEvent>, code: NoticeEvent["code"]): Promise<string> {
  for (;;) {
    const { value } = await events.next();
    if (value.type === "notice" && value.code === code) return value.text;
  }
}

Deno.test("ChatClient: two people write to each other, and a third process sees nothing of it", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const events = bob.events();
    const sent = await alice.send("BOB", "hi\x1b[31m bob\u202e");
    const message = await nextMessage(events);
    assert.deepEqual(
      { ...message, device: "", id: "" },
      {
        type: "message",
        id: "",
        conversation: sent.conversation,
        from: "alice",
        to: "bob",
        device: "",
        text: "hi[31m bob",
        time: sent.time,
        // Behind the commit that made the group.
        seq: 2,
      },
    );
    assert.equal(message.id, sent.id);
    await bob.send("alice", "hello");
    assert.deepEqual(await unshown(alice, 1), ["hello"]);
    assert.deepEqual(texts(alice.history("bob")), ["hi[31m bob", "hello"]);
    assert.deepEqual(texts(bob.history("alice")), ["hi[31m bob", "hello"]);
    assert.deepEqual(await alice.users(), [{ name: "alice", online: true }, { name: "bob", online: true }]);
    // The body that the server keeps holds no word of it.
    const { records } = (await world.harness.store.read(alice.name, sent.conversation, 0, 10))!;
    assert.equal(records.length, 3);
    for (const { body } of records) assert(!new TextDecoder("latin1").decode(body).includes("hello"));
    assert.equal(Deno.statSync(world.home("alice")).mode! & 0o777, Deno.build.os === "windows" ? 0o777 : 0o700);
    for (const entry of Deno.readDirSync(world.home("alice"))) {
      const text = Deno.readFileSync(`${world.home("alice")}/${entry.name}`);
      assert(!new TextDecoder("latin1").decode(text).includes(PASSWORD), `${entry.name} holds the password`);
    }
  });
});

Deno.test("ChatClient.send() keeps the order of its calls, with and without a connection, and sends each once", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const first = [1, 2, 3, 4, 5].map((i) => alice.send("bob", `m${i}`));
    world.pairs[0]!.sever();
    const second = [6, 7, 8].map((i) => alice.send("bob", `m${i}`));
    const sent = await Promise.all([...first, ...second]);
    assert.deepEqual(sent.map(({ seq }) => seq), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual(await unshown(bob, 8), ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"]);
    assert.deepEqual(world.excluded.at(-1), [1], "the server that failed is not asked again at once");
  });
});

Deno.test("ChatClient.open() brings everything that came meanwhile, in order, and only once", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await bob.close();
    for (let i = 0; i < 40; i++) void alice.send("bob", `m${i}`).catch(() => {});
    await alice.send("bob", "last");
    const again = await world.open("bob", { password: undefined });
    const expected = [...Array.from({ length: 40 }, (_, i) => `m${i}`), "last"];
    assert.deepEqual(again.unshown(100).map(({ event }) => (event as MessageEvent).text), expected);
    again.markShown(again.unshown(100).at(-1)!.position);
    await again.close();
    const third = await world.open("bob", { password: undefined });
    assert.deepEqual(third.unshown(100), []);
    assert.equal(third.history("alice", 1_000).length, 41);
  });
});

Deno.test("ChatClient.open() brings what several people wrote oldest first", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob"), carol = await world.open("carol");
    await bob.close();
    const expected: string[] = [];
    let nowMs = Date.now();
    Object.assign(world.harness.services, { nowMs: () => nowMs });
    for (let i = 0; i < 12; i++) {
      const text = `${i}`;
      nowMs += 10;
      await (i % 3 === 0 ? alice : carol).send("bob", text);
      expected.push(text);
    }
    const again = await world.open("bob", { password: undefined });
    assert.deepEqual(await unshown(again, 12), expected);
    assert.deepEqual(
      again.conversations().map(({ name, unread }) => [name, unread]),
      [["carol", 8], ["alice", 4]],
    );
  });
});

Deno.test("ChatClient.open() says that a home cannot be used", async () => {
  await withWorld(async (world) => {
    const file = `${world.folder}/file`;
    Deno.writeTextFileSync(file, "");
    await assert.rejects(world.open("carol", { home: `${file}/home` }), UsageError);
    Deno.mkdirSync(`${world.folder}/odd`);
    Deno.writeTextFileSync(
      `${world.folder}/odd/fastchat.db`,
      "this is no database, and long enough to be seen as none",
    );
    await assert.rejects(world.open("carol", { home: `${world.folder}/odd` }), UsageError);
  });
});

Deno.test("ChatClient: a second device is the same person and reads what comes from then on", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await bob.send("alice", "before");
    const second = await world.open("alice", { home: world.home("alice2"), register: false });
    assert.deepEqual(second.fingerprint, alice.fingerprint);
    assert.deepEqual(second.unshown(10), [], "nothing earlier was sealed for it");
    // Bob still seals for the first device alone: the server says that the epoch moved, and he seals anew.
    await bob.send("alice", "for both");
    assert.deepEqual(await unshown(second, 1), ["for both"]);
    assert.deepEqual(await unshown(alice, 2), ["before", "for both"]);
    await second.send("bob", "from the second");
    assert.deepEqual(await unshown(bob, 1), ["from the second"]);
    await seen(alice, () => alice.history("bob", 1)[0]?.text === "from the second");
    assert.equal(alice.unshown(10).length, 2, "what one sent oneself is not unshown");
    await second.send("bob", "and again");
    assert.deepEqual(await unshown(bob, 2), ["from the second", "and again"]);
  });
});

Deno.test("ChatClient: two processes on one home share outbox, cursors and what was shown", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const other = await world.open("alice", { password: undefined });
    const sent = await Promise.all([alice.send("bob", "1"), other.send("bob", "2"), alice.send("bob", "3")]);
    assert.deepEqual(sent.map(({ seq }) => seq), [2, 3, 4]);
    await Promise.all([bob.send("alice", "4"), bob.send("alice", "5")]);
    assert.deepEqual([await unshown(alice, 2), await unshown(other, 2)], [["4", "5"], ["4", "5"]]);
    alice.markShown(alice.unshown(1)[0]!.position);
    assert.deepEqual(await unshown(other, 1), ["5"]);
    for (const chat of [alice, other, bob]) {
      await seen(chat, () => chat.history(chat === bob ? "alice" : "bob").length === 5);
      assert.deepEqual(texts(chat.history(chat === bob ? "alice" : "bob")), ["1", "2", "3", "4", "5"]);
    }
  });
});

Deno.test("ChatClient.send() refuses what cannot be sent, before anything else", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await world.open("bob");
    const refused = ["", "x".repeat(TEXT_BYTES_MAX + 1), "é".repeat(TEXT_BYTES_MAX / 2 + 1), "half \ud800 a pair"];
    for (const text of refused) await assert.rejects(alice.send("bob", text), UsageError);
    await assert.rejects(alice.send("no such name!", "hi"), UsageError);
    await assert.rejects(alice.send("alice", "hi"), UsageError);
    await assert.rejects(alice.send("nobody", "hi"), (error) => error instanceof RefusedError && error.exitCode === 5);
    assert.equal((await alice.send("bob", "é".repeat(TEXT_BYTES_MAX / 2))).seq, 2);
  });
});

Deno.test("ChatClient.open() says what is wrong with a login", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    const home = world.home("new");
    const wrong = { home, register: false, password: "something else 77" };
    await assert.rejects(world.open("alice", wrong), NotAuthenticatedError);
    await assert.rejects(world.open("nobody", wrong), NotAuthenticatedError);
    await assert.rejects(world.open("alice", { ...wrong, password: undefined }), NotAuthenticatedError);
    await assert.rejects(
      world.open("alice", { home, register: "only" }),
      (error) => error instanceof RefusedError && /taken/.test(error.message),
    );
    await assert.rejects(world.open("carol", { home, password: "short" }), UsageError);
    await assert.rejects(world.open("not a name", { home }), UsageError);
    await assert.rejects(world.open("bob", { home: alice.home }), /belongs to alice/);
    await assert.rejects(Deno.stat(home), Deno.errors.NotFound, "a failed first attempt leaves no home behind");
    assert.throws(() => Client.offline({ home }), UsageError);
  });
});

Deno.test("ChatClient.open() falls back to the password where the session is over", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await alice.close();
    const { token } = world.inHome("alice", ({ credentials }) => credentials.session(0)!);
    await world.harness.store.deleteSession(sha256(token));
    await assert.rejects(
      world.open("alice", { password: undefined }),
      (error) => error instanceof NotAuthenticatedError && /fastchat login alice/.test(error.message),
    );
    const runs = world.harness.bcryptRuns;
    await (await world.open("alice", { register: false })).close();
    assert.equal(world.harness.bcryptRuns, runs + 1);
    await (await world.open("alice", { password: undefined })).close();
    assert.equal(world.harness.bcryptRuns, runs + 1, "the new session needs no password");
  });
});

Deno.test("ChatClient.open() goes on with a sign-up whose answer was lost", async () => {
  let lose = true;
  let world!: ChatWorld;
  const wrapStore = (store: Store): Store =>
    proxy(store, {
      async createUser(user) {
        const made = await store.createUser(user);
        if (lose) world.pairs.at(-1)!.sever();
        lose = false;
        return made;
      },
    });
  await withWorld(async (made) => {
    world = made;
    const alice = await world.open("alice", { register: "only" });
    assert.equal(world.pairs.length, 2);
    assert.equal(alice.name, "alice");
  }, { wrapStore });
});

Deno.test("ChatClient.open() cannot reach nobody, and stops at another server's key", async () => {
  await withWorld(async (world) => {
    world.unreachable = true;
    await assert.rejects(world.open("alice", { timeoutMs: 300 }), CannotReachError);
    world.unreachable = false;
    const alice = await world.open("alice");
    assert.match(await nextNotice(alice.events(), "server-pinned"), /First contact with memory:9000/);
    await alice.close();
    const before = world.fingerprint;
    world.fingerprint = new Uint8Array(32).fill(9);
    await assert.rejects(
      world.open("alice"),
      (error) => error instanceof KeyChangedError && error.change.kind === "server",
    );
    assert.equal(world.pairs.at(-1)!.client.closed, true, "no login secret goes to a wrong key");
    const offline = Client.offline({ home: alice.home });
    assert.equal(
      offline.trustServer("memory:9000"),
      "SHA256:" + world.fingerprint.toBase64({ alphabet: "base64url", omitPadding: true }),
    );
    await offline.close();
    const again = await world.open("alice");
    assert.deepEqual(again.serverFingerprint, world.fingerprint);
    assert.notDeepEqual(before, world.fingerprint);
  });
});

Deno.test("ChatClient: a home that takes nothing more is told of, and has everything once it does", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const notices = bob.events();
    const database = new DatabaseSync(join(bob.home, "fastchat.db"));
    database.exec("CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(FAIL, 'disk is full'); END");
    await alice.send("bob", "one");
    await alice.send("bob", "two");
    // The first thing told is that alice was met.
    while (!/cannot be kept: disk is full/.test(await nextNotice(notices, "gap")));
    assert.deepEqual(bob.unshown(), []);
    database.exec("DROP TRIGGER full");
    database.close();
    assert.deepEqual(await unshown(bob, 2), ["one", "two"]);
  });
});

Deno.test("ChatClient.send() behind a refused one goes out, however soon it comes", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    for (let turns = 0; turns < 24; turns++) {
      await assert.rejects(alice.send("nobody", "x"), RefusedError);
      // The sender comes to its end during these turns of the queue, at one or another of its steps.
      for (let i = 0; i < turns; i++) await Promise.resolve();
      await alice.send("bob", `after ${turns}`, { timeoutMs: 60_000 });
    }
    assert.deepEqual(await unshown(bob, 24), Array.from({ length: 24 }, (_, i) => `after ${i}`));
  });
});

Deno.test("ChatClient.send() takes a message back where its time is over before it was sealed", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    world.unreachable = true;
    await cutOff(alice, world);
    const waiting = alice.send("bob", "later");
    waiting.catch(() => {});
    await assert.rejects(alice.send("bob", "too late", { timeoutMs: 20 }), (error) => {
      assert(error instanceof TimedOutError);
      assert.match(error.message, /taken back/);
      return true;
    });
    world.unreachable = false;
    assert.equal((await waiting).seq, 2);
    assert.deepEqual(await unshown(bob, 1), ["later"]);
  });
});

Deno.test("ChatClient: what a killed process left in the outbox goes out at the next connection", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    world.unreachable = true;
    await cutOff(alice, world);
    const lost = [alice.send("bob", "1"), alice.send("bob", "2")];
    await alice.close();
    for (const sending of lost) await assert.rejects(sending);
    world.unreachable = false;
    await world.open("alice", { password: undefined });
    assert.deepEqual(await unshown(bob, 2), ["1", "2"]);
  });
});

Deno.test("ChatClient: a store that changes hands in mid-send loses, repeats and reorders nothing", async () => {
  let calls = 0;
  const wrapStore = (store: Store): Store =>
    proxy(store, {
      async append(records: readonly StoreAppend[]) {
        calls++;
        // Before the commit the first time, after it the next.
        if (calls === 1) throw new StoreUnavailableError("Changing hands");
        const results = await store.append(records);
        if (calls === 2) throw new StoreUnavailableError("Changing hands");
        return results;
      },
    });
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const sent = await Promise.all(Array.from({ length: 20 }, (_, i) => alice.send("bob", `m${i}`)));
    assert.deepEqual(sent.map(({ seq }) => seq), Array.from({ length: 20 }, (_, i) => i + 2));
    assert.deepEqual(await unshown(bob, 20), Array.from({ length: 20 }, (_, i) => `m${i}`));
  }, { wrapStore });
});

Deno.test("ChatClient: a changed identity stops sending and reading until it is trusted", async () => {
  let swapped: DirectoryEntry | undefined;
  const wrapStore = (store: Store): Store =>
    proxy(store, {
      async directory(names) {
        return (await store.directory(names)).map((entry) => entry.name === "bob" && swapped ? swapped : entry);
      },
    });
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "before");
    // The server shows Mallory's keys under Bob's name.
    await world.open("mallory");
    const [entry] = await world.harness.store.directory(["mallory" as typeof bob.name]);
    swapped = { ...entry!, name: bob.name };
    const events = alice.events();
    world.pairs[0]!.sever();
    await assert.rejects(alice.send("bob", "secret"), (error) => {
      assert(error instanceof KeyChangedError);
      assert.match(error.message, /fastchat trust bob/);
      return true;
    });
    assert.match(await nextNotice(events, "key-changed"), /The key of bob changed/);
    swapped = undefined;
    await alice.send("bob", "after");
    assert.deepEqual(await unshown(bob, 2), ["before", "after"]);
  }, { wrapStore });
});

Deno.test("ChatClient.trust() lets one write again to somebody whose identity is not the pinned one", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await bob.send("alice", "1");
    assert.deepEqual(await unshown(alice, 1), ["1"]);
    // Alice knows Bob by another identity, as after an operator's reset of his account.
    await alice.close();
    const { DatabaseSync } = await import("node:sqlite");
    const raw = new DatabaseSync(`${alice.home}/fastchat.db`);
    raw.exec("UPDATE peers SET fingerprint = zeroblob(32) WHERE name = 'bob'");
    raw.close();
    await bob.send("alice", "2");
    const again = await world.open("alice", { password: undefined });
    // Who wrote it is proven by the group that he was in all along; only writing to him waits for a person's word.
    assert.deepEqual(await unshown(again, 2), ["1", "2"]);
    await assert.rejects(again.send("bob", "to whom?"), KeyChangedError);
    assert.equal(
      await again.trust("bob"),
      "SHA256:" + bob.fingerprint.toBase64({ alphabet: "base64url", omitPadding: true }),
    );
    await again.send("bob", "to you");
    assert.deepEqual(await unshown(bob, 1), ["to you"]);
    assert.deepEqual(texts(again.history("bob")), ["1", "2", "to you"]);
  });
});

Deno.test("Lying server, sender: a client shows what was changed as refused, and shows nothing twice", async () => {
  let lie: (record: Record) => Record = (record) => record;
  const wrapStore = (store: Store): Store =>
    proxy(store, {
      async read(user, conversation, after, limit) {
        const page = await store.read(user, conversation, after, limit);
        return page && { ...page, records: page.records.map(lie) };
      },
    });
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await bob.close();
    const sent = [
      await alice.send("bob", "1"),
      await alice.send("bob", "2"),
      await alice.send("bob", "3"),
      await alice.send("bob", "4"),
    ];
    const [first] = (await world.harness.store.read(alice.name, sent[0]!.conversation, sent[0]!.seq - 1, 1))!.records;
    lie = (record) => {
      if (record.seq === sent[1]!.seq) return { ...record, sender: bob.name, device: record.device };
      // The first one again, in the place of another.
      if (record.seq === sent[2]!.seq) return { ...first!, seq: record.seq };
      return record;
    };
    const again = await world.open("bob", { password: undefined });
    const notices = again.events();
    assert.deepEqual(await unshown(again, 4), [
      "1",
      "refused: The server says that bob sent it, which is not so",
      "refused: It was changed on its way, came twice, or was not sealed for this device",
      "4",
    ]);
    assert.match(await nextNotice(notices, "gap"), /2 messages of alice/);
  }, { wrapStore });
});

Deno.test("Rolled-back home: a client whose home was set back uses no number twice, and its next message arrives once", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "1");
    await alice.close();
    const path = `${alice.home}/fastchat.db`, copy = `${world.folder}/copy.db`;
    await Deno.copyFile(path, copy);
    const later = await world.open("alice", { password: undefined });
    const { conversation } = await later.send("bob", "2");
    await later.send("bob", "3");
    await later.close();
    await Deno.copyFile(copy, path);
    const again = await world.open("alice", { password: undefined, catchUp: false });
    const notices = again.events();
    await again.send("bob", "4");
    assert.deepEqual(await unshown(bob, 4), ["1", "2", "3", "4"]);
    assert.match(await nextNotice(notices, "rolled-back"), /older|back/);
    const { records } = (await world.harness.store.read(bob.name, conversation, 0, 100))!;
    const bodies = new Set(records.map(({ body }) => body.toHex()));
    assert.equal(bodies.size, records.length);
    assert.equal((await bob.send("alice", "5")).conversation, conversation);
    assert.deepEqual(await unshown(again, 1), ["5"]);
  });
});

Deno.test("ChatClient.waitForUnshown() wakes at the first message, at its deadline, at the signal", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    assert.equal(await bob.waitForUnshown(5), false);
    assert.equal(await bob.waitForUnshown(60_000, AbortSignal.abort()), false);
    const waiting = bob.waitForUnshown(60_000);
    await alice.send("bob", "hi");
    assert.equal(await waiting, true);
    assert.equal(await bob.waitForUnshown(0), true);
  });
});

Deno.test("ChatClient.events() gives nothing twice over a lost connection, and ends with the client", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const all: ChatEvent[] = [];
    const reading = (async () => {
      for await (const event of bob.events()) all.push(event);
    })();
    await alice.send("bob", "1");
    world.pairs[1]!.sever();
    await alice.send("bob", "2");
    await unshown(bob, 2);
    await bob.close();
    await reading;
    assert.deepEqual(all.flatMap((event) => event.type === "message" ? [event.text] : []), ["1", "2"]);
    const states = all.flatMap((event) => event.type === "connection" ? [event.state] : []);
    assert.deepEqual(states, ["connected", "reconnecting", "connected", "closed"]);
    await assert.rejects(bob.send("alice", "too late"));
  });
});

/** A store with some methods replaced. */
function proxy(store: Store, methods: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, key) {
      const method = (methods as unknown as { [key: PropertyKey]: unknown })[key] ?? Reflect.get(target, key);
      return typeof method === "function" ? method.bind(methods[key as keyof Store] ? methods : target) : method;
    },
  });
}
