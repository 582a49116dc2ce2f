/**
 * What a lying server and lying members get out of shared history (SECURITY M15): nothing is taken that this device's own state of
 * the conversation does not allow, and whatever is taken is shown as the words of whoever gave it.
 */
import assert from "node:assert/strict";
import type { ChatClient } from "../../../client/mod.ts";
import { type BundlePart, encodePart } from "../../../client/copies/bundle.ts";
import { sealLetter } from "../../../client/e2ee/groups/mod.ts";
import { CertificateCache, type DeviceKeys } from "../../../client/e2ee/mod.ts";
import type { HistoryPart } from "../../../server/store/history.ts";
import type { Store } from "../../../server/store/store.ts";
import { InnerType } from "../../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER } from "../../keys.ts";
import { type ChatWorld, withWorld } from "../chat_world.ts";
import { until } from "../until.ts";

const names = (...all: string[]) => all as UserName[];

/** A server that shows what it likes of what waits. */
class Liar {
  /** What it puts in the place of what there is, for a device. */
  shows: ((device: DeviceId, parts: HistoryPart[]) => HistoryPart[]) | undefined;
  /** What devices have said that they took, and that they did not. */
  readonly dropped: { readonly numbers: readonly number[]; readonly isTaken: boolean }[] = [];

  wrap(store: Store): Store {
    const history: Store["history"] = async (user, device, after) => {
      const parts = await store.history(user, device, after);
      return (this.shows?.(device, parts) ?? parts).filter(({ number }) => number > after);
    };
    const dropHistory: Store["dropHistory"] = (user, device, numbers, isTaken) => {
      this.dropped.push({ numbers, isTaken });
      return store.dropHistory(user, device, numbers, isTaken);
    };
    return new Proxy(store, {
      get: (target, key) =>
        key === "history"
          ? history
          : key === "dropHistory"
          ? dropHistory
          : Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key),
    });
  }
}

/** Alice and Bob in a group that shares what is said, Carol who is about to come, and Dave, who is not in it. */
async function withPeople(
  use: (
    world: ChatWorld,
    people: Record<"alice" | "bob" | "carol" | "dave", ChatClient>,
    liar: Liar,
    group: ConversationId,
  ) => Promise<void>,
  { shares = true } = {},
): Promise<void> {
  const liar = new Liar();
  await withWorld(async (world) => {
    const [alice, bob, carol, dave] = await Promise.all(
      ["alice", "bob", "carol", "dave"].map((name) => world.open(name)),
    ) as [ChatClient, ChatClient, ChatClient, ChatClient];
    await alice.createGroup("Team");
    await alice.changeGroup("team", { do: "add", names: names("bob") });
    if (shares) await alice.changeGroup("team", { do: "settings", sharedHistory: true });
    const { conversation } = alice.group("team");
    await alice.send("#team", "said before");
    await until(bob, () => bob.groups().length === 1 && texts(bob).length === 1);
    await use(world, { alice, bob, carol, dave }, liar, conversation);
  }, { wrapStore: (store) => liar.wrap(store) });
}

/** Carol comes in, and has what she is given for it. */
async function carolComes(
  { alice, carol }: Record<"alice" | "carol", ChatClient>,
  liar: Liar,
  count = 1,
): Promise<void> {
  await alice.changeGroup("team", { do: "add", names: names("carol") });
  await until(carol, () => carol.groups().length === 1 && liar.dropped.length === count);
  assert.equal(texts(carol).length, count);
}

/** A part that somebody has made up, sealed as their client would. */
async function made(
  world: ChatWorld,
  { by, to, conversation, part }: {
    readonly by: ChatClient;
    readonly to: ChatClient;
    readonly conversation: ConversationId;
    readonly part: Partial<BundlePart>;
  },
): Promise<Uint8Array> {
  const keys = (await world.inHome(by.name, ({ credentials }) => credentials.deviceKeys()))! as DeviceKeys;
  const [giver, taker] = await world.harness.store.directory([by.name, to.name]);
  const { body } = await sealLetter({
    self: {
      name: by.name,
      identity: by.fingerprint,
      keys,
      clusterId: TEST_CLUSTER,
      certificate: giver!.certificates[0]!,
    },
    certificates: new CertificateCache(TEST_CLUSTER),
    to: taker!.certificates[0]!,
    conversation,
    messageId: "77".repeat(16) as MessageId,
    timeMs: Date.now(),
    type: InnerType.history,
    content: encodePart({
      bundle: "66".repeat(16) as MessageId,
      part: 0,
      parts: 1,
      sinceMs: 0,
      isCut: false,
      entries: [entry("bob", "made up")],
      ...part,
    }),
  });
  return body;
}

