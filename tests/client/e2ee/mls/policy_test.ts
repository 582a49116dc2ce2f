/** Who may change a group, as a table (SECURITY M5, M9). */
import assert from "node:assert/strict";
import {
  allowed,
  type Change,
  type GroupInfo,
  Kind,
  type Member,
  Role,
  withoutAbsent,
} from "../../../../client/e2ee/mls/mod.ts";

const IDENTITY = { owner: "0a", admin: "0b", admin2: "0c", bob: "0d", carol: "0e", dave: "0f", mallory: "66" } as const;
type Name = keyof typeof IDENTITY;

/** A device: `bob` is bob's first, `bob/2` his second; `bob=mallory` a device named bob under Mallory's identity. */
function device(text: string): Omit<Member, "leaf"> {
  const [, user, number = "1", identity] = /^([a-z0-9]+?)(?:\/(\d))?(?:=([a-z0-9]+))?$/.exec(text)!;
  return {
    user: user as never,
    device: `${user}/${number}` as never,
    identity: IDENTITY[(identity ?? user) as Name].repeat(32),
    serial: 1,
    notAfterMs: 0,
  };
}

const MEMBERS = ["owner", "admin", "admin2", "bob", "bob/2", "carol"];
const leafOf = (text: string) => text === "nobody" ? 99 : MEMBERS.indexOf(text);
const members: Member[] = MEMBERS.map((text, leaf) => ({ ...device(text), leaf }));

function info(roles: Partial<Record<Name, number>>, change: Partial<GroupInfo> = {}): GroupInfo {
  return {
    kind: Kind.group,
    name: "friends",
    topic: "",
    roles: Object.entries(roles).map(([user, role]) => ({
      user: user as never,
      identity: device(user).identity,
      role,
    })),
    membersAdd: false,
    historySinceMs: 0,
    invites: [],
    ...change,
  };
}

const { owner, admin } = Role;
const BASE = { owner, admin, admin2: admin };
const OPEN = info(BASE, { membersAdd: true }), CLOSED = info(BASE);
const DIRECT = info({}, { kind: Kind.direct });

interface Case {
  readonly by: string;
  readonly itself?: true;
  readonly add?: string[];
  readonly remove?: string[];
  readonly info?: GroupInfo;
  readonly in?: GroupInfo;
  readonly grounds?: string;
  /** The key log does not count who comes in. */
  readonly waits?: true;
  readonly fault?: string;
}

