/** Appending, reading and delivering over connections (docs/PROTOCOL.md §7.2, §7.3). */
import assert from "node:assert/strict";
import { encode } from "../../shared/codec/mod.ts";
import { directConversationId } from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import { READ_BYTES_MAX, SEND_BUFFER_BYTES_MAX } from "../../shared/limits.ts";
import { type ConversationId, request as requestSchema, type Response } from "../../shared/protocol/mod.ts";
import { type Store, StoreFullError, StoreUnavailableError } from "../../server/store/store.ts";
import { TEST_CLUSTER, type TestDevice, testKeys } from "../keys.ts";
import {
  enrolment,
  expectError,
  expectType,
  Harness,
  type HarnessOptions,
  logIn,
  makeDevice,
  message,
  numberOf,
  registration,
  resumption,
  settle,
  type TestClient,
  until,
} from "./harness.ts";

/** Alice and Bob, signed up, with their conversation. */
async function twoPeople(options: HarnessOptions = {}) {
  const harness = await Harness.open(options), { alice, alice2, bob } = await testKeys();
  const a = await harness.signedUp(alice), b = await harness.signedUp(bob);
  const { head } = expectType(await a.ask({ type: "openDirect", peer: "bob" }), "conversation");
  return { harness, alice, alice2, bob, a, b, id: head.conversation, epoch: head.epoch };
}

async function subscribe(client: TestClient): Promise<void> {
  expectType(await client.ask({ type: "subscribe" }), "ok");
}

async function newConnection(harness: Harness, device: TestDevice): Promise<TestClient> {
  const client = harness.connect();
  expectType(await client.ask(logIn(device, client)), "session");
  return client;
}

function delivered(client: TestClient): number[] {
  return client.events.flatMap((event) => event.type === "deliver" ? [event.record.seq] : []);
}

async function readAll(client: TestClient, id: ConversationId, after = 0): Promise<number[]> {
  const seqs: number[] = [];
  while (true) {
    const { records, more } = expectType(
      await client.ask({ type: "read", conversation: id, after, limit: 256 }),
      "records",
    );
    for (const record of records) {
      assert.equal(record.seq, after + 1);
      seqs.push(after = record.seq);
    }
    if (!more) return seqs;
  }
}

Deno.test("openDirect makes one conversation, under the id that follows from both names", async () => {
  const { a, b, id, alice, bob } = await twoPeople();
  assert.equal(id, directConversationId(TEST_CLUSTER, alice.user, bob.user));
  const { head } = expectType(await b.ask({ type: "openDirect", peer: "ALICE" }), "conversation");
  assert.deepEqual(head, {
    conversation: id,
    kind: 1,
    members: ["alice", "bob"],
    head: 0,
    begins: 0,
    cursor: 0,
    epoch: 2,
  });
  expectError(await a.ask({ type: "openDirect", peer: "nobody" }), ErrorCode.unknownName);
  expectError(await a.ask({ type: "openDirect", peer: "no name!" }), ErrorCode.unknownName);
  for (const client of [a, b]) {
    const page = expectType(await client.ask({ type: "sync", after: undefined }), "sync");
    assert.deepEqual([page.heads, page.more], [[head], false]);
    assert.deepEqual(expectType(await client.ask({ type: "sync", after: id }), "sync").heads, []);
  }
});

Deno.test("append: pipelined appends are answered in order and stored under the session's own name and device (M2)", async () => {
  const { harness, a, b, id, epoch, alice } = await twoPeople();
  const lane = a.lane();
  for (let i = 1; i <= 500; i++) lane.append(message(id, i, epoch));
  const answers = await lane.answers(500);
  assert.deepEqual(
    answers.map((answer) => expectType(answer, "stored").seq),
    Array.from({ length: 500 }, (_, i) => i + 1),
  );
  assert.deepEqual(
    answers.map((answer) => numberOf(expectType(answer, "stored") as never)),
    [...Array(500)].map((_, i) => i + 1),
  );
  const { records } = expectType(await b.ask({ type: "read", conversation: id, after: 0, limit: 1 }), "records");
  assert.deepEqual([records[0]!.sender, records[0]!.device], [alice.user, alice.id]);
  assert.equal(harness.services.counters.stored, 500);
});

