/** Archives of history, by real clients against a real server core, honest and not: docs/PROTOCOL.md §21; SECURITY P8. */
import assert from "node:assert/strict";
import {
  ChatClient,
  type ChatEvent,
  FastChatError,
  UsageError,
  WrongPasswordError,
  WrongRecoveryKeyError,
} from "../../client/mod.ts";
import { readRecoveryKey } from "../../client/account/recovery.ts";
import type { ArchiveChunk, StoredArchive } from "../../server/store/archives.ts";
import type { Store } from "../../server/store/store.ts";
import { formatRecoveryKey, generateRecoveryKey, sha256, systemRandom } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { type ChatWorld, PASSWORD, withWorld } from "./chat_world.ts";
import { until } from "./until.ts";

const ALICE = "alice" as UserName;
const NEW_PASSWORD = "silver-kettle-avenue-77";

Deno.test("an archive brings messages back in an empty home, as copies from one's own archive, and talk goes on", async () => {
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world);
    await say(alice, bob, 3);
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    await bob.send("alice", "last words");
    await until(alice, () => texts(alice).includes("last words"));
    await alice.archive.sync();
    assert.deepEqual((await alice.archive.state()).waiting, 0);
    const before = alice.history("bob");
    await alice.close();

    const back = await recover(world, "elsewhere", key);
    assert.deepEqual(back.history("bob"), []);
    const offer = await back.archive.offer(key);
    assert.deepEqual([offer?.messages, (offer?.bytes ?? 0) > 500], [4, true]);
    const done: number[] = [];
    const restored = await back.archive.restore({ onProgress: (at, all) => done.push(at, all) });
    assert.deepEqual(restored, { messages: 4, known: 0, chunks: 2, problems: [] });
    assert.deepEqual(done, [1, 2, 2, 2]);
    const plain = ({ id, from, to, text, time, seq, device }: (typeof before)[number]) => ({
      id,
      from,
      to,
      text,
      time,
      seq,
      device,
    });
    assert.deepEqual(back.history("bob").map(plain), before.map(plain));
    assert.deepEqual(new Set(back.history("bob").map(({ copyFrom }) => copyFrom)), new Set([""]));
    assert.deepEqual(back.conversations().map(({ unread }) => unread), [0]);
    assert.deepEqual(back.unshown(), []);
    // Once more it changes nothing.
    assert.deepEqual(await back.archive.restore(), { messages: 0, known: 4, chunks: 2, problems: [] });
    await back.send("bob", "back again");
    await until(bob, () => texts(bob, "alice").includes("back again"));
    assert.equal(texts(back).at(-1), "back again");
    // What came from the archive does not go into it again.
    await back.archive.switchOn();
    await back.archive.sync();
    assert.deepEqual((await back.archive.offer())?.messages, 5);
  });
});

Deno.test("an archive is off until it is switched on, and that takes the recovery key of now", async () => {
  await inWorld(async (world) => {
    const { alice, key } = await friends(world);
    await alice.archive.sync();
    assert.equal(await world.harness.store.archive(ALICE), undefined);
    assert.deepEqual(await alice.archive.state(), {
      on: false,
      hasKey: false,
      waiting: 0,
      full: false,
      bytesMax: 1 << 20,
    });
    assert(await alice.archive.needsRecoveryKey());
    await assert.rejects(alice.archive.switchOn(), UsageError);
    const other = readRecoveryKey(generateRecoveryKey(systemRandom));
    await assert.rejects(alice.archive.switchOn(other), WrongRecoveryKeyError);
    assert.equal((await alice.archive.state()).kept, undefined);
    await alice.archive.switchOn(key);
    alice.archive.switchOff();
    assert.equal((await alice.archive.state()).on, false);
    assert.equal(await alice.archive.needsRecoveryKey(), false);
    await alice.archive.switchOn();
    const { on, hasKey, kept } = await alice.archive.state();
    assert.deepEqual([on, hasKey, kept?.opensNow, kept?.chunks], [true, true, true, 0]);
    Object.assign(world.harness.services.settings, { archiveBytesMax: 0 });
    await assert.rejects(alice.archive.switchOn(key), /keeps no archives/);
  });
});

