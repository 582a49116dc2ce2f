/** One suite over every implementation of {@linkcode Channel}: what `shared/net/channel.ts` promises. */
import assert from "node:assert/strict";
import type { CloseReason } from "../../../shared/errors.ts";
import { HINT_BYTES_MAX, HINTS_QUEUED_MAX, MESSAGE_BYTES_MAX } from "../../../shared/limits.ts";
import type { Channel, ChannelStream } from "../../../shared/net/channel.ts";

export interface Pair {
  readonly client: Channel;
  readonly server: Channel;
  /** Ends what stands behind the channels, whatever state they are in. */
  end(): Promise<void>;
}

/** Registers the suite. @param open Gives two channels without handlers, joined to one another. */
export function testChannelContract(name: string, open: () => Promise<Pair>): void {
  const test = (promise: string, run: (pair: Pair) => Promise<void>) =>
    Deno.test(`${name}: ${promise}`, async () => {
      const pair = await open();
      try {
        await run(pair);
      } finally {
        await pair.end();
      }
    });

  test("the transcript hash has 32 bytes, the same on both sides", ({ client, server }) => {
    assert.equal(client.transcriptHash.length, 32);
    assert.deepEqual(client.transcriptHash, server.transcriptHash);
    return Promise.resolve();
  });

  test("messages of every size arrive whole, in order, in both directions", async ({ client, server }) => {
    const sizes = [0, 1, 63, 64, 1199, 1200, 16_383, 16_384, 70_000, 0, 1 << 20, 5, MESSAGE_BYTES_MAX];
    const atServer = watch(server), atClient = watch(client);
    const up = client.openStream(), down = server.openStream();
    for (const size of sizes) up.send(pattern(size)), down.send(pattern(size));
    up.finish(), down.finish();
    await until(() => atServer.of(up.id).finished && atClient.of(down.id).finished);
    for (const seen of [atServer.of(up.id), atClient.of(down.id)]) {
      assert.deepEqual(seen.messages.map((message) => message.length), sizes);
      for (const message of seen.messages) assert.deepEqual(message, pattern(message.length));
    }
  });

  test("answers come back on the peer's stream, and a stream that both finished is gone", async ({ client, server }) => {
    const atServer = watch(server, (stream, message) => stream.send(message));
    const atClient = watch(client);
    const stream = atClient.own(client.openStream());
    stream.send(pattern(10)), stream.send(pattern(20)), stream.finish();
    await until(() => atServer.of(stream.id).finished && atClient.of(stream.id).messages.length === 2);
    atServer.of(stream.id).stream.finish();
    await until(() => atClient.of(stream.id).finished);
    assert.deepEqual(atClient.of(stream.id).messages.map((message) => message.length), [10, 20]);
    stream.send(pattern(30)), stream.finish(), stream.reset(1);
    atServer.of(stream.id).stream.send(pattern(40));
    const other = client.openStream();
    other.send(pattern(1));
    await until(() => atServer.has(other.id) && atServer.of(other.id).messages.length === 1);
    assert.equal(atServer.of(stream.id).messages.length, 2);
    assert.equal(atServer.of(stream.id).resetCode, undefined);
  });

  test("no callback runs inside a call", async ({ client, server }) => {
    let depth = 0;
    const guarded = <T>(run: () => T): T => {
      depth++;
      const result = run();
      depth--;
      return result;
    };
    const seen: string[] = [];
    const note = (what: string) => {
      assert.equal(depth, 0, `${what} ran inside a call`);
      seen.push(what);
    };
    const attach = (channel: Channel) =>
      guarded(() => {
        channel.handler = {
          onStream(stream) {
            note("stream");
            guarded(() => {
              stream.handler = {
                onMessage: (message) => {
                  note("message");
                  if (message.length < 5) guarded(() => stream.send(pattern(message.length + 1)));
                  else guarded(() => channel.close(9, ""));
                },
                onFinish: () => note("finish"),
                onReset: () => note("reset"),
              };
            });
          },
          onClose: () => note("close"),
        };
      });
    const stream = guarded(() => client.openStream());
    guarded(() => stream.send(pattern(1)));
    attach(client), attach(server);
    guarded(() => {
      stream.handler = { onMessage: (message) => guarded(() => stream.send(pattern(message.length + 1))) };
    });
    await until(() => seen.filter((what) => what === "close").length === 2);
    assert.equal(seen.filter((what) => what === "message").length, 3);
  });

  test("what comes before a handler waits for it", async ({ client, server }) => {
    watch(client);
    const stream = client.openStream();
    stream.send(pattern(3)), stream.send(pattern(4)), stream.finish();
    await settle();
    const opened = Promise.withResolvers<ChannelStream>();
    server.handler = { onStream: (stream) => opened.resolve(stream), onClose() {} };
    const accepted = await opened.promise;
    await settle();
    const events: (number | string)[] = [];
    accepted.handler = { onMessage: (m) => void events.push(m.length), onFinish: () => void events.push("finish") };
    await until(() => events.length === 3);
    assert.deepEqual(events, [3, 4, "finish"]);
  });

  test("a stream that nobody reads delays no other", async ({ client, server }) => {
    const lengths: number[] = [];
    server.handler = {
      onStream(stream) {
        if (stream.id === unread.id) return;
        stream.handler = { onMessage: (message) => void lengths.push(message.length) };
      },
      onClose() {},
    };
    watch(client);
    const unread = client.openStream(), read = client.openStream();
    unread.send(pattern(300_000)), unread.send(pattern(300_000));
    for (let i = 1; i <= 100; i++) read.send(pattern(i));
    await until(() => lengths.length === 100);
    assert.deepEqual(lengths, Array.from({ length: 100 }, (_, i) => i + 1));
  });

  test("a reader that steps aside for a while misses nothing, and holds the sender up", async ({ client, server }) => {
    const lengths: number[] = [], total = 40, size = 100_000;
    let stream: ChannelStream | undefined, isFinished = false;
    const handler = {
      onMessage: (message: Uint8Array) => {
        lengths.push(message.length);
        if (lengths.length === 1) queueMicrotask(() => stream!.handler = undefined);
      },
      onFinish: () => isFinished = true,
    };
    server.handler = {
      onStream: (opened) => {
        stream = opened;
        opened.handler = handler;
      },
      onClose: () => {},
    };
    const sender = client.openStream();
    client.handler = { onStream: () => {}, onClose: () => {} };
    for (let i = 0; i < total; i++) sender.send(new Uint8Array(size + i));
    sender.finish();
    await until(() => lengths.length > 0 && stream!.handler === undefined);
    await until(() => sender.bufferedBytes < total * size);
    assert.ok(sender.bufferedBytes > total * size / 2, `${sender.bufferedBytes} bytes wait`);
    const before = lengths.length;
    assert.ok(before < total / 2, `${before} were read`);
    stream!.handler = handler;
    await until(() => isFinished);
    assert.deepEqual(lengths, Array.from({ length: total }, (_, i) => size + i));
  });

  test("send copies what it is given", async ({ client, server }) => {
    const atServer = watch(server);
    watch(client);
    const stream = client.openStream(), message = pattern(500);
    stream.send(message);
    message.fill(0);
    await until(() => atServer.has(stream.id) && atServer.of(stream.id).messages.length === 1);
    assert.deepEqual(atServer.of(stream.id).messages[0], pattern(500));
  });

  test("a message beyond the bound is refused by the sender", ({ client }) => {
    const stream = client.openStream();
    assert.throws(() => stream.send(new Uint8Array(MESSAGE_BYTES_MAX + 1)), RangeError);
    return Promise.resolve();
  });

  test("bufferedBytes rise with what is sent and fall with what has arrived", async ({ client, server }) => {
    const atServer = watch(server);
    watch(client);
    assert.equal(client.bufferedBytes, 0);
    const stream = client.openStream();
    stream.send(pattern(100_000));
    assert(stream.bufferedBytes >= 100_000 && client.bufferedBytes >= stream.bufferedBytes);
    await until(() => atServer.has(stream.id) && atServer.of(stream.id).messages.length === 1);
    await until(() => client.bufferedBytes === 0 && stream.bufferedBytes === 0);
  });

  test("reset gives a stream up in both directions, and tells only the peer", async ({ client, server }) => {
    const atServer = watch(server), atClient = watch(client);
    const stream = atClient.own(client.openStream());
    stream.send(pattern(1));
    await until(() => atServer.has(stream.id) && atServer.of(stream.id).messages.length === 1);
    stream.reset(77);
    stream.send(pattern(2));
    await until(() => atServer.of(stream.id).resetCode !== undefined);
    assert.equal(atServer.of(stream.id).resetCode, 77);
    atServer.of(stream.id).stream.send(pattern(3));
    const other = client.openStream();
    other.send(pattern(1));
    await until(() => atServer.has(other.id));
    await settle();
    assert.equal(atServer.of(stream.id).messages.length, 1);
    assert.equal(atClient.of(stream.id).messages.length, 0);
    assert.equal(atClient.of(stream.id).resetCode, undefined);
    assert.equal(client.bufferedBytes, 0);
  });

  test("the receiver may reset what the peer sends", async ({ client, server }) => {
    const atServer = watch(server, (stream) => stream.reset(5)), atClient = watch(client);
    const stream = atClient.own(client.openStream());
    stream.send(pattern(1));
    await until(() => atClient.of(stream.id).resetCode !== undefined);
    assert.equal(atClient.of(stream.id).resetCode, 5);
    stream.send(pattern(1 << 20));
    await settle();
    assert.equal(atServer.of(stream.id).messages.length, 1);
    await until(() => client.bufferedBytes === 0);
  });

  test("a stream on which nothing was sent does not exist for the peer", async ({ client, server }) => {
    const atServer = watch(server);
    watch(client);
    const silent = client.openStream(), second = client.openStream();
    silent.handler = { onMessage() {} };
    second.send(pattern(1));
    await until(() => atServer.has(second.id));
    await settle();
    assert(!atServer.has(silent.id));
  });

  test("more streams than the peer allows at once are all served", async ({ client, server }) => {
    const atServer = watch(server, (stream, message) => (stream.send(message), stream.finish()));
    const atClient = watch(client);
    const streams = Array.from({ length: 600 }, () => atClient.own(client.openStream()));
    assert.equal(new Set(streams.map(({ id }) => id)).size, 600);
    for (const [i, stream] of streams.entries()) stream.send(pattern(i)), stream.finish();
    await until(() => streams.every(({ id }) => atClient.of(id).finished));
    for (const [i, { id }] of streams.entries()) {
      assert.deepEqual(atClient.of(id).messages, [pattern(i)]);
      assert(atServer.of(id).finished);
    }
  });

  test("hints arrive whole and at most once, in both directions", async ({ client, server }) => {
    const atServer = watchHints(server), atClient = watchHints(client);
    server.welcome();
    const hint = pattern(HINT_BYTES_MAX);
    client.sendHint(hint), client.sendHint(new Uint8Array(0)), server.sendHint(pattern(7));
    hint.fill(0);
    // Nothing is lost here, so what may be lost in general has to come.
    await until(() => atServer.length === 2 && atClient.length === 1);
    await settle();
    assert.deepEqual(atServer, [pattern(HINT_BYTES_MAX), new Uint8Array(0)]);
    assert.deepEqual(atClient, [pattern(7)]);
  });

  test("a server neither hears nor gives hints before it knows the peer", async ({ client, server }) => {
    const atServer = watchHints(server), atClient = watchHints(client);
    client.sendHint(pattern(1)), server.sendHint(pattern(1));
    await settle();
    server.welcome();
    client.sendHint(pattern(2)), server.sendHint(pattern(2));
    await until(() => atServer.length > 0 && atClient.length > 0);
    await settle();
    assert.deepEqual([atServer, atClient], [[pattern(2)], [pattern(2)]]);
  });

  test("a hint that finds no handler is lost, and so is one after the end", async ({ client, server }) => {
    const atClient = watchHints(client);
    server.welcome();
    client.sendHint(pattern(1));
    await settle();
    const atServer = watchHints(server);
    client.sendHint(pattern(2));
    await until(() => atServer.length > 0);
    server.close(0, "");
    server.sendHint(pattern(3)), client.sendHint(pattern(3));
    await settle();
    client.sendHint(pattern(4));
    await settle();
    assert.deepEqual([atServer, atClient], [[pattern(2)], []]);
  });

  test("of hints that cannot leave the oldest are dropped", async ({ client, server }) => {
    const atServer = watchHints(server);
    watchHints(client);
    server.welcome();
    await settle();
    const count = 3 * HINTS_QUEUED_MAX;
    for (let i = 0; i < count; i++) client.sendHint(pattern(i));
    await until(() => atServer.length > 0);
    await settle();
    assert.deepEqual(
      atServer,
      Array.from({ length: HINTS_QUEUED_MAX }, (_, i) => pattern(count - HINTS_QUEUED_MAX + i)),
    );
  });

  test("a hint beyond the bound is refused by the sender", ({ client }) => {
    assert.throws(() => client.sendHint(new Uint8Array(HINT_BYTES_MAX + 1)), RangeError);
    return Promise.resolve();
  });

  test("close is told once on both sides, with code and reason, and nothing follows", async ({ client, server }) => {
    const atServer = watch(server, (stream, message) => stream.send(message)), atClient = watch(client);
    const stream = atClient.own(client.openStream());
    stream.send(pattern(1));
    await until(() => atClient.of(stream.id).messages.length === 1);
    server.close(0x20, "Going home");
    server.close(0x21, "Again");
    const late = server.openStream();
    late.send(pattern(1)), late.finish(), late.reset(0);
    await until(() => atClient.closes.length > 0 && atServer.closes.length > 0);
    client.close(1, "Too late");
    stream.send(pattern(9)), stream.finish();
    client.openStream().send(pattern(9));
    await settle();
    assert.deepEqual(atServer.closes, [{ code: 0x20, reason: "Going home", byPeer: false }]);
    assert.deepEqual(atClient.closes, [{ code: 0x20, reason: "Going home", byPeer: true }]);
    assert.equal(atClient.of(stream.id).messages.length, 1);
    assert.equal(client.bufferedBytes, 0);
  });

  test("nothing is delivered after a close, not even what came before it", async ({ client, server }) => {
    const atServer = watch(server), atClient = watch(client);
    const stream = client.openStream();
    stream.send(pattern(1));
    server.close(0, "");
    await until(() => atServer.closes.length === 1 && atClient.closes.length === 1);
    assert.equal(atServer.has(stream.id), false);
  });
}

