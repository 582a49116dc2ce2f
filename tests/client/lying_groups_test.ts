/**
 * What a server that lies about the rows of a group gets out of real clients (SECURITY M2, M4; tests 1 and 2): nobody is shown
 * under the wrong name, what it changes is refused with the reason, what it hides is noticed, and people go on talking.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { ChatClient } from "../../client/mod.ts";
import { mlsBody } from "../../client/e2ee/groups/body.ts";
import type { ConversationId, Record, UserName } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { type ChatWorld, withWorld } from "./chat_world.ts";
import { nextNotice } from "./notices.ts";
import { readByThief, steal } from "./thief.ts";
import { until } from "./until.ts";

const names = (...all: string[]) => all as UserName[];

Deno.test("Lying server, sender: with two rows' senders swapped no client shows either under the wrong name", async () => {
  const liar = new Liar();
  await withTeam(liar, async (world, { alice, bob, carol }) => {
    await carol.close();
    const first = await alice.send("#team", "I am alice"), second = await bob.send("#team", "I am bob");
    const rows = await liar.rows(alice, 0), at = (seq: number) => rows.find((row) => row.seq === seq)!;
    liar.shows("carol", (row) => {
      if (row.seq !== first.seq && row.seq !== second.seq) return row;
      const { sender, device } = at(row.seq === first.seq ? second.seq : first.seq);
      return { ...row, sender, device };
    });
    const again = await world.open("carol", { password: undefined });
    await until(again, () => unshown(again).length === 2);
    assert.deepEqual(unshown(again), [
      "refused: The server says that bob sent it, which is not so",
      "refused: The server says that alice sent it, which is not so",
    ]);
    assert.deepEqual(again.history("#team"), []);
    liar.isHonest();
    await alice.send("#team", "again");
    await until(again, () => texts(again).includes("alice: again"));
    await again.send("#team", "I hear you");
    for (const chat of [alice, bob]) await until(chat, () => texts(chat).includes("carol: I hear you"));
  });
});

Deno.test("Lying server, withheld commit: Bob, who was not shown that Carol is out, stops at Dave's next message; she reads nothing", async () => {
  const liar = new Liar();
  await withTeam(liar, async (world, { alice, bob, carol }) => {
    const dave = await world.open("dave");
    await alice.changeGroup("team", { do: "add", names: names("dave") });
    await until(dave, () => dave.groups().length === 1);
    await until(bob, () => bob.group("team").members.length === 4);
    const thief = steal(carol, join(world.folder, "stolen"));
    await alice.send("#team", "before");
    await until(bob, () => texts(bob).includes("alice: before"));
    await until(carol, () => texts(carol).includes("alice: before"));
    const hidden = (await liar.rows(alice, 0)).length + 1, notices = bob.events();
    liar.shows("bob", (row) => row.seq === hidden ? { ...row, body: mlsBody(new Uint8Array(300)) } : row);
    await alice.changeGroup("team", { do: "remove", names: names("carol") });
    await until(dave, () => dave.group("team").members.length === 3);
    await alice.close();
    await dave.send("#team", "carol is gone");
    await dave.close();
    assert.match(await nextNotice(notices, "withheld"), /withheld from this device/);
    assert(unshown(bob).some((line) => /a change was withheld from it/.test(line)), unshown(bob).join("\n"));
    // Nobody is there who could let him in again.
    await assert.rejects(bob.send("#team", "is carol still there?", { timeoutMs: 1_000 }));
    assert.deepEqual((await liar.rows(alice, hidden)).map(({ sender }) => sender), ["dave"]);

    const back = await world.open("alice", { password: undefined });
    await bob.send("#team", "who is gone?");
    const again = await world.open("dave", { password: undefined });
    for (const chat of [back, again]) {
      await until(chat, () => texts(chat).includes("bob: who is gone?"));
      assert.deepEqual(texts(chat), ["alice: before", "dave: carol is gone", "bob: who is gone?"]);
    }
    assert.deepEqual(bob.group("team").members.map(({ name }) => name).sort(), ["alice", "bob", "dave"]);
    // Carol has all that she ever had, and the server gives her everything.
    assert.deepEqual(await readByThief(thief, liar.conversation, await liar.rows(alice, 0)), ["before"]);
    assert.deepEqual(texts(carol), ["alice: before"]);
  });
});

Deno.test("Lying server, withheld commit: what is simply left out is told, and is taken once it comes", async () => {
  const liar = new Liar();
  await withTeam(liar, async (_world, { alice, bob }) => {
    const hidden = (await liar.rows(alice, 0)).length + 1, notices = bob.events();
    liar.shows("bob", (row) => row.seq === hidden ? undefined : row);
    await alice.changeGroup("team", { do: "topic", topic: "unseen" });
    await alice.send("#team", "after it");
    assert.match(await nextNotice(notices, "gap"), /holds back messages with #Team between/);
    // What he says now waits for it.
    await assert.rejects(bob.send("#team", "into the dark", { timeoutMs: 1_000 }));
    assert.deepEqual([texts(bob), texts(alice)], [[], ["alice: after it"]]);
    liar.isHonest();
    await alice.send("#team", "once more");
    for (const chat of [alice, bob]) await until(chat, () => texts(chat).includes("bob: into the dark"));
    assert.deepEqual(texts(bob), ["alice: after it", "alice: once more", "bob: into the dark"]);
    assert.equal(bob.group("team").topic, "unseen");
  });
});

Deno.test("Lying server: altered, replayed, exchanged and made-up rows of a group are refused with the reason, the others are shown", async () => {
  const liar = new Liar();
  await withTeam(liar, async (world, { alice, bob, carol }) => {
    await bob.close();
    const first = await alice.send("#team", "0");
    for (const text of ["1", "2", "3", "4", "5", "6"]) await alice.send("#team", text);
    const rows = await liar.rows(alice, 0),
      at = (number: number) => rows.find(({ seq }) => seq === first.seq + number)!;
    liar.shows("bob", (row) => {
      const number = row.seq - first.seq;
      // One bit is another.
      if (number === 1) return { ...row, body: row.body.with(200, row.body[200]! ^ 1) };
      // The first one once more, in the place of another.
      if (number === 2) return { ...at(0), seq: row.seq };
      // Another message's id.
      if (number === 3) return { ...row, messageId: at(0).messageId };
      // Made up.
      if (number === 4) return { ...row, body: new Uint8Array([9, 9, 9]) };
      return number === 5 || number === 6 ? { ...at(11 - number), seq: row.seq } : row;
    });
    const again = await world.open("bob", { password: undefined }), notices = again.events();
    await until(again, () => unshown(again).length >= 7);
    assert.deepEqual(unshown(again), [
      "alice: 0",
      "refused: It was changed on its way, came twice, or was not sealed for this device",
      "refused: It was changed on its way, came twice, or was not sealed for this device",
      "refused: The server names another message than this one",
      "refused: It needs a newer fastchat",
      "alice: 6",
      "alice: 5",
    ]);
    liar.isHonest();
    await carol.send("#team", "what is it?");
    await until(again, () => texts(again).includes("carol: what is it?"));
    assert.match(await nextNotice(notices, "fork"), /is shown another/);
    await notices.return!();
    // What he saw is not what they saw: he says nothing more before he has looked at that.
    await assert.rejects(again.send("#team", "unseen", { timeoutMs: 1_000 }), /shown different things/);
    await again.acceptFork("#team");
    await again.send("#team", "what did you say?");
    for (const chat of [alice, carol]) await until(chat, () => texts(chat).includes("bob: what did you say?"));
  });
});

/** Lies about the rows of one conversation, to whom it likes. */
class Liar {
  conversation!: ConversationId;
  #store!: Store;
  #lies: { readonly to: string; readonly lie: (row: Record) => Record | undefined } | undefined;

