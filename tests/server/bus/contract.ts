/** What every bus must do: one suite, run by the tests of each implementation. */
import assert from "node:assert/strict";
import type { Bus, CommitListener, Committed, GroupNews, ReceiptMoved } from "../../../server/bus/bus.ts";
import type { ConversationId, MessageId } from "../../../shared/protocol/mod.ts";
import { bytesOf, deviceOf, directOf, idOf, nameOf } from "../store/fixtures.ts";

/** Three servers of one cluster, and where its store tells of commits. */
export interface OpenedBuses {
  readonly servers: readonly [Bus, Bus, Bus];
  /** Changes with the leader. */
  readonly store: CommitListener;
  /** Waits until everything that was told has arrived everywhere. */
  settle(): Promise<void>;
  /** Puts another leader in the place of this one; where there is none, notices cannot be missed. */
  readonly replaceLeader?: () => Promise<void>;
  close(): Promise<void>;
}

export function busContract(name: string, open: () => Promise<OpenedBuses>): void {
  const test = (what: string, run: (opened: OpenedBuses, heard: Heard[]) => Promise<void>) =>
    Deno.test(`${name}: ${what}`, async () => {
      const opened = await open();
      try {
        await run(opened, opened.servers.map(listen));
      } finally {
        await opened.close();
      }
    });

  test("announce() is known to every server, however often it is said, until the last one takes it back", async ({ servers, settle }) => {
    const [one, two] = servers;
    for (const bus of [one, one, two]) bus.announce(nameOf("bob"), true);
    two.announce(nameOf("alice"), true);
    await settle();
    for (const bus of servers) assert.deepEqual(await bus.online(), ["alice", "bob"]);
    one.announce(nameOf("bob"), false);
    one.announce(nameOf("bob"), false);
    one.announce(nameOf("nobody"), false);
    await settle();
    for (const bus of servers) assert.deepEqual(await bus.online(), ["alice", "bob"]);
    two.announce(nameOf("bob"), false);
    await settle();
    for (const bus of servers) assert.deepEqual(await bus.online(), ["alice"]);
  });

  test(
    "records come to every server with a member, the sender's too, once and in order, and to no other",
    async (opened, heard) => {
      const { servers: [one, two, three], store, settle } = opened;
      for (const user of ["alice", "bob"]) one.announce(nameOf(user), true);
      two.announce(nameOf("bob"), true);
      three.announce(nameOf("carol"), true);
      await settle();
      store.committed([record("alice", "bob", 1), record("bob", "carol", 1), record("alice", "bob", 2)]);
      store.committed([record("alice", "bob", 3)]);
      await settle();
      const both = directOf("alice", "bob"), other = directOf("bob", "carol");
      assert.deepEqual(heard[0]!.seqs, [[both, 1], [other, 1], [both, 2], [both, 3]]);
      assert.deepEqual(heard[1]!.seqs, heard[0]!.seqs);
      assert.deepEqual(heard[2]!.seqs, [[other, 1]]);
      assert.deepEqual(structuredClone(heard[1]!.committed[0]), record("alice", "bob", 1));
    },
  );

  test(
    "who has no more sessions anywhere costs nobody a notice",
    async ({ servers: [one, two], store, settle }, heard) => {
      one.announce(nameOf("alice"), true);
      two.announce(nameOf("bob"), true);
      two.announce(nameOf("bob"), false);
      await settle();
      store.committed([record("alice", "bob", 1), record("bob", "carol", 1)]);
      await settle();
      assert.deepEqual(heard.map(({ committed }) => committed.length), [1, 0, 0]);
    },
  );

  test(
    "what one commit told comes in few pieces, whatever it weighs",
    async ({ servers: [, two], store, settle }, heard) => {
      two.announce(nameOf("bob"), true);
      await settle();
      store.committed(Array.from({ length: 500 }, (_, at) => record("alice", "bob", at + 1)));
      await settle();
      assert.deepEqual([heard[1]!.committed.length, heard[1]!.calls], [500, 1]);
      const body = new Uint8Array(1 << 20).fill(7);
      store.committed(Array.from({ length: 20 }, (_, at) => record("alice", "bob", 501 + at, body)));
      await settle();
      assert.deepEqual(heard[1]!.seqs.map(([, seq]) => seq), Array.from({ length: 520 }, (_, at) => at + 1));
      assert.deepEqual(heard[1]!.committed.at(-1)!.record.body, body);
    },
  );

  test("of many members a server is told those it has, as they come and go", async (opened, heard) => {
    const { servers: [one, two, three], store, settle } = opened;
    let members = Array.from({ length: 100 }, (_, at) => nameOf(`user${String(at).padStart(3, "0")}`));
    const tell = async (seq: number) => {
      store.committed([{ ...record("user000", "user001", seq), members }]);
      await settle();
      return heard.map(({ committed }) =>
        committed.filter(({ record }) => record.seq === seq).map(({ members }) => members.map((name) => name.slice(4)))
      );
    };
    for (const user of ["user001", "user002", "somebody"]) one.announce(nameOf(user), true);
    two.announce(nameOf("user002"), true);
    await settle();
    assert.deepEqual(await tell(1), [[["001", "002"]], [["002"]], []]);
    three.announce(nameOf("user099"), true);
    one.announce(nameOf("user001"), false);
    one.announce(nameOf("user001"), false);
    two.announce(nameOf("user002"), true);
    await settle();
    assert.deepEqual(await tell(2), [[["002"]], [["002"]], [["099"]]]);
    members = members.filter((name) => name !== "user002");
    assert.deepEqual(await tell(3), [[], [], [["099"]]]);
    one.announce(nameOf("user003"), true);
    one.announce(nameOf("user002"), false);
    await settle();
    assert.deepEqual(await tell(4), [[["003"]], [], [["099"]]]);
  });

  test(
    "what is said of a conversation comes to whom it is for, and a dismissal to every server",
    async (opened, heard) => {
      const { servers: [one, two], store, settle } = opened;
      one.announce(nameOf("alice"), true);
      two.announce(nameOf("bob"), true);
      await settle();
      const conversation = directOf("alice", "bob"), device = deviceOf("bob", 2), members = [nameOf("alice")];
      const body = bytesOf("let me in"), place = { conversation, user: nameOf("bob"), device };
      const asked: GroupNews = { type: "asked", ask: { ...place, kind: 1, body, timeMs: 7 }, members };
      const welcomed: GroupNews = { type: "welcomed", conversation, devices: [{ user: nameOf("bob"), device }] };
      const dismissed: GroupNews = { type: "dismissed", conversation, seq: 9, users: [nameOf("carol")] };
      store.committed([record("alice", "bob", 9)]);
      for (const news of [asked, welcomed, dismissed]) store.groupNews(news);
      await settle();
      assert.deepEqual(heard.map(({ news }) => structuredClone(news)), [
        [asked, dismissed],
        [welcomed, dismissed],
        [dismissed],
      ]);
      assert.deepEqual(heard[0]!.order, ["committed", "group", "group"]);
    },
  );

  test(
    "a change of devices comes to the user's servers, and to those of others with the conversations they share",
    async (opened, heard) => {
      const { servers: [one, two, three], store, settle } = opened;
      one.announce(nameOf("alice"), true);
      two.announce(nameOf("bob"), true);
      three.announce(nameOf("dave"), true);
      await settle();
      const conversations = ["bob", "carol"].map((peer) => ({
        id: directOf("alice", peer),
        epoch: 3,
        members: [nameOf("alice"), nameOf(peer)],
      }));
      store.devicesChanged({ user: nameOf("alice"), conversations, keyLogLength: 7 });
      store.devicesChanged({ user: nameOf("alice"), conversations: [], keyLogLength: 7 });
      await settle();
      assert.deepEqual(heard.map(({ changes }) => structuredClone(changes.map(({ conversations }) => conversations))), [
        [conversations, []],
        [[conversations[0]!]],
        [],
      ]);
    },
  );

  test(
    "the end of sessions is told to every server, whoever is there",
    async ({ servers: [one], store, settle }, heard) => {
      one.announce(nameOf("alice"), true);
      await settle();
      const ended = [
        {
          user: nameOf("alice"),
          generation: 4,
          keep: new Uint8Array(32).fill(9),
          change: undefined,
          device: undefined,
        },
        { user: nameOf("bob"), generation: 1, keep: undefined, change: undefined, device: undefined },
      ];
      for (const each of ended) store.sessionsEnded(each);
      await settle();
      for (const { ends } of heard) assert.deepEqual(structuredClone(ends), ended);
    },
  );

  test("receipts and typing come to the servers of the members, the person's own too", async (opened, heard) => {
    const { servers: [one, two, three], store, settle } = opened;
    one.announce(nameOf("alice"), true);
    two.announce(nameOf("bob"), true);
    three.announce(nameOf("carol"), true);
    await settle();
    const members = [nameOf("alice"), nameOf("bob")], conversation = directOf("alice", "bob");
    const moved: ReceiptMoved = {
      receipt: {
        conversation,
        user: nameOf("bob"),
        device: deviceOf("bob"),
        delivered: 5,
        hash: new Uint8Array(32).fill(1),
        read: 2,
        signature: new Uint8Array(64).fill(2),
      },
      members,
    };
    store.receipts([moved]);
    const hint = { conversation, user: nameOf("bob"), members, active: true };
    two.hint(hint);
    await settle();
    assert.deepEqual(heard.map(({ moved }) => structuredClone(moved)), [[moved], [moved], []]);
    assert.deepEqual(heard.map(({ hints }) => structuredClone(hints)), [[hint], [hint], []]);
  });

  test(
    "notices of every kind keep the order in which they were told",
    async ({ servers: [, two], store, settle }, heard) => {
      two.announce(nameOf("bob"), true);
      await settle();
      const conversation = { id: directOf("alice", "bob"), epoch: 3, members: [nameOf("alice"), nameOf("bob")] };
      store.committed([record("alice", "bob", 1)]);
      store.devicesChanged({ user: nameOf("alice"), conversations: [conversation], keyLogLength: 7 });
      store.committed([record("alice", "bob", 2)]);
      store.sessionsEnded({ user: nameOf("bob"), generation: 1, keep: undefined });
      store.committed([record("alice", "bob", 3)]);
      await settle();
      assert.deepEqual(heard[1]!.order, ["committed", "devices", "committed", "ended", "committed"]);
    },
  );

  test(
    "a gap is told to each server once for each change of leader, behind it notices go on, and presence is whole",
    async (opened, heard) => {
      const { servers, settle, replaceLeader } = opened;
      servers[1].announce(nameOf("bob"), true);
      servers[2].announce(nameOf("carol"), true);
      await settle();
      opened.store.committed([record("bob", "carol", 1)]);
      await settle();
      if (replaceLeader === undefined) return assert.deepEqual(heard.map(({ gaps }) => gaps), [0, 0, 0]);
      for (let times = 1; times <= 2; times++) {
        await replaceLeader();
        await settle();
        assert.deepEqual(heard.map(({ gaps }) => gaps), [times, times, times]);
        for (const bus of servers) assert.deepEqual(await bus.online(), ["bob", "carol"]);
        opened.store.committed([record("bob", "carol", 1 + times)]);
        await settle();
        assert.deepEqual(heard.map(({ seqs }) => seqs.length), [0, 1 + times, 1 + times]);
        // Whatever was missed was missed before the gap.
        assert.deepEqual(heard[1]!.order.slice(-2), ["gap", "committed"]);
      }
    },
  );
}