const TABLE: Record<string, Case> = {
  "new keys by anybody": { by: "carol" },
  "by a stranger": { by: "mallory", fault: "not a member" },
  "by another identity of a member's name": { by: "bob=mallory", fault: "not a member" },
  // Adds.
  "a member's device by anybody": { by: "carol", add: ["bob/3"] },
  "a user by an admin": { by: "admin", add: ["dave"] },
  "a user by a member where they may": { by: "bob", add: ["dave"], in: OPEN },
  "a user by a member where they may not": { by: "bob", add: ["dave"], fault: "may not add users" },
  "a device that is there": { by: "admin", add: ["bob/2"], fault: "adds a device twice" },
  "one device twice": { by: "admin", add: ["dave", "dave"], fault: "adds a device twice" },
  "a member's name under another identity": {
    by: "owner",
    add: ["bob/3=mallory"],
    fault: "adds a name under another identity",
  },
  "one name under two identities": {
    by: "owner",
    add: ["dave", "dave/2=mallory"],
    fault: "adds a name under another identity",
  },
  "a name anew, the old identity out": { by: "owner", add: ["bob/3=mallory"], remove: ["bob", "bob/2"] },
  "a device in place of its old leaf": { by: "bob", add: ["bob/2"], remove: ["bob/2"] },
  "a third user to a direct conversation": {
    by: "bob",
    add: ["dave"],
    in: DIRECT,
    fault: "direct conversations have two users",
  },
  "a device to a direct conversation": { by: "carol", add: ["bob/3"], in: DIRECT },
  // Removals.
  "a member by an admin": { by: "admin", remove: ["carol"] },
  "a member by a member": { by: "bob", remove: ["carol"], fault: "may not remove" },
  "an own device by a member": { by: "bob", remove: ["bob/2"] },
  "oneself": { by: "bob", remove: ["bob"], fault: "removes itself" },
  "an admin by an admin, with the role": { by: "admin", remove: ["admin2"], info: info({ owner, admin }) },
  "an admin whose role stays behind": {
    by: "admin",
    remove: ["admin2"],
    fault: "gives a role to somebody who is not there",
  },
  "the owner by an admin": {
    by: "admin",
    remove: ["owner"],
    info: info({ admin, admin2: admin }),
    fault: "may not remove",
  },
  "an admin by the owner": { by: "owner", remove: ["admin"], info: info({ owner, admin2: admin }) },
  "on grounds, by anybody": { by: "bob", remove: ["carol"], grounds: "carol" },
  "an admin on grounds, by anybody, with the role": {
    by: "bob",
    remove: ["admin"],
    grounds: "admin",
    info: info({ owner, admin2: admin }),
  },
  "an admin on grounds, and another's role with it": {
    by: "bob",
    remove: ["admin"],
    grounds: "admin",
    info: info({ owner }),
    fault: "may not change roles",
  },
  "the other one of a direct conversation": { by: "bob", remove: ["carol"], in: DIRECT, fault: "may not remove" },
  "nobody": { by: "admin", remove: ["nobody"], fault: "removes nobody" },
  "somebody twice": { by: "admin", remove: ["bob", "bob"], fault: "removes a device twice" },
  // The description.
  "a topic by an admin": { by: "admin", info: info(BASE, { topic: "x" }) },
  "a topic by a member": { by: "bob", info: info(BASE, { topic: "x" }), fault: "may not change the description" },
  "an invite by a member": {
    by: "bob",
    info: info(BASE, { invites: [{ id: "00".repeat(16), secret: new Uint8Array(32) }] }),
    fault: "may not change the description",
  },
  "the kind": { by: "owner", info: info(BASE, { kind: Kind.direct }), fault: "changes the kind" },
  "a promotion by an admin": { by: "admin", info: info({ ...BASE, bob: admin }) },
  "a promotion by a member": { by: "bob", info: info({ ...BASE, bob: admin }), fault: "may not change roles" },
  "a demotion by an admin": { by: "admin", info: info({ owner, admin }) },
  "a demotion of oneself": { by: "admin", info: info({ owner, admin2: admin }) },
  "an owner by an admin": { by: "admin", info: info({ ...BASE, admin: owner }), fault: "may not change roles" },
  "the owner's demotion by an admin": {
    by: "admin",
    info: info({ owner: admin, admin, admin2: admin }),
    fault: "may not change roles",
  },
  "the owner passes it on": { by: "owner", info: info({ owner: admin, admin: owner, admin2: admin }) },
  "a role for a stranger": {
    by: "owner",
    info: info({ ...BASE, dave: admin }),
    fault: "gives a role to somebody who is not there",
  },
  "a role for a newcomer": { by: "owner", add: ["dave"], info: info({ ...BASE, dave: admin }) },
  "nobody in charge": { by: "owner", info: info({}), fault: "leaves the group headless" },
  "a role in a direct conversation": {
    by: "bob",
    in: DIRECT,
    info: info({ bob: admin }, { kind: Kind.direct }),
    fault: "may not change roles",
  },
  "a direct conversation's name": {
    by: "bob",
    in: DIRECT,
    info: info({}, { kind: Kind.direct, name: "x" }),
    fault: "may not change the description",
  },
  // External commits.
  "a member's new device": { by: "bob/3", itself: true, add: ["bob/3"] },
  "a member's new device that waits for approval": {
    by: "bob/3",
    itself: true,
    add: ["bob/3"],
    waits: true,
    fault: "is not let in by its own user",
  },
  "a device that waits, let in by somebody": { by: "carol", add: ["bob/3"], waits: true },
  "a device that waits, in its old place": {
    by: "bob/2",
    itself: true,
    add: ["bob/2"],
    remove: ["bob/2"],
    waits: true,
  },
  "a member's device in its old place": { by: "bob/2", itself: true, add: ["bob/2"], remove: ["bob/2"] },
  "a member's device a second time": { by: "bob/2", itself: true, add: ["bob/2"], fault: "adds a device twice" },
  "a device that pushes another out": {
    by: "bob/3",
    itself: true,
    add: ["bob/3"],
    remove: ["bob/2"],
    fault: "removes more than its own old leaf",
  },
  "a stranger by itself": { by: "mallory", itself: true, add: ["mallory"], in: OPEN, fault: "not a member" },
  "a ghost by itself": { by: "bob/3=mallory", itself: true, add: ["bob/3=mallory"], fault: "not a member" },
  "two by themselves": { by: "bob/3", itself: true, add: ["bob/3", "bob/4"], fault: "adds more than itself" },
};

for (
  const [name, { by, itself, add = [], remove = [], info: after, in: before = CLOSED, grounds, waits, fault }] of Object
    .entries(TABLE)
) {
  Deno.test(`allowed() ${name}: ${fault ?? "yes"}`, () => {
    const change: Change = {
      by: itself ? "itself" : "member",
      added: add.map(device),
      removed: remove.map(leafOf),
      ...(after === undefined ? {} : { info: after }),
    };
    const isGround = ({ user }: Member) => user === grounds, old = { members, info: before };
    assert.equal(allowed(old, device(by), change, isGround, undefined, () => !waits), fault);
  });
}

