import assert from "node:assert/strict";
import { givingTurns } from "../../../../client/e2ee/groups/givers.ts";
import type { Member, Roster } from "../../../../client/e2ee/mls/mod.ts";
import type { DeviceId, UserName } from "../../../../shared/protocol/mod.ts";

Deno.test("givingTurns() begins with whoever let the device in, then its user's others, then three more; everybody agrees", () => {
  const before = roster(["alice/1", "alice/2", "bob/1", "bob/2", "carol/1", "dave/1", "erin/1", "frank/1"]);
  const after = roster([...names(before), "bob/9"]);
  const order = orderOf(before, after, "bob/9", "carol/1");
  assert.equal(order[0], "carol/1");
  assert.deepEqual(new Set(order.slice(1, 3)), new Set(["bob/1", "bob/2"]));
  assert.equal(order.length, 6, "three of the others, whoever they are");
  assert.equal(new Set(order).size, 6);
  assert.notDeepEqual(
    order.slice(3),
    orderOf(before, roster([...names(before), "bob/8"]), "bob/8", "carol/1").slice(3),
    "not always the same three",
  );
});

Deno.test("givingTurns() of a device that came in by itself begins with its user's others", () => {
  const before = roster(["alice/1", "bob/1", "carol/1"]), after = roster([...names(before), "bob/2"]);
  const order = orderOf(before, after, "bob/2", "bob/2");
  assert.equal(order[0], "bob/1");
  assert.deepEqual(new Set(order), new Set(["bob/1", "alice/1", "carol/1"]));
});

Deno.test("givingTurns() leaves nothing to do where nothing is shared, to newcomers, and for those who were there", () => {
  const before = roster(["alice/1", "bob/1"]), after = roster(["alice/1", "bob/1", "carol/1", "carol/2"]);
  assert.deepEqual(
    turns({ ...before }, { ...after, info: { ...after.info, historySinceMs: 0 } }, "alice/1", "alice/1"),
    [],
  );
  assert.deepEqual(turns(before, after, "alice/1", "carol/1"), [], "it has nothing itself");
  assert.deepEqual(turns(before, roster(["bob/1", "carol/1"]), "bob/1", "alice/1"), [], "it is no longer in it");
  assert.deepEqual(turns(before, before, "alice/1", "alice/1", ["bob/1"]), [], "one that came back has what it had");
  assert.deepEqual(turns(before, after, "alice/1", "alice/1").map(({ device, turn }) => [device, turn]), [
    ["carol/1", 0],
    ["carol/2", 0],
  ]);
});

function orderOf(before: Roster, after: Roster, comer: string, by: string): string[] {
  const found = before.members.flatMap(({ device }) => {
    const [turn] = turns(before, after, by, device, [comer]);
    return turn === undefined ? [] : [{ device, turn: turn.turn }];
  });
  return found.sort((one, other) => one.turn - other.turn).map(({ device, turn }, at) => {
    assert.equal(turn, at, "no turn is left out");
    return device;
  });
}

function turns(before: Roster, after: Roster, by: string, self: string, comers?: string[]) {
  const added = comers === undefined
    ? after.members.filter(({ device }) => !names(before).includes(device))
    : comers.map(member);
  return givingTurns({ before, after, change: { added }, by: by as DeviceId, self: self as DeviceId });
}

const names = ({ members }: Roster) => members.map(({ device }) => device as string);

function roster(members: readonly string[]): Roster {
  const info = { kind: 2, name: "", topic: "", roles: [], membersAdd: false, historySinceMs: 7, invites: [] };
  return { members: members.map(member), info };
}

function member(device: string, leaf = 0): Member {
  return {
    leaf,
    user: device.split("/")[0] as UserName,
    device: device as DeviceId,
    identity: "ab",
    serial: 1,
    notAfterMs: 0,
  };
}
