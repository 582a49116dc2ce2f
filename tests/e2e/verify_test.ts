/** Two people make sure of one another, with real programs: by commands, and on 80x24 screens that a scanner reads. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { textWidth } from "../../client/faces/width.ts";
import { scan } from "../scanner.ts";
import { type Cluster, fastchat, PASSWORD, type Result, runArguments, startCluster } from "./harness.ts";
import { hasTmux, Terminal } from "./tmux.ts";

// Without tmux nobody can type; .ci/run installs it.
const ignore = !await hasTmux();
if (ignore) console.warn("The screens of verify_test.ts are skipped: they need tmux");

let cluster: Cluster;
let folder: string;

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "fastchat-verify-" });
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

async function run(...args: string[]): Promise<string> {
  return succeeded(await fastchat(args));
}

// deno-lint-ignore no-explicit-any
async function json(...args: string[]): Promise<any> {
  return JSON.parse(await run(...args, "--json"));
}

/** `fastchat WORDS` on a terminal. */
function screenOf(name: string, ...words: string[]): Promise<Terminal> {
  const file = ["--password-file", join(folder, "password")];
  return Terminal.open([Deno.execPath(), ...runArguments("client"), ...words, ...at(name), ...file]);
}

/** As after an operator's reset of the account: the home knows, and had verified, another key. */
function knowAnother(home: string, name: string): void {
  const database = new DatabaseSync(join(folder, home, "fastchat.db"));
  database.prepare("UPDATE peers SET fingerprint = zeroblob(32), verified = zeroblob(32) WHERE name = ?").run(name);
  database.close();
}

Deno.test("verify: both see one number, equal digits mark, others end with 6, lists show the mark", async () => {
  const hers = await json("verify", "bob", ...at("alice")), his = await json("verify", "alice", ...at("bob"));
  assert.deepEqual(Object.keys(hers), ["type", "name", "trust", "wasVerified", "fingerprint", "number", "uri", "own"]);
  assert.deepEqual([hers.type, hers.name, hers.trust], ["verify", "bob", "unverified"]);
  assert.match(hers.number, /^\d{60}$/);
  assert.deepEqual([hers.number, hers.uri, hers.own], [his.number, his.uri, his.fingerprint]);
  assert.equal((await run("fingerprint", ...at("alice"))).trim(), hers.own);
  assert.equal((await run("fingerprint", "bob", ...at("alice"))).trim(), hers.fingerprint);

  const text = await run("verify", "bob", ...at("alice"));
  assert.match(text, /^Safety number of alice and bob\n\n {2}\d{5} /);
  assert.equal(text.match(/\b\d{5}\b/g)!.join(""), hers.number);
  assert(!/[█▀▄]/.test(text), "no code where nobody looks");

  const wrong = (Number(hers.number[0]) + 1) % 10 + hers.number.slice(1);
  const other = (await json("verify", "carol", ...at("alice"))).uri;
  failed(
    await fastchat(["verify", "bob", "--number", wrong, ...at("alice")]),
    6,
    /The numbers differ: bob is NOT verified/,
  );
  failed(await fastchat(["verify", "bob", "--number", "12345 67890", ...at("alice")]), 2, /60 digits; these are 10/);
  failed(await fastchat(["verify", "bob", "--number", other, ...at("alice")]), 2, /number of alice and carol/);
  failed(await fastchat(["verify", "bob", "--yes", "--unverify", ...at("alice")]), 2, /give one of them/);
  failed(await fastchat(["verify", "alice", ...at("alice")]), 2, /That is you/);
  failed(await fastchat(["verify", "nobody", ...at("alice")]), 5, /nobody called nobody/);
  failed(await fastchat(["fingerprint", "dave", ...at("alice")]), 2, /not known here yet: fastchat verify dave/);
  assert.equal((await json("verify", "bob", ...at("alice"))).trust, "unverified");

  const shown = text.match(/\b\d{5}\b/g)!.join(" ");
  assert.equal(await run("verify", "bob", "--number", shown, ...at("alice")), "bob: 🔒 verified\n");
  assert.equal((await json("verify", "alice", "--number", hers.uri, ...at("bob"))).trust, "verified");
  assert.match(await run("users", ...at("alice")), /^ {2}bob {2}🔒 verified$/m);
  const users = (await run("users", "--json", ...at("alice"))).trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(
    users.map(({ name, trust }) => `${name} ${trust}`),
    ["alice self", "bob verified", "carol unverified", "dave unknown"],
  );
  await run("send", "bob", "hello", ...at("alice"));
  await run("send", "carol", "hello", ...at("alice"));
  const chats = (await run("chats", "--json", ...at("alice"))).trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(
    chats.map(({ type, name, unread, trust }) => [type, name, unread, trust]).sort(),
    [["chat", "bob", 0, "verified"], ["chat", "carol", 0, "unverified"]],
  );
  const lines = (await run("chats", ...at("alice"))).trim().split("\n").sort();
  assert.match(lines[0]!, /^bob {4}\d{4}-\d\d-\d\d \d\d:\d\d +🔒 verified$/);
  assert.match(lines[1]!, /^carol {2}\d{4}-\d\d-\d\d \d\d:\d\d +unverified$/);

  assert.match(await run("verify", "bob", "--unverify", ...at("alice")), /^bob: unverified; /);
  assert.equal((await json("verify", "bob", ...at("alice"))).trust, "unverified");
  assert.equal((await json("verify", "bob", "--yes", ...at("alice"))).trust, "verified");
});

