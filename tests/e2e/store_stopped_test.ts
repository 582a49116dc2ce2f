/** A leader that is stopped in its tracks, keeps its locks and goes on later. */
import assert from "node:assert/strict";
import { Leader, storePaths } from "../../server/store/leader.ts";
import { silentLogger } from "../../shared/log.ts";
import { deviceOf, directOf, nameOf, recordOf } from "../server/store/fixtures.ts";
import { inDirectory } from "../temporary.ts";
import { eventually } from "./harness.ts";
import { StoreProcess } from "./store_process.ts";

Deno.test({
  name: "store: followers' appends wait for a leader that is stopped, and are stored once when it goes on",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (dataDir) => {
      const [leader, follower] = await start(dataDir);
      try {
        await follower.more(50);
        leader.halt();
        // What had left before it is answered; from then on nothing is.
        const stored = await still(follower);
        leader.goOn();
        await follower.more(200);
        assert.ok(follower.stored.length > stored);
        for (const process of [leader, follower]) {
          await process.stop();
          assert.deepEqual([process.violations, process.gaps, process.final?.leadership], [[], 0, 1]);
        }
      } finally {
        for (const process of [follower, leader]) await process.end();
      }
    }),
});

Deno.test({
  name: "store: a leader that was stopped while another took its place writes nothing when it goes on",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (dataDir) => {
      const [old, follower] = await start(dataDir);
      try {
        await follower.more(50);
        // Only a lock that does not hold makes this possible at all: here its file is put out of the way.
        const { lock, socket } = storePaths(dataDir);
        await Deno.remove(lock);
        const usurper = await eventually(
          async () => {
            old.halt();
            try {
              return await Leader.tryLead({ dataDir, logger: silentLogger });
            } catch (error) {
              // It was stopped within a transaction: SQLite's own lock keeps us out.
              assert.match(String(error), /locked/);
              old.goOn();
              return undefined;
            }
          },
          "another leader",
          60,
        );
        assert.ok(usurper);
        assert.equal(usurper.leadership, 2);
        const conversation = directOf("alice", "bob"), alice = nameOf("alice");
        const head = async () => (await usurper.store.openDirect(conversation, alice, nameOf("bob")))!;
        const before = await head();
        const [mine] = await usurper.store.append([
          recordOf("alice", "bob", "mine", { epoch: before.epoch, device: 1 }),
        ]);
        assert.deepEqual(mine?.status === "stored" && mine.seq, before.head + 1);
        old.goOn();
        // Both find out, follow, and their appends that were under way get their numbers here.
        await Promise.all([old.more(100), follower.more(100)]);
        assert.ok((await head()).head > before.head + 1);
        for (const process of [old, follower]) {
          await process.stop();
          assert.deepEqual([process.violations, process.final], [[], { role: "follower", leadership: 2 }]);
        }
        const own = await usurper.store.read(alice, conversation, before.head, 1);
        assert.deepEqual(own?.records.map(({ device, messageId }) => [device, messageId]), [
          [deviceOf("alice", 1), recordOf("alice", "bob", "mine").messageId],
        ]);
        await verify(usurper, [old, follower]);
        await usurper.close();
        await Deno.remove(socket).catch(() => {});
      } finally {
        for (const process of [follower, old]) {
          process.goOn();
          await process.end();
        }
      }
    }),
});

async function start(dataDir: string): Promise<[StoreProcess, StoreProcess]> {
  const processes: StoreProcess[] = [];
  for (let number = 0; number < 2; number++) {
    const process = new StoreProcess(dataDir, number);
    processes.push(process);
    await process.until(() => process.role !== undefined);
  }
  assert.deepEqual(processes.map(({ role }) => role), ["leader", "follower"]);
  return processes as [StoreProcess, StoreProcess];
}

/** Waits until half a second has brought nothing. @returns What it had stored by then. */
async function still(process: StoreProcess): Promise<number> {
  for (let before = -1; before !== process.stored.length;) {
    before = process.stored.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return process.stored.length;
}

/** Everything that anybody was told is there, at the number that was told, once. */
async function verify(leader: Leader, processes: readonly StoreProcess[]): Promise<void> {
  for (const peer of ["bob", "peer0", "peer1"]) {
    const conversation = directOf("alice", peer), ids: string[] = [];
    while (true) {
      const { records } = (await leader.store.read(nameOf("alice"), conversation, ids.length, 1000))!;
      if (records.length === 0) break;
      for (const { seq, messageId } of records) assert.equal(ids.push(messageId), seq);
    }
    assert.equal(new Set(ids).size, ids.length, `${peer}: a message is there twice`);
    for (
      const { stored, seq } of processes.flatMap(({ stored }) => stored).filter((row) =>
        row.conversation === conversation
      )
    ) assert.equal(ids[seq - 1], stored, `${peer}: an acknowledged message is lost: ${seq}`);
  }
}