Deno.test("append: what comes in one turn, from whichever connection, is one batch", async () => {
  const batches: number[] = [];
  const { harness, a, b, id, epoch } = await twoPeople({
    wrapStore: (store) =>
      wrap(store, {
        append: (records) => {
          batches.push(records.length);
          return store.append(records);
        },
      }),
  });
  const submit = (client: TestClient, from: number) => {
    const lane = client.lane();
    for (let i = 0; i < 50; i++) lane.append(message(id, from + i, epoch));
    return lane.answers(50);
  };
  await Promise.all([submit(a, 1), submit(b, 1), submit(a, 101)]);
  assert.equal(batches.reduce((sum, size) => sum + size), 150);
  assert(batches.length < 75, `${batches.length} batches for 150 appends`);
  assert.equal(harness.appends.bytesWaiting, 0);
});

Deno.test("append: from a client that sends more than the store takes nothing is read until it has caught up", async () => {
  let slow = true;
  const waiting: (() => void)[] = [];
  const { harness, a, b, id, epoch } = await twoPeople({
    wrapStore: (store) =>
      wrap(store, {
        append: async (records) => {
          if (slow) await new Promise<void>((resolve) => waiting.push(resolve));
          return await store.append(records);
        },
      }),
  });
  const lane = a.lane(), count = 300;
  for (let i = 1; i <= count; i++) lane.append(message(id, i, epoch, 100_000));
  await until(() => harness.appends.isCongested);
  for (let i = 0; i < 20; i++) await settle();
  // Thirty megabytes were sent; what is above the bound has not left the client.
  const held = harness.appends.bytesWaiting;
  assert(held < 9 << 20, `${held} bytes wait at the server`);
  assert(a.channel.bufferedBytes > 20e6, `${a.channel.bufferedBytes} bytes wait at the client`);
  // Others are served meanwhile.
  expectType(await b.ask({ type: "sync", after: undefined }), "sync");
  slow = false;
  for (const go of waiting) go();
  const answers = await lane.answers(count);
  assert.deepEqual(answers.map((answer) => expectType(answer, "stored").seq), [...Array(count)].map((_, i) => i + 1));
  await until(() => harness.appends.bytesWaiting === 0);
});

Deno.test("append: the same message id again gets the numbers of the first", async () => {
  const { harness, a, id, epoch, alice } = await twoPeople();
  const send = async (client: TestClient, ...numbers: number[]) => {
    const lane = client.lane();
    for (const number of numbers) lane.append(message(id, number, epoch));
    return (await lane.answers(numbers.length)).map((answer) => expectType(answer, "stored").seq);
  };
  assert.deepEqual(await send(a, 1, 2, 1), [1, 2, 1]);
  const again = await newConnection(harness, alice);
  assert.deepEqual(await send(again, 2, 1, 3), [2, 1, 3]);
});

Deno.test("append is refused without a session and outside one's conversations", async () => {
  const { harness, bob, id, epoch } = await twoPeople();
  const stranger = harness.connect();
  const lane = stranger.lane();
  lane.append(message(id, 1, epoch));
  expectError((await lane.answers(1))[0]!, ErrorCode.notAuthenticated);
  const carol = await harness.signedUp(await makeDevice(bob, { user: "carol" }));
  const hers = carol.lane();
  hers.append(message(id, 1, epoch));
  assert.equal(numberOf({ messageId: expectError((await hers.answers(1))[0]!, ErrorCode.forbidden).messageId! }), 1);
  expectError(await carol.ask({ type: "read", conversation: id, after: 0, limit: 10 }), ErrorCode.forbidden);
});

Deno.test("append after a refused one on the same stream is refused with it, on a new stream it goes on", async () => {
  const { harness, a, id, epoch, alice2 } = await twoPeople();
  const enrolling = harness.connect();
  expectType(await enrolling.ask({ ...logIn(alice2, enrolling), device: undefined }), "enrolNeeded");
  expectType(await enrolling.ask(await enrolment(alice2, enrolling)), "session");
  const lane = a.lane();
  lane.append(message(id, 1, epoch));
  lane.append(message(id, 2, epoch));
  const refused = await lane.answers(2);
  for (const answer of refused) assert.equal(expectError(answer, ErrorCode.staleEpoch).epoch, epoch + 1);
  lane.append(message(id, 3, epoch + 1));
  expectError((await lane.answers(3))[2]!, ErrorCode.staleEpoch);
  lane.stream.finish();
  await until(() => lane.finished);
  const next = a.lane();
  for (const number of [1, 2, 3]) next.append(message(id, number, epoch + 1));
  assert.deepEqual((await next.answers(3)).map((answer) => expectType(answer, "stored").seq), [1, 2, 3]);
});

