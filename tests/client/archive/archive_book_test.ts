import assert from "node:assert/strict";
import fc from "fast-check";
import { ArchiveBook, type PendingChunk } from "../../../client/archive/archive_book.ts";
import { type ChunkContent, decodeChunk } from "../../../client/archive/chunk.ts";
import { Copies } from "../../../client/copies/copies.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { Credentials } from "../../../client/account/credentials.ts";
import type { Database } from "../../../client/home/database.ts";
import type { History } from "../../../client/talk/history.ts";
import { Own } from "../../../client/talk/message_row.ts";
import { openChunk, sha256 } from "../../../shared/crypto/mod.ts";
import { ARCHIVE_CHUNK_BYTES_MAX, TEXT_BYTES_MAX } from "../../../shared/limits.ts";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { ALICE, ALICES_DEVICE, BOB, fromBob, historyWithBob, idOf, TALK, withDatabase } from "../homes.ts";

const OWNER = { clusterId: new Uint8Array(16).fill(2), name: ALICE };
const KEY = new Uint8Array(32).fill(1);
const GROUP = "0b".repeat(16) as ConversationId;

Deno.test("ArchiveBook.next() makes nothing while the home does not archive", async () => {
  await withBook((book, history) => {
    history.add(fromBob(1));
    assert.equal(book.next(OWNER), undefined);
    book.keep(KEY);
    assert.equal(book.next(OWNER), undefined, "a key alone switches nothing on");
    book.switchOn();
    assert.equal(book.next(OWNER)?.number, 1);
    book.switchOff();
    assert.equal(book.next(OWNER), undefined);
    assert.deepEqual(book.key(), KEY, "for the next recovery key that is made here");
  }, { isOn: false });
});

Deno.test("ArchiveBook.next() takes messages of oneself and of others, and no copies, refused rows or changes", async () => {
  await withBook((book, history, database) => {
    history.add(fromBob(1));
    history.add(fromBob(2, { sender: ALICE, recipient: BOB, device: ALICES_DEVICE, own: Own.here, text: "mine" }));
    history.add({ ...fromBob(3), ...REFUSED });
    const conversations = new Conversations(database);
    conversations.addGroup({ id: GROUP, cursor: 0 });
    conversations.setGroup(GROUP, { name: "team", topic: "", ended: false, members: [] });
    history.add(fromBob(5, { conversation: GROUP, id: idOf(105), recipient: "" as never }));
    history.add(fromBob(4, { conversation: GROUP, id: idOf(104), recipient: "" as never }));
    const { text: _text, ...change } = fromBob(6, { conversation: GROUP, id: idOf(106) });
    history.add({ ...change, change: { lines: [], ended: false } });
    const copied = { seq: 9, id: idOf(9), sender: BOB, device: ALICES_DEVICE, timeMs: 1, text: "a copy" };
    const copies = new Copies({ database, name: ALICE });
    assert.equal(copies.importCopies({ conversation: TALK, entries: [copied], from: BOB }), 1);
    assert.equal(book.waiting(), 4);
    const { parts, messages, previous } = take(book);
    assert.deepEqual([messages, previous], [4, new Uint8Array(32)]);
    assert.deepEqual(parts.map(({ kind, name }) => [kind, name]), [[1, "bob"], [2, "team"]]);
    assert.deepEqual(parts.map(({ entries }) => entries.map(({ seq, text }) => [seq, text])), [
      [[1, "text 1"], [2, "mine"]],
      [[4, "text 4"], [5, "text 5"]],
    ]);
    assert.equal(book.waiting(), 0);
    assert.equal(book.next(OWNER), undefined);
  });
});

