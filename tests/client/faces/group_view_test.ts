import assert from "node:assert/strict";
import {
  groupJson,
  groupRows,
  groupSign,
  groupTitle,
  groupTrust,
  memberRows,
} from "../../../client/faces/group_view.ts";
import { textWidth } from "../../../client/faces/width.ts";
import { wrap } from "../../../client/faces/wrap.ts";
import type { Group } from "../../../client/talk/groups.ts";
import type { PeerTrust, TrustState } from "../../../client/trust/people.ts";
import type { ConversationId, UserName } from "../../../shared/protocol/mod.ts";
import { looksLike, plain } from "../../golden.ts";

type Person = readonly [name: string, role: "owner" | "admin" | "member", trust: TrustState];

const PEOPLE: readonly Person[] = [
  ["alice", "owner", "self"],
  ["bob", "member", "verified"],
  ["carol-with-a-long-name", "admin", "unverified"],
  ["dave", "member", "verified"],
];

function group(people: readonly Person[], facts: Partial<Group> = {}): { view: Group; trusts: PeerTrust[] } {
  const members = people.map(([name, role]) => ({ name: name as UserName, role }));
  const view: Group = {
    conversation: "0f".repeat(16) as ConversationId,
    address: "#dev",
    name: "dev",
    topic: "release week, CI is green",
    members,
    role: people.find(([, , trust]) => trust === "self")?.[1] ?? "member",
    ended: false,
    ...facts,
  };
  return { view, trusts: people.map(([name, , trust]) => ({ name: name as UserName, trust, wasVerified: false })) };
}

Deno.test("groupTrust() counts the others, and names whose key changed", () => {
  const { trusts } = group(PEOPLE);
  assert.deepEqual(groupTrust(trusts), { verified: 2, others: 3, changed: [] });
  const changed = group([...PEOPLE, ["eve", "member", "changed"]]).trusts;
  assert.deepEqual(groupTrust(changed), { verified: 2, others: 4, changed: ["eve"] });
  assert.deepEqual(groupTrust(group([PEOPLE[0]!]).trusts), { verified: 0, others: 0, changed: [] });
  assert.equal(groupSign({ verified: 2, others: 3, changed: [] }), "🔒 2/3 ");
  assert.equal(groupSign({ verified: 0, others: 3, changed: [] }), "");
  assert.equal(groupSign({ verified: 2, others: 3, changed: ["eve"] }), "! ");
});

Deno.test("groups look as they are meant to on 80 columns", async () => {
  const usual = group(PEOPLE),
    changed = group([...PEOPLE, ["eve", "member", "changed"]], { address: "#ops", topic: "" });
  const ended = group(PEOPLE, { address: "#old times", ended: true });
  const alone = group([PEOPLE[0]!], { address: "#日本語部屋", topic: "" });
  // Whoever may name a group may try to say that it is verified.
  const forged = group(PEOPLE.slice(0, 3), { address: "#x 🔒 9/9 verified", topic: "🔒 9/9 verified" });
  const all = [usual, changed, ended, alone, forged];
  const rows = [
    ...all.map(({ view, trusts }) => groupTitle(view, groupTrust(trusts))),
    "",
    ...all.flatMap(({ view, trusts }) => memberRows(view, trusts)),
    "",
    ...groupRows(all.map(({ view, trusts }) => ({ view, trust: groupTrust(trusts) }))),
  ].flatMap((row) => wrap(row, 80).split("\n"));
  for (const row of rows) assert(textWidth(plain(row)) <= 80, row);
  await looksLike("groups/80", rows);
});

Deno.test("groupJson() has the members with how far each is known", () => {
  const { view, trusts } = group(PEOPLE.slice(0, 2));
  assert.deepEqual(groupJson(view, trusts), {
    group: "#dev",
    conversation: "0f".repeat(16),
    name: "dev",
    topic: "release week, CI is green",
    role: "owner",
    ended: false,
    members: [{ name: "alice", role: "owner", trust: "self" }, { name: "bob", role: "member", trust: "verified" }],
    verified: 1,
    others: 1,
  });
});
