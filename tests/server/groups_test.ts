/** Groups over handlers, fan-out and the memory store: who is told what, and who may not. */
import assert from "node:assert/strict";
import { ErrorCode } from "../../shared/errors.ts";
import {
  ASK_BYTES_MAX,
  COMMIT_BODY_BYTES_MAX,
  KEY_PACKAGE_BYTES_MAX,
  TREE_BYTES_MAX,
  WELCOME_BYTES_MAX,
} from "../../shared/limits.ts";
import type { ConversationId, DeviceId, Event, MessageId, RequestOf, UserName } from "../../shared/protocol/mod.ts";
import { LIVE_BYTES_MAX } from "../../server/fanout.ts";
import { hintUp } from "../../shared/protocol/mod.ts";
import { encode } from "../../shared/codec/mod.ts";
import { type TestDevice, testKeys } from "../keys.ts";
import {
  enrolment,
  expectError,
  expectType,
  Harness,
  logIn,
  makeDevice,
  message,
  settle,
  type TestClient,
  until,
} from "./harness.ts";

Deno.test("a group: made, grown by a commit, talked in, left", async () => {
  const { harness, a, b, c } = await threePeople();
  const { head } = expectType(await a.ask({ type: "createGroup", conversation: GROUP }), "conversation");
  assert.deepEqual([head.kind, head.members, head.epoch, head.cursor], [2, [], 0, 0]);
  const welcomes = [{ device: b.device.id, body: bytes("for bob") }, { device: c.device.id, body: bytes("for carol") }];
  const first = commit({ add: ["Bob", "carol"], welcomes, tree: bytes("tree") });
  const stored = expectType(await a.ask(first), "stored");
  assert.deepEqual([stored.seq, stored.messageId], [1, first.messageId]);
  await until(() => [a, b, c].every(({ events }) => delivered(events).length === 1));
  // The author hears of it too: until it does, it does not know that its commit has won.
  assert.deepEqual(a.events.map(({ type }) => type), ["deliver"]);
  await until(() => b.events.length === 2 && c.events.length === 2);
  assert.deepEqual(b.events[1], { type: "welcomed", conversation: GROUP });
  assert.deepEqual(expectType(await b.ask({ type: "welcome", conversation: GROUP }), "welcome").welcome, {
    isInvitation: false,
    commit: 1,
    body: bytes("for bob"),
    tree: bytes("tree"),
  });
  const page = expectType(await b.ask({ type: "members", conversation: GROUP, after: "" }), "users");
  assert.deepEqual(page.users.map(({ name, online }) => [name, online]), [
    ["alice", false],
    ["bob", false],
    ["carol", false],
  ]);
  const lane = b.lane();
  lane.append(message(GROUP, 1, 1));
  await lane.answers(1);
  await until(() => delivered(a.events).length === 2 && delivered(c.events).length === 2);
  const notice = { conversation: GROUP, messageId: id<MessageId>("bye"), lastCommit: 1, body: bytes("bye") };
  assert.equal(expectType(await c.ask({ type: "leave", ...notice }), "stored").seq, 3);
  await until(() => c.events.at(-1)?.type === "dismissed");
  assert.deepEqual(delivered(c.events), [1, 2, 3]);
  assert.deepEqual(c.events.at(-1), { type: "dismissed", conversation: GROUP, seq: 3 });
  assert.equal(expectType(await c.ask({ type: "leave", ...notice }), "stored").seq, 3);
  lane.append(message(GROUP, 2, 1));
  await lane.answers(2);
  await until(() => delivered(a.events).length === 4);
  assert.deepEqual(delivered(c.events), [1, 2, 3]);
  expectError(await c.ask({ type: "members", conversation: GROUP, after: "" }), ErrorCode.forbidden);
  const late = c.lane();
  late.append(message(GROUP, 9, 1));
  expectError((await late.answers(1))[0]!, ErrorCode.forbidden);
  const { records } = expectType(await c.ask({ type: "read", conversation: GROUP, after: 0, limit: 10 }), "records");
  assert.deepEqual(records.map(({ seq }) => seq), [1, 2, 3]);
  assert.equal(harness.services.counters.stored, 4);
});