Deno.test("ArchiveBook.next() gives the same bytes until the server has them, whatever is killed", async () => {
  await withBook((book, history, database) => {
    history.add(fromBob(1));
    const chunk = book.next(OWNER)!;
    history.add(fromBob(2));
    assert.deepEqual(book.next(OWNER), chunk);
    // Another process of this home, or the next one.
    const other = new ArchiveBook({
      database,
      conversations: new Conversations(database),
      credentials: new Credentials("", database),
    });
    assert.deepEqual(other.next(OWNER), chunk);
    other.took(chunk);
    book.took(chunk);
    const next = book.next(OWNER)!;
    assert.deepEqual([next.number, open(next).messages], [2, 2]);
    assert.deepEqual(open(next).previous, sha256(chunk.body));
    assert.deepEqual(open(next).parts[0]?.entries.map(({ seq }) => seq), [2]);
    book.took(chunk);
    assert.deepEqual(book.next(OWNER), next, "an answer that comes late moves nothing");
  });
});

Deno.test("ArchiveBook.next() fills chunks of at most 48 KiB, and gives what is longer one of its own", async () => {
  await withBook((book, history) => {
    const lengths = [20_000, 20_000, 20_000, TEXT_BYTES_MAX, 1, 60_000];
    for (const [at, length] of lengths.entries()) history.add(fromBob(at + 1, { text: "x".repeat(length) }));
    const seqs: number[][] = [];
    for (let chunk = book.next(OWNER); chunk !== undefined; chunk = book.next(OWNER)) {
      const { parts } = open(chunk), taken = parts.flatMap(({ entries }) => entries);
      seqs.push(taken.map(({ seq }) => seq));
      assert(chunk.body.length <= (taken.length > 1 ? 48 << 10 : ARCHIVE_CHUNK_BYTES_MAX), String(chunk.body.length));
      book.took(chunk);
    }
    assert.deepEqual(seqs, [[1, 2], [3], [4], [5], [6]]);
  });
});

Deno.test("ArchiveBook.next() passes a row that is damaged, and what was written before its version", async () => {
  await withBook((book, history, database) => {
    for (const seq of [1, 2, 3]) history.add(fromBob(seq));
    database.run("UPDATE messages SET sealed = zeroblob(80) WHERE seq = 2");
    assert.deepEqual(take(book).parts[0]?.entries.map(({ seq }) => seq), [1, 3]);
    history.add(fromBob(4));
    database.run("UPDATE messages SET sealed = NULL WHERE seq = 4");
    assert.equal(book.next(OWNER), undefined);
    history.add(fromBob(5));
    assert.deepEqual(take(book).parts[0]?.entries.map(({ seq }) => seq), [5]);
  });
});

Deno.test("ArchiveBook.compare() finds what the server has no more, and each chunk says what was shown of other streams", async () => {
  await withBook((book, history) => {
    const other = { stream: new Uint8Array(16).fill(7), chunks: 3, head: new Uint8Array(32).fill(3) };
    assert.deepEqual(book.compare([other]), []);
    history.add(fromBob(1));
    assert.deepEqual(take(book).others.map(plain), [plain(other)]);
    history.add(fromBob(2));
    assert.deepEqual(take(book).others, [], "it was said");
    const own = book.own()!;
    const shown = [{ ...other, chunks: 5, head: new Uint8Array(32).fill(5) }, own];
    assert.deepEqual(book.compare(shown), []);
    assert.deepEqual(book.compare([shown[0]!]).map(({ chunks }) => chunks), [2], "one's own stream is gone");
    assert.deepEqual(book.compare([{ ...shown[0]!, chunks: 4 }, own]).length, 1, "a chunk less");
    assert.deepEqual(book.compare([{ ...shown[0]!, head: new Uint8Array(32) }, own]).length, 1, "another head");
    book.accept([own]);
    assert.deepEqual(book.compare([own]), []);
    assert.deepEqual(book.seen().map(({ chunks }) => chunks), [2]);
  });
});

Deno.test("ArchiveBook.beginAgain() goes on in another stream, with everything where the server has lost it", async () => {
  await withBook((book, history) => {
    for (const seq of [1, 2]) history.add(fromBob(seq));
    take(book);
    const { stream } = book.own()!;
    history.add(fromBob(3));
    const stuck = book.next(OWNER)!;
    book.beginAgain(stream, false);
    const again = book.next(OWNER)!;
    assert.notDeepEqual(again.stream, stuck.stream);
    assert.deepEqual([again.number, open(again).parts[0]?.entries.map(({ seq }) => seq)], [1, [3]]);
    book.beginAgain(stream, true);
    assert.deepEqual(book.next(OWNER), again, "another process was quicker");
    book.beginAgain(again.stream, true);
    assert.deepEqual(open(book.next(OWNER)!).parts[0]?.entries.map(({ seq }) => seq), [1, 2, 3]);
  });
});

