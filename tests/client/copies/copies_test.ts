import assert from "node:assert/strict";
import { Acks } from "../../../client/talk/acks.ts";
import { Copies } from "../../../client/copies/copies.ts";
import type { CopiedMessage } from "../../../client/copies/copied_message.ts";
import type { Database } from "../../../client/home/database.ts";
import { eventLine } from "../../../client/faces/lines.ts";
import { eventJson } from "../../../client/faces/json.ts";
import { Conversations } from "../../../client/talk/conversations.ts";
import { Own } from "../../../client/talk/message_row.ts";
import { States } from "../../../client/talk/states.ts";
import { Subscription } from "../../../client/talk/subscription.ts";
import { Shown } from "../../../client/talk/shown.ts";
import type { ConversationId, UserName } from "../../../shared/protocol/mod.ts";
import { ALICE, ALICES_DEVICE, BOB, BOBS_DEVICE, fromBob, historyWithBob, idOf, TALK, withDatabase } from "../homes.ts";

const CAROL = "carol" as UserName, GROUP = "0b".repeat(16) as ConversationId;

Deno.test("Copies.importCopies() shows them with whose copy they are, at their places, and as nothing that has to be read", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database),
      conversations = new Conversations(database),
      shown = new Shown(database),
      copies = copiesOf(database);
    conversations.setCursor(TALK, 5);
    history.add(fromBob(4));
    shown.mark(history.lastPosition());
    const added = copies.importCopies({
      conversation: TALK,
      entries: [copy(1), copy(2, { sender: ALICE })],
      from: CAROL,
    });
    assert.equal(added, 2);
    assert.deepEqual(
      history.messagesIn(TALK, 10).map(({ text, from, to, copyFrom }) => [text, from, to, copyFrom]),
      [["copy 1", BOB, ALICE, CAROL], ["copy 2", ALICE, BOB, CAROL], ["text 4", BOB, ALICE, undefined]],
    );
    assert.deepEqual(shown.unshown(10), []);
    assert.equal(shown.summaries()[0]!.unread, 0);
    assert.equal(conversations.get(TALK)!.cursor, 5);
    assert.equal(shown.readUpTo(TALK), 5);
    assert.deepEqual(shown.conversationsBetween(shown.upTo(), 100), []);
    assert.deepEqual(history.sentBetween(TALK, 0, 10), [], "nothing of it is ever sent again");
    const states = new States(database);
    assert.equal(states.status(idOf(2)), undefined, "and nobody has to have received it");
    assert.deepEqual(states.open(), []);
    const acks = new Acks(database, shown);
    acks.begin();
    assert.equal(acks.take({ holder: 1, leaseMs: 1_000, window: 9, nowMs: 0 }), undefined);
    assert.deepEqual(acks.acknowledge([{ id: idOf(1) }]), ["unknown"]);
  });
});

Deno.test("Copies.importCopies() leaves what stands there, and a second time adds nothing", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), copies = copiesOf(database);
    history.add(fromBob(2));
    const { text: _, ...refused } = fromBob(3, { reason: "It cannot be read" });
    history.add(refused);
    const entries = [copy(1), copy(2), copy(3)];
    assert.equal(copies.importCopies({ conversation: TALK, entries, from: CAROL }), 1);
    assert.equal(copies.importCopies({ conversation: TALK, entries, from: "" }), 0);
    assert.deepEqual(
      history.talkIn(TALK, 10).map((event) => event.type === "message" && [event.text, event.copyFrom]),
      [["copy 1", CAROL], ["text 2", undefined]],
    );
    assert.deepEqual(new Shown(database).unshown(10).map(({ event }) => event.type), ["message", "refused"]);
    // The same message, at the place that a restored server gave it.
    assert.equal(copies.importCopies({ conversation: TALK, entries: [copy(9, { id: idOf(2) })], from: CAROL }), 0);
  });
});