Deno.test("allowed() lets each of two people put the other's devices out for others of that name, and all of them at once", () => {
  const between: Member[] = ["bob", "bob/2", "carol", "carol/2"].map((text, leaf) => ({ ...device(text), leaf }));
  const judge = (by: string, change: Omit<Change, "by">, of = DIRECT) =>
    allowed({ members: between, info: of }, device(by), { by: "member", ...change });
  const added = [device("carol/3=mallory"), device("carol/4=mallory")];
  assert.equal(judge("bob/2", { added, removed: [2, 3] }), undefined);
  assert.equal(judge("carol/2", { added: [device("bob/3=mallory")], removed: [0, 1] }), undefined);
  assert.equal(judge("bob", { added, removed: [2] }), "adds a name under another identity");
  assert.equal(judge("bob", { added: [], removed: [2, 3] }), "may not remove");
  assert.equal(judge("bob", { added: [device("carol/3")], removed: [2, 3] }), "may not remove");
  assert.equal(judge("bob", { added: [device("dave")], removed: [2, 3] }), "may not remove");
  assert.equal(judge("bob", { added: [device("bob/3=mallory")], removed: [1] }), "adds a name under another identity");
  assert.equal(judge("carol", { added, removed: [3] }), "adds a name under another identity");
  // In a group that is for admins to say.
  assert.equal(judge("bob", { added, removed: [2, 3] }, info({}, { membersAdd: true })), "may not remove");
  // Nobody comes in like that alone.
  const itself = { by: "itself" as const, added: [device("carol/3=mallory")], removed: [2] };
  assert.equal(allowed({ members: between, info: DIRECT }, device("carol/3=mallory"), itself), "not a member");
});

Deno.test("allowed() takes whoever replaced their identity for who they are, with their leaves and their role", () => {
  // The admin goes by Dave's identity from now on, by statements in the key log.
  const identityOf = (user: string, identity: string) =>
    user === "admin" && identity === device("admin").identity ? IDENTITY.dave.repeat(32) : identity;
  const judged = (by: string, change: Partial<Change>, knows = identityOf) =>
    allowed(
      { members, info: CLOSED },
      device(by),
      { by: "member", added: [], removed: [], ...change },
      undefined,
      knows,
    );
  const second = { added: [device("admin/2=dave")] }, none = (_: string, identity: string) => identity;
  assert.equal(judged("bob", second), undefined);
  assert.equal(judged("bob", second, none), "adds a name under another identity");
  const again = { by: "itself", added: [device("admin=dave")], removed: [leafOf("admin")] } as const;
  assert.equal(judged("admin=dave", again), undefined);
  assert.equal(judged("admin=dave", again, none), "not a member");
  assert.equal(judged("bob", { added: [device("bob/3=dave")] }), "adds a name under another identity");
  // Once only leaves by the new one are there, the role is theirs still.
  const after = members.map((member) => member.user === "admin" ? { ...member, ...device("admin=dave") } : member);
  const remove: Change = { by: "member", added: [], removed: [leafOf("carol")] };
  assert.equal(
    allowed({ members: after, info: CLOSED }, device("admin=dave"), remove, undefined, identityOf),
    undefined,
  );
  assert.equal(
    allowed({ members: after, info: CLOSED }, device("admin=dave"), remove),
    "may not remove",
  );
  assert.equal(withoutAbsent(CLOSED, after, identityOf), CLOSED);
  assert.equal(withoutAbsent(CLOSED, after).roles.length, CLOSED.roles.length - 1);
});

Deno.test("withoutAbsent() is what makes the removal of somebody with a role allowed", () => {
  const staying = members.filter(({ user }) => user !== "admin");
  const change: Change = { by: "member", added: [], removed: [leafOf("admin")], info: withoutAbsent(CLOSED, staying) };
  assert.equal(allowed({ members, info: CLOSED }, device("owner"), change), undefined);
  assert.equal(withoutAbsent(CLOSED, members), CLOSED);
});

Deno.test("allowed() lets a group have as many devices as anybody takes a tree of, and no more", () => {
  const [carol] = [device("carol")],
    many = (count: number) =>
      Array.from({ length: count }, (_, leaf): Member => ({ ...carol!, device: `carol/${leaf}` as never, leaf }));
  const judge = (there: number, added: number, removed: readonly number[] = []) => {
    const comers = many(there + added).slice(there);
    return allowed({ members: many(there), info: info({ carol: owner }) }, many(1)[0]!, {
      by: "member",
      added: comers,
      removed,
    });
  };
  assert.equal(judge(8_190, 2), undefined);
  assert.equal(judge(8_191, 2), "has too many devices");
  assert.equal(judge(8_192, 1, [5]), undefined, "in another one's place");
  assert.equal(judge(8_192, 0, [5]), undefined);
});
