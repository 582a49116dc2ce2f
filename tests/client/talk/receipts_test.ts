/** States of messages between real clients, and what a server that lies about receipts gets (SECURITY M4). */
import assert from "node:assert/strict";
import { ChatClient, LockedError, type StateEvent } from "../../../client/mod.ts";
import { DeviceKeys } from "../../../client/e2ee/mod.ts";
import { Shown } from "../../../client/talk/shown.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { History } from "../../../client/talk/history.ts";
import type { Keyring } from "../../../client/trust/keyring.ts";
import type { Link } from "../../../client/network/link.ts";
import { collectMs, Receipts } from "../../../client/talk/receipts.ts";
import type { Remote } from "../../../client/network/remote.ts";
import { Settings } from "../../../client/home/settings.ts";
import { States } from "../../../client/talk/states.ts";
import { openHome } from "../../../client/home_parts.ts";
import { receiptBytes } from "../../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, OwnReceipt, Receipt, UserName } from "../../../shared/protocol/mod.ts";
import type { Store } from "../../../server/store/store.ts";
import { TEST_CLUSTER, testKeys } from "../../keys.ts";
import { type ChatWorld, withWorld } from "../chat_world.ts";
import { withDatabase } from "../homes.ts";

/** States of one message, or of all, until one of them is as wanted. */
async function untilState(client: ChatClient, wanted: (state: StateEvent) => boolean): Promise<StateEvent[]> {
  const states: StateEvent[] = [];
  for await (const event of client.events()) {
    if (event.type !== "state") continue;
    states.push(event);
    if (wanted(event)) break;
  }
  return states;
}

function briefly(states: readonly StateEvent[]): string[] {
  return states.map(({ state, delivered, read, members }) => `${state} ${delivered} ${read} of ${members}`);
}

Deno.test("ChatClient: a message is stored, then delivered, each told once and in order; read only where its reader says so", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const first = await alice.send("bob", "1");
    assert.equal(first.state, "stored");
    const told = await untilState(alice, ({ state }) => state === "delivered");
    assert.deepEqual(briefly(told), ["stored 0 0 of 1", "delivered 1 0 of 1"]);
    assert.deepEqual(told.map(({ id }) => id), [first.id, first.id]);
    assert.equal(alice.status(first.id).state, "delivered");
    assert.equal(alice.history("bob").at(-1)!.state, "delivered");
    for (const { position } of bob.unshown()) bob.markShown(position);
    const second = await alice.send("bob", "2");
    const later = await untilState(alice, ({ id, state }) => id === second.id && state === "delivered");
    assert.deepEqual(
      briefly(later.filter(({ id }) => id === second.id)),
      ["stored 0 0 of 1", "delivered 1 0 of 1"],
      "nothing was said of reading",
    );
    bob.readReceipts = true;
    for (const { position } of bob.unshown()) bob.markShown(position);
    const read = (await untilState(alice, ({ id, state }) => id === second.id && state === "read"))
      .filter(({ state }) => state === "read");
    assert.deepEqual(read.map(({ id, state }) => [id, state]), [[first.id, "read"], [second.id, "read"]]);
    assert.equal(alice.status(first.id).state, "read");
  });
});

Deno.test("ChatClient: what changed while nobody was there is told at the next start, and not again", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await (await world.open("bob")).close();
    const { id } = await alice.send("bob", "while you are away");
    await untilState(alice, ({ state }) => state === "stored");
    await alice.close();
    const bob = await world.open("bob", { password: undefined });
    await bob.close();
    const again = await world.open("alice", { password: undefined });
    assert.equal(again.status(id).state, "delivered", "known as soon as it is connected");
    await again.send("bob", "next");
    const told = await untilState(again, ({ id: of, state }) => of !== id && state === "stored");
    assert.deepEqual(briefly(told).slice(-2), ["delivered 1 0 of 1", "stored 0 0 of 1"]);
    await again.close();
    const third = await world.open("alice", { password: undefined });
    await third.send("bob", "last");
    const rest = await untilState(third, ({ id: of }) => of !== id);
    assert(!rest.some(({ id: of }) => of === id), "told once");
  });
});

Deno.test("ChatClient: a device that came later does not vouch for what was not sealed for it", async () => {
  await withWorld(async (world) => {
    const bob = await world.open("bob"), alice = await world.open("alice");
    await alice.close();
    const { id } = await bob.send("alice", "for the first device only");
    const second = await world.open("alice2", { name: "alice" });
    const { id: next } = await bob.send("alice", "for both");
    const told = await untilState(bob, ({ id, state }) => id === next && state === "delivered");
    assert(!told.some((state) => state.id === id && state.state === "delivered"));
    assert.equal(bob.status(id).state, "stored");
    await second.close();
    await world.open("alice", { password: undefined });
    await untilState(bob, (state) => state.id === id && state.state === "delivered");
  });
});

