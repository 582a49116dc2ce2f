/** The whole life of a group, with real programs: by commands, and in chats on 80x24 screens. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { textWidth } from "../../client/faces/width.ts";
import { type Cluster, eventually, fastchat, PASSWORD, type Result, runArguments, startCluster } from "./harness.ts";
import { hasTmux, Terminal } from "./tmux.ts";

// Without tmux nobody can type; .ci/run installs it.
const ignore = !await hasTmux();
if (ignore) console.warn("The screens of group_life_test.ts are skipped: they need tmux");

let cluster: Cluster;
let folder: string;

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "fastchat-groups-" });
  cluster = await startCluster(2);
  await Deno.writeTextFile(join(folder, "password"), PASSWORD);
  const names = ["alice", "bob", "carol", "dave"];
  const registered = await Promise.all(
    names.map((name) => fastchat(["register", name, "--server", cluster.server, ...at(name)])),
  );
  for (const result of registered) succeeded(result);
});

Deno.test.afterAll(async () => {
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function at(name: string): string[] {
  return ["--home", join(folder, name)];
}

function succeeded({ code, stdout, stderr }: Result): string {
  assert.equal(code, 0, stderr + stdout);
  return stdout;
}

function failed({ code, stdout, stderr }: Result, wanted: number, reason: RegExp): void {
  assert.equal(code, wanted, stderr + stdout);
  assert.match(stderr, reason);
  assert.doesNotMatch(stderr, /internal error|\n\s+at /);
}

/** Somebody runs a command that works. */
async function as(name: string, ...words: string[]): Promise<string> {
  return succeeded(await fastchat([...words, ...at(name)]));
}

/** Somebody runs a command that does not. */
async function not(name: string, code: number, reason: RegExp, ...words: string[]): Promise<void> {
  failed(await fastchat([...words, ...at(name)]), code, reason);
}

interface GroupLine {
  readonly group: string;
  readonly topic: string;
  readonly ended: boolean;
  readonly role?: string;
  readonly members: readonly { readonly name: string; readonly role: string; readonly trust: string }[];
}

async function groupsOf(name: string): Promise<GroupLine[]> {
  await as(name, "recv");
  return (await as(name, "groups", "--json")).split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** What somebody has in a group: its texts, and what changed, as sentences. */
async function history(name: string, group: string): Promise<string[]> {
  return (await as(name, "history", group)).trimEnd().split("\n")
    .map((line) => line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d /, "").replace(/ (✓|✓✓|✓✓ read|✓✓ (read )?\d\/\d)$/, ""));
}

function screenOf(name: string, ...words: string[]): Promise<Terminal> {
  const file = ["--password-file", join(folder, "password")];
  return Terminal.open([Deno.execPath(), ...runArguments("client"), ...words, ...at(name), ...file]);
}

