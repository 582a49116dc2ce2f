/** Who is let in: no device that its user's policy keeps waiting, whatever the server hands out for it (SECURITY P9, M8). */
import assert from "node:assert/strict";
import { NO_KEY_LOG } from "../../../../client/e2ee/groups/mod.ts";
import type { ConversationId, DeviceId } from "../../../../shared/protocol/mod.ts";
import { assertAgree, assertHealthy, type Home, World } from "./world.ts";

function devicesIn(home: Home, id: ConversationId): DeviceId[] {
  return home.engine.conversation(id)!.members.flatMap(({ devices }) => devices).toSorted();
}

const WAYS: { readonly [how: string]: (alice: Home, bob: Home, world: World) => Promise<ConversationId> } = {
  "a direct conversation": (alice, bob, world) => world.direct(alice, bob),
  "a group": async (alice, bob) => {
    const id = await alice.engine.create("friends");
    await alice.engine.change(id, { do: "add", names: [bob.user] });
    return id;
  },
};

for (const [what, begin] of Object.entries(WAYS)) {
  Deno.test(`Newcomers.packages() adds no device to ${what} that waits for approval, and adds it once it is approved`, () =>
    World.run(async (world) => {
      const waiting = new Set<DeviceId>();
      world.keyLog = { ...NO_KEY_LOG, isUsable: (_, device) => !waiting.has(device) };
      const alice = await world.home("alice"), bob = await world.home("bob");
      const phone = await world.home("bob", { online: false }), laptop = await world.home("bob", { online: false });
      for (const { device } of [phone, laptop]) waiting.add(device);
      // It leaves key packages like any other, and the server hands them out.
      await phone.connect();
      const id = await begin(alice, bob, world), isThere = [alice, bob].map(({ device }) => device).toSorted();
      alice.say(id, "one");
      await world.settle();
      assert.deepEqual(devicesIn(alice, id), isThere, "at the beginning");
      // One that comes later is told of, and asks.
      await laptop.connect();
      for (const home of [phone, laptop]) home.say(id, `let in the ${home.device}`);
      alice.say(id, "two");
      bob.say(id, "three");
      await world.settle();
      assertHealthy(world);
      assert.deepEqual(devicesIn(alice, id), isThere, "where it asks");
      for (const home of [phone, laptop]) assert.deepEqual([home.texts(id), home.outbox.length], [[], 1]);
      // The phone is approved; it asks again with its next connection.
      waiting.delete(phone.device);
      await phone.restart();
      await world.settle();
      bob.say(id, "four");
      await world.settle();
      assertHealthy(world);
      assert.deepEqual(devicesIn(alice, id), [...isThere, phone.device].toSorted());
      assert.deepEqual(laptop.texts(id), []);
      assert(alice.texts(id).includes(`bob: let in the ${phone.device}`));
      assert.equal(phone.texts(id).at(-1), "bob: four");
      assertAgree([alice, bob, phone], id);
    }));
}