Deno.test("ChatClient: queued, failed and dropped messages have a state, offline too", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await world.open("bob");
    await assert.rejects(alice.send("nobody", "hello"));
    const [failed] = alice.outbox();
    assert.match(failed!.reason!, /nobody/);
    assert.equal(alice.status(failed!.id).state, "failed");
    world.unreachable = true;
    world.pairs[0]!.sever();
    const sending = assert.rejects(alice.send("bob", "hello"), /closed/);
    const queued = alice.outbox()[1]!;
    assert.deepEqual([queued.text, queued.reason, alice.status(queued.id).state], ["hello", undefined, "queued"]);
    await alice.close();
    await sending;
    const home = ChatClient.offline({ home: alice.home });
    assert.throws(() => home.outbox(), LockedError);
    await home.unlock({ unlock: alice.key() });
    assert.deepEqual(home.outbox().map(({ id }) => id), [failed!.id, queued.id]);
    assert.equal(home.status(queued.id).state, "queued");
    home.drop(failed!.id);
    assert.throws(() => home.status(failed!.id), /sent no message/);
    assert.throws(() => home.status("nonsense"), /no message id/);
    home.close();
    world.unreachable = false;
    const again = await world.open("alice", { password: undefined });
    await again.drain(5_000);
    assert.deepEqual(again.outbox(), [], "what was queued is sent by whoever connects next");
    await untilState(again, ({ id, state }) => id === queued.id && state === "delivered");
    await again.close();
    await again.drain(5_000);
  });
});

/** A world whose server says of receipts what `lie` says. */
async function withLiar(
  lie: (receipts: Receipt[]) => Receipt[],
  use: (world: ChatWorld) => Promise<void>,
): Promise<void> {
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key === "receipts"
          ? async (...args: Parameters<Store["receipts"]>) => lie(await target.receipts(...args))
          : Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key),
    });
  await withWorld(use, { wrapStore });
}

/** Bob has the message; Alice comes back and is lied to. */
async function aliceComesBack(world: ChatWorld): Promise<{ alice: ChatClient; id: string; notices: string[] }> {
  const first = await world.open("alice");
  await (await world.open("bob")).close();
  const { id } = await first.send("bob", "1");
  await first.close();
  await (await world.open("bob", { password: undefined })).close();
  const alice = await world.open("alice", { password: undefined });
  const events = alice.events(), notices: string[] = [];
  await alice.close();
  for await (const event of events) {
    if (event.type === "notice" && event.code === "receipt") notices.push(event.text);
  }
  return { alice, id, notices };
}

function stateAtHome(home: string, id: string): string {
  const parts = openHome(home);
  try {
    return parts.states.status(id as never)!.state;
  } finally {
    parts.database.close();
  }
}

Deno.test("Receipts: what no device signed is refused and told of; a replay and silence change nothing", async () => {
  const { alice: keys, bob } = await testKeys();
  const lies: [string, (receipt: Receipt) => Receipt[], RegExp | undefined][] = [
    ["a forged signature", (receipt) => [{ ...receipt, signature: new Uint8Array(64).fill(7) }], /did not sign/],
    ["more than was said", (receipt) => [{ ...receipt, delivered: receipt.delivered + 5 }], /did not sign/],
    ["read, which was not said", (receipt) => [{ ...receipt, read: receipt.delivered }], /did not sign/],
    [
      "another device",
      (receipt) => [{ ...receipt, device: "12".repeat(16) as Receipt["device"] }],
      /no valid certificate/,
    ],
    [
      "signed by another key",
      (receipt) => [{ ...receipt, signature: keys.leaf.sign(receiptBytes(TEST_CLUSTER, receipt)) }],
      /did not sign/,
    ],
    ["another body", (receipt) => [signedByBob(receipt)], /another message at place 2/],
    ["nothing", () => [], undefined],
    ["one's own, as the other's", (receipt) => [{ ...receipt, user: keys.user, device: keys.id }], undefined],
  ];
  const signedByBob = (receipt: Receipt): Receipt => {
    const statement = { ...receipt, hash: new Uint8Array(32).fill(9) };
    return { ...statement, signature: bob.leaf.sign(receiptBytes(TEST_CLUSTER, statement)) };
  };
  for (const [name, lie, told] of lies) {
    let lying = false;
    await withLiar((receipts) => lying ? receipts.flatMap(lie) : receipts, async (world) => {
      lying = true;
      const { alice, id, notices } = await aliceComesBack(world);
      assert.equal(stateAtHome(alice.home, id), "stored", name);
      if (told === undefined) assert.deepEqual(notices, [], name);
      else {
        assert.equal(notices.length, 1, `${name}: ${notices}`);
        assert.match(notices[0]!, told, name);
      }
    });
  }
  await withLiar((receipts) => receipts, async (world) => {
    const { alice, id, notices } = await aliceComesBack(world);
    assert.deepEqual([stateAtHome(alice.home, id), notices], ["delivered", []], "the truth");
  });
});