Deno.test("groups: made, talked in, changed by its admins, left and deleted, by commands", async () => {
  assert.equal(await as("alice", "group", "create", "dev", "bob"), "Made #dev with bob\n");
  await as("alice", "group", "topic", "dev", "release week,", "CI is green");
  await as("alice", "send", "#dev", "hello bob");
  assert.match(await as("bob", "recv"), /alice → #dev: hello bob\n$/);
  await as("bob", "send", "#DEV", "hello alice");
  assert.match(await as("alice", "recv"), /bob → #dev: hello alice\n$/);

  const [dev] = await groupsOf("bob");
  assert.deepEqual([dev!.group, dev!.topic, dev!.role, dev!.ended], [
    "#dev",
    "release week, CI is green",
    "member",
    false,
  ]);
  assert.deepEqual(dev!.members.map(({ name, role }) => `${name} ${role}`), ["alice owner", "bob member"]);
  const members = await as("bob", "group", "members", "#dev");
  assert.match(
    members,
    /^🔒 0\/1 verified {2}#dev: release week, CI is green\n {2}alice {2}owner {3}unverified\n {2}bob {4}member {2}\(you\)\n$/,
  );
  await as("bob", "verify", "alice", "--yes");
  assert.match(
    await as("bob", "groups"),
    /^#dev {2}2 members {5}🔒 1\/1 {4}you are a member {2}release week, CI is green\n$/,
  );

  // Rights: a member cannot let people in or out, and hears why.
  await not("bob", 5, /./, "group", "add", "dev", "carol");
  await not("bob", 5, /./, "group", "remove", "dev", "alice");
  await not("alice", 2, /last admin of #dev.*group promote '#dev' bob/s, "group", "leave", "dev");
  await not("alice", 2, /no group called #dve; did you mean #dev\?/, "send", "#dve", "x");
  await not("alice", 2, /did you mean "fastchat group promote"\?/, "group", "promot", "dev", "bob");
  await not("alice", 2, /carol is not in #dev/, "group", "promote", "dev", "carol");
  await not("alice", 5, /nobody called nobody/, "group", "add", "dev", "nobody");
  await not("alice", 2, /Usage: fastchat group add NAME PERSON…/, "group", "add", "dev");
  await not("alice", 2, /say so: fastchat group delete 'dev' --yes/, "group", "delete", "dev");

  // Who comes later reads from then on; who goes reads no more.
  assert.equal(
    await as("alice", "group", "add", "dev", "carol", "bob"),
    "Added carol to #dev (bob is in it already)\n",
  );
  await as("alice", "send", "#dev", "hello carol");
  const carols = await as("carol", "recv");
  assert.match(carols, /alice → #dev: hello carol\n$/);
  assert.doesNotMatch(carols, /hello bob|hello alice/);
  await as("alice", "group", "remove", "dev", "carol");
  await as("alice", "send", "#dev", "without carol");
  assert.doesNotMatch(await as("carol", "recv"), /without carol/);
  await not("carol", 2, /no longer in #dev/, "send", "#dev", "am I here?");
  assert.equal((await groupsOf("carol"))[0]!.ended, true);
  assert.match(await as("carol", "history", "#dev"), /hello carol/, "what was read stays");

  // Another head, so that the first may go.
  assert.equal(await as("alice", "group", "promote", "dev", "bob"), "bob is an admin of #dev now\n");
  await as("bob", "recv");
  assert.equal(await as("alice", "group", "leave", "dev"), "You have left #dev\n");
  await as("bob", "send", "#dev", "alone now");
  assert.deepEqual((await groupsOf("bob"))[0]!.members.map(({ name }) => name), ["bob"]);
  await as("bob", "group", "rename", "dev", "the", "old", "team");
  await as("bob", "group", "add", "the old team", "dave");
  assert.match(await as("dave", "recv"), /the old team/);
  assert.deepEqual((await history("bob", "#the old team")).slice(-4), [
    "#the old team: alice left",
    "me → #the old team: alone now",
    "#the old team: you renamed the group to the old team",
    "#the old team: you added dave",
  ]);
  assert.match(await as("bob", "group", "delete", "the old team", "--yes"), /is deleted/);
  const told = await fastchat(["recv", ...at("dave")]);
  assert.match(told.stderr, /^fastchat: The server says that you are not in #the old team any more/);
  assert.equal((await groupsOf("dave"))[0]!.ended, true);
});

Deno.test("groups: a link lets somebody in while an admin is there, and no longer once it is closed", async () => {
  await as("alice", "group", "create", "open house");
  const link = (await as("alice", "group", "link", "open house")).trim();
  assert.match(await as("dave", "group", "join", link), /^Asked to be let in/);
  await eventually(async () => {
    await as("alice", "recv", "--wait", "1");
    return (await groupsOf("dave")).some(({ group, ended }) => group === "#open house" && !ended) || undefined;
  }, "dave is in");
  await as("dave", "send", "#open house", "it was open");
  assert.match(await as("alice", "recv"), /dave → #open house: it was open\n$/);
  await as("alice", "group", "link", "open house", "close");
  await not("carol", 2, /link/, "group", "join", link.slice(0, -4));
});

Deno.test("groups: a chat without a terminal, and JSON for scripts", async () => {
  const typed = '/create "night shift" bob\nhello\n/topic quiet\n/members\n/kick zoe\n/groups\n';
  const { code, stdout, stderr } = await fastchat(at("alice"), { stdin: typed });
  assert.equal(code, 2, "the exit code of the line that failed");
  assert.match(stderr, /^fastchat: zoe is not in #night shift$/m);
  assert.match(stdout, /\* Made #night shift with bob\n[^]*me → #night shift: hello ✓\n\* #night shift: quiet\n/);
  assert.match(stdout, /\n {2}alice {2}owner {3}\(you\)\n {2}bob {4}member/);
  assert.match(await as("bob", "recv"), /alice → #night shift: hello\n/);

  const json = async (...words: string[]) => JSON.parse(await as("alice", "group", ...words, "--json"));
  const made = await json("create", "scripts", "bob");
  assert.deepEqual(Object.keys(made).slice(0, 3), ["type", "act", "group"]);
  assert.deepEqual([made.type, made.act, made.group, made.role, made.others], [
    "group",
    "create",
    "#scripts",
    "owner",
    1,
  ]);
  assert.match(made.conversation, /^[0-9a-f]{32}$/);
  assert.deepEqual((await json("add", "scripts", "carol")).members.map(({ name }: { name: string }) => name), [
    "alice",
    "bob",
    "carol",
  ]);
  const link = await json("link", "scripts");
  assert.deepEqual([link.type, link.group], ["link", "#scripts"]);
  assert.equal((await json("rename", "scripts", "machines")).group, "#machines");
  const sent = JSON.parse(await as("alice", "send", "#machines", "hi", "--json"));
  assert.equal(sent.to, "#machines");
  const heard = (await as("bob", "recv", "--json")).trim().split("\n").map((line) => JSON.parse(line));
  const message = heard.find(({ type }) => type === "message");
  assert.deepEqual([message.id, message.from, message.to, message.group], [sent.id, "alice", "#machines", "machines"]);
  assert(heard.some(({ type, changes }) => type === "change" && changes[0].what === "renamed"));
  const gone = await json("delete", "machines", "--yes");
  assert.deepEqual([gone.act, gone.group, gone.ended], ["delete", "#machines", true]);
});

Deno.test("groups: a member's key that changed stops sending to the group, until it is compared", async () => {
  await as("alice", "group", "create", "trust", "bob", "carol");
  await as("bob", "recv");
  await as("alice", "verify", "bob", "--yes");
  // As after an operator's reset of the account: the home knows, and had verified, another key.
  const database = new DatabaseSync(join(folder, "alice", "fastchat.db"));
  database.exec("UPDATE peers SET fingerprint = zeroblob(32), verified = zeroblob(32) WHERE name = 'bob'");
  database.close();
  await not("alice", 6, /WARNING: the key of bob, which you had verified/, "send", "#trust", "secret");
  await not("alice", 6, /WARNING: the key of bob/, "verify", "bob");
  assert.match(await as("alice", "group", "members", "trust"), /KEY CHANGED: bob[^]* bob +member +! KEY CHANGED\n/);
  const { number } = JSON.parse(await as("bob", "verify", "alice", "--json"));
  await as("alice", "verify", "bob", "--number", number);
  await as("alice", "send", "#trust", "goes on");
  const heard = await as("bob", "recv");
  assert.match(heard, /alice → #trust: goes on\n$/);
  assert.doesNotMatch(heard, /secret/);
  assert.match(await as("alice", "chats"), /^#trust .*🔒 1\/2$/m);
  // Whoever has left is out at once, and can be brought back.
  await as("bob", "group", "leave", "trust");
  await as("alice", "recv");
  assert.doesNotMatch(await as("alice", "group", "members", "trust"), /bob/);
  assert.equal(await as("alice", "group", "add", "trust", "bob"), "Added bob to #trust\n");
  await as("alice", "send", "#trust", "welcome back");
  assert.match(
    await as("bob", "recv"),
    /^\d\d:\d\d #trust: alice added you\n\d\d:\d\d alice → #trust: welcome back\n$/,
  );
  assert.equal((await groupsOf("bob")).find(({ group }) => group === "#trust")!.ended, false);
  // Nothing was shown differently: there is nothing to accept, and it does no harm.
  assert.match(await as("alice", "trust", "#trust"), /^Sending in #trust goes on/);
});

Deno.test({
  name: "groups: in chats, a title, marks, changes and completion; nothing wider than the screen",
  ignore,
  async fn() {
    await using alice = await screenOf("alice");
    await alice.shows(/\]$/);
    await alice.type("/create ops carol dave", "Enter");
    await alice.shows(/\* Made #ops with carol and dave\n\[#ops\]$/);
    await alice.type("/topic who is on call", "Enter");
    await alice.shows(/\* #ops: who is on call\n\[#ops\]$/);
    await alice.type("hello everybody", "Enter");
    await alice.shows(/me → #ops: hello everybody ✓\n\[#ops\]$/);

    await using carol = await screenOf("carol");
    await carol.shows(/#ops: alice added you[^]*alice → #ops: hello everybody\n[^]*\]$/);
    await carol.type("/to #o", "Tab", "Enter");
    await carol.shows(/\* 🔒 0\/2 verified {2}#ops: who is on call\n\[#ops\]$/);
    await carol.type("I am", "Enter");
    await carol.shows(/me → #ops: I am ✓\n[^]*\[#ops\]$/);
    await alice.shows(/carol → #ops: I am\n\[#ops\]$/);
    await alice.type("/read 1", "Enter");
    await alice.shows(/carol → #ops: I am\n[^]*\[#ops\]$/);
    await eventually(async () => {
      await alice.type("/status", "Enter");
      return /me → #ops: hello everybody ✓✓ 1\/2\n/.test(await alice.screen()) || undefined;
    }, "carol's device says that it has it");

    await carol.type("/kick dave", "Enter");
    await carol.shows(/\* .*(admin|right|allowed)[^]*\[#ops\]$/);
    await alice.type("/make_admin carol", "Enter");
    await alice.shows(/\* carol is an admin of #ops now\n/);
    await carol.shows(/#ops: alice made you an admin\n[^]*\[#ops\]$/);
    await carol.type("/kick dave", "Enter");
    await carol.shows(/\* Removed dave from #ops\n\[#ops\]$/);
    await alice.shows(/#ops: carol removed dave\n/);
    await alice.type("/members", "Enter");
    const members = await alice.shows(/ {2}alice {2}owner {3}\(you\)\n {2}carol {2}admin {3}unverified\n\[#ops\]$/);
    for (const row of members.split("\n")) assert(textWidth(row) <= 80, row);
    await alice.type("/groups", "Enter");
    await alice.shows(/ {2}#ops +2 members[^]*\[#ops\]$/);
    await alice.type("/help groups", "Enter");
    const help = await alice.shows(/\/delgrp \[#GROUP\][^]*\[#ops\]$/);
    for (const name of ["/create", "/add", "/kick", "/make_admin", "/leave"]) assert(help.includes(`  ${name} `), help);
    await alice.type("/link", "Enter");
    // Alone and flush with the edge: the terminal itself goes on with it, so it is copied in one piece.
    await alice.shows(/\nfastchat:\/\/join\/\S{64}\n\S+(?:\n\S+)*\n\[#ops\]$/);
    await alice.type("/delgrp", "Enter");
    await alice.shows(/cannot be taken back, so say which: \/delgrp #ops\n[^]*\[#ops\]$/);
    await alice.type("/leave", "Enter");
    await alice.shows(/\* You have left #ops\n\[-\]$/);
    await carol.shows(/#ops: alice left\n/);
    await carol.type("/rename night shift", "Enter");
    await carol.shows(/\[#night shift\]$/);
    await carol.type("/delgrp '#night shift'", "Enter");
    await carol.shows(/is deleted[^]*\[-\]$/);
    for (const terminal of [alice, carol]) {
      await terminal.type("", "C-c");
      await terminal.shows(/ended 0, modes restored/);
    }
  },
});