Deno.test("another recovery key, another password and another identity leave the archive working", async () => {
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world);
    await say(alice, bob, 1);
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    const second = readRecoveryKey(await alice.newRecoveryKey({ password: PASSWORD }));
    assert((await alice.archive.state()).kept?.opensNow);
    await alice.changePassword({ old: PASSWORD, new: NEW_PASSWORD });
    await say(alice, bob, 1);
    await alice.archive.sync();
    const { recoveryKey: third } = await alice.rotateIdentity(NEW_PASSWORD);
    await alice.close();
    const again = await world.open("alice", { password: NEW_PASSWORD, register: false });
    const { on, kept, waiting } = await again.archive.state();
    assert.deepEqual([on, kept?.opensNow, waiting], [true, true, 0]);
    await again.close();
    for (const old of [key, second]) await assert.rejects(recover(world, "nowhere", old), WrongRecoveryKeyError);
    const last = readRecoveryKey(third!), back = await recover(world, "elsewhere", last);
    assert.equal((await back.archive.offer(last))?.messages, 2);
    assert.equal((await back.archive.restore()).messages, 2);
    // The home that brought it back has its key, too: what it makes opens the archive.
    const fourth = readRecoveryKey(await back.newRecoveryKey({ password: NEW_PASSWORD }));
    await back.close();
    const last2 = await recover(world, "third", fourth);
    assert.equal((await last2.archive.restore({ recoveryKey: fourth })).messages, 2);
  });
});

Deno.test("a recovery key made where the archive's key is not: only the one before opens it, until a home that archives seals it", async () => {
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world), heard = listen(alice);
    await say(alice, bob, 1);
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    const other = await world.open("alice2", { name: "alice", home: world.home("alice2"), register: false });
    const next = readRecoveryKey(await other.newRecoveryKey({ password: PASSWORD }));
    assert.equal((await other.archive.state()).kept?.opensNow, false);
    await assert.rejects(other.archive.offer(next), WrongRecoveryKeyError);
    assert.equal((await other.archive.offer(key))?.messages, 1);
    // The home that archives says so when it looks.
    await alice.archive.sync();
    assert(notices(heard).some((text) => /does not open with the recovery key that was made last/.test(text)));
    assert(await alice.archive.needsRecoveryKey());
    await alice.archive.switchOn(next);
    assert.equal((await other.archive.state()).kept?.opensNow, true);
    const third = await world.open("alice", { home: world.home("third"), password: PASSWORD, register: false });
    await assert.rejects(third.archive.offer(key), WrongRecoveryKeyError);
    assert.equal((await third.archive.offer(next))?.messages, 1);
  });
});

Deno.test("what several homes archive is one history: each message once", async () => {
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world);
    await say(alice, bob, 2);
    const second = await world.open("alice2", { name: "alice", home: world.home("alice2"), register: false });
    await until(second, () => second.conversations().length === 1);
    await bob.send("alice", "for both");
    await until(second, () => texts(second).includes("for both"));
    await until(alice, () => texts(alice).includes("for both"));
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    await alice.close();
    await second.archive.switchOn(key);
    await second.send("bob", "from the second");
    await second.archive.sync();
    assert.equal((await second.archive.state()).kept?.homes, 2);
    await second.close();
    const back = await recover(world, "elsewhere", key);
    const restored = await back.archive.restore({ recoveryKey: key });
    assert.deepEqual(restored, { messages: 4, known: 1, chunks: 2, problems: [] });
    assert.deepEqual(texts(back), ["a 1", "a 2", "for both", "from the second"]);
  });
});

Deno.test("groups come back, those that one has left as ended ones", async () => {
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world);
    for (const name of ["team", "past"]) {
      await alice.createGroup(name);
      await alice.changeGroup(name, { do: "add", names: ["bob" as UserName] });
      await alice.send(`#${name}`, `said in ${name}`);
    }
    await until(bob, () => bob.groups().length === 2);
    await alice.changeGroup("past", { do: "role", name: "bob" as UserName, role: "admin" });
    await alice.leaveGroup("past");
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    await alice.close();
    const back = await recover(world, "elsewhere", key);
    const { messages, problems } = await back.archive.restore({ recoveryKey: key });
    assert.deepEqual([messages, problems], [2, []]);
    await until(back, () => back.groups().some(({ name, ended }) => name === "team" && !ended));
    assert.deepEqual(back.history("#team").map(({ text }) => text), ["said in team"]);
    assert.deepEqual(back.history("#past").map(({ text }) => text), ["said in past"]);
    assert.equal(back.group("past").ended, true);
    await assert.rejects(back.send("#past", "hello"), UsageError);
  });
});

