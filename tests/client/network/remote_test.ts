import assert from "node:assert/strict";
import { asFastChatError } from "../../../client/network/link.ts";
import { ConnectionLostError, ServerRefusal } from "../../../client/network/failures.ts";
import { Remote } from "../../../client/network/remote.ts";
import { decode, encode } from "../../../shared/codec/mod.ts";
import { CloseCode, type CloseReason, ErrorCode, RequestError } from "../../../shared/errors.ts";
import type { ChannelStream } from "../../../shared/net/channel.ts";
import {
  type ConversationId,
  type Event,
  event as eventSchema,
  type Request,
  request as requestSchema,
  type Response,
  response as responseSchema,
} from "../../../shared/protocol/mod.ts";
import { memoryChannelPair } from "../../memory_channel.ts";
import { idOf, TALK } from "../homes.ts";

/** A remote and a server that notes what it is asked and answers when told to. */
function pair() {
  const { client, server, sever } = memoryChannelPair();
  const events: Event[] = [], closes: CloseReason[] = [], asked: { stream: ChannelStream; request: Request }[] = [];
  const finished = new Set<ChannelStream>();
  server.handler = {
    onStream: (stream) =>
      stream.handler = {
        onMessage: (message) => asked.push({ stream, request: decode(requestSchema, message) }),
        onFinish: () => finished.add(stream),
      },
    onClose: () => {},
  };
  const remote = new Remote(client, {
    onEvent: (event) => events.push(event),
    onClose: (reason) => closes.push(reason),
  });
  const answer = (stream: ChannelStream, response: Response) => stream.send(encode(responseSchema, response));
  return { remote, client, server, sever, events, closes, asked, finished, answer };
}

