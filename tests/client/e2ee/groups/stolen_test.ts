/** What a copy of a home is worth to who has its password too (SECURITY's test 5, M12): its own epoch from then on, nothing before. */
import assert from "node:assert/strict";
import type { ConversationId, Record, UserName } from "../../../../shared/protocol/mod.ts";
import { assertAgree, assertHealthy, type Home, type HomeCopy, World } from "./world.ts";

/** How many of these rows the copy opens, with all the keys that its database gives. */
async function opened(world: World, home: Home, copy: HomeCopy, rows: readonly Record[]): Promise<string[]> {
  const thief = world.thiefOf(home, copy), texts: string[] = [];
  try {
    for (const record of rows) {
      // As if it had seen nothing of it: what the thief asks is whether the keys are there.
      thief.database.run("DELETE FROM mls_seen");
      const text = await thief.openAlone(record);
      if (text !== undefined) texts.push(text);
    }
  } finally {
    await thief.stop();
  }
  return texts;
}

Deno.test("Stolen state: no earlier message opens, and none after the device was revoked and all have updated", () =>
  World.run(async (world) => {
    const homes: Home[] = [];
    for (const user of ["alice", "bob", "carol"]) homes.push(await world.home(user));
    const [alice, bob, carol] = homes as [Home, Home, Home], id: ConversationId = await alice.engine.create("friends");
    await alice.engine.change(id, { do: "add", names: [bob.user, carol.user] });
    await world.settle();
    // In several epochs, and many in the last one.
    for (let number = 0; number < 6; number++) {
      alice.say(id, `early ${number}`);
      carol.say(id, `early too ${number}`);
      await world.settle();
      if (number < 4) await alice.engine.change(id, { do: "topic", topic: `topic ${number}` });
    }
    const stolen = bob.copy(), before = await world.server.rows(alice.user, id);
    const log = stolen.files.find(([suffix]) => suffix === "-wal")?.[1];
    assert.equal(log?.length ?? 0, 0, "the write-ahead log holds older pages, and with them older keys");
    assert.equal(before.filter(({ body }) => body.length < 500).length >= 12, true);
    assert.deepEqual(await opened(world, bob, stolen, before), [], "keys of what was read are gone, in its log too");
    // A thief who only listens reads on for now: that is what is stolen.
    alice.say(id, "still the same keys");
    await world.settle();
    const now = (await world.server.rows(alice.user, id)).slice(before.length);
    assert.deepEqual(await opened(world, bob, stolen, now), ["still the same keys"]);
    // Bob's device is revoked: whoever commits next removes it, and then everybody updates.
    const revoked = bob.device;
    world.keyLog = {
      ...world.keyLog,
      length: 1,
      isRevoked: (_: UserName, device) => device === revoked,
      isUsable: (_: UserName, device) => device !== revoked,
    };
    carol.say(id, "out with it");
    await world.settle();
    assert.deepEqual(alice.engine.conversation(id)!.members.map(({ name }) => name).sort(), ["alice", "carol"]);
    world.clock.pass(8 * 24 * 3600 * 1000);
    for (const home of [alice, carol]) home.say(id, `fresh keys of ${home.user}`);
    await world.settle();
    alice.say(id, "late");
    await world.settle();
    assertHealthy(world);
    assertAgree([alice, carol], id);
    const rows = await world.server.rows(alice.user, id), late = rows.filter(({ seq }) => seq > now.at(-1)!.seq);
    assert.equal(carol.texts(id).at(-1), "alice: late");
    assert.deepEqual(await opened(world, bob, stolen, late), []);
  }));
