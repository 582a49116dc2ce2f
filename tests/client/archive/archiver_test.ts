import assert from "node:assert/strict";
import { ArchiveBook } from "../../../client/archive/archive_book.ts";
import { Archiver } from "../../../client/archive/archiver.ts";
import { decodeChunk } from "../../../client/archive/chunk.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { Credentials } from "../../../client/account/credentials.ts";
import { CannotReachError, RefusedError } from "../../../client/errors.ts";
import type { History } from "../../../client/talk/history.ts";
import type { Link } from "../../../client/network/link.ts";
import { archiveKeyId, openChunk, sha256 } from "../../../shared/crypto/mod.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import type { RequestOf, ResponseOf } from "../../../shared/protocol/mod.ts";
import { ALICE, fromBob, historyWithBob, withDatabase } from "../homes.ts";
import { settle, TestTimers } from "../live_timers.ts";

const OWNER = { clusterId: new Uint8Array(16).fill(2), name: ALICE };
const KEY = new Uint8Array(32).fill(1);

Deno.test("Archiver waits until nothing has happened for a while, and not for ever", async () => {
  await withArchiver(async ({ archiver, history, server, timers }) => {
    archiver.connected();
    history.add(fromBob(1));
    archiver.poke();
    await timers.pass(4_000);
    assert.equal(server.seqs().length, 0);
    await timers.pass(2_000);
    assert.deepEqual(server.seqs(), [1]);
    // Somebody writes every second.
    for (let seq = 2; seq <= 25; seq++) {
      history.add(fromBob(seq));
      archiver.poke();
      await timers.pass(1_000);
    }
    assert.deepEqual(server.seqs(), [1], "it is not a moment to spare yet");
    for (let seq = 26; seq <= 60; seq++) {
      history.add(fromBob(seq));
      archiver.poke();
      await timers.pass(1_000);
    }
    assert(server.seqs().length > 25, "a busy home is archived, too");
  });
});

