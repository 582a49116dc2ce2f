/** What every store must do with archives of history (docs/PROTOCOL.md §21); part of contract.ts. */
import assert from "node:assert/strict";
import type { NewArchiveChunk } from "../../../server/store/archives.ts";
import type { Store } from "../../../server/store/store.ts";
import { sha256 } from "../../../shared/crypto/mod.ts";
import {
  ARCHIVE_CHUNK_BYTES_MAX,
  ARCHIVE_PAGE_MAX,
  ARCHIVE_STREAMS_MAX,
  READ_BYTES_MAX,
  RECORD_AGE_MS_MIN,
} from "../../../shared/limits.ts";
import { bytesOf, deviceOf, directOf, nameOf, newUser, recordOf } from "./fixtures.ts";

type Test = (what: string, run: (store: Store) => Promise<void>) => void;

export function archivesContract(test: Test): void {
  test("setArchiveKey() begins an archive for the recovery key of now, and no other", async (store) => {
    await store.createUser(newUser("alice"));
    assert.equal(await store.archive(ALICE), undefined);
    assert.equal(await store.setArchiveKey(ALICE, keyOf("first", "r1")), "stale", "there is no recovery key");
    await setRecovery(store, "r1");
    assert.equal(await store.setArchiveKey(ALICE, keyOf("first", "r0")), "stale");
    assert.equal(await store.setArchiveKey(ALICE, keyOf("first", "r1")), "set");
    assert.deepEqual(plain(await store.archive(ALICE)), {
      keyId: idOf("first"),
      sealed: bytesOf("first for r1"),
      isCurrent: true,
      madeMs: 70,
      streams: [],
    });
    assert.equal(await store.setArchiveKey(ALICE, keyOf("second", "r1")), "taken");
    await assert.rejects(store.setArchiveKey(nameOf("nobody"), keyOf("first", "r1")), RangeError);
  });

  test("setArchiveKey() seals the same key anew, and an archive says whether its recovery key is that of now", async (store) => {
    await opened(store);
    await store.putArchiveChunk(chunkOf(1));
    await setRecovery(store, "r2");
    assert.equal((await store.archive(ALICE))?.isCurrent, false);
    assert.equal(await store.setArchiveKey(ALICE, keyOf("first", "r1")), "stale");
    assert.equal(await store.setArchiveKey(ALICE, { ...keyOf("first", "r2"), nowMs: 99 }), "set");
    const archive = (await store.archive(ALICE))!;
    assert.deepEqual([archive.isCurrent, archive.madeMs, archive.streams.length], [true, 70, 1]);
    assert.deepEqual(plain(archive.sealed), bytesOf("first for r2"));
  });

  test("putArchiveChunk() takes chunks in order, knows a repeat, and changes none", async (store) => {
    assert.equal(await store.putArchiveChunk(chunkOf(1)), "none");
    await opened(store);
    assert.equal(await store.putArchiveChunk({ ...chunkOf(1), keyId: idOf("second") }), "none");
    assert.equal(await store.putArchiveChunk(chunkOf(2)), "gap");
    assert.equal(await store.putArchiveChunk(chunkOf(1)), "stored");
    assert.equal(await store.putArchiveChunk(chunkOf(1)), "stored", "its answer got lost");
    assert.equal(await store.putArchiveChunk({ ...chunkOf(1), ...bodyOf("another") }), "taken");
    assert.equal(await store.putArchiveChunk(chunkOf(3)), "gap");
    assert.equal(await store.putArchiveChunk({ ...chunkOf(2), nowMs: 500 }), "stored");
    assert.equal(await store.putArchiveChunk(chunkOf(1, "b")), "stored");
    assert.equal(await store.putArchiveChunk({ ...chunkOf(1), user: nameOf("bob") }), "none");
    const [a, b] = (await store.archive(ALICE))!.streams;
    assert.deepEqual(plain(a), {
      stream: idOf("a"),
      chunks: 2,
      bytes: chunkOf(1).body.length + chunkOf(2).body.length,
      head: chunkOf(2).hash,
      newestMs: 500,
    });
    assert.deepEqual([b?.chunks, plain(b?.head)], [1, chunkOf(1, "b").hash]);
    assert.deepEqual(await read(store, "a"), ["a 1", "a 2"]);
    assert.deepEqual(await read(store, "a", 1), ["a 2"]);
    assert.deepEqual(await read(store, "b"), ["b 1"]);
    assert.deepEqual(await read(store, "c"), []);
    assert.deepEqual(await store.archiveChunks(nameOf("bob"), idOf("a"), 0), []);
  });

  test("putArchiveChunk() refuses what is more than an archive may hold, and takes repeats all the same", async (store) => {
    await opened(store);
    const archiveBytesMax = chunkOf(1).body.length + chunkOf(1, "b").body.length;
    assert.equal(await store.putArchiveChunk({ ...chunkOf(1), archiveBytesMax }), "stored");
    assert.equal(await store.putArchiveChunk({ ...chunkOf(1, "b"), archiveBytesMax }), "stored");
    assert.equal(await store.putArchiveChunk({ ...chunkOf(2), archiveBytesMax }), "full");
    assert.equal(await store.putArchiveChunk({ ...chunkOf(1), archiveBytesMax }), "stored");
    assert.deepEqual(await read(store, "a"), ["a 1"]);
    for (let at = 2; at < ARCHIVE_STREAMS_MAX; at++) {
      assert.equal(await store.putArchiveChunk(chunkOf(1, `stream ${at}`)), "stored");
    }
    assert.equal(await store.putArchiveChunk(chunkOf(1, "one more")), "limit");
    assert.equal(await store.putArchiveChunk(chunkOf(2)), "stored");
  });

  test("archiveChunks() gives pages of bounded size, and at least one chunk", async (store) => {
    await opened(store);
    const large = new Uint8Array(ARCHIVE_CHUNK_BYTES_MAX).fill(7), half = large.subarray(0, READ_BYTES_MAX / 2);
    for (const [at, body] of [large, half, half, half].entries()) {
      assert.equal(await store.putArchiveChunk({ ...chunkOf(at + 1), body, hash: sha256(body) }), "stored");
    }
    const numbers = async (after: number) =>
      (await store.archiveChunks(ALICE, idOf("a"), after)).map(({ number }) => number);
    assert.deepEqual(await numbers(0), [1]);
    assert.deepEqual(await numbers(1), [2, 3]);
    assert.deepEqual(await numbers(3), [4]);
    for (let number = 1; number <= ARCHIVE_PAGE_MAX + 1; number++) await store.putArchiveChunk(chunkOf(number, "b"));
    assert.equal((await store.archiveChunks(ALICE, idOf("b"), 0)).length, ARCHIVE_PAGE_MAX);
  });

  test("trim() by size counts no archives: nobody's messages go for what somebody keeps", async (store) => {
    await opened(store);
    await store.openDirect(directOf("alice", "bob"), ALICE, nameOf("bob"));
    await store.append([recordOf("alice", "bob", 1, { nowMs: 5 })]);
    const body = new Uint8Array(48 << 10).fill(3);
    for (let number = 1; number <= 64; number++) await store.putArchiveChunk({ ...chunkOf(number), body });
    for (let number = 1; number <= 64; number++) {
      await store.putArchiveChunk({ ...chunkOf(number, "b"), body: body.subarray(0, 297) });
    }
    const limits = { nowMs: 10 * RECORD_AGE_MS_MIN, ageMsMax: undefined, recordsMax: 10 };
    assert.equal(await store.trim({ ...limits, bytesMax: 1 << 20 }), 0);
    assert.equal(await store.trim({ ...limits, bytesMax: 1 }), 1);
  });

  test("dropArchive() ends one, and another may begin at once", async (store) => {
    await opened(store);
    for (let number = 1; number <= 40; number++) await store.putArchiveChunk(chunkOf(number));
    await store.dropArchive(ALICE, idOf("another"));
    assert.equal((await store.archive(ALICE))?.streams.length, 1);
    await store.dropArchive(ALICE, idOf("first"));
    await store.dropArchive(ALICE, idOf("first"));
    assert.equal(await store.archive(ALICE), undefined);
    assert.deepEqual(await read(store, "a"), []);
    assert.equal(await store.putArchiveChunk(chunkOf(41)), "none");
    assert.equal(await store.setArchiveKey(ALICE, keyOf("second", "r1")), "set");
    const chunk = { ...chunkOf(1), keyId: idOf("second") };
    assert.equal(await store.putArchiveChunk(chunk), "stored");
    while (await store.sweep(1_000));
    assert.deepEqual(await read(store, "a"), ["a 1"]);
  });
}

