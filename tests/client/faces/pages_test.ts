import assert from "node:assert/strict";
import type { ChatClient } from "../../../client/chat_client.ts";
import {
  chatsRows,
  groupsRows,
  helpPage,
  peopleRows,
  statusRows,
  talkRows,
  unreadRows,
} from "../../../client/faces/pages.ts";
import type { Talk } from "../../../client/faces/talk.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { plain } from "../../golden.ts";

const BOB = "bob" as UserName, ALICE = "alice" as UserName;

/** Alice's home, as far as pages ask it. */
function home(parts: Record<string, unknown> = {}): ChatClient {
  const trustOf = (name: string) => ({ name, trust: "unverified", wasVerified: false });
  return {
    name: ALICE,
    outbox: () => [],
    history: () => [],
    talk: () => [],
    conversations: () => [],
    groups: () => [],
    trustOf,
    trustsOf: (names: string[]) => names.map(trustOf),
    ...parts,
  } as unknown as ChatClient;
}

const own = (text: string, state: string | undefined) => ({
  type: "message",
  from: ALICE,
  to: BOB,
  text,
  time: "2026-11-23T10:00:00.000Z",
  ...(state && { state }),
});

Deno.test("pages say what there is where there is nothing yet", () => {
  const chat = home(), talk = { unread: new Map() } as unknown as Talk;
  assert.deepEqual(statusRows(chat, undefined), ["* nothing is queued"]);
  assert.deepEqual(statusRows(chat, BOB), ["* nothing sent to bob yet"]);
  assert.deepEqual(talkRows(chat, "#dev", 5), ["* nothing yet in #dev"]);
  assert.deepEqual(talkRows(chat, BOB, 5), ["* nothing yet between you and bob"]);
  assert.deepEqual(unreadRows(talk), ["* nothing unread"]);
  assert.deepEqual(peopleRows(chat, []), ["* nobody"]);
  assert.match(chatsRows(chat, talk)[0]!, /nobody yet/);
  assert.match(groupsRows(chat)[0]!, /no groups yet/);
  assert.deepEqual(helpPage("no such thing"), []);
});

Deno.test("statusRows() shows the newest five that one sent to somebody, and what waits for them alone", () => {
  const outbox = () => [{ to: BOB, text: "two\nlines" }, { to: "carol", text: "x", reason: "refused" }];
  const history = () => [...["1", "2", "3", "4", "5", "6"].map((text) => own(text, "read")), own("a copy", undefined)];
  const rows = statusRows(home({ outbox, history }), BOB).map(plain);
  assert.equal(rows.length, 6);
  assert.match(rows[0]!, /: 2 /);
  assert.match(rows[4]!, /: 6 /);
  assert.match(rows[5]!, /→ bob: two/);
  assert(rows.every((row) => !/carol|a copy/.test(row)));
  const all = statusRows(home({ outbox }), undefined).map(plain);
  assert.match(all[1]!, /→ carol: x \(refused\)$/);
});

Deno.test("peopleRows() and chatsRows() say who is here, who one is oneself, and what is new", () => {
  const people = [{ name: ALICE, online: true }, { name: BOB, online: false }];
  const [me, bob] = peopleRows(home(), people).map(plain);
  assert.match(me!, /● alice \(you\)$/);
  assert.doesNotMatch(bob!, /●|you/);
  const conversations = () => [{ name: BOB, unread: 2 }, { name: "#dev", unread: 0 }];
  const talk = { groupMark: () => " 1/2" } as unknown as Talk;
  const rows = chatsRows(home({ conversations }), talk).map(plain);
  assert.match(rows[0]!, /^ {2}bob.* 2 new$/);
  assert.equal(rows[1], "  #dev 1/2");
});