Deno.test("a stream's requests are answered in order, whatever they are", async () => {
  const { a, id, epoch } = await twoPeople();
  const lane = a.lane();
  lane.append(message(id, 1, epoch));
  lane.send({ type: "read", conversation: id, after: 0, limit: 10 });
  lane.append(message(id, 2, epoch));
  lane.append(message(id, 3, epoch));
  lane.send({ type: "sync", after: undefined });
  lane.send({ type: "openDirect", peer: "nobody" });
  lane.append(message(id, 4, epoch));
  lane.stream.finish();
  const answers = await lane.answers(7);
  assert.deepEqual(answers.map(({ type }) => type), [
    "stored",
    "records",
    "stored",
    "stored",
    "sync",
    "error",
    "stored",
  ]);
  assert.equal(expectType(answers[1]!, "records").records.length, 1);
  assert.equal(expectType(answers[4]!, "sync").heads[0]!.head, 3);
  await until(() => lane.finished && a.pair.client.openStreams === 0);
});

Deno.test("resume and append in one flight: the append waits for its session", async () => {
  const { harness, alice, id, epoch } = await twoPeople();
  const first = harness.connect();
  const { token } = expectType(await first.ask(logIn(alice, first)), "session");
  const client = harness.connect(), lane = client.lane();
  lane.send(resumption(alice, client, token));
  lane.append(message(id, 1, epoch));
  const answers = await lane.answers(2);
  assert.deepEqual(answers.map(({ type }) => type), ["session", "stored"]);
});

Deno.test("deliver brings others' records in order, on one stream per conversation", async () => {
  const { a, b, id, epoch } = await twoPeople();
  await subscribe(b);
  const lane = a.lane();
  for (let i = 1; i <= 100; i++) lane.append(message(id, i, epoch));
  await until(() => delivered(b).length === 100);
  assert.deepEqual(delivered(b), Array.from({ length: 100 }, (_, i) => i + 1));
  assert.equal(b.eventStreams.length, 1);
  assert.deepEqual(delivered(a), []);
});

Deno.test("deliver: nothing without subscribe, nothing of others' conversations", async () => {
  const { harness, a, b, bob, id, epoch } = await twoPeople();
  const carol = await harness.signedUp(await makeDevice(bob, { user: "carol" }));
  await subscribe(carol);
  const lane = a.lane();
  lane.append(message(id, 1, epoch));
  await lane.answers(1);
  for (let i = 0; i < 20; i++) await settle();
  assert.deepEqual([b.events, carol.events], [[], []]);
});

Deno.test("deliver: the connection that sent has `stored`; the same device's and user's others get the record", async () => {
  const { harness, a, alice, alice2, id } = await twoPeople();
  await subscribe(a);
  const second = await newConnection(harness, alice);
  await subscribe(second);
  const enrolling = harness.connect();
  expectType(await enrolling.ask({ ...logIn(alice2, enrolling), device: undefined }), "enrolNeeded");
  expectType(await enrolling.ask(await enrolment(alice2, enrolling)), "session");
  await subscribe(enrolling);
  const lane = a.lane();
  for (let i = 1; i <= 3; i++) lane.append(message(id, i, 3));
  await lane.answers(3);
  await until(() => delivered(second).length === 3 && delivered(enrolling).length === 3);
  assert.deepEqual(delivered(a), []);
  const back = enrolling.lane();
  back.append(message(id, 9, 3));
  await back.answers(1);
  await until(() => delivered(a).length === 1 && delivered(second).length === 4);
  assert.deepEqual(delivered(enrolling), [1, 2, 3]);
});

