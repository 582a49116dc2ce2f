/** What people are told of a commit. */
import assert from "node:assert/strict";
import { linesOf } from "../../../../client/e2ee/groups/lines.ts";
import type { GroupInfo, Member, Roster } from "../../../../client/e2ee/mls/mod.ts";
import type { DeviceId, UserName } from "../../../../shared/protocol/mod.ts";

const INFO: GroupInfo = {
  kind: 2,
  name: "friends",
  topic: "",
  roles: [],
  membersAdd: true,
  historySinceMs: 0,
  invites: [],
};

function roster(devices: readonly string[], info: Partial<GroupInfo> = {}): Roster {
  const members = devices.map((device, leaf): Member => {
    const [user] = device.split("/") as [UserName];
    return { user, device: device as DeviceId, identity: "ab", serial: 1, notAfterMs: 0, leaf };
  });
  return { members, info: { ...INFO, ...info } };
}

function lines(before: Roster, after: Roster, left: readonly string[] = [], info = before.info !== after.info) {
  const added = after.members.filter(({ device }) => !before.members.some((member) => member.device === device));
  const removed = before.members.filter(({ device }) => !after.members.some((member) => member.device === device));
  const change = {
    by: "member" as const,
    added,
    removed: removed.map(({ leaf }) => leaf),
    ...(info ? { info: after.info } : {}),
  };
  return linesOf({ before, after, change, left: left as UserName[] });
}

Deno.test("linesOf() tells of people once, whatever number of devices they have", () => {
  const before = roster(["alice/1"]);
  assert.deepEqual(lines(before, { ...roster(["alice/1", "bob/1", "bob/2"]), info: before.info }), [
    { what: "added", who: "bob" },
  ]);
});

Deno.test("linesOf() tells of devices of people who stay", () => {
  const before = roster(["alice/1", "bob/1"]), after = { ...roster(["alice/1", "bob/2"]), info: before.info };
  assert.deepEqual(lines(before, after), [
    { what: "device-added", who: "bob", value: "bob/2" },
    { what: "device-removed", who: "bob", value: "bob/1" },
  ]);
});

Deno.test("linesOf() says nothing again of who left", () => {
  const before = roster(["alice/1", "bob/1", "carol/1"]), after = { ...roster(["alice/1"]), info: before.info };
  assert.deepEqual(lines(before, after, ["bob"]), [{ what: "removed", who: "carol" }]);
});

Deno.test("linesOf() tells of name, topic, roles and settings, and of nothing where only keys changed", () => {
  const role = { user: "bob" as UserName, identity: "ab", role: 1 };
  const before = roster(["alice/1", "bob/1"], { roles: [role] });
  const after = roster(["alice/1", "bob/1"], { name: "foes", topic: "war", membersAdd: false });
  assert.deepEqual(lines(before, after), [
    { what: "renamed", value: "foes" },
    { what: "topic", value: "war" },
    { what: "settings" },
    { what: "role", who: "bob", value: "member" },
  ]);
  assert.deepEqual(lines(before, before), []);
});

Deno.test("linesOf() tells that history is shared, from another moment on too, and that it is no longer", () => {
  const at = (historySinceMs: number) => roster(["alice/1", "bob/1"], { historySinceMs });
  assert.deepEqual(lines(at(0), at(5)), [{ what: "history", value: "on" }]);
  assert.deepEqual(lines(at(5), at(3)), [{ what: "history", value: "on" }]);
  assert.deepEqual(lines(at(5), at(0)), [{ what: "history", value: "off" }]);
  assert.deepEqual(lines(at(5), at(5)), []);
});