async function opened(store: Store): Promise<void> {
  await store.createUser(newUser("alice"));
  await store.createUser(newUser("bob"));
  await setRecovery(store, "r1");
  assert.equal(await store.setArchiveKey(ALICE, keyOf("first", "r1")), "set");
}

async function setRecovery(store: Store, what: string): Promise<void> {
  const backup = bytesOf("backup");
  await store.setRecovery(ALICE, { proofHash: bytesOf(what), backup, device: deviceOf("alice"), nowMs: 10 });
}

function keyOf(what: string, recovery: string) {
  return {
    keyId: idOf(what),
    sealed: bytesOf(`${what} for ${recovery}`),
    recoveryProofHash: bytesOf(recovery),
    nowMs: 70,
  };
}

function chunkOf(number: number, stream = "a"): NewArchiveChunk {
  return {
    user: ALICE,
    keyId: idOf("first"),
    stream: idOf(stream),
    number,
    ...bodyOf(`${stream} ${number}`),
    archiveBytesMax: 1 << 24,
    nowMs: 100 + number,
  };
}

function bodyOf(text: string) {
  return { body: bytesOf(text), hash: sha256(bytesOf(text)) };
}

async function read(store: Store, stream: string, after = 0): Promise<string[]> {
  return (await store.archiveChunks(ALICE, idOf(stream), after)).map(({ body }) => new TextDecoder().decode(body));
}

/** 16 bytes. */
function idOf(text: string): Uint8Array {
  const id = new Uint8Array(16);
  id.set(bytesOf(text).subarray(0, 16));
  return id;
}

function plain<T>(value: T): T {
  return structuredClone(value);
}

const ALICE = nameOf("alice");