function entry(sender: string, text: string, changes: Partial<BundlePart["entries"][number]> = {}) {
  const id = "99".repeat(16) as MessageId, device = "88".repeat(16) as DeviceId;
  return { seq: 1, id, sender: sender as UserName, device, timeMs: Date.now(), text, ...changes };
}

/** Carol is shown it by the server, and nothing else. @returns What she says of it. */
async function handed(
  world: ChatWorld,
  { carol }: { readonly carol: ChatClient },
  liar: Liar,
  part: { readonly conversation: ConversationId; readonly body: Uint8Array },
): Promise<string[]> {
  const heard = noticesOf(carol), before = liar.dropped.length;
  liar.shows = () => [{ number: 1_000 + before, ...part }];
  // Whatever comes makes her ask.
  await tellWaiting(world, carol);
  await until(carol, () => liar.dropped.length > before);
  liar.shows = undefined;
  // What nobody listened to before is told to the first who does.
  return heard().filter((text) => !text.startsWith("alice has handed you"));
}

/** The server says that something waits. */
async function tellWaiting(world: ChatWorld, carol: ChatClient): Promise<void> {
  const [device] = await carol.devices();
  world.harness.server.groupNews({ type: "historyWaits", devices: [{ user: carol.name, device: device!.id }] });
}

function noticesOf(chat: ChatClient): () => string[] {
  const heard: string[] = [];
  void (async () => {
    for await (const event of chat.events()) {
      if (event.type === "notice" && event.code === "history") heard.push(event.text);
    }
  })();
  return () => heard;
}

function texts(chat: ChatClient, address = "#team"): string[] {
  return chat.history(address, 1_000).map(({ from, text, copyFrom }) =>
    `${from}: ${text}${copyFrom === undefined ? "" : ` (${copyFrom})`}`
  );
}

Deno.test("a member who makes up what somebody has said is shown as the one who says so", async () => {
  await withPeople(async (world, people, liar, conversation) => {
    const { bob, carol } = people;
    await carolComes(people, liar);
    // At a place of which she knows nothing, under the id of a message that is there.
    const { id, device } = bob.history("#team")[0]!;
    const part = { entries: [entry("alice", "I never said that", { id, device })] };
    const body = await made(world, { by: bob, to: carol, conversation, part });
    const said = await handed(world, people, liar, { conversation, body });
    assert.deepEqual(said, ["bob has handed you 1 message of #Team, as a copy"]);
    assert.deepEqual(texts(carol), ["alice: I never said that (bob)", "alice: said before (alice)"]);
    assert.deepEqual(liar.dropped.at(-1)?.isTaken, true);
    // The same again is nothing new.
    assert.deepEqual(await handed(world, people, liar, { conversation, body }), []);
    assert.equal(texts(carol).length, 2);
  });
});

Deno.test("a member's copy of what is older than the setting is refused, and so is all that comes with it", async () => {
  await withPeople(async (world, people, liar, conversation) => {
    const { bob, carol } = people;
    await carolComes(people, liar);
    const { historySinceMs } = await carol.groupDetails("team");
    const old = entry("alice", "a secret of last year", { timeMs: historySinceMs - 1 });
    const entries = [old, entry("alice", "something", { seq: 2, timeMs: historySinceMs })];
    const body = await made(world, { by: bob, to: carol, conversation, part: { entries } });
    const [said] = await handed(world, people, liar, { conversation, body });
    assert.match(said!, /is not taken: it has messages from before the group began to share them \(bob\)$/);
    const later = { entries: [entry("alice", "tomorrow", { timeMs: Date.now() + 3_600_000 })] };
    const [early] = await handed(world, people, liar, {
      conversation,
      body: await made(world, { by: bob, to: carol, conversation, part: later }),
    });
    assert.match(early!, /is not taken: it has messages from the future \(bob\)$/);
    assert.deepEqual(texts(carol), ["alice: said before (alice)"]);
    assert.deepEqual(liar.dropped.at(-1)?.isTaken, false);
  });
});