Deno.test("ArchiveBook.keep() of another archive's key begins anew, and forget() leaves nothing", async () => {
  await withBook((book, history, database) => {
    history.add(fromBob(1));
    take(book);
    book.keep(KEY);
    assert.equal(book.own()?.chunks, 1);
    book.keep(new Uint8Array(32).fill(9));
    assert.deepEqual([book.isOn, book.own(), book.seen()], [false, undefined, []]);
    book.switchOn();
    assert.equal(book.waiting(), 1);
    book.forget();
    assert.deepEqual([book.isOn, book.key(), book.waiting()], [false, undefined, 1]);
    assert.equal(database.get("SELECT 1 FROM secrets WHERE name = 'archive-key'"), undefined);
  });
});

Deno.test("ArchiveBook archives every message once, in whatever order the rest happens", async () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.nat(3).map((count) => ({ do: "add", count }) as const) },
    { weight: 3, arbitrary: fc.constantFrom({ do: "send" } as const, { do: "answered" } as const) },
    { weight: 1, arbitrary: fc.constantFrom({ do: "other" } as const, { do: "off" } as const, { do: "on" } as const) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), (steps) =>
      withBook((book, history, database) => {
        // What the server has: it takes a repeat, and nothing else in a place that is taken.
        const server: PendingChunk[] = [];
        const send = (from: ArchiveBook) => {
          const chunk = from.next(OWNER);
          if (chunk === undefined) return undefined;
          if (server.length >= chunk.number) assert.deepEqual(chunk.body, server[chunk.number - 1]?.body);
          else server.push(chunk);
          assert.equal(server.length >= chunk.number, true);
          return chunk;
        };
        const other = new ArchiveBook({
          database,
          conversations: new Conversations(database),
          credentials: new Credentials("", database),
        });
        let said = 0;
        for (const step of steps) {
          if (step.do === "add") { for (let at = 0; at < step.count; at++) history.add(fromBob(++said)); }
          // The answer gets lost.
          if (step.do === "send") send(book);
          if (step.do === "answered" || step.do === "other") {
            const chunk = send(step.do === "other" ? other : book);
            if (chunk !== undefined) book.took(chunk);
          }
          if (step.do === "off") book.switchOff();
          if (step.do === "on") book.switchOn();
        }
        book.switchOn();
        for (let chunk = send(book); chunk !== undefined; chunk = send(book)) book.took(chunk);
        const seqs = server.flatMap((chunk) =>
          open(chunk).parts.flatMap(({ entries }) => entries.map(({ seq }) => seq))
        );
        assert.deepEqual(seqs, Array.from({ length: said }, (_, at) => at + 1));
      })),
    { numRuns: 40 },
  );
});

/** Alice's home, with her conversation with Bob; it archives unless it is said otherwise. */
function withBook(
  use: (book: ArchiveBook, history: History, database: Database) => void,
  { isOn = true } = {},
): Promise<void> {
  return withDatabase((database, path) => {
    const history = historyWithBob(database);
    const book = new ArchiveBook({
      database,
      conversations: new Conversations(database),
      credentials: new Credentials(path, database),
    });
    if (isOn) {
      book.keep(KEY);
      book.switchOn();
    }
    use(book, history, database);
  });
}

/** The next chunk, once the server has it. */
function take(book: ArchiveBook): ChunkContent {
  const chunk = book.next(OWNER)!;
  book.took(chunk);
  return open(chunk);
}

function open({ stream, number, body: sealed }: PendingChunk): ChunkContent {
  return decodeChunk(openChunk({ key: KEY, ...OWNER, stream, number, sealed })!);
}

function plain<T>(value: T): T {
  return structuredClone(value);
}

const REFUSED = { text: undefined as never, reason: "no" };