Deno.test("verify: a key that changed ends with 6 everywhere, in strong words, until its digits are compared", async () => {
  await run("send", "dave", "before", ...at("carol"));
  await run("verify", "dave", "--yes", ...at("carol"));
  knowAnother("carol", "dave");
  const blocked = /WARNING: the key of dave, which you had verified/;
  failed(await fastchat(["send", "dave", "secret", ...at("carol")]), 6, blocked);
  const shown = await fastchat(["verify", "dave", ...at("carol")]);
  failed(shown, 6, blocked);
  assert.match(shown.stdout, /dave: ! KEY CHANGED since you verified it/);
  failed(await fastchat(["verify", "dave", "--yes", ...at("carol")]), 6, blocked);
  assert.match(await run("users", ...at("carol")), /dave {2}! KEY CHANGED$/m);
  assert.equal((await fastchat(["recv", ...at("dave")])).stdout.includes("secret"), false);

  const { number } = await json("verify", "carol", ...at("dave"));
  const compared = await fastchat(["verify", "dave", "--number", number, ...at("carol")]);
  assert.deepEqual(
    [compared.stdout, compared.stderr],
    ["dave: 🔒 verified\n", ""],
    "what is settled is warned of no more",
  );
  await run("send", "dave", "after", ...at("carol"));
  assert.match(await run("recv", ...at("dave")), /carol: after\n$/);

  knowAnother("carol", "dave");
  failed(await fastchat(["send", "dave", "secret", ...at("carol")]), 6, blocked);
  await run("trust", "dave", ...at("carol"));
  const accepted = await json("verify", "dave", ...at("carol"));
  assert.deepEqual([accepted.trust, accepted.wasVerified], ["unverified", true]);
  await run("send", "dave", "goes on", ...at("carol"));
});

/** The code on a screen: everything left of the text. */
function codeOn(screen: string): string[] {
  const rows = screen.split("\n"), first = rows.findIndex((row) => /^█{41}/.test(row));
  const size = /^█+/.exec(rows[first]!)![0].length;
  return rows.slice(first, first + Math.ceil(size / 2)).map((row) => [...row].slice(0, size).join("").padEnd(size));
}

