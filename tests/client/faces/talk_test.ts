import assert from "node:assert/strict";
import type { ChatClient } from "../../../client/chat_client.ts";
import type { LogEvent, TypingEvent } from "../../../client/events.ts";
import { Talk } from "../../../client/faces/talk.ts";
import type { Group } from "../../../client/talk/groups.ts";
import type { TrustState } from "../../../client/trust/people.ts";
import { plain } from "../../golden.ts";

/** What Talk asks of a client: groups, and who is known how far. */
function clientOf(groups: Group[], trusts: Record<string, TrustState> = {}): ChatClient {
  const trustOf = (name: string) => ({ name, trust: trusts[name] ?? "unverified", wasVerified: false });
  return {
    groups: () => groups,
    groupBy: (id: string) => groups.find(({ conversation }) => conversation === id),
    group: (address: string) => groups.find((group) => group.address.toLowerCase() === address.toLowerCase())!,
    trustOf,
    trustsOf: (names: string[]) => names.map(trustOf),
  } as unknown as ChatClient;
}

function groupOf(name: string, ...members: string[]): Group {
  return {
    address: `#${name}`,
    name,
    conversation: name.length.toString(16).padStart(32, "0"),
    topic: "",
    members: members.map((name) => ({ name, role: "member" })),
    role: "member",
    ended: false,
  } as unknown as Group;
}

function said(from: string, group?: Group): LogEvent {
  const to = group?.address ?? "alice";
  return {
    type: "message",
    from,
    to,
    ...(group && { group: group.name, conversation: group.conversation }),
  } as LogEvent;
}

Deno.test("Talk.heard() turns to the first who writes, and counts the others", () => {
  const dev = groupOf("dev", "alice", "bob"), talk = new Talk(clientOf([dev]), undefined);
  assert.equal(plain(talk.prompt()), "[-]");
  talk.heard(said("bob", dev));
  assert.equal(talk.to, "#dev");
  for (const event of [said("bob"), said("bob"), said("carol"), said("bob", dev)]) talk.heard(event);
  assert.deepEqual([...talk.unread], [["bob", 2], ["carol", 1]]);
  talk.turnTo("bob");
  assert.deepEqual([...talk.unread], [["carol", 1]]);
});

Deno.test("Talk.prompt() says how many of a group are verified, and follows a group to its new name", () => {
  const groups = [groupOf("dev", "alice", "bob", "carol")];
  const trusts: Record<string, TrustState> = { alice: "self" }, talk = new Talk(clientOf(groups, trusts), "#dev");
  assert.equal(plain(talk.prompt()), "[#dev]");
  trusts["bob"] = "verified";
  assert.equal(plain(talk.prompt()), "[🔒 1/2 #dev]");
  groups[0] = { ...groups[0]!, name: "ops 🔒 2/2", address: "#ops 🔒 2/2" };
  assert.equal(plain(talk.prompt()), "[🔒 1/2 #ops · 2/2]");
  assert.equal(talk.to, "#ops 🔒 2/2");
  trusts["carol"] = "changed";
  assert.equal(plain(talk.prompt()), "[! #ops · 2/2]");
  talk.turnTo("bob");
  assert.equal(plain(talk.prompt()), "[bob 🔒]");
});

Deno.test("Talk.complete() knows names, commands and groups, and puts spaces into quotes", () => {
  const talk = new Talk(
    clientOf([groupOf("dev"), groupOf("Design room"), groupOf("ops"), groupOf("opal room")]),
    undefined,
  );
  for (const name of ["bob", "bonnie", "carol"]) talk.met(name);
  assert.deepEqual(talk.complete("/ki"), ["/kick"]);
  assert.deepEqual(talk.complete("\\gro"), ["\\groups"]);
  assert.deepEqual(talk.complete("/kick bo"), ["bob", "bonnie"]);
  assert.deepEqual(talk.complete("@c"), ["@carol"]);
  assert.deepEqual(talk.complete("c"), [], "the first word of a text");
  assert.deepEqual(talk.complete("/to #dev"), ["#dev"]);
  assert.deepEqual(talk.complete("/to #des"), ['"#Design room"']);
  assert.deepEqual(talk.complete("/to #op"), ["#ops"], "what they agree on has no quotes");
  assert.deepEqual(talk.complete("/to #x"), []);
});

Deno.test("Talk.status() says who types to this person, or in the group one talks to", () => {
  const dev = groupOf("dev", "alice", "bob"), talk = new Talk(clientOf([dev]), "bob");
  const typing = (name: string, typing: boolean, group?: Group) =>
    talk.typed(
      {
        type: "typing",
        name,
        typing,
        conversation: group?.conversation ?? "1",
        ...(group && { group: "dev" }),
      } as TypingEvent,
    );
  typing("bob", true, dev);
  assert.equal(talk.status(), "", "in the group, not here");
  typing("bob", true);
  assert.equal(talk.status(), "typing: bob");
  talk.turnTo("#dev");
  for (const name of ["carol", "dave", "eve"]) typing(name, true, dev);
  assert.equal(talk.status(), "typing: bob, carol, dave, …");
  for (const name of ["bob", "carol", "dave", "eve"]) typing(name, false, dev);
  assert.equal(talk.status(), "");
});