Deno.test("History.add() puts what the log itself brings in the place of a copy, which can claim no id", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), copies = copiesOf(database);
    copies.importCopies({ conversation: TALK, entries: [copy(1), copy(2), copy(3)], from: CAROL });
    assert(!history.has(TALK, BOBS_DEVICE, idOf(1)));
    assert(!history.hasBehind(TALK, BOBS_DEVICE, 0));
    assert.equal(history.hashAt(TALK, 1), undefined);
    history.add(fromBob(1));
    // Sent again by its device: it stands at another place now.
    history.add(fromBob(7, { id: idOf(2) }));
    // The id of a row that cannot be read is the server's word.
    const { text: _, ...refused } = fromBob(8, { id: idOf(3), reason: "It cannot be read" });
    history.add(refused);
    assert.deepEqual(
      history.messagesIn(TALK, 10).map(({ seq, text, copyFrom }) => [seq, text, copyFrom]),
      [[1, "text 1", undefined], [3, "copy 3", CAROL], [7, "text 7", undefined]],
    );
    assert.deepEqual(new Shown(database).unshown(10).map(({ event }) => event.seq), [1, 7, 8]);
  });
});

Deno.test("History.hashAt() knows the row at the cursor where a copy stands", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database),
      conversations = new Conversations(database),
      hash = new Uint8Array(32).fill(3);
    conversations.setCursor(TALK, 2, hash);
    copiesOf(database).importCopies({ conversation: TALK, entries: [copy(2)], from: CAROL });
    assert.deepEqual(history.hashAt(TALK, 2), hash);
  });
});

Deno.test("Copies.importCopies() of a group belongs to nobody but the group, and to none that is not known", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), conversations = new Conversations(database), copies = copiesOf(database);
    const imported = { conversation: GROUP, entries: [copy(1)], from: "" } as const;
    assert.throws(() => copies.importCopies(imported), RangeError);
    conversations.addGroup({ id: GROUP, cursor: 3 });
    conversations.setGroup(GROUP, { name: "dev", topic: "", ended: false, members: [] });
    assert.equal(copies.importCopies(imported), 1);
    const [event] = history.messagesIn(GROUP, 10);
    assert.deepEqual([event!.to, event!.group, event!.copyFrom], ["#dev", "dev", ""]);
  });
});

Deno.test("Copies.importCopies() sanitizes texts, and is all or nothing within a transaction", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), copies = copiesOf(database);
    copies.importCopies({ conversation: TALK, entries: [copy(1, { text: "a\x1b[2Jb\u202e" })], from: CAROL });
    assert.equal(history.messagesIn(TALK, 1)[0]!.text, "a[2Jb");
    assert.throws(() =>
      database.transaction(() => {
        copies.importCopies({ conversation: TALK, entries: [copy(2)], from: CAROL });
        throw new Error("the rest does not fit");
      }), /the rest/);
    assert.equal(history.messagesIn(TALK, 9).length, 1);
  });
});

Deno.test("a copy whose mark was taken off or changed in the file is not shown as anybody's words", async () => {
  for (const mark of [null, "", "bob"]) {
    await withDatabase((database) => {
      const history = historyWithBob(database);
      copiesOf(database).importCopies({ conversation: TALK, entries: [copy(1)], from: CAROL });
      database.run("UPDATE messages SET copy_from = ?, own = 0", mark);
      assert.deepEqual(history.messagesIn(TALK, 9), []);
      const [row] = new Shown(database).unshown(1);
      assert.equal(row!.event.type, "refused");
      assert.match(JSON.stringify(row!.event), /damaged/);
    });
  }
});

Deno.test("Subscription gives no copies, to whoever asked for their own messages either", async () => {
  await withDatabase(async (database) => {
    const history = historyWithBob(database), states = new States(database);
    const subscription = new Subscription({ history, states, own: true, presence: false, onEnd() {} });
    copiesOf(database).importCopies({ conversation: TALK, entries: [copy(1)], from: CAROL });
    history.add(fromBob(2, { own: Own.elsewhere, sender: ALICE, recipient: BOB }));
    subscription.finish();
    const seqs: number[] = [];
    for await (const event of subscription) if (event.type === "message") seqs.push(event.seq);
    assert.deepEqual(seqs, [2]);
  });
});

