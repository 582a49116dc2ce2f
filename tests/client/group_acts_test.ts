import assert from "node:assert/strict";
import { UsageError } from "../../client/errors.ts";
import type { GroupChange } from "../../client/e2ee/engine.ts";
import { GROUP_ACTS, groupAct, type GroupClient } from "../../client/group_acts.ts";
import type { Group } from "../../client/talk/groups.ts";
import { parseGroupLine, slashUsage } from "../../client/faces/group_line.ts";
import { helpRows } from "../../client/faces/slash.ts";
import type { ConversationId, UserName } from "../../shared/protocol/mod.ts";

const alice = "alice" as UserName, bob = "bob" as UserName, carol = "carol" as UserName;

function viewOf(members: readonly Member[], self = alice): Group {
  return {
    conversation: "00".repeat(16) as ConversationId,
    address: "#dev",
    name: "dev",
    topic: "release week",
    members,
    role: members.find(({ name }) => name === self)!.role,
    ended: false,
  };
}

/** Writes down what is asked of it. */
function clientOf(...members: Member[]): GroupClient & { readonly asked: unknown[] } {
  const asked: unknown[] = [];
  return {
    asked,
    name: alice,
    group: () => viewOf(members),
    createGroup: (name) => Promise.resolve((asked.push({ create: name }), `#${name}`)),
    changeGroup: (_: string, change: GroupChange) => Promise.resolve(void asked.push(change)),
    leaveGroup: () => Promise.resolve(void asked.push("leave")),
    groupLink: (_, options) => Promise.resolve((asked.push(options), "fastchat-group:x")),
    joinGroup: (link) => Promise.resolve(void asked.push({ join: link })),
    groupDetails: () => Promise.resolve({ historySinceMs: asked.length > 0 ? Date.UTC(2026, 10, 23, 16, 30) : 0 }),
  };
}

type Member = Group["members"][number];

const OWNER: Member = { name: alice, role: "owner" };
const MEMBER: Member = { name: bob, role: "member" };
const ADMIN: Member = { name: carol, role: "admin" };

async function refused(verb: string, members: Member[], words: string[], why: RegExp): Promise<void> {
  const client = clientOf(...members);
  await assert.rejects(async () => await groupAct(verb).run(client, "#dev", words), (error) => {
    assert(error instanceof UsageError, String(error));
    assert.match(error.message, why);
    return true;
  });
  assert.deepEqual(client.asked, [], "nothing was asked for");
}

Deno.test("GroupAct create makes the group, adds the people, and turns to it", async () => {
  const client = clientOf(OWNER);
  const { said, turnTo } = await groupAct("create").run(client, "#dev", ["@Bob", "carol", "bob", "alice"]);
  assert.deepEqual(client.asked, [{ create: "dev" }, { do: "add", names: [bob, carol] }]);
  assert.deepEqual([said, turnTo], [["Made #dev with bob and carol"], "#dev"]);
  await refused("create", [OWNER], ["no such name!"], /cannot be a name/);
  const alone = await groupAct("create").run(clientOf(OWNER), "dev", []);
  assert.deepEqual(alone.said, ["Made #dev; nobody but you is in it yet"]);
});

Deno.test("GroupAct create says that the group is there where adding failed", async () => {
  const client = clientOf(OWNER);
  client.changeGroup = () => Promise.reject(new UsageError("There is nobody called bob"));
  await assert.rejects(
    groupAct("create").run(client, "dev", ["bob"]),
    /nobody called bob\. #dev is made, with nobody but you/,
  );
});

Deno.test("GroupAct add asks only for those who are not in it", async () => {
  const client = clientOf(OWNER, MEMBER);
  assert.deepEqual((await groupAct("add").run(client, "#dev", ["bob", "carol"])).said, [
    "Added carol to #dev (bob is in it already)",
  ]);
  assert.deepEqual(client.asked, [{ do: "add", names: [carol] }]);
  assert.deepEqual((await groupAct("add").run(client, "#dev", ["bob"])).said, ["bob is in #dev already"]);
  assert.equal(client.asked.length, 1);
});

