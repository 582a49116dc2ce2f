/**
 * What a server that lies about the rows of a group gets out of real clients (SECURITY M2, M4, M5; tests 1 to 3): nobody is shown
 * under the wrong name, what it changes is refused with the reason, what it hides is noticed, and people go on talking.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { MLSMessage } from "ts-mls";
import { createCommit, joinGroupExternal } from "ts-mls/createCommit.js";
import type { ChatClient } from "../../client/mod.ts";
import { mlsBody } from "../../client/e2ee/groups/body.ts";
import { encodeNotes } from "../../client/e2ee/mls/commit_notes.ts";
import { privateKeysOf, publicPackageOf } from "../../client/e2ee/mls/key_packages.ts";
import { clientConfig } from "../../client/e2ee/mls/profile.ts";
import { decodeMessage, encodeMessage } from "../../client/e2ee/mls/wire.ts";
import { systemRandom } from "../../shared/crypto/mod.ts";
import type { ConversationId, MessageId, Record, UserName } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { testKeys } from "../keys.ts";
import { type ChatWorld, withWorld } from "./chat_world.ts";
import { makeDevice } from "./e2ee/mls/people.ts";
import { lootOf, readByThief, steal } from "./thief.ts";
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
    const hidden = (await liar.rows(alice, 0)).length + 1, heard = noticesOf(bob);
    liar.shows("bob", (row) => row.seq === hidden ? { ...row, body: mlsBody(new Uint8Array(300)) } : row);
    await alice.changeGroup("team", { do: "remove", names: names("carol") });
    await until(dave, () => dave.group("team").members.length === 3);
    await alice.close();
    await dave.send("#team", "carol is gone");
    await dave.close();
    await until(bob, () => heard.some((notice) => /^withheld: .*withheld from this device/.test(notice)));
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
    const hidden = (await liar.rows(alice, 0)).length + 1, heard = noticesOf(bob);
    liar.shows("bob", (row) => row.seq === hidden ? undefined : row);
    await alice.changeGroup("team", { do: "topic", topic: "unseen" });
    await alice.send("#team", "after it");
    await until(bob, () => heard.some((notice) => /^gap: .*holds back messages with #Team between/.test(notice)));
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

Deno.test("Lying server, ghost join: strangers whom the server helps into the log come into no client's group", async () => {
  const liar = new Liar();
  await withTeam(liar, async (world, { alice, bob, carol }) => {
    await bob.close();
    // Bob, who is no admin, gives all that he has to the server, and strangers of every kind come from there.
    const { lib, mls, groups } = await lootOf(steal(bob, join(world.folder, "bobs")));
    const { state } = groups.find(({ state }) => state.groupContext.groupId.toHex() === liar.conversation)!;
    const invitation = decodeMessage((await lib.makeInvitation(mls, { state, endedMs: new Map() })).groupInfo);
    assert(invitation?.wireformat === "mls_group_info");
    const { aliceIdentity } = await testKeys(), nowMs = Date.now();
    const authenticatedData = encodeNotes({ skipped: [], leaves: [], keyLogEntries: 0 }), bodies: MLSMessage[] = [];
    for (const ghost of [await makeDevice("mallory"), await makeDevice("carol", { identity: aliceIdentity })]) {
      const own = await lib.makeKeyPackage(mls, ghost, { nowMs }), keyPackage = publicPackageOf(own);
      const add = { proposalType: "add" as const, add: { keyPackage } };
      const added = await createCommit({ state, cipherSuite: mls.suite }, { extraProposals: [add], authenticatedData });
      const joined = await joinGroupExternal(
        invitation.groupInfo,
        keyPackage,
        privateKeysOf(own, ghost),
        false,
        mls.suite,
        state.ratchetTree,
        clientConfig(mls.credentials),
        authenticatedData,
      );
      bodies.push(added.commit, {
        version: "mls10",
        wireformat: "mls_public_message",
        publicMessage: joined.publicMessage,
      });
    }
    const before = await alice.groupDetails("team"), heard = [alice, carol].map(noticesOf);
    for (const body of bodies) await liar.plant(bob.name, mlsBody(encodeMessage(body)));
    await alice.send("#team", "still here");
    await until(carol, () => texts(carol).includes("alice: still here"));
    await carol.send("#team", "me too");
    await until(alice, () => texts(alice).includes("carol: me too"));
    for (const chat of [alice, carol]) assert.deepEqual((await chat.groupDetails("team")).members, before.members);
    for (const notices of heard) {
      const reasons = notices.flatMap((text) => /does not count: (.*)/.exec(text)?.[1] ?? []);
      assert.deepEqual(reasons, [
        "may not add users",
        "not a member",
        "adds a name under another identity",
        "not a member",
      ]);
    }
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
    const again = await world.open("bob", { password: undefined }), heard = noticesOf(again);
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
    await until(again, () => heard.some((notice) => /^fork: .*is shown another/.test(notice)));
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

  /** Puts a commit into the log as if that member's device had sent it. */
  async plant(user: UserName, body: Uint8Array): Promise<void> {
    const device = (await testKeys()).bob.id, { conversation } = this;
    const heads = await this.#store.conversations(user, device, undefined, 100);
    const stored = await this.#store.commit({
      user,
      device,
      conversation,
      messageId: systemRandom.bytes(16).toHex() as MessageId,
      body,
      lastCommit: heads.find((head) => head.conversation === conversation)!.epoch,
      add: [],
      remove: [],
      welcomes: [],
      tree: new Uint8Array(),
      nowMs: Date.now(),
    });
    assert.equal(stored.status, "stored");
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

/** What a client tells of from now on, as `CODE: TEXT`. */
function noticesOf(chat: ChatClient): string[] {
  const heard: string[] = [];
  void (async () => {
    for await (const event of chat.events()) if (event.type === "notice") heard.push(`${event.code}: ${event.text}`);
  })();
  return heard;
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