Deno.test("Archiver sends one chunk after the other, at a bounded rate", async () => {
  await withArchiver(async ({ archiver, history, server, timers }) => {
    for (let seq = 1; seq <= 8; seq++) history.add(fromBob(seq, { text: "x".repeat(40_000) }));
    archiver.poke();
    await timers.pass(5_000);
    assert.equal(server.chunks.length, 1);
    await timers.pass(1_000);
    assert.equal(server.chunks.length, 5);
    await timers.pass(1_000);
    assert.deepEqual(server.seqs(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert.equal(timers.waiting, 0, "nothing is looked for any more");
  });
});

Deno.test("Archiver asks nothing while the archive is off", async () => {
  await withArchiver(async ({ archiver, book, history, server, timers }) => {
    book.switchOff();
    history.add(fromBob(1));
    archiver.connected();
    await timers.pass(100_000);
    assert.equal(server.asked, 0);
  });
});

Deno.test("Archiver doubles nothing where an answer got lost, or where it was ended in between", async () => {
  await withArchiver(async ({ archiver, history, server, timers, again }) => {
    history.add(fromBob(1));
    server.loses = 1;
    await assert.rejects(archiver.flush(), CannotReachError);
    assert.deepEqual(server.seqs(), [1]);
    history.add(fromBob(2));
    archiver.close();
    const next = again();
    next.connected();
    await timers.pass(10_000);
    assert.deepEqual(server.seqs(), [1, 2]);
    next.close();
  });
});

Deno.test("Archiver says once that the archive is full, and goes on when there is room", async () => {
  await withArchiver(async ({ archiver, history, server, notices, timers, again }) => {
    history.add(fromBob(1));
    await archiver.flush();
    server.bytesMax = 400;
    for (const seq of [2, 3]) {
      history.add(fromBob(seq));
      archiver.poke();
      await timers.pass(6_000);
    }
    assert(archiver.isFull);
    archiver.close();
    const next = again();
    next.connected();
    await timers.pass(6_000);
    assert.deepEqual(notices.map((text) => text.slice(0, 20)), ["Your archive is full"]);
    assert.deepEqual(server.seqs(), [1]);
    server.bytesMax = 1 << 20;
    next.connected();
    await timers.pass(6_000);
    assert.deepEqual(server.seqs(), [1, 2, 3]);
    server.bytesMax = 0;
    history.add(fromBob(4));
    next.connected();
    await timers.pass(6_000);
    assert.equal(notices.length, 2, "it had gone on since");
    next.close();
  });
});

Deno.test("Archiver notices that the server has less than it had, says so, and archives again what it lost", async () => {
  await withArchiver(async ({ archiver, history, server, notices }) => {
    for (const seq of [1, 2]) {
      history.add(fromBob(seq));
      await archiver.flush();
    }
    server.chunks.pop();
    history.add(fromBob(3));
    // Also without a new connection: the chunk finds no place.
    await archiver.flush();
    assert.equal(notices.length, 1);
    assert.match(notices[0]!, /less of your archive than it had.*archived again/);
    assert.deepEqual([...new Set(server.seqs())].sort(), [1, 2, 3]);
    await archiver.flush();
    assert.equal(notices.length, 1);
  });
});

Deno.test("Archiver goes on in a stream of its own where this home was put back", async () => {
  await withArchiver(async ({ archiver, history, server, notices, database }) => {
    history.add(fromBob(1));
    await archiver.flush();
    const before = database.get("SELECT * FROM archive_stream")!;
    history.add(fromBob(2));
    await archiver.flush();
    // A copy of the home from before the second message; that came again from the log, and a third.
    database.run(
      "UPDATE archive_stream SET chunks = ?, head = ?, position = ?, messages = ?",
      1,
      before["head"] as never,
      1,
      1,
    );
    database.run("DELETE FROM archive_seen");
    history.add(fromBob(3));
    await archiver.flush();
    assert.deepEqual(server.seqs(), [1, 2, 2, 3]);
    assert.equal(new Set(server.chunks.map(({ stream }) => stream.toHex())).size, 2);
    assert.deepEqual(notices, []);
  });
});

Deno.test("Archiver stops where there is no archive, or another one, and says so", async () => {
  for (const keyId of [undefined, new Uint8Array(16)]) {
    await withArchiver(async ({ archiver, book, history, server, notices }) => {
      history.add(fromBob(1));
      await archiver.flush();
      server.keyId = keyId;
      history.add(fromBob(2));
      await archiver.flush();
      assert.equal(book.isOn, false);
      assert.match(notices[0]!, keyId === undefined ? /has no archive of yours/ : /under another key/);
      await archiver.flush();
      assert.deepEqual([notices.length, server.seqs()], [1, [1]]);
    });
  }
});

Deno.test("Archiver says that the recovery key of now does not open the archive, and archives all the same", async () => {
  await withArchiver(async ({ archiver, history, server, notices }) => {
    server.isCurrent = false;
    history.add(fromBob(1));
    await archiver.flush();
    archiver.connected();
    history.add(fromBob(2));
    await archiver.flush();
    assert.deepEqual(server.seqs(), [1, 2]);
    assert.deepEqual(notices.map((text) => /does not open with the recovery key/.test(text)), [true]);
  });
});

/** As much of a server as there is to it. */
class TestServer {
  readonly chunks: { readonly stream: Uint8Array; readonly number: number; readonly body: Uint8Array }[] = [];
  keyId: Uint8Array | undefined = archiveKeyId(KEY);
  isCurrent = true;
  bytesMax = 1 << 20;
  /** So many answers get lost. */
  loses = 0;
  asked = 0;

  readonly ask = (async (request: RequestOf<"archive"> | RequestOf<"putArchiveChunk">) => {
    this.asked++;
    await Promise.resolve();
    return request.type === "archive" ? this.#shown() : this.#put(request);
  }) as unknown as Link["ask"];

  seqs(): number[] {
    return this.chunks.flatMap(({ stream, number, body: sealed }) =>
      decodeChunk(openChunk({ key: KEY, ...OWNER, stream, number, sealed })!).parts
        .flatMap(({ entries }) => entries.map(({ seq }) => seq))
    );
  }

  #shown(): ResponseOf<"archive"> {
    const streams = new Map<string, ResponseOf<"archive">["streams"][number]>();
    for (const { stream, number, body } of this.chunks) {
      const bytes = (streams.get(stream.toHex())?.bytes ?? 0) + body.length;
      streams.set(stream.toHex(), { stream, chunks: number, bytes, head: sha256(body), newestMs: 0 });
    }
    return {
      type: "archive",
      key: this.keyId && { keyId: this.keyId, sealed: new Uint8Array(1), isCurrent: this.isCurrent, madeMs: 0 },
      streams: [...streams.values()],
      bytesMax: this.bytesMax,
    };
  }

  #put({ keyId, stream, number, body }: RequestOf<"putArchiveChunk">): ResponseOf<"ok"> {
    if (this.keyId?.toHex() !== keyId.toHex()) throw new RefusedError("none", ErrorCode.notFound);
    const own = this.chunks.filter((chunk) => chunk.stream.toHex() === stream.toHex()), there = own[number - 1];
    if (there !== undefined && there.body.toHex() !== body.toHex()) {
      throw new RefusedError("taken", ErrorCode.forbidden);
    }
    if (there === undefined && number !== own.length + 1) throw new RefusedError("gap", ErrorCode.forbidden);
    const bytes = this.chunks.reduce((sum, chunk) => sum + chunk.body.length, 0);
    if (there === undefined && bytes + body.length > this.bytesMax) throw new RefusedError("full", ErrorCode.limit);
    if (there === undefined) this.chunks.push({ stream, number, body });
    if (this.loses-- > 0) throw new CannotReachError("lost");
    return { type: "ok" };
  }
}

interface Parts {
  readonly archiver: Archiver;
  readonly book: ArchiveBook;
  readonly history: History;
  readonly server: TestServer;
  readonly notices: string[];
  readonly timers: TestTimers;
  readonly database: Parameters<Parameters<typeof withDatabase>[0]>[0];
  /** The next process of the same home. */
  again(): Archiver;
}

function withArchiver(use: (parts: Parts) => Promise<void>): Promise<void> {
  return withDatabase(async (database, path) => {
    const history = historyWithBob(database), server = new TestServer(), timers = new TestTimers();
    const book = new ArchiveBook({
      database,
      conversations: new Conversations(database),
      credentials: new Credentials(path, database),
    });
    book.keep(KEY);
    book.switchOn();
    const notices: string[] = [];
    const again = () =>
      new Archiver({ book, owner: OWNER, link: server, timers, onNotice: ({ text }) => notices.push(text) });
    const archiver = again();
    await use({ archiver, book, history, server, notices, timers, database, again });
    archiver.close();
    await settle();
  });
}