Deno.test({
  name: "verify: on a terminal a scanner reads the code, and a yes marks",
  ignore,
  async fn() {
    const { uri } = await json("verify", "dave", ...at("bob"));
    {
      await using terminal = await screenOf("bob", "verify", "dave");
      const screen = await terminal.shows(/Is it the same on dave's screen\? \[y\/N\]$/);
      assert.equal(scan(codeOn(screen)), uri);
      assert.match(screen, /^█+\n█+ {2}Safety number of bob and dave\n/, "nothing has left the screen");
      for (const row of screen.split("\n")) assert(textWidth(row) <= 80, row);
      await terminal.type("", "Enter");
      await terminal.shows(/Not marked\. [^]*ended 0, modes restored/);
    }
    assert.equal((await json("verify", "dave", ...at("bob"))).trust, "unverified");
    await using terminal = await screenOf("bob", "verify", "dave", "--no-qr");
    const screen = await terminal.shows(/\[y\/N\]$/);
    assert(!screen.includes("█"));
    await terminal.type("y", "Enter");
    await terminal.shows(/\ndave: 🔒 verified\nended 0, modes restored/);
  },
});

Deno.test({
  name: "verify: M-v in the chat shows the number over everything, and gives the chat back as it was",
  ignore,
  async fn() {
    await run("recv", ...at("dave"));
    await run("send", "dave", "hello dave", ...at("alice"));
    const { uri } = await json("verify", "alice", ...at("dave"));
    await using terminal = await screenOf("dave");
    await terminal.shows(/alice: hello dave\n[^]*\[alice\]$/);
    await terminal.type("half a li");
    await terminal.type("", "M-v");
    const screen = await terminal.shows(/v: they are the same {3}n: they differ {3}Esc: back$/);
    assert.equal(screen.split("\n").length, 24);
    assert.equal(scan(codeOn(screen)), uri);
    assert.match(screen, /alice: unverified/);
    // A message that comes now is not lost, and not drawn over the number.
    await run("send", "dave", "are you there?", ...at("alice"));
    await terminal.type("v");
    await terminal.shows(/Are all 60 digits on alice's screen[^]*y: the same/);
    assert(!(await terminal.screen()).includes("are you there?"));
    await terminal.type("", "Escape");
    await terminal.shows(/alice: are you there\?\n\[alice\] half a li$/);
    await terminal.type("ne", "Enter");
    await terminal.shows(/me → alice: half a line ✓\n\[alice\]$/);

    await terminal.type("/verify", "Enter");
    await terminal.shows(/Esc: back$/);
    await terminal.resize(60, 20);
    await terminal.shows(/^Safety number of alice and dave\n[^█]*Esc: back$/);
    await terminal.resize(80, 24);
    await terminal.shows(/█[^]*Esc: back$/);
    await terminal.type("v");
    await terminal.shows(/y: the same {3}n: not the same {3}Esc: back$/);
    await terminal.type("y");
    await terminal.shows(/\* alice: 🔒 verified\n\[alice 🔒\]$/);
    await terminal.type("/all", "Enter");
    await terminal.shows(/ alice {2}🔒 verified\n/);
    await terminal.type("/chats", "Enter");
    await terminal.shows(/\n {2}alice {2}🔒 verified\n[^]*\[alice 🔒\]$/);
    await terminal.type("/verify 11111 22222", "Enter");
    await terminal.shows(/A safety number has 60 digits; these are 10/);
    await terminal.type("/unverify", "Enter");
    await terminal.shows(/\* alice: unverified; \/verify shows the number to compare\n\[alice\]$/);
    await terminal.type(`/verify ${uri.split("/").at(-1)}`, "Enter");
    await terminal.shows(/\* alice: 🔒 verified\n\[alice 🔒\]$/);
    await terminal.type("", "M-v");
    await terminal.shows(/You compared this number with[^]*u: take the mark away {3}Esc: back$/);
    await terminal.type("", "C-c");
    await terminal.shows(/\[alice 🔒\]$/);
    await terminal.type("", "C-c");
    await terminal.shows(/ended 0, modes restored/);
  },
});

Deno.test({
  name: "verify: the chat says that a verified key changed, sends nothing, and goes on after /trust",
  ignore,
  async fn() {
    await run("send", "alice", "hello", ...at("dave"));
    await run("recv", ...at("alice"));
    await run("verify", "dave", "--yes", ...at("alice"));
    knowAnother("alice", "dave");
    await using terminal = await screenOf("alice");
    await terminal.shows(/\[-\]$/);
    await terminal.type("@dave secret", "Enter");
    const warned = await terminal.shows(
      /WARNING: the key of dave, which you had\s+verified[^]*\* not sent: @dave secret\n[^]*\[dave !\]$/,
    );
    assert.equal(warned.split("WARNING").length, 2, "said once");
    await terminal.type("/verify", "Enter");
    await terminal.shows(/! KEY CHANGED since you\n[█▀▄ ]+ verified it\n[^]*Esc: back$/);
    await terminal.type("q");
    await terminal.type("/trust dave", "Enter");
    await terminal.shows(/Trusting dave with key SHA256:[^]*\[dave\]$/);
    await terminal.type("now", "Enter");
    await terminal.shows(/me → dave: now ✓\n[^]*\[dave\]$/);
    await terminal.type("/to dave", "Enter");
    await terminal.shows(/you had verified an\s+earlier key of dave's, not this one/);
    await terminal.type("", "C-c");
    await terminal.shows(/ended 0, modes restored/);
    assert(!(await run("recv", ...at("dave"))).includes("secret"));
  },
});