Deno.test("deliver: a repeat that another connection committed before is neither delivered twice nor forgotten", async () => {
  const { harness, a, alice, b, id, epoch } = await twoPeople();
  await subscribe(a);
  await subscribe(b);
  const first = a.lane();
  first.append(message(id, 1, epoch));
  await first.answers(1);
  const second = await newConnection(harness, alice);
  await subscribe(second);
  const again = second.lane();
  again.append(message(id, 1, epoch));
  again.append(message(id, 2, epoch));
  await again.answers(2);
  await until(() => delivered(b).length === 2 && delivered(a).length === 1);
  assert.deepEqual([delivered(a), delivered(b), delivered(second)], [[2], [1, 2], []]);
  for (const session of harness.server.sessions) assert.equal(session.sent.size, 0);
});

Deno.test("a second device begins at the heads of now, and its user's contacts hear of it", async () => {
  const { harness, a, b, alice2, id, epoch } = await twoPeople();
  await subscribe(b);
  await subscribe(a);
  const lane = a.lane();
  lane.append(message(id, 1, epoch));
  await lane.answers(1);
  const client = harness.connect();
  expectType(await client.ask({ ...logIn(alice2, client), device: undefined }), "enrolNeeded");
  expectType(await client.ask(await enrolment(alice2, client)), "session");
  const { heads } = expectType(await client.ask({ type: "sync", after: undefined }), "sync");
  assert.deepEqual(heads.map(({ head, cursor, epoch }) => [head, cursor, epoch]), [[1, 1, epoch + 1]]);
  const told = { type: "devicesChanged", name: "alice", conversation: id, epoch: epoch + 1 };
  await until(() => b.events.length === 3 && a.events.length === 2);
  const grown = { type: "keyLogGrown", length: 3 };
  assert.deepEqual(b.events.slice(1), [told, grown]);
  assert.deepEqual(a.events, [told, grown]);
  const { entries } = expectType(
    await b.ask({ type: "directory", names: ["ALICE", "nobody", "bob", "!"] }),
    "directory",
  );
  assert.deepEqual(entries.map((entry) => [entry.name, entry.deviceRevision, entry.certificates.length]), [
    ["alice", 2, 2],
    ["bob", 1, 1],
  ] as unknown);
});

Deno.test("read pages through a log of any shape to its end, and acknowledge moves the device's cursor", async () => {
  const { a, b, id, epoch } = await twoPeople();
  const lane = a.lane();
  const sizes = [10, READ_BYTES_MAX, 10, READ_BYTES_MAX / 2, READ_BYTES_MAX / 2, 8, READ_BYTES_MAX + 60_000, 8];
  for (const [index, size] of sizes.entries()) lane.append(message(id, index + 1, epoch, size));
  for (let i = sizes.length + 1; i <= 600; i++) lane.append(message(id, i, epoch));
  await lane.answers(600);
  assert.deepEqual(await readAll(b, id), Array.from({ length: 600 }, (_, i) => i + 1));
  assert.deepEqual(await readAll(b, id, 600), []);
  assert.equal(expectType(await b.ask({ type: "read", conversation: id, after: 598, limit: 0 }), "records").more, true);
  expectType(await b.ask({ type: "acknowledge", cursors: [{ conversation: id, seq: 600 }] }), "ok");
  expectType(await b.ask({ type: "acknowledge", cursors: [{ conversation: id, seq: 3 }] }), "ok");
  assert.equal(expectType(await b.ask({ type: "sync", after: undefined }), "sync").heads[0]!.cursor, 600);
});

Deno.test("a slow connection gets no live records beyond its bound, and `behind` once it has caught up", async () => {
  const { harness, a, b, id, epoch } = await twoPeople();
  await subscribe(b);
  b.pair.client.pause();
  const lane = a.lane(), bodyBytes = 64 << 10;
  const fit = Math.ceil(SEND_BUFFER_BYTES_MAX / bodyBytes);
  for (let i = 1; i <= fit + 20; i++) lane.append(message(id, i, epoch, bodyBytes));
  await lane.answers(fit + 20);
  assert.equal(harness.server.fanout.feedsBehind, 1);
  assert(harness.server.fanout.skipped >= 19);
  harness.server.tick(harness.nowUs += 50_000);
  assert.equal(harness.server.fanout.feedsBehind, 1, "nothing is said while it is still behind");
  b.pair.client.resume();
  await until(() => b.pair.server.bufferedBytes === 0);
  lane.append(message(id, fit + 21, epoch));
  await lane.answers(fit + 21);
  harness.server.tick(harness.nowUs += 50_000);
  await until(() => b.events.some(({ type }) => type === "behind"));
  const got = delivered(b);
  assert.deepEqual(got, Array.from({ length: got.length }, (_, i) => i + 1), "what came live came without gaps");
  assert.deepEqual(b.events.at(-1), { type: "behind", conversation: id, head: fit + 21 });
  assert.deepEqual((await readAll(b, id, got.length)).at(-1), fit + 21);
  lane.append(message(id, fit + 22, epoch));
  await until(() => delivered(b).at(-1) === fit + 22);
});

