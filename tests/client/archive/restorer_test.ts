import assert from "node:assert/strict";
import fc from "fast-check";
import type { ShownArchive } from "../../../client/archive/archiver.ts";
import { type ChunkPart, encodeChunk, type StreamHead } from "../../../client/archive/chunk.ts";
import { type Restored, Restorer } from "../../../client/archive/restorer.ts";
import type { Database } from "../../../client/home/database.ts";
import { ConversationKind, Conversations } from "../../../client/talk/conversations.ts";
import { History } from "../../../client/talk/history.ts";
import type { Link } from "../../../client/network/link.ts";
import { OwnProgress } from "../../../client/talk/own_progress.ts";
import { Shown } from "../../../client/talk/shown.ts";
import { directConversationId, sealChunk, sha256 } from "../../../shared/crypto/mod.ts";
import type { ConversationId, RequestOf } from "../../../shared/protocol/mod.ts";
import { ALICE, BOB, BOBS_DEVICE, idOf, withDatabase } from "../homes.ts";

const OWNER = { clusterId: new Uint8Array(16).fill(2), name: ALICE }, KEY = new Uint8Array(32).fill(1);
const TALK = directConversationId(OWNER.clusterId, ALICE, BOB), GROUP = "0b".repeat(16) as ConversationId;
const STREAM = new Uint8Array(16).fill(3), OTHER = new Uint8Array(16).fill(4);

Deno.test("Restorer puts what is there into an empty home, conversations with it", async () => {
  const chunks = [
    { stream: STREAM, parts: [part([1, 2]), part([7], { conversation: GROUP, kind: 2, name: "past" })] },
    { stream: STREAM, parts: [part([4, 5])] },
    { stream: OTHER, parts: [part([2, 3])] },
  ];
  await withRestored({ chunks: made(chunks) }, ({ restored, conversations, shown, progress, seqs }) => {
    assert.deepEqual(restored, { messages: 6, known: 1, chunks: 3, problems: [] });
    assert.deepEqual(seqs(TALK), [1, 2, 3, 4, 5]);
    const talk = conversations.get(TALK)!, past = conversations.get(GROUP)!;
    assert.deepEqual([talk.kind, talk.peer, talk.ended, talk.cursor], [ConversationKind.direct, BOB, false, 2]);
    assert.deepEqual([past.kind, past.name, past.ended, past.cursor], [ConversationKind.group, "past", true, 7]);
    assert.deepEqual(shown.unshown(10), []);
    assert.deepEqual(progress.untold(true), [], "nobody is told that it was read");
  });
});

Deno.test("Restorer takes a message once that had two places: it was sent again to a server that was restored", async () => {
  const moved = part([900]), again = { ...moved, entries: moved.entries.map((entry) => ({ ...entry, id: idOf(2) })) };
  const chunks = made([{ stream: STREAM, parts: [part([1, 2])] }, { stream: OTHER, parts: [again, part([901])] }]);
  await withRestored({ chunks }, ({ restored, seqs }) => {
    assert.deepEqual([restored.messages, restored.known, restored.problems], [3, 1, []]);
    assert.deepEqual(seqs(TALK), [1, 2, 901]);
  });
});

Deno.test("Restorer leaves a conversation that the home knows as it is", async () => {
  await withDatabase(async (database) => {
    const conversations = new Conversations(database), history = new History(database);
    conversations.add({ id: TALK, peer: BOB, cursor: 40 });
    await restore(database, { chunks: made([{ stream: STREAM, parts: [part([1, 2])] }]) });
    assert.deepEqual([conversations.get(TALK)?.cursor, history.messagesIn(TALK, 9).length], [40, 2]);
  });
});

Deno.test("Restorer refuses a direct conversation that is not the one of these two, and a name that is none", async () => {
  const parts = [
    part([1], { conversation: "0c".repeat(16) as ConversationId }),
    part([1], { name: "not a name!" }),
    part([1], { kind: 3 }),
    part([2]),
  ];
  await withRestored({ chunks: made([{ stream: STREAM, parts }]) }, ({ restored, shown }) => {
    assert.deepEqual([restored.messages, restored.problems.length], [1, 3]);
    assert.match(restored.problems[0]!, /cannot be one/);
    assert.equal(shown.summaries().length, 1);
  });
});

