import assert from "node:assert/strict";
import { join } from "node:path";
import { Database } from "../../../client/home/database.ts";
import { show } from "../../../client/talk/showing.ts";
import { Shown } from "../../../client/talk/shown.ts";
import { FileLock } from "../../../shared/host/mod.ts";
import { fromBob, historyWithBob, withFolder } from "../homes.ts";

/** Two processes' views of one home with messages in it. */
async function withTwo(
  count: number,
  use: (folder: string, views: [Shown, Shown]) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const databases = [1, 2].map(() => Database.open(join(folder, "home.db")));
    try {
      const [one, two] = databases as [Database, Database], history = historyWithBob(one);
      for (let seq = 1; seq <= count; seq++) history.add(fromBob(seq));
      await use(folder, [new Shown(one), new Shown(two)]);
    } finally {
      for (const database of databases) database.close();
    }
  });
}

Deno.test("show() puts out each message once, however many processes ask at a time", async () => {
  await withTwo(250, async (directory, views) => {
    const seen: number[] = [];
    const asked = await Promise.all(
      [...views, ...views].map((shown) => show({ directory, shown }, ({ seq }) => void seen.push(seq))),
    );
    assert.deepEqual(seen, Array.from({ length: 250 }, (_, at) => at + 1));
    assert.deepEqual(asked.filter((any) => any).length, 1);
    assert.equal(await show({ directory, shown: views[0] }, () => assert.fail()), false);
  });
});

Deno.test("show() leaves what could not be put out, and lets the next one in", async () => {
  await withTwo(3, async (directory, [one, two]) => {
    const full = show({ directory, shown: one }, ({ seq }) => {
      if (seq === 2) throw new Error("the disk is full");
    });
    await assert.rejects(full, /full/);
    const seen: number[] = [];
    await show({ directory, shown: two }, ({ seq }) => void seen.push(seq));
    assert.deepEqual(seen, [2, 3]);
  });
});

Deno.test("show() does not wait for ever for one whose reader is asleep", async () => {
  await withTwo(2, async (directory, [one, two]) => {
    const asleep = await FileLock.acquire(join(directory, "show.lock"));
    const seen: number[] = [];
    // The other one gets on with the first message meanwhile.
    const waiting = show({ directory, shown: two }, ({ seq }) => void seen.push(seq));
    one.mark(1);
    await waiting;
    asleep.release();
    assert.deepEqual(seen, [2]);
  });
});