Deno.test("whoever is removed by a commit gets that commit, is told, and gets nothing more", async () => {
  const { a, b, c } = await group();
  const removal = commit({ lastCommit: 1, remove: ["bob"] });
  assert.equal(expectType(await a.ask(removal), "stored").seq, 2);
  await until(() => b.events.at(-1)?.type === "dismissed");
  assert.deepEqual(b.events.at(-1), { type: "dismissed", conversation: GROUP, seq: 2 });
  assert.deepEqual(delivered(b.events), [1, 2]);
  const lane = c.lane();
  lane.append(message(GROUP, 1, 2));
  await lane.answers(1);
  await until(() => delivered(a.events).length === 3);
  assert.deepEqual(delivered(b.events), [1, 2]);
  const { heads } = expectType(await b.ask({ type: "sync", after: undefined }), "sync");
  assert.deepEqual(heads.map(({ head, cursor, epoch }) => [head, cursor, epoch]), [[2, 1, 2]]);
  expectType(await b.ask({ type: "acknowledge", cursors: [{ conversation: GROUP, seq: 2 }] }), "ok");
  assert.deepEqual(expectType(await b.ask({ type: "sync", after: undefined }), "sync").heads, []);
});

Deno.test("of two commits at once one wins, and the other is told by which", async () => {
  const { a, b } = await group();
  const [one, two] = await Promise.all([
    a.ask(commit({ lastCommit: 1, message: "one" })),
    b.ask(commit({ lastCommit: 1, message: "two" })),
  ]);
  assert.equal(expectType(one, "stored").seq, 2);
  const refused = expectError(two, ErrorCode.staleEpoch);
  assert.deepEqual([refused.epoch, refused.messageId], [2, id("two")]);
  assert.equal(expectType(await b.ask(commit({ lastCommit: 2, message: "two" })), "stored").seq, 3);
});

Deno.test("commit: what cannot be is refused with a reason, and changes nothing", async () => {
  const { a, c } = await group();
  const cases = [
    [commit({ lastCommit: 1, add: ["nobody"] }), ErrorCode.unknownName],
    [commit({ lastCommit: 1, add: ["not a name"] }), ErrorCode.unknownName],
    [commit({ lastCommit: 1, add: ["dave"], remove: ["DAVE"] }), ErrorCode.malformed],
    [{ ...commit({ lastCommit: 1 }), conversation: id<ConversationId>("other") }, ErrorCode.forbidden],
  ] as const;
  for (const [request, code] of cases) expectError(await a.ask(request), code);
  const { head } = expectType(await a.ask({ type: "openDirect", peer: "bob" }), "conversation");
  const direct = { ...commit({ add: ["carol"] }), conversation: head.conversation };
  expectError(await a.ask(direct), ErrorCode.malformed);
  expectError(await c.ask({ ...direct, add: [] }), ErrorCode.forbidden);
  expectError(await a.ask({ type: "createGroup", conversation: head.conversation }), ErrorCode.nameTaken);
  assert.equal(expectType(await a.ask({ ...direct, add: [] }), "stored").seq, 1);
  const { users } = expectType(await a.ask({ type: "members", conversation: GROUP, after: "" }), "users");
  assert.equal(users.length, 3);
});

Deno.test("a commit brings the largest tree there is, once for all who fetch it", async () => {
  const { harness, a, b, c } = await group();
  const welcomes = [b, c].map(({ device }) => ({ device: device.id, body: new Uint8Array(WELCOME_BYTES_MAX) }));
  const tree = new Uint8Array(TREE_BYTES_MAX).fill(7);
  expectType(await a.ask(commit({ lastCommit: 1, welcomes, tree })), "stored");
  for (const { client } of [b, c]) {
    const { welcome } = expectType(await client.ask({ type: "welcome", conversation: GROUP }), "welcome");
    assert.deepEqual([welcome?.body.length, welcome?.tree.length], [WELCOME_BYTES_MAX, TREE_BYTES_MAX]);
  }
  // Many at once wait for one another, and none is lost.
  const lane = b.lane();
  for (let number = 0; number < 12; number++) lane.send({ type: "welcome", conversation: GROUP });
  await until(() => (harness.server.tick(harness.nowUs), lane.received.length === 12));
  assert.ok(lane.received.every((answer) => answer.type === "welcome" && answer.welcome !== undefined));
});