Deno.test("Restorer names what a server does to chunks, and takes all others", async () => {
  const chunks = made([1, 2, 3, 4, 5].map((seq) => ({ stream: STREAM, parts: [part([seq])] })));
  const [c1, c2, c3, , c5] = chunks as [Chunk, Chunk, Chunk, Chunk, Chunk];
  const altered = (number: number) => `chunk ${number} was altered, or is not of that place`;
  const lies: [what: string, given: Chunk[], said: string[], seqs: number[]][] = [
    ["nothing", chunks, [], [1, 2, 3, 4, 5]],
    ["altered", chunks.with(1, { ...c2, body: c2.body.with(60, c2.body[60]! ^ 1) }), [altered(2)], [1, 3, 4, 5]],
    [
      "swapped",
      chunks.with(1, { ...c3, number: 2 }).with(2, { ...c2, number: 3 }),
      [altered(2), altered(3)],
      [1, 4, 5],
    ],
    ["replayed", chunks.with(4, { ...c1, number: 5 }), [altered(5)], [1, 2, 3, 4]],
    ["missing", chunks.toSpliced(1, 2), ["chunks 2 to 3 are missing"], [1, 4, 5]],
    ["missing at the end", chunks.slice(0, 4), ["chunk 5 is missing"], [1, 2, 3, 4]],
    ["missing at all", [], ["chunks 1 to 5 are missing"], []],
    ["given twice", [c1, c1, c2, c3, c5], ["the server gives chunk 1 once more", "chunk 4 is missing"], [1, 2, 3, 5]],
    ["given again and again", [c1, c1], ["the server gives chunk 1 once more", "chunks 2 to 5 are missing"], [1]],
    ["cut off", chunks.with(0, { ...c1, body: c1.body.subarray(0, 20) }), [altered(1)], [2, 3, 4, 5]],
    ["empty", chunks.with(4, { ...c5, body: new Uint8Array() }), [altered(5)], [1, 2, 3, 4]],
  ];
  const shown = shownOf(chunks);
  for (const [what, given, said, expected] of lies) {
    await withRestored({ chunks: given, shown }, ({ restored, seqs }) => {
      assert.deepEqual(restored.problems, said.map((text) => `Part 03030303: ${text}`), what);
      assert.deepEqual(seqs(TALK), expected, what);
    });
  }
});

Deno.test("Restorer names a chunk of another stream, another user or another archive", async () => {
  const [mine] = made([{ stream: STREAM, parts: [part([1])] }]);
  const parts = [part([2])];
  const foreign = [
    made([{ stream: OTHER, parts }])[0]!.body,
    made([{ stream: STREAM, parts }], { owner: { ...OWNER, name: BOB } })[0]!.body,
    made([{ stream: STREAM, parts }], { owner: { ...OWNER, clusterId: new Uint8Array(16) } })[0]!.body,
    made([{ stream: STREAM, parts }], { key: new Uint8Array(32) })[0]!.body,
  ];
  for (const body of foreign) {
    await withRestored({ chunks: [{ ...mine!, body }] }, ({ restored }) => {
      assert.deepEqual([restored.messages, restored.problems.length], [0, 1]);
    });
  }
});

Deno.test("Restorer finds a chunk that does not follow on the one before it: two copies of a home wrote one stream", async () => {
  const ours = made([{ stream: STREAM, parts: [part([1])] }, { stream: STREAM, parts: [part([2])] }]);
  const other = made([{ stream: STREAM, parts: [part([1, 3])] }]);
  await withRestored({ chunks: [other[0]!, ours[1]!] }, ({ restored, seqs }) => {
    assert.deepEqual(restored.problems, ["Part 03030303: chunk 2 does not follow on the one before it"]);
    assert.deepEqual(seqs(TALK), [1, 2, 3]);
  });
});

Deno.test("Restorer finds that a server shows less than streams say of one another, or than this home remembers", async () => {
  const own = made([1, 2].map((seq) => ({ stream: STREAM, parts: [part([seq])] })));
  const head: StreamHead = { stream: STREAM, chunks: 2, head: sha256(own[1]!.body) };
  const [other] = made([{ stream: OTHER, parts: [part([3])], others: [head] }]);
  const missing = ["Part 03030303: chunk 2, which the server had, is missing"];
  await withRestored({ chunks: [own[0]!, other!] }, ({ restored }) => assert.deepEqual(restored.problems, missing));
  await withRestored({ chunks: [own[0]!], remembered: [head, head] }, ({ restored }) => {
    assert.deepEqual(restored.problems, missing);
  });
  await withRestored({ chunks: [...own, other!], remembered: [head] }, ({ restored }) => {
    assert.deepEqual(restored.problems, []);
  });
  const changed = { ...head, head: new Uint8Array(32) };
  await withRestored({ chunks: own, remembered: [changed] }, ({ restored }) => {
    assert.deepEqual(restored.problems, ["Part 03030303: chunk 2, which the server had, is another one now"]);
  });
});