Deno.test("GroupAct remove, promote and demote know who is in it", async () => {
  const client = clientOf(OWNER, MEMBER, ADMIN);
  await groupAct("kick").run(client, "#dev", ["@bob", "Carol"]);
  await groupAct("make_admin").run(client, "#dev", ["bob"]);
  await groupAct("demote").run(client, "#dev", ["carol"]);
  assert.deepEqual(client.asked, [
    { do: "remove", names: [bob, carol] },
    { do: "role", name: bob, role: "admin" },
    { do: "role", name: carol, role: "member" },
  ]);
  assert.deepEqual((await groupAct("promote").run(client, "#dev", ["alice"])).said, [
    "alice is an owner of #dev already",
  ]);
  assert.deepEqual((await groupAct("demote").run(client, "#dev", ["bob"])).said, ["bob is a member of #dev, no more"]);
  assert.equal(client.asked.length, 3);
  await refused("remove", [OWNER, MEMBER], ["bbo"], /bbo is not in #dev; did you mean bob\?/);
  await refused("remove", [OWNER, MEMBER], ["alice"], /That is you: to go, leave the group/);
  await refused("promote", [OWNER, MEMBER], ["dora"], /dora is not in #dev$/);
  await refused("demote", [OWNER, MEMBER], ["alice"], /You are the last admin of #dev/);
});

Deno.test("GroupAct leave: the last admin is told how", async () => {
  await refused("leave", [OWNER, MEMBER], [], /last admin of #dev.*promote '#dev' bob.*group delete '#dev'/);
  for (const members of [[OWNER], [OWNER, ADMIN], [{ ...OWNER, role: "member" as const }, ADMIN]]) {
    const client = clientOf(...members);
    assert.deepEqual(await groupAct("leave").run(client, "#dev", []), { said: ["You have left #dev"], turnTo: null });
    assert.deepEqual(client.asked, ["leave"]);
  }
});

Deno.test("GroupAct topic shows without a text, takes away with an empty one", async () => {
  const client = clientOf(OWNER), topic = groupAct("topic");
  assert.deepEqual((await topic.run(client, "#dev", [])).said, ["#dev: release week"]);
  await topic.run(client, "#dev", [" the next one "]);
  await topic.run(client, "#dev", [""]);
  assert.deepEqual(client.asked, [{ do: "topic", topic: "the next one" }, { do: "topic", topic: "" }]);
  await refused("topic", [OWNER], ["x".repeat(257)], /at most 256/);
});

Deno.test("GroupAct link gives the link, or closes all; rename and delete turn away from the old name", async () => {
  const client = clientOf(OWNER);
  assert.deepEqual((await groupAct("link").run(client, "#dev", [])).said, ["fastchat-group:x"]);
  await groupAct("link").run(client, "#dev", ["close"]);
  assert.equal((await groupAct("rename").run(client, "#dev", ["ops room"])).turnTo, "#ops room");
  assert.equal((await groupAct("delete").run(client, "#dev", [])).turnTo, null);
  assert.deepEqual(client.asked, [{ revoke: false }, { revoke: true }, { do: "rename", name: "ops room" }, {
    do: "delete",
  }]);
  await refused("link", [OWNER], ["clsoe"], /nothing, for the link, or "close"/);
});

Deno.test("groupAct() knows what somebody may have meant", () => {
  assert.throws(() => groupAct("ad"), /did you mean "fastchat group add"\? There are: create, add, remove/);
  assert.throws(() => groupAct("xyzzy"), /There is no "fastchat group xyzzy": create/);
});

Deno.test("parseGroupLine() takes the group in front, or the one that one talks to", () => {
  const parse = (verb: string, rest: string, current?: string) => parseGroupLine(groupAct(verb), rest, current);
  assert.deepEqual(parse("add", "bob carol", "#dev"), { group: "#dev", words: ["bob", "carol"] });
  assert.deepEqual(parse("add", "#ops bob", "#dev"), { group: "#ops", words: ["bob"] });
  assert.deepEqual(parse("add", '"#release week" bob', undefined), { group: "#release week", words: ["bob"] });
  assert.deepEqual(parse("topic", "", "#dev"), { group: "#dev", words: [] });
  assert.deepEqual(parse("topic", 'all is "well"  now', "#dev"), { group: "#dev", words: ['all is "well"  now'] });
  assert.deepEqual(parse("topic", '#ops "quoted as a whole"', "#dev"), { group: "#ops", words: ["quoted as a whole"] });
  assert.deepEqual(parse("topic", '""', "#dev"), { group: "#dev", words: [""] });
  assert.deepEqual(parse("rename", "release week", "#dev"), { group: "#dev", words: ["release week"] });
  assert.deepEqual(parse("create", '"release week" bob', "carol"), { group: "release week", words: ["bob"] });
  assert.deepEqual(parse("join", "fastchat-group:x", "#dev"), { group: "", words: ["fastchat-group:x"] });
  assert.deepEqual(parse("delete", "#dev", "#ops"), { group: "#dev", words: [] });
});

Deno.test("parseGroupLine() says what is missing, and deletes only what is named", () => {
  const cases: [string, string, string | undefined, RegExp][] = [
    ["add", "bob", "carol", /Which group\? .*\/add #GROUP PERSON…/],
    ["leave", "", undefined, /Which group\?/],
    ["add", "", "#dev", /Something is missing. Usage: \/add \[#GROUP\] PERSON…/],
    ["leave", "now", "#dev", /"now" is one word too many/],
    ["promote", "bob carol", "#dev", /"carol" is one word too many/],
    ["create", "", "#dev", /Something is missing/],
    ["join", "", "#dev", /Something is missing. Usage: \/join LINK/],
    ["delete", "", "#dev", /cannot be taken back, so say which: \/delgrp #dev/],
    ["delete", "", "bob", /say which: \/delgrp #GROUP/],
    ["delete", "", "#old team", /say which: \/delgrp "#old team"/],
  ];
  for (const [verb, rest, current, why] of cases) {
    assert.throws(() => parseGroupLine(groupAct(verb), rest, current), (error) => {
      assert(error instanceof UsageError);
      assert.match(error.message, why);
      return true;
    });
  }
});

Deno.test("GroupAct join takes a link however it was copied", async () => {
  const client = clientOf(OWNER);
  await groupAct("join").run(client, "", ["fastchat://join/AR", "hFJ2", "ufn"]);
  assert.deepEqual(client.asked, [{ join: "fastchat://join/ARhFJ2ufn" }]);
});

Deno.test("GroupAct history says how it is, and switches it on and off", async () => {
  const client = clientOf(OWNER, MEMBER), run = (...words: string[]) => groupAct("history").run(client, "#dev", words);
  const before = await run();
  assert.deepEqual([before.said, before.facts], [
    ["Who comes into #dev is given nothing of what was said before"],
    { historySince: null },
  ]);
  assert.deepEqual(client.asked, [], "asking changes nothing");
  const { said, facts } = await run("on");
  assert.deepEqual(said, [
    "Who comes into #dev is given what was said since 2026-11-23 16:30 UTC, as the copy of a member",
  ]);
  assert.deepEqual(facts, { historySince: "2026-11-23T16:30:00.000Z" });
  await run("off");
  assert.deepEqual(client.asked, [true, false].map((sharedHistory) => ({ do: "settings", sharedHistory })));
  await refused("history", [OWNER], ["maybe"], /comes "on", "off" or nothing/);
});

Deno.test("GROUP_ACTS: usages and summaries fit the help of an 80-column chat", () => {
  for (const { usage, help } of helpRows(undefined)) assert(usage.length <= 23 && help.length <= 53, usage);
  for (const act of GROUP_ACTS) assert(slashUsage(act).length <= 28 && act.summary.length <= 49, act.verb);
});
