import assert from "node:assert/strict";
import { ErrorCode } from "../../shared/errors.ts";
import { silentLogger } from "../../shared/log.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { type Appender, AppendQueue } from "../../server/append_queue.ts";
import { type AppendResult, type StoreAppend, StoreUnavailableError } from "../../server/store/store.ts";
import { until } from "./harness.ts";

function record(number: number, bytes = 1): StoreAppend {
  return {
    conversation: "c" as ConversationId,
    messageId: `${number}` as MessageId,
    expectedEpoch: 1,
    body: new Uint8Array(bytes),
    user: "alice" as UserName,
    device: "d" as DeviceId,
    nowMs: 0,
  };
}

const stored: AppendResult = { status: "stored", seq: 1, timeMs: 0, duplicate: false };

class Recorder implements Appender {
  refusing = false;
  readonly log: string[] = [];
  settled(record: StoreAppend, result: AppendResult): void {
    if (result.status !== "stored") this.refusing = true;
    this.log.push(`${record.messageId} ${result.status}`);
  }
  refused(record: StoreAppend, code: ErrorCode): void {
    this.refusing = true;
    this.log.push(`${record.messageId} refused ${code}`);
  }
}

/** A store whose batches wait until the test answers them. */
function manualQueue(options: { unavailableMsMax?: number } = {}) {
  const batches: { records: readonly StoreAppend[]; resolve: (results: AppendResult[]) => void }[] = [];
  let pauses = 0;
  const queue = new AppendQueue({
    store: { append: (records) => new Promise((resolve) => batches.push({ records, resolve })) },
    defer: queueMicrotask,
    pause: () => (pauses++, Promise.resolve()),
    logger: silentLogger,
    ...options,
  });
  return { queue, batches, pauses: () => pauses };
}

Deno.test("AppendQueue has one batch under way; what comes meanwhile is the next", async () => {
  const { queue, batches } = manualQueue(), appender = new Recorder();
  for (let i = 1; i <= 3; i++) assert(queue.submit(record(i), appender));
  await until(() => batches.length === 1);
  for (let i = 4; i <= 9; i++) queue.submit(record(i), appender);
  assert.equal(batches.length, 1);
  assert.deepEqual(appender.log, []);
  batches[0]!.resolve([stored, stored, stored]);
  await until(() => batches.length === 2);
  assert.deepEqual(appender.log, ["1 stored", "2 stored", "3 stored"]);
  assert.deepEqual(batches[1]!.records.map(({ messageId }) => messageId), ["4", "5", "6", "7", "8", "9"] as unknown);
  batches[1]!.resolve(Array(6).fill(stored));
  await queue.idle();
  assert.equal(appender.log.length, 9);
});

Deno.test("AppendQueue hands nothing to the store that stands behind a refusal of its own appender", async () => {
  const { queue, batches } = manualQueue(), one = new Recorder(), other = new Recorder();
  queue.submit(record(1), one);
  queue.submit(record(2), other);
  await until(() => batches.length === 1);
  queue.submit(record(3), one);
  queue.submit(record(4), other);
  batches[0]!.resolve([{ status: "stale-epoch", epoch: 2 }, stored]);
  await until(() => batches.length === 2);
  assert.deepEqual(batches[1]!.records.map(({ messageId }) => messageId), ["4"] as unknown);
  batches[1]!.resolve([stored]);
  await queue.idle();
  assert.deepEqual(one.log, ["1 stale-epoch", `3 refused ${ErrorCode.unavailable}`]);
  assert.deepEqual(other.log, ["2 stored", "4 stored"]);
});

Deno.test("AppendQueue splits what is too much for one batch, in order", async () => {
  const { queue, batches } = manualQueue(), appender = new Recorder();
  for (let i = 0; i < 10; i++) queue.submit(record(i, 1 << 20), appender);
  const sizes: number[] = [];
  while (appender.log.length < 10) {
    await until(() => batches.length > 0);
    const { records, resolve } = batches.shift()!;
    sizes.push(records.length);
    resolve(records.map(() => stored));
    await until(() => batches.length > 0 || appender.log.length === 10);
  }
  assert.deepEqual(sizes, [4, 4, 2]);
  assert.deepEqual(appender.log, [...Array(10)].map((_, i) => `${i} stored`));
});

Deno.test("AppendQueue takes nothing more when too much waits", async () => {
  const { queue, batches } = manualQueue(), appender = new Recorder();
  queue.submit(record(0), appender);
  await until(() => batches.length === 1);
  let taken = 0;
  while (queue.submit(record(taken + 1, 1 << 20), appender)) taken++;
  assert.equal(taken, 128);
  assert.equal(queue.bytesWaiting, (128 << 20) + 1);
});

Deno.test("AppendQueue counts what is not stored yet, and tells when half of too much is gone", async () => {
  const { queue, batches } = manualQueue(), appender = new Recorder();
  let told = 0;
  for (let i = 0; i < 9; i++) {
    assert.equal(queue.isCongested, i >= 8);
    queue.submit(record(i, 1 << 20), appender);
  }
  queue.whenRoom(() => told++);
  // Batches of four; the last one stands behind them.
  const left: [number, number][] = [];
  while (queue.bytesWaiting > 0) {
    await until(() => batches.length > 0);
    const { records, resolve } = batches.shift()!, before = queue.bytesWaiting;
    resolve(records.map(() => stored));
    await until(() => queue.bytesWaiting < before);
    left.push([queue.bytesWaiting >> 20, told]);
  }
  assert.deepEqual(left, [[5, 0], [1, 1], [0, 1]]);
  assert.equal(queue.isCongested, false);
});

Deno.test("AppendQueue does not keep the bytes of what it refused", async () => {
  const { queue, batches } = manualQueue(), appender = new Recorder();
  for (let i = 0; i < 6; i++) queue.submit(record(i, 1 << 20), appender);
  await until(() => batches.length === 1);
  batches[0]!.resolve(batches[0]!.records.map(() => ({ status: "not-member" })));
  await until(() => appender.log.length === 6);
  assert.equal(queue.bytesWaiting, 0);
});

Deno.test("AppendQueue gives up on a store that stays away, and tries again with the next batch", async () => {
  let away = true, tries = 0;
  const queue = new AppendQueue({
    store: {
      append: (records) => {
        tries++;
        return away ? Promise.reject(new StoreUnavailableError("gone")) : Promise.resolve(records.map(() => stored));
      },
    },
    defer: queueMicrotask,
    pause: () => Promise.resolve(),
    logger: silentLogger,
    unavailableMsMax: 2000,
  });
  const one = new Recorder(), other = new Recorder();
  queue.submit(record(1), one);
  await queue.idle();
  assert.deepEqual(one.log, [`1 refused ${ErrorCode.unavailable}`]);
  assert(tries > 3 && tries < 20, `${tries} tries`);
  away = false;
  queue.submit(record(2), one);
  queue.submit(record(3), other);
  await queue.idle();
  assert.deepEqual(one.log.slice(1), [`2 refused ${ErrorCode.unavailable}`]);
  assert.deepEqual(other.log, ["3 stored"]);
});