Deno.test("remove() deletes the archive for all homes, by the password; a new one begins under another key", async () => {
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world), heard = listen(alice);
    await say(alice, bob, 1);
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    const second = await world.open("alice2", { name: "alice", home: world.home("alice2"), register: false });
    await assert.rejects(second.archive.remove("not-the-password-1"), WrongPasswordError);
    await second.archive.remove(PASSWORD);
    assert.equal(await world.harness.store.archive(ALICE), undefined);
    await assert.rejects(second.archive.restore({ recoveryKey: key }), UsageError);
    await say(alice, bob, 1);
    await alice.archive.sync();
    assert.equal((await alice.archive.state()).on, false);
    assert(notices(heard).some((text) => /has no archive of yours/.test(text)));
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    assert.equal((await alice.archive.offer())?.messages, 2);
  });
});

Deno.test("a full archive is said once, and chat goes on", async () => {
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world), heard = listen(alice);
    Object.assign(world.harness.services.settings, { archiveBytesMax: 2_000 });
    await alice.archive.switchOn(key);
    for (let at = 0; at < 12; at++) {
      await say(alice, bob, 1);
      await alice.archive.sync();
    }
    const state = await alice.archive.state();
    assert.deepEqual([state.full, state.waiting > 0, (state.kept?.bytes ?? 0) <= 2_000], [true, true, true]);
    assert.equal(notices(heard).filter((text) => /archive is full/.test(text)).length, 1);
    assert.equal(texts(bob, "alice").length, 12);
  });
});

Deno.test("a hostile server: what it alters, swaps or takes from others is named, and the rest comes in", async () => {
  const hostile = new Hostile();
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world);
    await alice.archive.switchOn(key);
    for (let at = 0; at < 6; at++) {
      await say(alice, bob, 1);
      await alice.archive.sync();
    }
    await bob.archive.switchOn(readRecoveryKey(await bob.newRecoveryKey({ password: PASSWORD })));
    await bob.archive.sync();
    const { store } = world.harness, [foreign] = await chunksOf(store, "bob" as UserName);
    const chunks = await chunksOf(store, ALICE), body = (at: number) => chunks[at]!.body;
    await alice.close();
    hostile.chunks = () => [
      chunks[0]!,
      { number: 2, body: body(1).with(60, body(1)[60]! ^ 1) },
      { number: 3, body: body(0) },
      { number: 4, body: foreign!.body },
      chunks[5]!,
    ];
    const back = await recover(world, "elsewhere", key);
    const { problems } = await back.archive.restore({ recoveryKey: key });
    const said = problems.map((problem) => problem.replace(/^Part [0-9a-f]{8}: /, ""));
    assert.deepEqual(said, [
      ...[2, 3, 4].map((number) => `chunk ${number} was altered, or is not of that place`),
      "chunk 5 is missing",
    ]);
    assert.deepEqual(texts(back), ["a 1", "a 6"]);
    hostile.chunks = undefined;
    const { messages, known } = await back.archive.restore();
    assert.deepEqual([messages, known, texts(back).length], [4, 2, 6]);
  }, { wrapStore: (store) => hostile.around(store) });
});

Deno.test("a hostile server: an older archive is noticed by the homes that wrote it, and by what they say of one another", async () => {
  const hostile = new Hostile();
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world), heard = listen(alice);
    await alice.archive.switchOn(key);
    await say(alice, bob, 1);
    await alice.archive.sync();
    const { store } = world.harness, older = (await store.archive(ALICE))!;
    const second = await world.open("alice2", { name: "alice", home: world.home("alice2"), register: false });
    await until(second, () => second.conversations().length === 1);
    await say(alice, bob, 2);
    await alice.archive.sync();
    // A second home archives behind it, and says what it was shown.
    await until(second, () => texts(second).length === 2);
    await second.archive.switchOn(key);
    await second.archive.sync();
    await second.close();
    const now = (await store.archive(ALICE))!, own = older.streams[0]!;
    hostile.archive = { ...now, streams: now.streams.map((each) => same(each.stream, own.stream) ? own : each) };
    hostile.chunks = (stream, chunks) => chunks.filter(({ number }) => !same(stream, own.stream) || number === 1);
    const back = await recover(world, "elsewhere", key);
    const { problems } = await back.archive.restore({ recoveryKey: key });
    assert.match(problems.join("\n"), /chunk 2, which the server had, is missing/);
    await back.close();
    await alice.archive.sync();
    assert(notices(heard).some((text) => /less of your archive than it had/.test(text)), notices(heard).join("\n"));
  }, { wrapStore: (store) => hostile.around(store) });
});

