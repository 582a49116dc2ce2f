/** A server that is stopped in its tracks holds the store's lock and its port. The balancer sees it and ends it; chat goes on. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { dataPaths } from "../../shared/cluster/mod.ts";
import { FileLock } from "../../shared/host/mod.ts";
import { inDirectory } from "../temporary.ts";
import { alive, eventually, startCluster } from "./harness.ts";
import { Person } from "./people.ts";

Deno.test({
  name: "the leader of three hangs under traffic: it is killed, another leads, nothing is lost",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (directory) => {
      const dataDir = join(directory, "data");
      const cluster = await startCluster(3, ["--hung-after", "5"], dataDir);
      const people = await Promise.all(
        ["alice", "bob"].map((name) => Person.open({ name, server: cluster.server, home: join(directory, name) })),
      );
      const [alice, bob] = people as [Person, Person];
      try {
        const sent: string[] = [], stored: string[] = [];
        let over = false;
        const talking = (async () => {
          while (!over) {
            const text = `message ${sent.length}`;
            sent.push(text);
            await alice.client.send("bob", text);
            stored.push(text);
          }
        })();
        await bob.until(() => bob.from("alice").length >= 20, "the talk is under way");
        const leader = (await FileLock.holder(join(dataDir, "store.lock")))!;
        const hungMs = performance.now(), before = stored.length;
        Deno.kill(leader, "SIGSTOP");
        await bob.until(() => bob.from("alice").length >= before + 50, "the talk goes on without it");
        const gapMs = performance.now() - hungMs;
        over = true;
        await talking;
        // Some eight seconds; three times as long before it is ended where the machine let nobody answer.
        assert.ok(gapMs < 40_000, `The talk went on only after ${Math.round(gapMs)} ms`);
        await bob.until(() => bob.from("alice").length >= sent.length, "the rest arrives");
        assert.deepEqual(bob.from("alice"), sent);
        assert.deepEqual(stored, sent);
        await eventually(() => !alive(leader) || undefined, "it is dead");
        assert.notEqual(await FileLock.holder(join(dataDir, "store.lock")), leader);
        const log = await Deno.readTextFile(dataPaths(dataDir).balancer.log);
        const said = log.split("\n").filter((line) => line.includes(`"server-hung"`)).map((line) => JSON.parse(line));
        assert.deepEqual(said.map(({ level, pid }) => [level, pid]), [["warn", leader]]);
        // It comes back under its number.
        await eventually(async () => {
          const pids = await cluster.serverPids();
          return pids.length === 3 && !pids.includes(leader) && pids.every(alive) || undefined;
        }, "three servers again");
      } finally {
        for (const person of people) await person.close();
        await cluster.stop();
      }
    }),
});