Deno.test("Copies.newest() gives what came from the log, the newest of it where there is no room for all", async () => {
  await withDatabase(async (database) => {
    const history = historyWithBob(database), copies = copiesOf(database);
    copies.importCopies({ conversation: TALK, entries: [copy(1), copy(2)], from: CAROL });
    for (const seq of [3, 4, 5]) history.add(fromBob(seq, { text: "x".repeat(100) }));
    history.add(fromBob(6, { sender: ALICE, recipient: BOB, device: ALICES_DEVICE, own: Own.here, text: "mine" }));
    const { text: _, ...refused } = fromBob(7, { reason: "It cannot be read" });
    history.add(refused);
    history.add(fromBob(8));
    const seqs = async (wanted: Partial<Parameters<Copies["newest"]>[0]>) => {
      const { entries, isCut } = await copies.newest({
        conversation: TALK,
        sinceMs: 0,
        upTo: 7,
        bytesMax: 10_000,
        ...wanted,
      });
      return [entries.map(({ seq }) => seq), isCut];
    };
    assert.deepEqual(await seqs({}), [[3, 4, 5, 6], false]);
    assert.deepEqual(await seqs({ sinceMs: 4_000 }), [[4, 5, 6], false]);
    assert.deepEqual(await seqs({ upTo: 5 }), [[3, 4, 5], false]);
    assert.deepEqual(await seqs({ bytesMax: 300 }), [[5, 6], true]);
    assert.deepEqual(await seqs({ bytesMax: 10 }), [[], true]);
    assert.deepEqual((await copies.newest({ conversation: TALK, sinceMs: 6_000, upTo: 7, bytesMax: 999 })).entries, [
      { seq: 6, id: idOf(6), sender: ALICE, device: ALICES_DEVICE, timeMs: 6_000, text: "mine" },
    ]);
    history.add(fromBob(9, { text: "x" }));
    for (let seq = 10; seq < 900; seq++) history.add(fromBob(seq, { text: "x" }));
    assert.equal(
      (await copies.newest({ conversation: TALK, sinceMs: 0, upTo: 899, bytesMax: 1 << 20 })).entries.length,
      896,
    );
  });
});

Deno.test("Copies.sharedFrom() is where a group switched its sharing on last, as far as this home was there", async () => {
  await withDatabase(async (database) => {
    const history = historyWithBob(database), conversations = new Conversations(database), copies = copiesOf(database);
    conversations.addGroup({ id: GROUP, cursor: 0 });
    const { text: _, ...row } = fromBob(1, { conversation: GROUP, recipient: "" as UserName });
    const change = (seq: number, value: string) => {
      const lines = [{ what: "topic", value: "on" }, { what: "history", value }] as const;
      history.add({ ...row, seq, id: idOf(seq), change: { lines, ended: false } });
    };
    assert.equal(copies.sharedFrom(GROUP), 0);
    change(3, "on");
    history.add({ ...row, seq: 4, id: idOf(4), text: JSON.stringify({ lines: [{ what: "history", value: "on" }] }) });
    assert.equal(copies.sharedFrom(GROUP), 3, "what somebody says is no change");
    change(5, "off");
    change(7, "on");
    change(8, "off");
    assert.equal(copies.sharedFrom(GROUP), 7);
    history.add({ ...row, seq: 9, id: idOf(9), text: "since then" });
    const wanted = { conversation: GROUP, sinceMs: 0, after: copies.sharedFrom(GROUP), upTo: 20, bytesMax: 1_000 };
    assert.deepEqual((await copies.newest(wanted)).entries.map(({ seq }) => seq), [9]);
    database.run("UPDATE messages SET sealed = zeroblob(50) WHERE seq = 8");
    assert.equal(copies.sharedFrom(GROUP), 8, "what cannot be read may be it");
  });
});

Deno.test("faces show whose copy a message is, before what it says", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), copies = copiesOf(database);
    copies.importCopies({ conversation: TALK, entries: [copy(1)], from: CAROL });
    copies.importCopies({ conversation: TALK, entries: [copy(2)], from: "" });
    const [his, archived] = history.messagesIn(TALK, 2);
    assert.match(eventLine(his!, ALICE), /bob.*\(from carol's copy\).*: copy 1$/);
    assert.match(eventLine(archived!, ALICE), /bob.*\(from your archive\).*: copy 2$/);
    assert.equal(JSON.parse(eventJson(his!)).copyFrom, "carol");
    assert.equal(JSON.parse(eventJson(archived!)).copyFrom, "");
  });
});

function copiesOf(database: Database): Copies {
  return new Copies({ database, name: ALICE });
}

function copy(seq: number, changes: Partial<CopiedMessage> = {}): CopiedMessage {
  return { seq, id: idOf(seq), sender: BOB, device: BOBS_DEVICE, timeMs: 1_000 * seq, text: `copy ${seq}`, ...changes };
}