Deno.test("a hostile server: an archive's key that is another's, or an older one, opens nothing and is named", async () => {
  const hostile = new Hostile();
  await inWorld(async (world) => {
    const { alice, bob, key } = await friends(world), heard = listen(alice), { store } = world.harness;
    await say(alice, bob, 1);
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    const first = (await store.archive(ALICE))!;
    await alice.archive.remove(PASSWORD);
    await alice.archive.switchOn(key);
    await alice.archive.sync();
    // The key before that, by the same recovery key: a home that has the one of now knows better.
    hostile.archive = first;
    await say(alice, bob, 1);
    await alice.archive.sync();
    assert.equal((await alice.archive.state()).on, false);
    assert(notices(heard).some((text) => /under another key/.test(text)));
    // The id of one with the seal of another.
    hostile.archive = undefined;
    const now = (await store.archive(ALICE))!;
    hostile.archive = { ...now, sealed: first.sealed };
    const back = await recover(world, "elsewhere", key);
    await assert.rejects(back.archive.offer(key), WrongRecoveryKeyError);
    hostile.archive = { ...now, sealed: (await store.credentials(ALICE))!.recovery!.backup };
    await assert.rejects(back.archive.offer(key), FastChatError);
    hostile.archive = undefined;
    assert.equal((await back.archive.offer(key))?.messages, 1);
  }, { wrapStore: (store) => hostile.around(store) });
});

/** A store that says of archives what it is told to say. */
class Hostile {
  /** Instead of the archive, as every server would tell it. */
  archive: StoredArchive | undefined;
  /** What it makes of chunks of Alice's that somebody asks for. */
  chunks: ((stream: Uint8Array, chunks: readonly ArchiveChunk[]) => readonly ArchiveChunk[]) | undefined;

  around(store: Store): Store {
    return new Proxy(store, {
      get: (target, key) => {
        if (key === "archive") {
          return (name: UserName) =>
            name === ALICE && this.archive ? Promise.resolve(this.archive) : target.archive(name);
        }
        if (key === "archiveChunks") {
          return async (name: UserName, stream: Uint8Array, after: number) => {
            const chunks = await target.archiveChunks(name, stream, after);
            return name === ALICE && this.chunks ? [...this.chunks(stream, chunks)] : chunks;
          };
        }
        const value = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }
}

async function friends(world: ChatWorld): Promise<{ alice: ChatClient; bob: ChatClient; key: Uint8Array }> {
  const alice = await world.open("alice"), bob = await world.open("bob");
  return { alice, bob, key: readRecoveryKey(alice.takeRecoveryKey()!) };
}

/** Alice says so much more to Bob, and both have it. */
async function say(alice: ChatClient, bob: ChatClient, count: number): Promise<void> {
  const said = texts(alice).filter((text) => text.startsWith("a ")).length;
  for (let at = 1; at <= count; at++) await alice.send("bob", `a ${said + at}`);
  await until(bob, () => texts(bob, "alice").includes(`a ${said + count}`));
}

/** A world in which those who are brought back are closed, too. */
async function inWorld(
  use: (world: ChatWorld) => Promise<void>,
  options: Parameters<typeof withWorld>[1] = {},
): Promise<void> {
  await withWorld(async (world) => {
    try {
      await use(world);
    } finally {
      await Promise.all(recovered.splice(0).map((client) => client.close()));
    }
  }, options);
}

const recovered: ChatClient[] = [];

async function recover(world: ChatWorld, home: string, recoveryKey: Uint8Array): Promise<ChatClient> {
  const client = await ChatClient.recover({
    server: "memory:9000",
    home: world.home(home),
    name: "alice",
    password: NEW_PASSWORD,
    recoveryKey: formatRecoveryKey(recoveryKey),
    dial: world.dial,
  });
  recovered.push(client);
  return client;
}

/** Of a user's first stream. */
async function chunksOf(store: Store, name: UserName): Promise<ArchiveChunk[]> {
  const [first] = (await store.archive(name))!.streams;
  return await store.archiveChunks(name, first!.stream, 0);
}

function texts(client: ChatClient, peer = "bob"): string[] {
  return client.history(peer, 1_000).map(({ text }) => text);
}

function listen(client: ChatClient): ChatEvent[] {
  const heard: ChatEvent[] = [];
  void (async () => {
    for await (const event of client.events()) heard.push(event);
  })();
  return heard;
}

function notices(heard: readonly ChatEvent[]): string[] {
  return heard.flatMap((event) => event.type === "notice" ? [event.text] : []);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return sha256(a).toHex() === sha256(b).toHex();
}
