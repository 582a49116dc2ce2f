import assert from "node:assert/strict";
import { join } from "node:path";
import { Database } from "../../../client/home/database.ts";
import { Ownership } from "../../../client/home/ownership.ts";
import { withFolder } from "../homes.ts";

/** Two processes' views of one home: a lock is the open file's, so two in one process exclude one another too. */
async function withTwo(
  use: (one: Ownership, other: Ownership, gained: { one: number; other: number }) => Promise<void>,
): Promise<void> {
  await withFolder(async (directory) => {
    const path = join(directory, "home.db"), first = Database.open(path), second = Database.open(path);
    const gained = { one: 0, other: 0 };
    const one = new Ownership({ directory, database: first, onGained: () => void gained.one++, lingerMs: 0 });
    const other = new Ownership({ directory, database: second, onGained: () => void gained.other++, lingerMs: 0 });
    try {
      await use(one, other, gained);
    } finally {
      first.close();
      second.close();
    }
  });
}

Deno.test("Ownership.tryHold() gives one process as many shares as it wants, and another none meanwhile", async () => {
  await withTwo(async (one, other) => {
    const [first, second] = await Promise.all([one.tryHold(), one.tryHold()]);
    assert(first && second);
    assert.equal(await other.tryHold(), undefined);
    first.release();
    first.release();
    assert(one.isHeld, "a share is given back once");
    assert.equal(await other.tryHold(), undefined);
    second.release();
    assert(!one.isHeld);
    const theirs = await other.tryHold();
    assert(theirs);
    assert.equal(await one.tryHold(), undefined);
    theirs.release();
  });
});

Deno.test("Ownership tells when another process may have changed something, and only then", async () => {
  await withTwo(async (one, other, gained) => {
    for (let i = 0; i < 3; i++) (await one.hold()).release();
    assert.deepEqual(gained, { one: 1, other: 0 });
    (await other.hold()).release();
    assert.deepEqual(gained, { one: 1, other: 1 });
    (await one.hold()).release();
    (await one.hold()).release();
    assert.deepEqual(gained, { one: 2, other: 1 });
  });
});

Deno.test("Ownership.hold() waits, and stops waiting where it is told to", async () => {
  await withTwo(async (one, other) => {
    const held = await one.hold();
    const gaveUp = new AbortController();
    const waiting = assert.rejects(other.hold(gaveUp.signal), /enough/);
    gaveUp.abort(new Error("enough"));
    await waiting;
    const next = other.with(() => Promise.resolve("mine"));
    held.release();
    assert.equal(await next, "mine");
    assert(!other.isHeld);
  });
});

Deno.test("Ownership.close() lets nobody begin, and who has begun end", async () => {
  await withTwo(async (one, other) => {
    const held = await one.hold();
    one.close();
    assert.equal(await other.tryHold(), undefined);
    held.release();
    assert.equal(await one.tryHold(), undefined);
    const theirs = await other.tryHold();
    assert(theirs);
    theirs.release();
  });
});

Deno.test("Ownership is kept for a moment for what comes of the work, and given up at once by who closes", async () => {
  await withFolder(async (directory) => {
    const database = Database.open(join(directory, "home.db"));
    const one = new Ownership({ directory, database, onGained: () => {}, lingerMs: 60_000 });
    const other = new Ownership({ directory, database, onGained: () => {}, lingerMs: 0 });
    try {
      (await one.hold()).release();
      assert(one.isHeld);
      one.share()!.release();
      assert.equal(await other.tryHold(), undefined);
      one.close();
      assert(!one.isHeld);
      (await other.tryHold())!.release();
    } finally {
      database.close();
    }
  });
});