Deno.test("Receipts: an older one that is shown again takes nothing back", async () => {
  const shown: Receipt[] = [];
  await withLiar((receipts) => {
    for (const receipt of receipts) if (receipt.user === "bob") shown.push(receipt);
    return receipts.map((receipt) => shown.find(({ user }) => user === receipt.user) ?? receipt);
  }, async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const ids: string[] = [];
    for (const text of ["1", "2"]) {
      const { id } = await alice.send("bob", text);
      ids.push(id);
      await untilState(alice, (state) => state.id === id && state.state === "delivered");
      const { conversation } = alice.status(id);
      await world.harness.store.receipts(alice.name, [conversation as ConversationId], undefined, 10);
    }
    await bob.close();
    await alice.close();
    const again = await world.open("alice", { password: undefined });
    assert.deepEqual(ids.map((id) => again.status(id).state), ["delivered", "delivered"]);
  });
});

Deno.test("Receipts: what a home says never goes back and is signed by its device; what it did not say is said at the next start", async () => {
  const said: OwnReceipt[] = [];
  let refuse = false;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "setReceipts"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (...args: Parameters<Store["setReceipts"]>) => {
            if (refuse) throw new Error("not now");
            if (args[0] === "bob") said.push(...args[2]);
            await target.setReceipts(...args);
          },
    });
  await withWorld(async (world) => {
    const { bob: keys } = await testKeys();
    const alice = await world.open("alice"), bob = await world.open("bob");
    const { conversation } = await alice.send("bob", "1");
    await untilState(alice, ({ state }) => state === "delivered");
    refuse = true;
    const { id } = await alice.send("bob", "2");
    await bob.waitForUnshown(30_000);
    await bob.close();
    refuse = false;
    assert.equal(said.at(-1)!.delivered, 2);
    const again = await world.open("bob", { password: undefined });
    await untilState(alice, (state) => state.id === id && state.state === "delivered");
    const [head] = await world.harness.store.conversations(again.name, keys.id, undefined, 1);
    assert.equal(head!.cursor, 3, "the cursor moves with the receipt");
    for (const [at, receipt] of said.entries()) {
      const { delivered, hash, read } = receipt;
      const bytes = receiptBytes(TEST_CLUSTER, {
        conversation,
        user: again.name,
        device: keys.id,
        delivered,
        hash,
        read,
      });
      assert.deepEqual(receipt.signature, keys.leaf.sign(bytes));
      assert(at === 0 || delivered >= said[at - 1]!.delivered);
    }
  }, { wrapStore });
});

Deno.test("collectMs(): a large group spreads what its devices say over twenty seconds for a thousand, a small one waits a moment", () => {
  const atMost = (members: number) => collectMs(members, 1), atLeast = (members: number) => collectMs(members, 0);
  assert.deepEqual([0, 2, 64].map(atMost), [200, 200, 200]);
  assert.deepEqual([2, 65, 1_000].map(atLeast), [200, 200, 200]);
  assert.equal(atMost(1_000), 20_200);
  // A device says no more than one thing in its turn: so many a second all together, whatever the size.
  for (const members of [65, 300, 1_000]) assert(members / atMost(members) * 1000 < 60);
});

Deno.test("Receipts: those of a large group are not all asked for at every connection, those of a small one are", async () => {
  await withDatabase(async (database) => {
    const group = (at: number) => String(at).repeat(32) as ConversationId, large = group(1), small = group(2);
    const conversations = new Conversations(database),
      history = new History(database),
      states = new States(database),
      settings = new Settings(database);
    const { aliceIdentity } = await testKeys();
    const self = {
      name: "alice" as UserName,
      identity: aliceIdentity.fingerprint,
      clusterId: TEST_CLUSTER,
      keys: await DeviceKeys.generate(),
    };
    for (const [id, others] of [[large, 99], [small, 9]] as const) {
      const members = Array.from(
        { length: others },
        (_, at) => ({ name: `p${at}` as UserName, role: "member" as const }),
      );
      database.transaction(() => {
        conversations.addGroup({ id, cursor: 1 });
        conversations.setGroup(id, { name: "team", topic: "", ended: false, members });
        states.setRoster(id, 1, members.map(({ name }) => ({ user: name, device: name as string as DeviceId })));
        database.run(
          `INSERT INTO messages (conversation, seq, id, kind, sender, recipient, device, time_ms, own, text)
           VALUES (?, 2, ?, 1, 'alice', '', '', 0, 1, '')`,
          id,
          id,
        );
      });
    }
    const asked: string[] = [];
    const remote = {
      ask: (request: { conversations: ConversationId[] }) => {
        asked.push(request.conversations.map((id) => id === large ? "large" : "small").sort().join(" "));
        return Promise.resolve({ type: "receipts", receipts: [], more: false });
      },
    } as unknown as Remote;
    const shown = new Shown(database),
      link = { remote } as unknown as Link,
      keyring = {} as Keyring,
      onNotice = () => {};
    const receipts = new Receipts({
      database,
      conversations,
      history,
      shown,
      states,
      settings,
      keyring,
      self,
      link,
      onNotice,
    });
    try {
      await receipts.catchUp(remote);
      await receipts.catchUp(remote);
      assert.deepEqual(asked, ["large small", "small"]);
    } finally {
      receipts.close();
    }
  });
});
