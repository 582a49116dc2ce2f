import assert from "node:assert/strict";
import { MemoryStore } from "../../../server/store/memory.ts";
import { countToTrim, Retention, type RetentionSettings } from "../../../server/store/retention.ts";
import { type Store, StoreFullError, type TrimLimits } from "../../../server/store/store.ts";
import { RECORD_AGE_MS_MIN } from "../../../shared/limits.ts";
import { type Logger, silentLogger } from "../../../shared/log.ts";
import { befriend, nameOf, recordOf } from "./fixtures.ts";

const DAY = 24 * 3600 * 1000;

Deno.test("countToTrim() stops at the first record that must stay, whatever stands behind it", () => {
  const limits = { nowMs: 9 * DAY, ageMsMax: 2 * DAY, bytesMax: undefined, recordsMax: 100 };
  const count = (...days: number[]) => countToTrim(days.map((day) => ({ timeMs: day * DAY, bytes: 1 })), limits, 1e9);
  assert.equal(count(), 0);
  assert.equal(count(1, 2, 7.5), 2);
  assert.equal(count(7.5, 1, 7.5), 2);
  assert.equal(count(8.5, 1), 0);
  // A clock that was ahead keeps nobody.
  assert.equal(count(99, 1), 2);
  assert.equal(count(99), 0);
  assert.equal(countToTrim([{ timeMs: 0, bytes: 1 }], { ...limits, nowMs: RECORD_AGE_MS_MIN, ageMsMax: 0 }, 0), 1);
  assert.equal(countToTrim([{ timeMs: 1, bytes: 1 }], { ...limits, nowMs: RECORD_AGE_MS_MIN, ageMsMax: 0 }, 0), 0);
});

Deno.test("countToTrim() bounds a batch by records and by bytes", () => {
  const limits = { nowMs: 9 * DAY, ageMsMax: DAY, bytesMax: undefined, recordsMax: 10 };
  const rows = (count: number, bytes: number) => Array.from({ length: count }, () => ({ timeMs: 0, bytes }));
  assert.equal(countToTrim(rows(50, 10), limits, 1e9), 10);
  assert.equal(countToTrim(rows(50, 600_000), limits, 1e9), 2);
  assert.equal(countToTrim(rows(50, 5 << 20), limits, 1e9), 1);
});

Deno.test("Retention.round() removes in batches until nothing is left to remove", async () => {
  const store = new MemoryStore();
  const id = await befriend(store);
  const numbers = Array.from({ length: 300 }, (_, at) => at);
  await store.append(numbers.map((number) => recordOf("alice", "bob", number, { nowMs: number < 290 ? 0 : 8 * DAY })));
  const batches: number[] = [];
  const counted: Pick<Store, "trim"> = {
    trim: async (limits: TrimLimits) => {
      const count = await store.trim(limits);
      batches.push(count);
      return count;
    },
  };
  const retention = open(counted, { days: 7, mebibytes: 0 });
  assert.equal(await retention.round(), 290);
  assert.deepEqual(batches, [128, 128, 34, 0]);
  assert.equal((await store.read(nameOf("bob"), id, 0, 1))?.begins, 290);
  await retention.stop();
  assert.equal(await retention.round(), 0);
});

Deno.test("Retention.start() does nothing where everything is kept", async () => {
  const retention = open({ trim: () => assert.fail("Nothing is to be removed") }, { days: 0, mebibytes: 0 });
  retention.start();
  await retention.stop();
});

Deno.test("Retention goes on after a failure", async () => {
  let calls = 0;
  const twice = Promise.withResolvers<void>(), events: string[] = [];
  const trim = () => {
    if (++calls === 1) return Promise.reject(new StoreFullError("full"));
    twice.resolve();
    return Promise.resolve(0);
  };
  const retention = open({ trim }, { days: 1, mebibytes: 0 }, { log: (_, event) => events.push(event) });
  retention.start();
  await twice.promise;
  await retention.stop();
  assert.deepEqual(events, ["store.trim-failed"]);
});

function open(store: Pick<Store, "trim">, settings: RetentionSettings, logger: Logger = silentLogger): Retention {
  return new Retention({ store, settings, nowMs: () => 9 * DAY, logger, roundMs: 0 });
}