Deno.test("Restorer takes exactly what opens in its place, whatever a server makes of the rest", async () => {
  const chunks = made(Array.from({ length: 8 }, (_, at) => ({ stream: STREAM, parts: [part([at + 1])] })));
  const shown = shownOf(chunks);
  const lie = fc.oneof(
    { weight: 5, arbitrary: fc.constant("right" as const) },
    fc.constant("left out" as const),
    fc.record({ flip: fc.nat(200) }),
    fc.record({ of: fc.nat(7) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(lie, { minLength: 8, maxLength: 8 }), async (lies) => {
      const given = lies.flatMap((lie, at): Chunk[] => {
        const chunk = chunks[at]!;
        if (lie === "left out") return [];
        if (lie === "right") return [chunk];
        if ("of" in lie) return [{ ...chunk, body: chunks[lie.of]!.body }];
        return [{ ...chunk, body: chunk.body.with(lie.flip, chunk.body[lie.flip]! ^ 4) }];
      });
      const right = lies.flatMap((lie, at) =>
        lie === "right" || (typeof lie === "object" && "of" in lie && lie.of === at) ? [at + 1] : []
      );
      await withRestored({ chunks: given, shown }, ({ restored, seqs }) => {
        assert.deepEqual(seqs(TALK), right);
        assert.equal(restored.problems.length > 0, right.length < 8);
      });
    }),
    { numRuns: 40 },
  );
});

interface Chunk {
  readonly stream: Uint8Array;
  readonly number: number;
  readonly body: Uint8Array;
}

/** As a home makes them: each names the one before it. */
function made(
  contents: readonly { stream: Uint8Array; parts: ChunkPart[]; others?: StreamHead[] }[],
  { key = KEY, owner = OWNER } = {},
): Chunk[] {
  const chunks: Chunk[] = [];
  for (const { stream, parts, others = [] } of contents) {
    const before = chunks.filter((chunk) => chunk.stream === stream), number = before.length + 1;
    const previous = before.length === 0 ? new Uint8Array(32) : sha256(before.at(-1)!.body);
    const content = encodeChunk({ previous, messages: number, others, parts });
    chunks.push({ stream, number, body: sealChunk({ key, ...owner, stream, number, content }) });
  }
  return chunks;
}

function part(seqs: number[], changes: Partial<ChunkPart> = {}): ChunkPart {
  const entries = seqs.map((seq) => ({
    seq,
    id: idOf(seq),
    sender: BOB,
    device: BOBS_DEVICE,
    timeMs: 1_000 * seq,
    text: `text ${seq}`,
  }));
  return { conversation: TALK, kind: 1, name: BOB, entries, ...changes };
}

function shownOf(chunks: readonly Chunk[]): ShownArchive {
  const streams = new Map<string, ShownArchive["streams"][number]>();
  for (const { stream, number, body } of chunks) {
    streams.set(stream.toHex(), { stream, chunks: number, bytes: 1, head: sha256(body), newestMs: 1 });
  }
  return { type: "archive", key: undefined, streams: [...streams.values()], bytesMax: 1 };
}

interface Given {
  readonly chunks: readonly Chunk[];
  /** By default what is true of them. */
  readonly shown?: ShownArchive;
  readonly remembered?: readonly StreamHead[];
}

async function restore(
  database: Database,
  { chunks, shown = shownOf(chunks), remembered = [] }: Given,
): Promise<Restored> {
  const ask = ((request: RequestOf<"archiveChunks">) => {
    const { stream, after } = request;
    // Pages of two.
    const behind = chunks.findIndex((chunk) => chunk.stream.toHex() === stream.toHex() && chunk.number > after);
    const page = behind < 0
      ? []
      : chunks.slice(behind, behind + 2).filter((chunk) => chunk.stream.toHex() === stream.toHex());
    return Promise.resolve({ type: "archiveChunks", chunks: page.map(({ number, body }) => ({ number, body })) });
  }) as unknown as Link["ask"];
  const conversations = new Conversations(database);
  const restorer = new Restorer({
    database,
    conversations,
    owner: OWNER,
    key: KEY,
    link: { ask },
    onProgress: () => {},
  });
  return await restorer.run(shown, remembered);
}

function withRestored(
  given: Given,
  look: (parts: {
    restored: Restored;
    conversations: Conversations;
    shown: Shown;
    progress: OwnProgress;
    seqs(id: ConversationId): number[];
  }) => void,
): Promise<void> {
  return withDatabase(async (database) => {
    const restored = await restore(database, given), history = new History(database);
    const conversations = new Conversations(database),
      shown = new Shown(database),
      progress = new OwnProgress(database);
    look({ restored, conversations, shown, progress, seqs: (id) => history.messagesIn(id, 100).map(({ seq }) => seq) });
  });
}
