import assert from "node:assert/strict";
import {
  CannotReachError,
  KeyChangedError,
  NoAnswerError,
  NotAuthenticatedError,
  RefusedError,
  TimedOutError,
} from "../../../client/errors.ts";
import { Link, type LinkOptions } from "../../../client/network/link.ts";
import { ServerRefusal } from "../../../client/network/failures.ts";
import { decode, encode } from "../../../shared/codec/mod.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import { type Request, request, type Response, response } from "../../../shared/protocol/mod.ts";
import { memoryChannelPair, type MemoryPair } from "../../memory_channel.ts";

/** A link to servers that answer as told; `undefined` is no answer. */
function world(options: Partial<LinkOptions> & { answer?: (request: Request) => Response | undefined } = {}) {
  const pairs: MemoryPair[] = [], excluded: (readonly number[])[] = [], log: string[] = [];
  const { answer = (): Response => ({ type: "ok" }), ...rest } = options;
  const link = new Link({
    dial: (asked) => {
      excluded.push(asked.excluded);
      const pair = memoryChannelPair();
      pairs.push(pair);
      pair.server.handler = {
        onStream: (stream) =>
          stream.handler = {
            onMessage: (message) => {
              const answered = answer(decode(request, message));
              if (answered) stream.send(encode(response, answered));
            },
          },
        onClose: () => {},
      };
      return Promise.resolve({ channel: pair.client, serverNumber: pairs.length, server: `s:${pairs.length}` });
    },
    authenticate: async (remote) => void await remote.ask<"subscribe">({ type: "subscribe" }),
    onEvent: () => {},
    onConnected: (_remote, server) => log.push(`connected ${server}`),
    onReconnecting: () => log.push("reconnecting"),
    onClosed: (error) => log.push(`closed ${error.name}`),
    ...rest,
  });
  return { link, pairs, excluded, log };
}

const error = (code: number): Response => ({
  type: "error",
  code,
  message: "no",
  retryAfterMs: 0,
  epoch: 0,
  messageId: undefined,
});

Deno.test("Link finds another server when one is lost, and does not ask for the same", async () => {
  const { link, pairs, excluded, log } = world();
  await link.start(10_000);
  const first = link.remote;
  pairs[0]!.sever();
  await first!.ask<"subscribe">({ type: "subscribe" }).catch(() => {});
  const second = await link.ready();
  assert.notEqual(second, first);
  assert.equal(link.server, "s:2");
  assert.deepEqual(excluded, [[], [1]]);
  assert.deepEqual(log, ["connected s:1", "reconnecting", "connected s:2"]);
  await link.close();
  await assert.rejects(link.ready());
  assert.equal(log.at(-1), "closed FastChatError");
});

Deno.test("Link.ask() asks again what a lost connection left unanswered", async () => {
  let asked = 0;
  const { link, pairs } = world({
    answer: (request) => {
      if (request.type !== "sync") return { type: "ok" };
      if (++asked === 1) return void pairs[0]!.sever();
      return { type: "sync", heads: [], more: false };
    },
  });
  await link.start(10_000);
  assert.deepEqual(await link.ask<"sync">({ type: "sync", after: undefined }), {
    type: "sync",
    heads: [],
    more: false,
  });
  assert.equal(asked, 2);
  await link.close();
});

Deno.test("Link.ask() repeats for a busy server and hands on a refusal", async () => {
  let asked = 0;
  const { link } = world({
    answer: ({ type }) =>
      type === "subscribe" ? { type: "ok" } : error(++asked === 1 ? ErrorCode.busy : ErrorCode.unknownName),
  });
  await link.start(10_000);
  await assert.rejects(
    link.ask<"openDirect">({ type: "openDirect", peer: "bob" }),
    (refused) => refused instanceof RefusedError && refused.code === ErrorCode.unknownName,
  );
  assert.equal(asked, 2);
  await link.close();
});

Deno.test("Link.start() gives up at once where nobody is there, or where trying again changes nothing", async () => {
  for (const wanted of [new NoAnswerError("nobody"), new NotAuthenticatedError("who?")]) {
    let tries = 0;
    const { link, log } = world({ dial: () => (tries++, Promise.reject(wanted)) });
    await assert.rejects(link.start(10_000), (thrown) => thrown === wanted);
    assert.equal(tries, 1);
    await assert.rejects(link.ready(), (thrown) => thrown === wanted);
    assert.deepEqual(log, [`closed ${wanted.name}`]);
  }
});

Deno.test("Link.start() tries again what may pass, and says at the end what it was", async () => {
  let tries = 0;
  const { link } = world({ dial: () => (tries++, Promise.reject(new CannotReachError("no server is ready"))) });
  await assert.rejects(link.start(400), /no server is ready/);
  assert(tries > 1);
  const { link: late } = world({
    authenticate: (remote) =>
      tries++ < 5
        ? Promise.reject(new ServerRefusal(error(ErrorCode.unavailable) as never))
        : Promise.resolve(void remote),
  });
  tries = 4;
  await late.start(10_000);
  await late.close();
});

Deno.test("Link.start() says that the time is over where a server lets in and then does not finish", async () => {
  const { link } = world({ answer: () => undefined });
  await assert.rejects(
    link.start(50),
    (error) => error instanceof TimedOutError && /does not finish/.test(error.message),
  );
});

Deno.test("Link.start() says that nobody answered where none has before the time was over", async () => {
  const { link } = world({
    dial: ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  });
  await assert.rejects(link.start(50), (error) => error instanceof CannotReachError && /firewalls/.test(error.message));
});

Deno.test("Link ends where a reconnection is refused for good", async () => {
  const change = { kind: "server", subject: "h:1", pinned: "SHA256:a", offered: "SHA256:b" } as const;
  let logins = 0;
  const { link, pairs, log } = world({
    authenticate: () => ++logins === 1 ? Promise.resolve() : Promise.reject(new KeyChangedError(change)),
  });
  await link.start(10_000);
  const waiting = link.remote!.ask<"backup">({ type: "backup" }).catch(() => {});
  pairs[0]!.sever();
  await waiting;
  await assert.rejects(link.ready(), KeyChangedError);
  assert.deepEqual(log, ["connected s:1", "reconnecting", "closed KeyChangedError"]);
  assert.equal(pairs[1]!.client.closed, true);
});

Deno.test("Link ends where the server it comes back to is too old for this program", async () => {
  let logins = 0;
  const { link, pairs, log } = world({
    authenticate: async (remote) => {
      if (++logins > 1) await remote.ask<"subscribe">({ type: "subscribe" });
    },
    answer: ({ type }) => type === "subscribe" ? error(ErrorCode.unsupported) : undefined,
  });
  await link.start(10_000);
  const waiting = link.remote!.ask<"backup">({ type: "backup" }).catch(() => {});
  pairs[0]!.sever();
  await waiting;
  await assert.rejects(
    link.ready(),
    (error) => error instanceof RefusedError && /^This server is older than this program/.test(error.message),
  );
  assert.deepEqual(log, ["connected s:1", "reconnecting", "closed RefusedError"]);
});