/** What one server hears. */
class Heard {
  readonly committed: Committed[] = [];
  readonly changes: Parameters<NonNullable<Bus["listener"]>["onDevicesChanged"]>[0][] = [];
  readonly ends: Parameters<NonNullable<Bus["listener"]>["onSessionsEnded"]>[0][] = [];
  readonly moved: ReceiptMoved[] = [];
  readonly hints: Parameters<NonNullable<Bus["listener"]>["onTyping"]>[0][] = [];
  readonly news: GroupNews[] = [];
  readonly order: string[] = [];
  calls = 0;
  gaps = 0;

  get seqs(): [ConversationId, number][] {
    return this.committed.map(({ record: { conversation, seq } }) => [conversation, seq]);
  }
}

function listen(bus: Bus): Heard {
  const heard = new Heard();
  const note = <T>(kind: string, into: T[], what: readonly T[]) => {
    heard.order.push(kind);
    into.push(...what);
  };
  bus.listener = {
    onCommitted: (committed) => (heard.calls++, note("committed", heard.committed, committed)),
    onReceipts: (moved) => note("receipts", heard.moved, moved),
    onDevicesChanged: (change) => note("devices", heard.changes, [change]),
    onSessionsEnded: (ended) => note("ended", heard.ends, [ended]),
    onGroupNews: (news) => note("group", heard.news, [news]),
    onPresence: () => {},
    onTyping: (hint) => note("typing", heard.hints, [hint]),
    onGap: () => note("gap", [], [void heard.gaps++]),
  };
  return heard;
}

function record(sender: string, peer: string, seq: number, body = bytesOf("body")): Committed {
  return {
    record: {
      conversation: directOf(sender, peer),
      seq,
      timeMs: seq,
      sender: nameOf(sender),
      device: deviceOf(sender),
      messageId: idOf<MessageId>("message", seq),
      body,
    },
    members: [nameOf(sender), nameOf(peer)].sort(),
  };
}
