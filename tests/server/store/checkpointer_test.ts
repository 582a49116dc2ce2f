import assert from "node:assert/strict";
import type { CheckpointResult } from "../../../server/store/checkpoint_worker.ts";
import { Checkpointer, CheckpointWorker } from "../../../server/store/checkpointer.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { type Logger, silentLogger } from "../../../shared/log.ts";
import { inDirectory } from "../../temporary.ts";
import { befriend, nameOf, recordOf, Told } from "./fixtures.ts";

Deno.test("Checkpointer starts no thread while little is written", async () => {
  const checkpointer = new Checkpointer({
    startThread: () => assert.fail("Nothing is to be done"),
    logger: silentLogger,
    pagesMin: 1000,
  });
  for (let at = 0; at < 100; at++) checkpointer.wrote(1, 100);
  assert.equal(checkpointer.blocked, undefined);
  await checkpointer.close();
});

Deno.test("Checkpointer lets the writer go on until the last pass, and waits for that alone", async () => {
  const thread = new FakeThread(), checkpointer = open(thread);
  checkpointer.wrote(1000, 0);
  await thread.asked(1);
  assert.equal(checkpointer.blocked, undefined);
  checkpointer.wrote(1000, 0);
  thread.answer({ pages: 3000, written: 3000 });
  // Much came meanwhile: another pass before the last one.
  await thread.asked(2);
  assert.equal(checkpointer.blocked, undefined);
  thread.answer({ pages: 6000, written: 6000 });
  await thread.asked(3);
  const blocked = checkpointer.blocked;
  assert.ok(blocked);
  thread.answer({ pages: 6000, written: 6000 });
  await blocked;
  assert.equal(checkpointer.blocked, undefined);
  assert.deepEqual([checkpointer.finished, checkpointer.late], [1, 0]);
  await checkpointer.close();
  assert.equal(thread.closed, true);
});

Deno.test("Checkpointer makes the writer wait where the WAL reaches its bound, and says so", async () => {
  const events: string[] = [], thread = new FakeThread();
  const checkpointer = open(thread, { log: (_, event) => events.push(event) });
  checkpointer.wrote(1000, 0);
  await thread.asked(1);
  checkpointer.wrote(3000, 0);
  const blocked = checkpointer.blocked;
  assert.ok(blocked && checkpointer.blocked);
  assert.deepEqual(events, ["store.checkpoint-late"]);
  thread.answer({ pages: 12_000, written: 3000 });
  await thread.asked(2);
  thread.answer({ pages: 12_000, written: 12_000 });
  await blocked;
  assert.deepEqual([checkpointer.finished, checkpointer.late], [1, 1]);
  await checkpointer.close();
});

Deno.test("Checkpointer learns from SQLite how long the WAL is", async () => {
  const thread = new FakeThread(), checkpointer = open(thread);
  checkpointer.wrote(1000, 0);
  await thread.asked(1);
  // Three thousand were thought of.
  thread.answer({ pages: 300, written: 300 });
  await thread.asked(2);
  thread.answer({ pages: 300, written: 300 });
  await checkpointer.blocked;
  checkpointer.wrote(2000, 0);
  assert.equal(thread.asks, 2);
  checkpointer.wrote(8000, 0);
  await thread.asked(3);
  // A reader holds on to it: it goes on from there.
  thread.answer({ pages: 3000, written: 10 });
  await thread.asked(4);
  thread.answer({ pages: 3000, written: 10 });
  await checkpointer.blocked;
  checkpointer.wrote(1, 0);
  await thread.asked(5);
  thread.fail(new Error("gone"));
  await checkpointer.close();
});

Deno.test("Checkpointer leaves it to SQLite once its thread has failed", async () => {
  const events: string[] = [], thread = new FakeThread();
  const checkpointer = open(thread, { log: (_, event) => events.push(event) });
  checkpointer.wrote(1000, 0);
  await thread.asked(1);
  thread.fail(new Error("gone"));
  checkpointer.wrote(100_000, 0);
  await checkpointer.blocked;
  checkpointer.wrote(100_000, 0);
  assert.equal(checkpointer.blocked, undefined);
  assert.deepEqual([events, thread.asks], [["store.checkpoint-late", "store.checkpoint-thread"], 1]);
  await checkpointer.close();
});

Deno.test("CheckpointWorker keeps a WAL in use from growing, and everything is there at the end", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/store.db`, walBytes = 4 << 20;
    const checkpointer = new Checkpointer({
      startThread: () => new CheckpointWorker(path),
      logger: silentLogger,
      pagesMin: 256,
      pagesMax: 1024,
    });
    const database = new SqliteDatabase(path, { walBytes });
    assert.equal((await Deno.stat(`${path}-wal`)).size, walBytes);
    const store = new SqliteStore(database, { listener: new Told(), logger: silentLogger, checkpointer });
    const id = await befriend(store), body = new Uint8Array(2000);
    for (let at = 0; at < 40; at++) {
      await Promise.all(
        Array.from({ length: 100 }, (_, i) => store.append([recordOf("alice", "bob", 100 * at + i, { body })])),
      );
    }
    assert.ok(checkpointer.finished >= 3, `${checkpointer.finished} checkpoints`);
    // Bytes of several times its size went through it.
    assert.ok((await Deno.stat(`${path}-wal`)).size <= 2 * walBytes);
    await store.close();
    // The worker let go, so the writer was the last one and cleaned up.
    await assert.rejects(Deno.stat(`${path}-wal`), Deno.errors.NotFound);
    const again = new SqliteStore(new SqliteDatabase(path), { listener: new Told(), logger: silentLogger });
    const [head] = await again.conversations(nameOf("bob"), recordOf("bob", "alice", 1).device, undefined, 1);
    assert.deepEqual([head?.conversation, head?.head], [id, 4000]);
    await again.close();
  });
});

Deno.test("CheckpointWorker says what it cannot do", async () => {
  const worker = new CheckpointWorker("/nowhere/at/all/store.db");
  await assert.rejects(worker.checkpoint(), /thread/);
  await worker.close();
});

function open(thread: FakeThread, logger: Logger = silentLogger): Checkpointer {
  return new Checkpointer({ startThread: () => thread, logger, pagesMin: 2500, pagesMax: 9000 });
}

/** Answers when it is told to. */
class FakeThread {
  asks = 0;
  closed = false;
  #open: PromiseWithResolvers<CheckpointResult> | undefined;
  #asked = Promise.withResolvers<void>();

  checkpoint(): Promise<CheckpointResult> {
    this.asks++;
    this.#open = Promise.withResolvers();
    this.#asked.resolve();
    this.#asked = Promise.withResolvers();
    return this.#open.promise;
  }

  async asked(count: number): Promise<void> {
    while (this.asks < count) await this.#asked.promise;
    assert.equal(this.asks, count);
  }

  answer(result: CheckpointResult): void {
    this.#open!.resolve(result);
  }

  fail(error: Error): void {
    this.#open!.reject(error);
  }

  // deno-lint-ignore require-await
  async close(): Promise<void> {
    this.closed = true;
  }
}
