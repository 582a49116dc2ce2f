/** Past epochs end after seven days wherever the home is open, also where nobody says anything (SECURITY M12). */
import assert from "node:assert/strict";
import { Database } from "../../../../client/home/database.ts";
import { MIGRATIONS } from "../../../../client/home/migrations.ts";
import type { ConversationId } from "../../../../shared/protocol/mod.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

const HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS;

/** Epochs of which keys lie in a home: of each conversation, how many. */
function epochsIn(home: Home): Map<string, number> {
  const rows = home.database.all("SELECT slot, count(*) AS n FROM mls_keys WHERE epoch >= 0 GROUP BY slot");
  return new Map(rows.map((row) => [row["slot"] as string, row["n"] as number]));
}

/** How many past epochs a home opens messages of. */
async function pastOf(home: Home, id: ConversationId): Promise<number> {
  return (await home.groupOf(id)).group.state.historicalReceiverData.size;
}

/** Alice and Bob in some groups, each with three past epochs. */
async function manyEpochs(world: World, count: number): Promise<{ alice: Home; bob: Home; ids: ConversationId[] }> {
  const alice = await world.home("alice"), bob = await world.home("bob"), ids: ConversationId[] = [];
  for (let number = 0; number < count; number++) {
    const id = await alice.engine.create(`group ${number}`);
    await alice.engine.change(id, { do: "add", names: [bob.user] });
    for (const topic of ["one", "two"]) await alice.engine.change(id, { do: "topic", topic });
    await world.settle();
    ids.push(id);
  }
  assertHealthy(world);
  for (const id of ids) assert.deepEqual([await pastOf(alice, id), await pastOf(bob, id)], [4, 2]);
  return { alice, bob, ids };
}

Deno.test("Forgetting: what is idle is forgotten after seven days in a program that runs on, and talk goes on", () =>
  World.run(async (world) => {
    const { alice, bob, ids } = await manyEpochs(world, 3),
      [busy, ...idle] = ids as [ConversationId, ...ConversationId[]];
    for (let day = 0; day < 6; day++) {
      world.clock.pass(DAY_MS);
      await world.settle();
    }
    for (const id of ids) assert.deepEqual([await pastOf(alice, id), await pastOf(bob, id)], [4, 2], "not before");
    await alice.engine.change(busy, { do: "topic", topic: "three" });
    await world.settle();
    // Half a day is no time to look again, so it may be up to a day more.
    for (let day = 0; day < 2; day++) {
      world.clock.pass(DAY_MS);
      await world.settle();
    }
    assertHealthy(world);
    for (const home of [alice, bob]) {
      for (const id of idle) assert.equal(await pastOf(home, id), 0, home.user);
      assert.equal(await pastOf(home, busy), 1, "that one ended two days ago");
      assert.deepEqual(epochsIn(home), new Map([...idle.map((id) => [id, 1] as const), [busy, 2] as const]));
      assert.deepEqual(home.database.all("SELECT slot FROM mls_past").map((row) => row["slot"]), [busy]);
    }
    for (const id of ids) bob.say(id, "still here");
    await world.settle();
    assertHealthy(world);
    for (const id of ids) {
      assert.deepEqual(alice.texts(id), ["bob: still here"]);
      assertAgree([alice, bob], id);
    }
  }));

Deno.test("Forgetting: a home that is opened again forgets at once, and reads no state that is not due", () =>
  World.run(async (world) => {
    const { alice, bob, ids } = await manyEpochs(world, 20), [late] = ids.slice(-1) as [ConversationId];
    for (const home of [alice, bob]) home.disconnect();
    await bob.stop();
    world.clock.pass(8 * DAY_MS);
    await alice.connect();
    await alice.engine.change(late, { do: "topic", topic: "eight days later" });
    const read: string[] = [], all = bob.opening;
    bob.opening = (path) => {
      const database = all(path);
      return new Proxy(database, {
        get(target, key) {
          const value = Reflect.get(target, key, target);
          if (typeof value !== "function") return value;
          return (...args: unknown[]) => {
            if (/FROM mls_rows WHERE slot/.test(String(args[0]))) read.push(args[1] as string);
            return value.apply(target, args);
          };
        },
      });
    };
    bob.start();
    await bob.connect();
    await world.settle();
    assertHealthy(world);
    for (const id of ids) assert.equal(await pastOf(bob, id), id === late ? 1 : 0);
    read.length = 0;
    await bob.restart();
    // Nothing is due. (Later all groups are read, to compare with whom the server delivers them to.)
    await bob.breathe(40);
    assert.deepEqual(read, []);
    await world.settle();
    bob.say(ids[0]!, "hello");
    await world.settle();
    assertHealthy(world);
    assert.deepEqual(alice.texts(ids[0]!), ["bob: hello"]);
  }));

Deno.test("Forgetting: what a home of an earlier version holds is found out, once", () =>
  World.run(async (world) => {
    const { alice, bob, ids: [id] } = await manyEpochs(world, 1);
    await alice.stop();
    const database = Database.open(alice.path);
    const step = MIGRATIONS.find((step) => step.includes("CREATE TABLE mls_past"))!;
    database.run("DROP TABLE mls_past");
    for (const part of step.split(";").filter((part) => part.trim() !== "")) database.run(part);
    assert.deepEqual(database.all("SELECT * FROM mls_past").map((row) => ({ ...row })), [{ slot: id, ended_ms: 0 }]);
    database.close();
    alice.start();
    await alice.connect();
    await world.settle();
    assertHealthy(world);
    assert.equal(await pastOf(alice, id!), 4, "younger than seven days");
    const [row] = alice.database.all("SELECT ended_ms FROM mls_past");
    assert((row!["ended_ms"] as number) > world.clock.nowMs - DAY_MS);
    bob.say(id!, "as ever");
    await world.settle();
    assert.deepEqual(alice.texts(id!), ["bob: as ever"]);
  }));

Deno.test("Forgetting: what is over does not come back with a commit that was on its way", () =>
  World.run(async (world) => {
    const { alice, ids: [id] } = await manyEpochs(world, 1), answer = world.server.answer.bind(world.server);
    const held = Promise.withResolvers<void>();
    world.server.answer = async (user, device, request) => {
      if (request.type === "commit") await held.promise;
      return await answer(user, device, request);
    };
    const changing = alice.engine.change(id!, { do: "topic", topic: "slow" });
    while ((await alice.groupOf(id!)).group.pending === undefined) await alice.breathe(4);
    world.clock.pass(8 * DAY_MS);
    await alice.breathe(40);
    assert.equal(await pastOf(alice, id!), 0);
    held.resolve();
    await changing;
    assert.equal(await pastOf(alice, id!), 1, "the one that has just ended");
    await world.settle();
    assertHealthy(world);
    assert.equal(epochsIn(alice).get(id!), 2);
  }));