Deno.test("nothing is taken in a group that does not share, or from somebody who is not in it", async () => {
  await withPeople(async (world, people, liar, conversation) => {
    const { alice, bob, carol, dave } = people;
    await carolComes(people, liar, 0);
    const byBob = await made(world, { by: bob, to: carol, conversation, part: {} });
    assert.match(
      (await handed(world, people, liar, { conversation, body: byBob }))[0]!,
      /the group does not share what was said/,
    );
    await alice.changeGroup("team", { do: "settings", sharedHistory: true });
    await until(
      carol,
      () => carol.talk("#team").some((event) => event.type === "change" && event.changes[0]!.what === "history"),
    );
    const byDave = await made(world, { by: dave, to: carol, conversation, part: {} });
    assert.match(
      (await handed(world, people, liar, { conversation, body: byDave }))[0]!,
      /they are not in the group \(dave\)$/,
    );
    // Of two people neither hands the other what was said: only one's own devices do.
    await bob.send("carol", "hello");
    await until(carol, () => texts(carol, "bob").length === 1);
    const direct = carol.history("bob")[0]!.conversation;
    const toHer = await made(world, { by: bob, to: carol, conversation: direct, part: {} });
    assert.match(
      (await handed(world, people, liar, { conversation: direct, body: toHer }))[0]!,
      /only your own devices hand on what was said \(bob\)$/,
    );
    assert.deepEqual(texts(carol), []);
    assert.equal(texts(carol, "bob").length, 1);
  }, { shares: false });
});

Deno.test("a server that truncates a part, calls it by another conversation or gives it to another device spoils that part alone", async () => {
  await withPeople(async (world, people, liar, conversation) => {
    const { alice, bob, carol } = people;
    const parts: HistoryPart[] = [];
    liar.shows = (_, waiting) => {
      parts.push(...waiting);
      return [];
    };
    await alice.changeGroup("team", { do: "add", names: names("carol") });
    await until(carol, () => carol.groups().length === 1);
    await until(alice, () => parts.length > 0);
    const { body } = parts[0]!, other = new Uint8Array(body);
    assert(!new TextDecoder("latin1").decode(body).includes("said before"), "the server reads nothing of it");
    other[other.length - 1]! ^= 1;
    const direct = (await bob.send("carol", "hello")).conversation;
    await until(carol, () => texts(carol, "bob").length === 1);
    const spoilt = [
      { conversation, body: body.subarray(0, body.length - 1) },
      { conversation, body: other },
      { conversation, body: new Uint8Array() },
      { conversation: direct, body },
    ];
    for (const part of spoilt) {
      const [said] = await handed(world, people, liar, part);
      assert.match(said!, /is not taken: it was not sealed for this device and that conversation$/);
    }
    assert.deepEqual(texts(carol), []);
    // To somebody else's device it says nothing, and hers takes it as it is.
    const before = liar.dropped.length, heard = noticesOf(bob);
    liar.shows = (device, waiting) => device === bobsDevice ? [{ number: 5_000, conversation, body }] : waiting;
    const bobsDevice = (await bob.devices())[0]!.id;
    world.harness.server.groupNews({ type: "historyWaits", devices: [{ user: bob.name, device: bobsDevice }] });
    await until(bob, () => liar.dropped.length > before);
    assert.match(heard()[0]!, /it was not sealed for this device/);
    liar.shows = undefined;
    await tellWaiting(world, carol);
    await until(carol, () => texts(carol).length === 1);
    assert.deepEqual(texts(carol), ["alice: said before (alice)"]);
  });
});

Deno.test("a copy of what is yet to come takes nobody's place", async () => {
  await withPeople(async (world, people, liar, conversation) => {
    const { alice, bob, carol } = people;
    await carolComes(people, liar);
    const { seq } = await alice.send("#team", "the first she reads");
    await until(carol, () => texts(carol).length === 2);
    const entries = [entry("alice", "a word before", { seq: 1 }), entry("alice", "not this", { seq: seq + 1 })];
    const body = await made(world, { by: bob, to: carol, conversation, part: { entries } });
    await handed(world, people, liar, { conversation, body });
    const next = await alice.send("#team", "but this");
    assert.equal(next.seq, seq + 1);
    await until(carol, () => texts(carol).length === 4);
    assert.deepEqual(texts(carol), [
      "alice: a word before (bob)",
      "alice: said before (alice)",
      "alice: the first she reads",
      "alice: but this",
    ]);
  });
});

Deno.test("a server that holds back a part of a bundle is found out: what came is there, and that some did not is told", async () => {
  await withPeople(async (world, people, liar, conversation) => {
    const { bob, carol } = people;
    await carolComes(people, liar);
    const body = await made(world, { by: bob, to: carol, conversation, part: { part: 0, parts: 2 } });
    assert.deepEqual(await handed(world, people, liar, { conversation, body }), [], "it may be on its way");
    assert.equal(texts(carol).length, 2);
    await carol.close();
    world.inHome(
      "carol",
      ({ database }) =>
        database.transaction(() => database.run("UPDATE received_parts SET received_ms = received_ms - 90000000")),
    );
    const again = await world.open("carol", { password: undefined }), heard = noticesOf(again);
    await until(again, () => heard().length > 0);
    assert.match(
      heard()[0]!,
      /^Of what bob has handed you 1 of 2 parts have come: the rest is held back, or was not sent$/,
    );
  });
});