/** Bytes that tell their length and position. */
export function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + length;
  return bytes;
}

interface Seen {
  readonly stream: ChannelStream;
  readonly messages: Uint8Array[];
  finished: boolean;
  resetCode: number | undefined;
}

/** Handles a channel and its streams, noting everything; asserts what must never happen. */
export function watch(channel: Channel, onMessage?: (stream: ChannelStream, message: Uint8Array) => void) {
  const streams = new Map<number, Seen>();
  const closes: CloseReason[] = [];
  const own = (stream: ChannelStream): ChannelStream => {
    assert(!streams.has(stream.id), "A stream begins once");
    const seen: Seen = { stream, messages: [], finished: false, resetCode: undefined };
    streams.set(stream.id, seen);
    const living = () => assert(closes.length === 0 && !seen.finished && seen.resetCode === undefined);
    stream.handler = {
      onMessage(message) {
        living();
        seen.messages.push(message);
        onMessage?.(stream, message);
      },
      onFinish() {
        living();
        seen.finished = true;
      },
      onReset(code) {
        living();
        seen.resetCode = code;
      },
    };
    return stream;
  };
  channel.handler = {
    onStream: own,
    onClose: (reason) => void closes.push(reason),
  };
  return {
    closes,
    own,
    has: (id: number) => streams.has(id),
    of: (id: number) => streams.get(id) ?? ({ messages: [], finished: false, resetCode: undefined } as unknown as Seen),
  };
}

/** Handles a channel, and collects its hints. */
function watchHints(channel: Channel): Uint8Array[] {
  const hints: Uint8Array[] = [];
  channel.handler = { onStream() {}, onClose() {}, onHint: (bytes) => void hints.push(bytes) };
  return hints;
}

/** Waits for something that must come. */
export async function until(condition: () => boolean, timeoutMs = 60_000): Promise<void> {
  for (const endMs = performance.now() + timeoutMs; !condition();) {
    if (performance.now() > endMs) throw new assert.AssertionError({ message: `Did not come: ${condition}` });
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Gives what must not come the time to come: a few round trips of loopback. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 30));
}
