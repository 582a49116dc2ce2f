/** Direct conversations as groups: made by who writes first, joined by everybody's devices (SECURITY M2, M7, M10). */
import assert from "node:assert/strict";
import { assertHealthy, World } from "./world.ts";

Deno.test("engine: a direct conversation is made by the first message and read on the other side", () =>
  World.run(async (world) => {
    const alice = await world.home("alice"), bob = await world.home("bob"), id = await world.direct(alice, bob);
    alice.say(id, "hello");
    alice.say(id, "again");
    await world.settle();
    bob.say(id, "hi");
    await world.settle();
    assertHealthy(world);
    const expected = ["alice: hello", "alice: again", "bob: hi"];
    assert.deepEqual(alice.texts(id), expected);
    assert.deepEqual(bob.texts(id), expected);
    assert.deepEqual([...alice.warnings, ...bob.warnings, ...alice.refused, ...bob.refused], []);
    assert.deepEqual(bob.engine.conversation(id)!.members.map(({ name }) => name).sort(), ["alice", "bob"]);
    // The first message travels in an envelope, those after it do not.
    const rows = await world.server.rows(alice.user, id);
    assert.deepEqual(rows.map(({ body }) => body[1]), [2, 1, 2, 2]);
  }));
