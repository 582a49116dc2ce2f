import assert from "node:assert/strict";
import type { Committed, DevicesChanged } from "../../../server/bus/bus.ts";
import { Hub } from "../../../server/bus/hub.ts";
import { LocalBus } from "../../../server/bus/local.ts";
import { bytesOf, deviceOf, directOf, idOf, nameOf } from "../store/fixtures.ts";
import type { MessageId } from "../../../shared/protocol/mod.ts";

Deno.test("Hub.committed() tells each server with a member once, in order, and no other", () => {
  const hub = new Hub();
  const [one, two, three] = [server(hub), server(hub), server(hub)];
  one.bus.announce(nameOf("alice"), true);
  one.bus.announce(nameOf("bob"), true);
  two.bus.announce(nameOf("bob"), true);
  three.bus.announce(nameOf("carol"), true);
  hub.committed([record("alice", "bob", 1), record("bob", "carol", 1), record("alice", "bob", 2)]);
  const both = directOf("alice", "bob"), other = directOf("bob", "carol");
  assert.deepEqual(one.heard, [[both, 1], [other, 1], [both, 2]]);
  assert.deepEqual(two.heard, one.heard);
  assert.deepEqual(three.heard, [[other, 1]]);
});

Deno.test("Hub.announce() is idempotent and ends when the last server says so", () => {
  const hub = new Hub();
  const one = server(hub), two = server(hub);
  for (const { bus } of [one, one, two]) bus.announce(nameOf("bob"), true);
  two.bus.announce(nameOf("alice"), true);
  assert.deepEqual(hub.online(), ["alice", "bob"]);
  one.bus.announce(nameOf("bob"), false);
  one.bus.announce(nameOf("bob"), false);
  assert.deepEqual(hub.online(), ["alice", "bob"]);
  hub.committed([record("bob", "carol", 1)]);
  assert.deepEqual([one.heard.length, two.heard.length], [0, 1]);
  two.bus.announce(nameOf("bob"), false);
  assert.deepEqual(hub.online(), ["alice"]);
});

Deno.test("Hub.remove() takes a server's users with it", async () => {
  const hub = new Hub();
  const one = server(hub), two = server(hub);
  one.bus.announce(nameOf("alice"), true);
  one.bus.announce(nameOf("bob"), true);
  two.bus.announce(nameOf("bob"), true);
  one.bus.close();
  assert.deepEqual(await two.bus.online(), ["bob"]);
  hub.committed([record("alice", "bob", 1)]);
  assert.deepEqual([one.heard.length, two.heard.length], [0, 1]);
});

Deno.test("Hub.devicesChanged() tells a server of the conversations its users are in", () => {
  const hub = new Hub();
  const one = server(hub), two = server(hub), three = server(hub);
  one.bus.announce(nameOf("alice"), true);
  two.bus.announce(nameOf("bob"), true);
  three.bus.announce(nameOf("dave"), true);
  const conversations = ["bob", "carol"].map((peer) => ({
    id: directOf("alice", peer),
    epoch: 3,
    members: [nameOf("alice"), nameOf(peer)],
  }));
  hub.devicesChanged({ user: nameOf("alice"), conversations, keyLogLength: 7 });
  assert.deepEqual(one.changes, [{ user: "alice", conversations, keyLogLength: 7 }]);
  assert.deepEqual(two.changes, [{ user: "alice", conversations: [conversations[0]], keyLogLength: 7 }]);
  assert.deepEqual(three.changes, []);
});

Deno.test("Hub.devicesChanged() tells the user's own servers even without conversations", () => {
  const hub = new Hub();
  const one = server(hub);
  one.bus.announce(nameOf("alice"), true);
  hub.devicesChanged({ user: nameOf("alice"), conversations: [], keyLogLength: 7 });
  assert.deepEqual(one.changes, [{ user: "alice", conversations: [], keyLogLength: 7 }]);
});

Deno.test("Hub.devicesChanged() tells a server of those of its users who are in groups with the user", () => {
  const hub = new Hub();
  const one = server(hub), two = server(hub), three = server(hub);
  two.bus.announce(nameOf("bob"), true);
  two.bus.announce(nameOf("carol"), true);
  three.bus.announce(nameOf("dave"), true);
  const acquainted = ["bob", "carol", "erin"].map(nameOf), change = { user: nameOf("alice"), conversations: [] };
  hub.devicesChanged({ ...change, keyLogLength: 7, acquainted });
  assert.deepEqual(two.changes, [{ ...change, keyLogLength: 7, acquainted: ["bob", "carol"] }]);
  assert.deepEqual([one.changes, three.changes], [[], []]);
});

/** A server on the hub that keeps what it hears. */
function server(hub: Hub) {
  const bus = new LocalBus(hub), heard: [string, number][] = [], changes: DevicesChanged[] = [];
  bus.listener = {
    onCommitted: (committed) => committed.forEach(({ record }) => heard.push([record.conversation, record.seq])),
    onDevicesChanged: (change) => changes.push(change),
    onReceipts: () => {},
    onSessionsEnded: () => {},
    onGroupNews: () => {},
    onPresence: () => {},
    onTyping: () => {},
    onGap: () => assert.fail("There is no gap beside the hub"),
  };
  return { bus, heard, changes };
}

function record(sender: string, peer: string, seq: number): Committed {
  return {
    record: {
      conversation: directOf(sender, peer),
      seq,
      timeMs: seq,
      sender: nameOf(sender),
      device: deviceOf(sender),
      messageId: idOf<MessageId>("message", seq),
      body: bytesOf("body"),
    },
    members: [nameOf(sender), nameOf(peer)].sort(),
  };
}
