import assert from "node:assert/strict";
import { FileReserve, type Reserve, Space } from "../../../server/store/space.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { StoreFullError } from "../../../server/store/store.ts";
import { silentLogger } from "../../../shared/log.ts";
import { inDirectory } from "../../temporary.ts";
import { befriend, deviceOf, nameOf, recordOf, Told } from "./fixtures.ts";

Deno.test("Space gives the reserve up when a commit found no room, and comes back once it could be taken again", async () => {
  const reserve = new FakeReserve(), events: string[] = [];
  let rooms = 0;
  const room = Promise.withResolvers<void>();
  const space = new Space({
    reserves: [reserve],
    makeRoom: () => rooms++,
    logger: {
      log: (_, event) => {
        events.push(event);
        if (event === "store.room") room.resolve();
      },
    },
    retryMs: 0,
  });
  assert.deepEqual([space.isFull, reserve.held], [false, true]);
  reserve.there = false;
  space.exhausted();
  space.exhausted();
  assert.deepEqual([space.isFull, reserve.held, rooms, events], [true, false, 2, ["store.full"]]);
  await reserve.asked(3);
  assert.equal(space.isFull, true);
  reserve.there = true;
  await room.promise;
  assert.deepEqual([space.isFull, reserve.held, events], [false, true, ["store.full", "store.room"]]);
  space.close();
});

Deno.test("Space begins full where there is nothing to hold back", () => {
  const reserve = new FakeReserve();
  reserve.there = false;
  const space = new Space({ reserves: [reserve], makeRoom: () => {}, logger: silentLogger });
  assert.equal(space.isFull, true);
  space.close();
});

Deno.test("FileReserve holds its bytes, gives them up, and finds them again", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/reserve`, reserve = new FileReserve(path, { bytes: 100_000, spare: 50_000 });
    assert.equal(reserve.take(), true);
    assert.equal((await Deno.stat(path)).size, 100_000);
    if (Deno.build.os !== "windows") assert.equal((await Deno.stat(path)).mode! & 0o077, 0);
    assert.equal(new FileReserve(path, { bytes: 100_000 }).take(), true);
    reserve.release();
    assert.equal((await Deno.stat(path)).size, 0);
    reserve.release();
    assert.equal(new FileReserve(`${directory}/no/reserve`).take(), false);
    new FileReserve(`${directory}/no/reserve`).release();
  }));

Deno.test("SqliteStore refuses messages on a full disk, keeps reads and log-ins going, and recovers", () =>
  inDirectory(async (directory) => {
    const database = new SqliteDatabase(`${directory}/store.db`, { pagesMax: 300 });
    const room = Promise.withResolvers<void>();
    const space = new Space({
      reserves: [database.reserve],
      makeRoom: () => database.makeRoom(),
      logger: { log: (_, event) => event === "store.room" && room.resolve() },
      retryMs: 1,
    });
    const store = new SqliteStore(database, { listener: new Told(), logger: silentLogger, space });
    const id = await befriend(store), body = new Uint8Array(50_000);
    let stored = 0, full: unknown;
    while (full === undefined) {
      await store.append([recordOf("alice", "bob", stored, { body, nowMs: 0 })]).then(
        () => stored++,
        (error) => full = error,
      );
    }
    assert.ok(full instanceof StoreFullError);
    assert.ok(stored > 5, `${stored}`);
    // However small: what is left is for others.
    await assert.rejects(store.append([recordOf("alice", "bob", "small")]), StoreFullError);
    for (let at = 0; at < 100; at++) {
      const tokenHash = new Uint8Array(32).fill(at), user = nameOf("bob"), device = deviceOf("bob");
      await store.createSession({ tokenHash, user, device, expiresMs: 9_000 + at });
      assert.ok(await store.session(tokenHash, 1));
    }
    await store.setCursors(nameOf("bob"), deviceOf("bob"), [{ conversation: id, seq: 1 }]);
    assert.equal((await store.read(nameOf("bob"), id, 0, 1))?.records.length, 1);
    // Room comes: here because old messages go, which is a change too.
    const limits = { nowMs: 1e12, ageMsMax: undefined, bytesMax: 600_000, recordsMax: 100 };
    assert.ok(await store.trim(limits) > 0);
    await room.promise;
    const [next] = await store.append([recordOf("alice", "bob", "next", { body })]);
    assert.equal(next?.status === "stored" && next.seq, stored + 1);
    await store.close();
  }));

/** There, or not, as it is told. */
class FakeReserve implements Reserve {
  there = true;
  held = false;
  #asks = 0;
  #asked = Promise.withResolvers<void>();

  take(): boolean {
    this.#asks++;
    this.#asked.resolve();
    this.#asked = Promise.withResolvers();
    return this.held = this.there;
  }

  release(): void {
    this.held = false;
  }

  async asked(times: number): Promise<void> {
    for (const wanted = this.#asks + times; this.#asks < wanted;) await this.#asked.promise;
  }
}