Deno.test("the largest commit is stored, told of and read; to very many at once it is told of only, and they read it in turn", async () => {
  const { harness, a, b } = await group();
  const body = new Uint8Array(COMMIT_BODY_BYTES_MAX).fill(9);
  expectType(await a.ask({ ...commit({ lastCommit: 1 }), body }), "stored");
  await until(() => delivered(b.events).includes(2));
  const { records } = expectType(await b.ask({ type: "read", conversation: GROUP, after: 1, limit: 10 }), "records");
  assert.deepEqual(records.map(({ seq, body }) => [seq, body.length]), [[2, COMMIT_BODY_BYTES_MAX]]);
  const many = Math.floor(LIVE_BYTES_MAX / COMMIT_BODY_BYTES_MAX);
  for (const [seq, here] of [[3, many], [4, many + 1]] as const) {
    const members = Array.from({ length: here }, (_, at) => at === 0 ? "bob" : `crowd${at}`) as UserName[];
    harness.server.committed([{ record: { ...records[0]!, seq }, members }], harness.nowUs);
  }
  await until(() => (harness.server.tick(harness.nowUs), b.events.some(({ type }) => type === "behind")));
  assert.deepEqual(delivered(b.events), [1, 2, 3]);
  assert.deepEqual(b.events.at(-1), { type: "behind", conversation: GROUP, head: 4 });
});

Deno.test("a device asks, members hear of it and invite it, until another commit comes", async () => {
  const { harness, a, b, alice2 } = await group();
  const second = await returned(harness, alice2);
  expectType(await second.ask({ type: "ask", conversation: GROUP, kind: 1, body: bytes("me too") }), "ok");
  const ask = {
    conversation: GROUP,
    user: "alice",
    device: alice2.id,
    kind: 1,
    body: bytes("me too"),
    timeMs: harness.services.nowMs(),
  };
  for (const client of [a, b]) {
    await until(() => client.events.some(({ type }) => type === "asked"));
    assert.deepEqual(structuredClone(client.events.filter(({ type }) => type === "asked")), [{ type: "asked", ask }]);
  }
  assert.deepEqual(structuredClone(expectType(await b.ask(asks()), "asks")), {
    type: "asks",
    asks: [ask],
    more: false,
  });
  const welcome = { device: alice2.id, body: bytes("sealed") };
  const invite = { type: "invite", conversation: GROUP, lastCommit: 0, welcome, tree: bytes("tree") } as const;
  assert.equal(expectError(await b.ask(invite), ErrorCode.staleEpoch).epoch, 1);
  expectType(await b.ask({ ...invite, lastCommit: 1 }), "ok");
  await until(() => second.events.at(-1)?.type === "welcomed");
  assert.equal(a.events.some(({ type }) => type === "welcomed"), false);
  assert.deepEqual(expectType(await b.ask(asks()), "asks").asks, []);
  const fetched = expectType(await second.ask({ type: "welcome", conversation: GROUP }), "welcome").welcome;
  assert.deepEqual([fetched?.isInvitation, fetched?.commit, fetched?.tree], [true, 1, bytes("tree")]);
  expectType(await a.ask(commit({ lastCommit: 1 })), "stored");
  assert.equal(expectType(await second.ask({ type: "welcome", conversation: GROUP }), "welcome").welcome, undefined);
  const nobodys = { ...invite, lastCommit: 2, welcome: { ...welcome, device: id<DeviceId>("nobody's") } };
  expectError(await b.ask(nobodys), ErrorCode.notFound);
});

Deno.test("what a device leaves under its own id is for its user's others: nobody is told, each gets it", async () => {
  const { harness, a, b, alice2 } = await group();
  const welcome = { device: a.device.id, body: bytes("sealed") };
  const invite = { type: "invite", conversation: GROUP, lastCommit: 1, welcome, tree: bytes("tree") } as const;
  expectType(await a.ask(invite), "ok");
  const second = await returned(harness, alice2);
  const mine = { type: "welcome", conversation: GROUP } as const;
  for (let time = 0; time < 2; time++) {
    const fetched = expectType(await second.ask(mine), "welcome").welcome;
    assert.deepEqual([fetched?.isInvitation, fetched?.commit, fetched?.body], [true, 1, bytes("sealed")]);
  }
  assert.notDeepEqual(expectType(await b.ask(mine), "welcome").welcome?.body, bytes("sealed"));
  for (const client of [a, second]) assert.equal(client.events.some(({ type }) => type === "welcomed"), false);
  expectType(await a.ask(commit({ lastCommit: 1 })), "stored");
  assert.equal(expectType(await second.ask(mine), "welcome").welcome, undefined);
});