Deno.test("idle delivery streams are finished and opened anew when there is something to deliver", async () => {
  const { harness, a, b, id, epoch } = await twoPeople();
  await subscribe(b);
  const lane = a.lane();
  lane.append(message(id, 1, epoch));
  await until(() => delivered(b).length === 1);
  harness.server.tick(harness.nowUs += 30_000_000);
  await settle();
  assert.equal(b.eventStreamsFinished, 0);
  harness.server.tick(harness.nowUs += 31_000_000);
  await until(() => b.eventStreamsFinished === 1);
  await until(() => b.pair.server.openStreams === 0 || b.pair.client.openStreams === 0);
  lane.append(message(id, 2, epoch));
  await until(() => delivered(b).length === 2);
  assert.equal(b.eventStreams.length, 2);
});

Deno.test("a delivery stream that the client resets is replaced by the next delivery", async () => {
  const { harness, a, b, id, epoch } = await twoPeople();
  await subscribe(b);
  const lane = a.lane();
  lane.append(message(id, 1, epoch));
  await until(() => delivered(b).length === 1);
  b.eventStreams[0]!.reset(CloseCode.none);
  await until(() => b.pair.server.openStreams === 0);
  lane.append(message(id, 2, epoch));
  await until(() => delivered(b).length === 2);
  assert.equal(b.eventStreams.length, 2);
  harness.server.tick(harness.nowUs += 61_000_000);
  await until(() => b.eventStreamsFinished === 1);
});

Deno.test("deliver to more conversations than streams: the idlest give way, nothing is lost", async () => {
  const { harness, a, alice } = await twoPeople();
  await subscribe(a);
  const { bob } = await testKeys();
  const conversations = 200;
  for (let i = 0; i < conversations; i++) {
    const peer = await harness.signedUp(await makeDevice(bob, { user: `peer${i}` }), `198.51.100.${i}`);
    const { head } = expectType(await peer.ask({ type: "openDirect", peer: alice.user }), "conversation");
    const lane = peer.lane();
    harness.nowUs += 1000;
    lane.append(message(head.conversation, 1, head.epoch));
    await lane.answers(1);
  }
  await until(() => delivered(a).length === conversations);
  assert(a.pair.server.openStreams <= 130, `${a.pair.server.openStreams} streams`);
});

Deno.test("an unreachable store is tried again in order, without anybody noticing", async () => {
  let failures = 5;
  const { a, b, id, epoch } = await twoPeople({
    wrapStore: (store) =>
      wrap(store, {
        append: (records) => failures-- > 0 ? Promise.reject(new StoreUnavailableError("gone")) : store.append(records),
      }),
  });
  const lane = a.lane();
  for (let i = 1; i <= 20; i++) lane.append(message(id, i, epoch));
  await lane.answers(10);
  for (let i = 21; i <= 40; i++) lane.append(message(id, i, epoch));
  assert.deepEqual(
    (await lane.answers(40)).map((answer) => expectType(answer, "stored").seq),
    [...Array(40)].map((_, i) => i + 1),
  );
  assert.equal((await readAll(b, id)).length, 40);
});

