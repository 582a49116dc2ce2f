import assert from "node:assert/strict";
import type { Engine } from "../../../client/e2ee/engine.ts";
import { UsageError } from "../../../client/errors.ts";
import type { Database } from "../../../client/home/database.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { GroupChanges } from "../../../client/talk/group_changes.ts";
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { ALICE, BOB, withDatabase } from "../homes.ts";

const DEV = "1d".repeat(16) as ConversationId;

/** Alice's home, in which she is in #dev with Bob, and what is asked of her engine. */
function world(database: Database) {
  const conversations = new Conversations(database), asked: unknown[] = [], timeoutsMs: (number | undefined)[] = [];
  const join = (id: ConversationId, name: string) => {
    const members = [ALICE, BOB].map((name) => ({ name, role: "admin" as const }));
    conversations.addGroup({ id, cursor: 1 });
    conversations.setGroup(id, { name, topic: "", ended: false, members });
  };
  join(DEV, "dev");
  const engine = {
    create: (name: string) => Promise.resolve((asked.push(name), "2e".repeat(16))),
    change: (id: ConversationId, change: unknown) => Promise.resolve(void asked.push([id, change])),
    leave: (id: ConversationId) => Promise.resolve(void asked.push(id)),
  } as unknown as Engine;
  const changes = new GroupChanges({
    database,
    conversations,
    self: ALICE,
    session: {
      engine: (work, timeoutMs) => (timeoutsMs.push(timeoutMs), work(engine)),
      adopt: (id) => Promise.resolve(join(id, "new")),
      refresh: (id) => Promise.resolve(void asked.push(`refresh ${id}`)),
    },
  });
  return { changes, conversations, asked, timeoutsMs };
}

Deno.test("GroupChanges.create() gives the address of a group that the home knows", () =>
  withDatabase(async (database) => {
    const { changes, asked } = world(database);
    assert.equal(await changes.create("#new", {}), "#new");
    assert.deepEqual(asked, ["new"]);
    await assert.rejects(changes.create("  ", {}), UsageError);
    assert.equal(asked.length, 1, "nobody is asked to make what cannot be");
  }));

Deno.test("GroupChanges.change() keeps what follows, and takes its time for many who are let in", () =>
  withDatabase(async (database) => {
    const { changes, conversations, asked, timeoutsMs } = world(database);
    await changes.change("dev", { do: "rename", name: "#ops" }, {});
    assert.deepEqual(asked, [[DEV, { do: "rename", name: "ops" }], `refresh ${DEV}`]);
    await changes.change("#dev", { do: "add", names: Array.from({ length: 100 }, () => BOB) }, {});
    await changes.change("#dev", { do: "topic", topic: "tea" }, { timeoutMs: 5 });
    assert.deepEqual(timeoutsMs, [60_000, 90_000, 5]);
    await changes.change("#dev", { do: "delete" }, {});
    const { ended, name } = conversations.get(DEV)!;
    assert.deepEqual([ended, name], [true, "dev"]);
    assert.notEqual(asked.at(-1), `refresh ${DEV}`, "there is no state left to ask");
    await assert.rejects(changes.change("#nowhere", { do: "delete" }, {}), UsageError);
  }));

Deno.test("GroupChanges.leave() ends a group here, with nobody in it", () =>
  withDatabase(async (database) => {
    const { changes, conversations, asked } = world(database);
    await changes.leave("#dev", {});
    assert.deepEqual(asked, [DEV]);
    assert.deepEqual([conversations.get(DEV)!.ended, conversations.countMembers(DEV)], [true, 0]);
  }));