Deno.test("asking by a link is for who is not in it; a member takes it away, and too much of it waits", async () => {
  const { harness, a, b, d } = await group();
  expectError(await d.ask({ type: "ask", conversation: GROUP, kind: 1, body: bytes("") }), ErrorCode.forbidden);
  expectError(await d.ask({ type: "ask", conversation: GROUP, kind: 3, body: bytes("") }), ErrorCode.malformed);
  expectError(await b.ask({ type: "ask", conversation: GROUP, kind: 2, body: bytes("") }), ErrorCode.forbidden);
  expectType(await d.ask({ type: "ask", conversation: GROUP, kind: 2, body: new Uint8Array(ASK_BYTES_MAX) }), "ok");
  expectError(await d.ask({ type: "invite", conversation: GROUP, ...NO_INVITE }), ErrorCode.forbidden);
  assert.deepEqual(expectType(await d.ask(asks()), "asks").asks, []);
  expectType(await d.ask({ type: "dropAsk", conversation: GROUP, device: a.device.id }), "ok");
  await until(() => a.events.some(({ type }) => type === "asked"));
  assert.equal(expectType(await a.ask(asks()), "asks").asks.length, 1);
  expectType(await a.ask({ type: "dropAsk", conversation: GROUP, device: d.device.id }), "ok");
  assert.deepEqual(expectType(await a.ask(asks()), "asks").asks, []);
  let refused: Awaited<ReturnType<TestClient["ask"]>> | undefined;
  for (let round = 0; round < 30 && refused?.type !== "error"; round++) {
    refused = await d.ask({ type: "ask", conversation: GROUP, kind: 2, body: bytes("") });
  }
  assert.ok(expectError(refused!, ErrorCode.busy).retryAfterMs > 0);
  harness.nowUs += 3_600_000_000;
  expectType(await d.ask({ type: "ask", conversation: GROUP, kind: 2, body: bytes("") }), "ok");
});

Deno.test("key packages: left by a device, taken for a conversation, the same again", async () => {
  const { a, b, c } = await threePeople();
  const oneTime = [bytes("one"), new Uint8Array(KEY_PACKAGE_BYTES_MAX)];
  const stock = await b.ask({ type: "putKeyPackages", oneTime, lastResort: bytes("last") });
  assert.deepEqual(stock, { type: "keyPackageStock", oneTime: 2, lastResort: true });
  const names = ["BOB", "carol", "nobody", "!"];
  for (const _ of [1, 2]) {
    const { packages } = expectType(
      await a.ask({ type: "takeKeyPackages", conversation: GROUP, names }),
      "keyPackages",
    );
    assert.deepEqual(structuredClone(packages), [
      { user: "bob", device: b.device.id, keyPackage: bytes("one"), lastResort: false },
    ]);
  }
  const second = expectType(await c.ask({ type: "takeKeyPackages", conversation: GROUP, names }), "keyPackages");
  assert.equal(second.packages[0]?.keyPackage.length, KEY_PACKAGE_BYTES_MAX);
  assert.deepEqual(await b.ask({ type: "putKeyPackages", oneTime: [], lastResort: undefined }), {
    type: "keyPackageStock",
    oneTime: 0,
    lastResort: true,
  });
});

Deno.test("typing in a group is told to its members, and of who was dismissed no more", async () => {
  const { harness, a, b, c } = await group();
  for (const { client } of [a, b, c]) expectType(await client.ask({ type: "watch", names: [] }), "presence");
  const typing = (client: Person) =>
    client.client.channel.sendHint(encode(hintUp, { type: "typing", conversation: GROUP, active: true }));
  typing(b);
  await until(() => a.client.hints > 0 && c.client.hints > 0);
  expectType(await a.ask(commit({ lastCommit: 1, remove: ["bob"] })), "stored");
  await until(() => b.events.at(-1)?.type === "dismissed");
  const before = [a.client.hints, b.client.hints, c.client.hints];
  harness.nowUs += 10_000_000;
  typing(b);
  typing(c);
  await until(() => a.client.hints > before[0]!);
  await settle();
  assert.equal(b.client.hints, before[1]);
  assert.equal(c.client.hints, before[2]);
});