Deno.test("a store that stays unreachable or is full refuses in order; nothing behind a refusal is stored", async () => {
  for (
    const [error, code] of [
      [new StoreUnavailableError("gone"), ErrorCode.unavailable],
      [new StoreFullError("full"), ErrorCode.diskFull],
      [new RangeError("a bug"), ErrorCode.internal],
    ] as const
  ) {
    let failing = false;
    const { a, b, id, epoch } = await twoPeople({
      wrapStore: (store) =>
        wrap(store, { append: (records) => failing ? Promise.reject(error) : store.append(records) }),
    });
    const lane = a.lane();
    lane.append(message(id, 1, epoch));
    await lane.answers(1);
    failing = true;
    lane.append(message(id, 2, epoch));
    lane.append(message(id, 3, epoch));
    await until(() => {
      if (lane.received.length >= 2) failing = false;
      return lane.received.length >= 3;
    });
    lane.append(message(id, 4, epoch));
    const answers: Response[] = await lane.answers(4);
    for (const answer of answers.slice(1)) expectError(answer, code);
    assert.deepEqual(await readAll(b, id), [1]);
    const next = a.lane();
    for (const number of [2, 3, 4]) next.append(message(id, number, epoch));
    assert.deepEqual((await next.answers(3)).map((answer) => expectType(answer, "stored").seq), [2, 3, 4]);
  }
});

Deno.test("a handler that fails answers `internal` or `unavailable` and the connection goes on", async () => {
  let error: Error | undefined;
  const { a } = await twoPeople({
    wrapStore: (store) =>
      wrap(store, { users: (after, limit) => error ? Promise.reject(error) : store.users(after, limit) }),
  });
  const ask = () => a.ask({ type: "users", after: "", onlineOnly: false });
  error = new TypeError("a bug");
  const answer = expectError(await ask(), ErrorCode.internal);
  assert(!answer.message.includes("bug"), "our own errors are not for peers");
  error = new StoreUnavailableError("gone");
  expectError(await ask(), ErrorCode.unavailable);
  error = undefined;
  expectType(await ask(), "users");
});

Deno.test("a malformed or oversized message ends its connection with malformedMessage, and no other", async () => {
  const { harness, a, b, alice } = await twoPeople();
  const good = encode(requestSchema, { type: "sync", after: undefined });
  const bad: Uint8Array[] = [
    new Uint8Array(),
    // Half a tag, and one beyond all numbers.
    new Uint8Array([0x40]),
    new Uint8Array(8).fill(0xff),
    new Uint8Array([...good, 0]),
    good.subarray(0, good.length - 1),
    new Uint8Array(5000).fill(9),
    encode(requestSchema, registration(alice, a)).subarray(0, 700),
  ];
  for (const bytes of bad) {
    const client = harness.connect();
    client.lane().stream.send(bytes);
    await until(() => client.closed !== undefined);
    assert.equal(client.closed!.code, CloseCode.malformedMessage);
  }
  expectType(await b.ask({ type: "sync", after: undefined }), "sync");
});

/** A request of a later version, with things in it that this one cannot read. */
const NEWER = new Uint8Array([0x7f, 0xff, ...new Uint8Array(300).fill(0xee)]);

Deno.test("a request of a kind that this version does not have is answered as unsupported, and its connection goes on", async () => {
  const { harness, a, id, epoch } = await twoPeople();
  const stranger = harness.connect();
  for (const client of [a, stranger]) {
    const lane = client.lane();
    lane.stream.send(NEWER);
    lane.stream.finish();
    const [answer] = await lane.answers(1);
    assert.equal(expectError(answer!, ErrorCode.unsupported).retryAfterMs, 0);
    await until(() => lane.finished);
    assert.equal(client.closed, undefined);
  }
  expectType(await stranger.ask({ type: "stretch", name: "alice", purpose: 2 }), "stretching");
  // Among others on one stream it is answered in its place, and stands in nobody's way.
  const lane = a.lane();
  lane.append(message(id, 1, epoch));
  lane.stream.send(NEWER);
  lane.append(message(id, 2, epoch));
  lane.stream.finish();
  const [first, second, third] = await lane.answers(3);
  assert.equal(expectType(first!, "stored").seq, 1);
  expectError(second!, ErrorCode.unsupported);
  assert.equal(expectType(third!, "stored").seq, 2);
});

Deno.test("requests that nobody knows are bounded like any others", async () => {
  const harness = await Harness.open({ requestRate: 5 });
  const client = harness.connect(), lane = client.lane();
  for (let i = 0; i < 21; i++) lane.stream.send(NEWER);
  const answers = await lane.answers(21);
  for (const answer of answers.slice(0, 20)) expectError(answer, ErrorCode.unsupported);
  expectError(answers[20]!, ErrorCode.busy);
});