  /** To one person rows are shown as the lie makes them; nothing reaches them but what they ask for. */
  shows(to: string, lie: (row: Record) => Record | undefined): void {
    this.#lies = { to, lie };
  }

  isHonest(): void {
    this.#lies = undefined;
  }

  /** What is really there, behind a place. */
  async rows(member: ChatClient, after: number): Promise<readonly Record[]> {
    return (await this.#store.read(member.name, this.conversation, after, 256))!.records;
  }

  wrap(store: Store): Store {
    this.#store = store;
    const read: Store["read"] = async (user, conversation, after, limit) => {
      const page = await store.read(user, conversation, after, limit), lies = this.#lies;
      if (page === undefined || conversation !== this.conversation || user !== lies?.to) return page;
      return { ...page, records: page.records.flatMap((row) => lies.lie(row) ?? []) };
    };
    return new Proxy(store, {
      get: (target, key) => key === "read" ? read : Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key),
    });
  }

  /** What is delivered by itself is a lie too, so that it cannot be told apart: rows that are lied about come when they are asked for. */
  take({ harness: { server } }: ChatWorld): void {
    const committed = server.committed.bind(server);
    server.committed = (batch, nowUs) =>
      committed(
        batch.map((one) => {
          const lies = this.#lies;
          const isTold = lies === undefined || lies.lie(one.record) === one.record;
          return isTold ? one : { ...one, members: one.members.filter((name) => name !== lies.to) };
        }),
        nowUs,
      );
  }
}

async function withTeam(
  liar: Liar,
  use: (world: ChatWorld, team: { alice: ChatClient; bob: ChatClient; carol: ChatClient }) => Promise<void>,
): Promise<void> {
  await withWorld(async (world) => {
    liar.take(world);
    const alice = await world.open("alice"), bob = await world.open("bob"), carol = await world.open("carol");
    await alice.createGroup("Team");
    await alice.changeGroup("#team", { do: "add", names: names("bob", "carol") });
    for (const chat of [bob, carol]) await until(chat, () => chat.groups()[0]?.members.length === 3);
    liar.conversation = alice.group("team").conversation as ConversationId;
    await use(world, { alice, bob, carol });
  }, { wrapStore: (store) => liar.wrap(store) });
}

function texts(chat: ChatClient): string[] {
  return chat.history("#team", 100).map(({ from, text }) => `${from}: ${text}`);
}

function unshown(chat: ChatClient): string[] {
  return chat.unshown(100).flatMap(({ event }) =>
    event.type === "message"
      ? [`${event.from}: ${event.text}`]
      : event.type === "refused"
      ? [`refused: ${event.reason}`]
      : []
  );
}