/** Lets microtasks run. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

const append = (number: number, conversation = TALK) => ({
  conversation,
  messageId: idOf(number),
  expectedEpoch: 2,
  body: new Uint8Array([1, 1, number]),
});
const stored = (number: number): Response => ({ type: "stored", messageId: idOf(number), seq: number, timeMs: 5 });
const refusal = (code: number): Response => ({
  type: "error",
  code,
  message: "no \x1b[31mway",
  retryAfterMs: 7,
  epoch: 3,
  messageId: undefined,
});

Deno.test("Remote.ask() asks on a stream of its own and resolves with the answer", async () => {
  const { remote, asked, answer, finished } = pair();
  const first = remote.ask<"openDirect">({ type: "openDirect", peer: "bob" }),
    second = remote.ask<"subscribe">({ type: "subscribe" });
  await settle();
  assert.deepEqual(asked.map(({ request }) => request.type), ["openDirect", "subscribe"]);
  assert.equal(remote.waiting, 2);
  answer(asked[1]!.stream, { type: "ok" });
  assert.deepEqual(await second, { type: "ok" });
  answer(asked[0]!.stream, refusal(ErrorCode.unknownName));
  await assert.rejects(first, (error) => {
    assert(error instanceof ServerRefusal);
    assert.deepEqual([error.code, error.retryAfterMs, error.message], [ErrorCode.unknownName, 7, "no [31mway"]);
    return true;
  });
  assert.equal(remote.waiting, 0);
  assert.equal(finished.size, 2);
});

Deno.test("Remote.ask() ends the connection at an answer of another kind, and at one that is none", async () => {
  for (const bytes of [encode(responseSchema, { type: "backup", backup: new Uint8Array() }), new Uint8Array([99])]) {
    const { remote, asked, closes } = pair();
    const asking = remote.ask<"subscribe">({ type: "subscribe" });
    await settle();
    asked[0]!.stream.send(bytes);
    await assert.rejects(asking, ConnectionLostError);
    assert.equal(closes.length, 1);
    assert.equal(closes[0]!.code, CloseCode.malformedMessage);
    await assert.rejects(remote.ask<"subscribe">({ type: "subscribe" }), ConnectionLostError);
  }
});

Deno.test("Remote.ask() says in plain words that a server is too old, and the connection goes on", async () => {
  const { remote, asked, answer, closes } = pair();
  const first = remote.ask<"devices">({ type: "devices" });
  await settle();
  answer(asked[0]!.stream, refusal(ErrorCode.unsupported));
  await assert.rejects(first, (error) => {
    assert(error instanceof ServerRefusal && error.code === ErrorCode.unsupported);
    assert.match(error.message, /^This server is older than this program .*: ask its operator to update it$/);
    const shown = asFastChatError(error);
    assert.deepEqual([shown.message, shown.exitCode], [error.message, 5]);
    return true;
  });
  assert.deepEqual(closes, []);
});

Deno.test("Remote passes over events of a kind that this version does not have, and over nothing else", async () => {
  const { remote, server, events, closes } = pair();
  const stream = server.openStream(), known: Event = { type: "behind", conversation: TALK, head: 1 };
  stream.send(new Uint8Array([0x7f, 0xff, 1, 2, 3]));
  stream.send(encode(eventSchema, known));
  await settle();
  assert.deepEqual(events, [known]);
  assert.equal(remote.closed, undefined);
  stream.send(new Uint8Array([...encode(eventSchema, known), 0]));
  await settle();
  assert.equal(closes[0]?.code, CloseCode.malformedMessage);
});

Deno.test("Remote.ask() rejects where the server gives the stream up, and where the caller does", async () => {
  const { remote, asked } = pair();
  const one = remote.ask<"subscribe">({ type: "subscribe" }), two = remote.ask<"subscribe">({ type: "subscribe" });
  const controller = new AbortController();
  const three = remote.ask<"subscribe">({ type: "subscribe" }, controller.signal);
  await settle();
  asked[0]!.stream.finish();
  asked[1]!.stream.reset(1);
  controller.abort(new RangeError("enough"));
  for (const asking of [one, two]) {
    await assert.rejects(asking, (error) => error instanceof RequestError && error.code === ErrorCode.unavailable);
  }
  await assert.rejects(three, RangeError);
  assert.equal(remote.waiting, 0);
});

Deno.test("Remote.append() pipelines one conversation on one stream and matches answers in order", async () => {
  const { remote, asked, answer } = pair();
  const other = "0b".repeat(16) as ConversationId;
  const appends = [remote.append(append(1)), remote.append(append(2)), remote.append(append(3, other))];
  await settle();
  const [first, second, third] = asked;
  assert.equal(first!.stream, second!.stream);
  assert.notEqual(first!.stream, third!.stream);
  answer(third!.stream, stored(3));
  answer(first!.stream, stored(1));
  answer(first!.stream, stored(2));
  assert.deepEqual(await Promise.all(appends), [{ seq: 1, timeMs: 5 }, { seq: 2, timeMs: 5 }, { seq: 3, timeMs: 5 }]);
});

Deno.test("Remote.append() goes on a new stream after a refusal", async () => {
  const { remote, asked, answer, finished } = pair();
  const outcomes = Promise.allSettled([remote.append(append(1)), remote.append(append(2))]);
  await settle();
  const old = asked[0]!.stream;
  answer(old, refusal(ErrorCode.staleEpoch));
  await settle();
  const again = remote.append(append(1));
  answer(old, refusal(ErrorCode.staleEpoch));
  await settle();
  assert.deepEqual((await outcomes).map(({ status }) => status), ["rejected", "rejected"]);
  assert(finished.has(old));
  assert.notEqual(asked[2]!.stream, old);
  answer(asked[2]!.stream, stored(1));
  assert.deepEqual(await again, { seq: 1, timeMs: 5 });
});

Deno.test("Remote.append() ends the connection at an answer for another message", async () => {
  const { remote, asked, answer, closes } = pair();
  const appending = remote.append(append(1));
  await settle();
  answer(asked[0]!.stream, stored(2));
  await assert.rejects(appending);
  assert.equal(closes[0]?.code, CloseCode.malformedMessage);
});

Deno.test("Remote.append() asks again on another stream where the server finished an idle one", async () => {
  const { remote, asked, answer } = pair();
  const first = remote.append(append(1));
  await settle();
  answer(asked[0]!.stream, stored(1));
  asked[0]!.stream.finish();
  await first;
  await settle();
  const second = remote.append(append(2));
  await settle();
  assert.notEqual(asked[1]!.stream, asked[0]!.stream);
  answer(asked[1]!.stream, stored(2));
  assert.equal((await second).seq, 2);
});

Deno.test("Remote keeps few idle streams open", async () => {
  const { remote, asked, answer, client } = pair();
  for (let i = 1; i <= 200; i++) {
    const appending = remote.append(append(1, i.toString(16).padStart(32, "0") as ConversationId));
    await settle();
    const { stream } = asked.at(-1)!;
    answer(stream, stored(1));
    stream.finish();
    await appending;
  }
  await settle();
  assert(client.openStreams <= 64, String(client.openStreams));
});

Deno.test("Remote tells events in order, and rejects everything when the connection is lost", async () => {
  const { remote, server, events, closes, sever } = pair();
  const stream = server.openStream();
  const behind = (head: number): Event => ({ type: "behind", conversation: TALK, head });
  for (const head of [1, 2, 3]) stream.send(encode(eventSchema, behind(head)));
  await settle();
  assert.deepEqual(events, [behind(1), behind(2), behind(3)]);
  const asking = remote.ask<"subscribe">({ type: "subscribe" }), appending = remote.append(append(1));
  const both = Promise.allSettled([asking, appending]);
  sever();
  for (const outcome of await both) {
    assert(outcome.status === "rejected" && outcome.reason instanceof ConnectionLostError);
    assert.equal(outcome.reason.exitCode, 3);
  }
  assert.equal(closes.length, 1);
  await assert.rejects(remote.append(append(2)), ConnectionLostError);
});