Deno.test("requests are bounded per connection; appends have a bound of their own", async () => {
  const harness = await Harness.open({ requestRate: 5, appendRate: 2 }), { alice } = await testKeys();
  const client = await harness.signedUp(alice);
  for (let i = 0; i < 19; i++) expectType(await client.ask({ type: "sync", after: undefined }), "sync");
  assert.equal(expectError(await client.ask({ type: "sync", after: undefined }), ErrorCode.busy).retryAfterMs, 200);
  harness.nowUs += 200_000;
  const { head } = expectType(await client.ask({ type: "openDirect", peer: "alice" }), "conversation");
  const lane = client.lane();
  for (let i = 1; i <= 12; i++) lane.append(message(head.conversation, i, head.epoch));
  await until(() => lane.finished);
  const answers = lane.received;
  assert.deepEqual(answers.slice(0, 8).map((answer) => expectType(answer, "stored").seq), [1, 2, 3, 4, 5, 6, 7, 8]);
  expectError(answers[8]!, ErrorCode.busy);
  assert.equal(answers.length, 9, "what is behind a refused append is not read");
});

Deno.test("a connection that closes with appends under way leaves them stored and the server well", async () => {
  const { harness, a, b, id, epoch } = await twoPeople();
  const lane = a.lane();
  for (let i = 1; i <= 100; i++) lane.append(message(id, i, epoch));
  await until(() => lane.received.length >= 1);
  a.pair.client.close(CloseCode.none, "gone");
  await until(() => harness.server.connections === 1);
  const stored = await readAll(b, id);
  assert.deepEqual(stored, Array.from({ length: stored.length }, (_, i) => i + 1));
});

function wrap(store: Store, changes: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name) {
      const own = changes[name as keyof Store];
      if (own !== undefined) return own;
      const value = target[name as keyof Store];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

Deno.test("who asks and does not read fills no memory, and gets every answer once it reads", async () => {
  let reading = 0, readingMax = 0;
  const { harness, a, id, epoch } = await twoPeople({
    wrapStore: (store) =>
      wrap(store, {
        read: async (...args) => {
          readingMax = Math.max(readingMax, ++reading);
          await settle();
          return await store.read(...args).finally(() => reading--);
        },
      }),
  });
  const lane = a.lane();
  for (let i = 1; i <= 2; i++) lane.append(message(id, i, epoch, 500_000));
  await lane.answers(2);
  a.pair.client.pause();
  let answered = 0;
  const asking = Array.from(
    { length: 200 },
    () =>
      a.ask({ type: "read", conversation: id, after: 0, limit: 2 }).then((answer) => {
        assert.equal(expectType(answer, "records").records.length, 2);
        answered++;
      }),
  );
  for (let i = 0; i < 300; i++) await settle();
  assert.equal(answered, 0);
  assert(readingMax <= 16, `${readingMax} at once`);
  assert(
    a.pair.server.bufferedBytes < 20 << 20,
    `${a.pair.server.bufferedBytes} bytes wait for a client that reads nothing`,
  );
  a.pair.client.resume();
  await until(() => {
    harness.server.tick(harness.nowUs);
    return answered === asking.length;
  });
  await Promise.all(asking);
  assert.equal(harness.server.waiting.size, 0);
});

Deno.test("who is not logged in may have little waiting, on all streams together", async () => {
  const slow = Promise.withResolvers<undefined>();
  const harness = await Harness.open({ wrapStore: (store) => wrap(store, { account: () => slow.promise }) });
  const client = harness.connect();
  const lanes = Array.from({ length: 20 }, () => client.lane());
  for (const lane of lanes) {
    lane.send({ type: "stretch", name: "alice", purpose: 2 });
    lane.append(message("00".repeat(16) as ConversationId, 1, 0, 30_000));
  }
  const given = () => lanes.filter((lane) => lane.reset !== undefined).length;
  await until(() => given() === 18);
  slow.resolve(undefined);
  await until(() => lanes.filter((lane) => lane.received.length === 2).length === 2);
  assert.equal(given(), 18);
});