Deno.test("appends in a row reach every member once and in order, and their author not at all", async () => {
  const { harness, a, b, c } = await group();
  const lane = a.lane();
  for (let number = 1; number <= 300; number++) lane.append(message(GROUP, number, 1));
  await lane.answers(300);
  await until(() => delivered(b.events).length === 301 && delivered(c.events).length === 301);
  assert.deepEqual(delivered(b.events), Array.from({ length: 301 }, (_, at) => at + 1));
  assert.deepEqual(delivered(a.events), [1]);
  assert.equal(harness.server.fanout.delivered, 3 + 600);
});

const GROUP = id<ConversationId>("group");
const NO_INVITE = {
  lastCommit: 1,
  welcome: { device: id<DeviceId>("nobody's"), body: new Uint8Array() },
  tree: new Uint8Array(),
};

function id<T extends ConversationId | MessageId | DeviceId>(text: string): T {
  return new TextEncoder().encode(text.padEnd(16, ".").slice(0, 16)).toHex() as T;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

let commits = 0;

function commit(
  options: Partial<Omit<RequestOf<"commit">, "type" | "conversation" | "messageId">> & { message?: string },
): RequestOf<"commit"> {
  const { message = `commit ${++commits}`, ...rest } = options;
  return {
    type: "commit",
    conversation: GROUP,
    messageId: id(message),
    lastCommit: 0,
    body: bytes("sealed"),
    add: [],
    remove: [],
    welcomes: [],
    tree: new Uint8Array(),
    ...rest,
  };
}

function asks(): RequestOf<"asks"> {
  return { type: "asks", conversation: GROUP, after: undefined };
}

function delivered(events: readonly Event[]): number[] {
  return events.flatMap((event) => event.type === "deliver" ? [event.record.seq] : []);
}

/** A client that has logged in and subscribed. */
class Person {
  readonly device: TestDevice;
  readonly client: TestClient & { hints: number };

  constructor(device: TestDevice, client: TestClient) {
    this.device = device;
    this.client = Object.assign(client, { hints: 0 });
    client.channel.handler = { ...client.channel.handler!, onHint: () => this.client.hints++ };
  }

  get events(): Event[] {
    return this.client.events;
  }

  get closed() {
    return this.client.closed;
  }

  ask(request: Parameters<TestClient["ask"]>[0]) {
    return this.client.ask(request);
  }

  lane() {
    return this.client.lane();
  }
}

async function threePeople() {
  const harness = await Harness.open(), { alice, bob, alice2 } = await testKeys();
  const [carol, dave] = [await makeDevice(bob, { user: "carol" }), await makeDevice(bob, { user: "dave" })];
  const people: Person[] = [];
  for (const device of [alice, bob, carol, dave]) {
    const person = new Person(device, await harness.signedUp(device));
    expectType(await person.ask({ type: "subscribe" }), "ok");
    people.push(person);
  }
  const [a, b, c, d] = people as [Person, Person, Person, Person];
  return { harness, a, b, c, d, alice2 };
}

/** Alice, Bob and Carol are in it, Dave is not; its newest commit is 1. */
async function group() {
  const opened = await threePeople(), { a, b, c } = opened;
  expectType(await a.ask({ type: "createGroup", conversation: GROUP }), "conversation");
  const welcomes = [{ device: b.device.id, body: bytes("for bob") }];
  expectType(await a.ask(commit({ add: ["bob", "carol"], welcomes })), "stored");
  await until(() => [a, b, c].every(({ events }) => delivered(events).length === 1) && b.events.length === 2);
  return opened;
}

async function returned(harness: Harness, device: TestDevice): Promise<TestClient> {
  const client = harness.connect();
  expectType(await client.ask({ ...logIn(device, client), device: undefined }), "enrolNeeded");
  expectType(await client.ask(await enrolment(device, client)), "session");
  expectType(await client.ask({ type: "subscribe" }), "ok");
  return client;
}
