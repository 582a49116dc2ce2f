/** Every command of `fastchat` as people and scripts meet it: real programs, words in, output and exit code out. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { generateRsaPkcs8, systemRandom } from "../../shared/crypto/mod.ts";
import { FileLock } from "../../shared/host/mod.ts";
import {
  alive,
  type Cluster,
  fastchat,
  lines,
  PASSWORD,
  type Result,
  startCluster,
  startFastchat,
  TEST_ENV,
} from "./harness.ts";
import { inHome } from "./homes.ts";

let cluster: Cluster;
/** A folder of this run; homes are made in it. */
let folder: string;

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "fastchat-commands-" });
  cluster = await startCluster(2);
  const registered = await Promise.all(
    ["alice", "bob"].map((name) => fastchat(["register", name, "--server", cluster.server, ...at(name)])),
  );
  for (const result of registered) succeeded(result);
});

Deno.test.afterAll(async () => {
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function home(name: string): string {
  return join(folder, name);
}

function at(name: string): string[] {
  return ["--home", home(name)];
}

function succeeded({ code, stdout, stderr }: Result): string {
  assert.equal(code, 0, stderr);
  return stdout;
}

/** Fails with this code, says why in one line on standard error, and nothing on standard output. */
function failed(result: Result, code: number, reason: RegExp): void {
  assert.equal(result.code, code, `${result.stderr}${result.stdout}`);
  assert.match(result.stderr, reason);
  assert.match(result.stderr, /^fastchat: .+/);
  assert.doesNotMatch(result.stderr, /internal error|\n\s+at /);
  assert.equal(result.stdout, "");
}

async function send(from: string, to: string, text: string): Promise<string> {
  return succeeded(await fastchat(["send", to, "-", ...at(from)], { stdin: text })).trim();
}

interface Message {
  id: string;
  conversation: string;
  from: string;
  to: string;
  device: string;
  text: string;
  time: string;
  seq: number;
}

function messages(stdout: string): Message[] {
  return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** Whatever is unshown is not this test's. */
async function empty(name: string): Promise<void> {
  succeeded(await fastchat(["recv", ...at(name)]));
}

Deno.test("send prints the id, recv --json the message object, history both sides", async () => {
  // What they begin with is the commit that makes their group.
  const before = messages(succeeded(await fastchat(["history", "bob", "--json", ...at("alice")]))).at(-1)?.seq ?? 1;
  const id = succeeded(await fastchat(["send", "bob", "héllo\tworld", ...at("alice")])).trim();
  assert.match(id, /^[0-9a-f]{32}$/);
  const piped = succeeded(await fastchat(["send", "bob", "-", ...at("alice")], { stdin: "two\nlines\n" })).trim();
  const sent = JSON.parse(succeeded(await fastchat(["send", "bob", "--json", ...at("alice"), "--", "-third"])));
  assert.deepEqual(Object.keys(sent), ["type", "to", "id", "conversation", "seq", "time", "state"]);

  const received = messages(succeeded(await fastchat(["recv", "--json", ...at("bob")])));
  assert.deepEqual(received.map(({ text }) => text), ["héllo\tworld", "two\nlines", "-third"]);
  assert.deepEqual(received.map(({ id }) => id), [id, piped, sent.id]);
  assert.deepEqual(received.map(({ seq }) => seq), [before + 1, before + 2, before + 3]);
  for (const message of received) {
    assert.deepEqual(
      Object.keys(message),
      ["type", "id", "conversation", "from", "to", "device", "text", "time", "seq"],
    );
    assert.deepEqual([message.from, message.to], ["alice", "bob"]);
    assert.match(message.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.match(message.conversation, /^[0-9a-f]{32}$/);
    assert.match(message.device, /^[0-9a-f]{32}$/);
    assert(Math.abs(Date.parse(message.time) - Date.now()) < 600_000);
  }
  assert.equal(received[2]!.time, sent.time);
  assert.equal(succeeded(await fastchat(["recv", "--json", ...at("bob")])), "", "shown once");

  await send("bob", "alice", "an answer");
  for (const [name, peer] of [["alice", "bob"], ["bob", "alice"]] as const) {
    if (name === "alice") await empty("alice");
    const history = messages(succeeded(await fastchat(["history", peer, "--limit", "4", "--json", ...at(name)])));
    assert.deepEqual(history.map(({ from, text }) => [from, text]), [
      ["alice", "héllo\tworld"],
      ["alice", "two\nlines"],
      ["alice", "-third"],
      ["bob", "an answer"],
    ]);
    // One's own have a state besides: Bob had received them, as Alice's client heard when it came back.
    const state = name === "alice" ? { state: "delivered" } : {};
    assert.deepEqual(history.slice(0, 3), received.map((message) => ({ ...message, ...state })));
  }
  const slip = await fastchat(["history", "alcie", ...at("bob")]);
  assert.deepEqual([slip.code, slip.stdout, slip.stderr], [0, "", "fastchat: Nothing yet between you and alcie\n"]);
  const plain = succeeded(await fastchat(["history", "alice", "--limit", "2", ...at("bob")]));
  assert.match(
    plain,
    /^\d{4}-\d\d-\d\d \d\d:\d\d alice: -third\n\d{4}-\d\d-\d\d \d\d:\d\d me → alice: an answer ✓✓?\n$/,
  );
});

Deno.test("users and online list people, with --json as objects", async () => {
  const users = messages(succeeded(await fastchat(["users", "--json", ...at("bob")]))) as unknown as {
    type: string;
    name: string;
    online: boolean;
    trust: string;
  }[];
  assert.deepEqual(users.filter(({ name }) => name === "alice"), [{
    type: "user",
    name: "alice",
    online: false,
    trust: "unverified",
  }]);
  assert.deepEqual(users.map(({ name }) => name), users.map(({ name }) => name).sort());
  const online = messages(succeeded(await fastchat(["online", "--json", ...at("bob")])));
  assert.deepEqual(online as unknown, [{ type: "user", name: "bob", online: true, trust: "self" }]);
  assert.equal(succeeded(await fastchat(["online", ...at("bob")])), "● bob\n");
});

Deno.test("recv --wait returns with the first message; with nothing it ends with 0 after the time", async () => {
  await empty("bob");
  const child = startFastchat(["recv", "--wait", "60", "--json", ...at("bob")]);
  const output = child.output();
  await listeningAs("bob");
  const id = await send("alice", "bob", "at last");
  const { code, stdout } = await output;
  await child.stdin.close();
  assert.equal(code, 0);
  assert.deepEqual(messages(new TextDecoder().decode(stdout)).map((message) => message.id), [id]);
  assert.equal(succeeded(await fastchat(["recv", "--wait", "0.2", ...at("bob")])), "");
});

/** Resolves once somebody is online. */
async function listeningAs(name: string): Promise<void> {
  for (;;) {
    if (succeeded(await fastchat(["online", ...at("alice")])).includes(`● ${name}\n`)) return;
  }
}

Deno.test("listen stays open while send runs on the same home, and ends with 0 at TERM", async () => {
  await Promise.all([empty("alice"), empty("bob")]);
  const child = startFastchat(["listen", "--json", ...at("bob")]);
  const heard: Message[] = [];
  const states: string[] = [];
  let others = 0, isConnected = false;
  for await (const line of lines(child.stdout)) {
    const event = JSON.parse(line);
    if (event.type === "connection") {
      // On a machine that stood still for a moment it may come again.
      if (isConnected) continue;
      isConnected = true;
      await send("bob", "alice", "from the same home");
      await send("alice", "bob", "one");
      await send("alice", "bob", "two");
    } else if (event.type === "message") heard.push(event);
    else if (event.type === "state") states.push(event.state);
    else others++;
    if (heard.length === 2) child.kill("SIGTERM");
  }
  const { code } = await child.status;
  await child.stdin.close();
  assert.equal(await new Response(child.stderr).text(), "");
  assert.equal(code, 0);
  assert.equal(others, 0);
  assert(states.includes("stored"), "what became of the message that the other process sent");
  assert.deepEqual(heard.map(({ text }) => text), ["one", "two"], "own messages are not heard");
  assert.equal(succeeded(await fastchat(["recv", ...at("bob")])), "", "what listen showed is shown");
  assert.deepEqual(
    messages(succeeded(await fastchat(["recv", "--json", ...at("alice")]))).map(({ text }) => text),
    ["from the same home"],
  );
});

Deno.test("recv whose reader went away ends quietly with 0, and what it could not write is shown again", async () => {
  await empty("bob");
  const id = await send("alice", "bob", "into the void");
  const child = startFastchat(["recv", "--json", ...at("bob")]);
  await child.stdout.cancel();
  const [{ code }, stderr] = await Promise.all([child.status, new Response(child.stderr).text()]);
  await child.stdin.close();
  assert.equal(stderr, "");
  assert.equal(code, 0);
  assert.deepEqual(messages(succeeded(await fastchat(["recv", "--json", ...at("bob")]))).map((m) => m.id), [id]);
});

Deno.test("recv killed while its output is stuck has shown what was written, and nothing of the rest", async () => {
  await empty("bob");
  const big = "x".repeat(1 << 20);
  const ids = [await send("alice", "bob", "small"), await send("alice", "bob", big), await send("alice", "bob", "end")];
  const child = startFastchat(["recv", "--json", ...at("bob")]);
  const reader = child.stdout.getReader();
  let text = "";
  // Once the second begins, the first is done with. No pipe takes the whole of the second.
  while (!text.includes("\n{")) text += new TextDecoder().decode((await reader.read()).value!);
  assert(alive(child.pid));
  child.kill("SIGKILL");
  await child.status;
  await Promise.all([reader.cancel(), child.stderr.cancel(), child.stdin.close()]);
  assert.equal(JSON.parse(text.slice(0, text.indexOf("\n"))).id, ids[0]);
  const again = messages(succeeded(await fastchat(["recv", "--json", ...at("bob")])));
  assert.deepEqual(again.map(({ id }) => id), ids.slice(1));
  assert.equal(again[0]!.text, big);
});

Deno.test("what remote text could do to a terminal is gone in every face", async () => {
  await empty("bob");
  const nasty = "a\x1b[31mb\x07c\u009b2Jd\u202Ee\u2066f\x00g\r\nh";
  const clean = "a[31mbc2Jdefg\nh";
  await send("alice", "bob", nasty);
  const [received] = messages(succeeded(await fastchat(["recv", "--json", ...at("bob")])));
  assert.equal(received!.text, clean);
  await send("alice", "bob", nasty);
  const faces = [
    await fastchat(["recv", ...at("bob")]),
    await fastchat(["history", "alice", "--limit", "1", ...at("bob")]),
    await fastchat([...at("bob")], { stdin: "/read alice 1\n" }),
  ].map(succeeded);
  for (const face of faces) {
    assert(face.includes("a[31mbc2Jdefg\n      h\n"), JSON.stringify(face));
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(face, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/);
  }
});

Deno.test("HOST PORT without a terminal is a chat of lines", async () => {
  await Promise.all([empty("alice"), empty("bob")]);
  await send("alice", "bob", "waiting for you");
  const typed = "@alice hello\nplain\n//slash\n\\all\n/unread\n\n";
  const chat = succeeded(await fastchat([cluster.host, String(cluster.port), ...at("bob")], { stdin: typed }));
  assert.match(chat, /\d\d:\d\d alice: waiting for you\n/);
  assert.match(chat, /me → alice: hello ✓\n[^]*me → alice: plain ✓\n[^]*me → alice: \/slash ✓\n/);
  assert.match(chat, /● bob \(you\)/);
  assert.deepEqual(
    messages(succeeded(await fastchat(["recv", "--json", ...at("alice")]))).map(({ text }) => text),
    ["hello", "plain", "/slash"],
  );
  // A script hears of a line that failed, and the lines behind it still go.
  const result = await fastchat([...at("bob")], { stdin: "@nobody hello\n/nonsense\n@alice still here\n" });
  assert.equal(result.code, 5);
  assert.match(
    result.stderr,
    /nobody called nobody\nfastchat: not sent: @nobody hello\nfastchat: There is no \/nonsense/,
  );
  assert.match(result.stdout, /me → alice: still here ✓/);
  await empty("alice");
});

Deno.test("a text of 1 MiB arrives whole", async () => {
  await empty("bob");
  const text = "é".repeat(1 << 19);
  await send("alice", "bob", text);
  assert.equal(messages(succeeded(await fastchat(["recv", "--json", ...at("bob")])))[0]!.text, text);
});

Deno.test("exit code 1: output that cannot be written, and it is shown again", async () => {
  if (Deno.build.os !== "linux") return;
  await empty("bob");
  await send("alice", "bob", "disk full");
  const { args, env } = shell("recv", ...at("bob"));
  const { code, stderr } = await new Deno.Command("sh", { args, env, stdin: "null" }).output();
  assert.equal(code, 1);
  assert.match(new TextDecoder().decode(stderr), /^fastchat: Cannot write the output: No space left.*\n$/);
  assert.match(succeeded(await fastchat(["recv", ...at("bob")])), /disk full/);
});

/** `fastchat WORDS > /dev/full`. */
function shell(...words: string[]): { args: string[]; env: Record<string, string> } {
  const program = ["run", "--quiet", "--no-check", "-A", "--config", "deno.json", "client/main.ts"];
  const root = new URL("../..", import.meta.url).pathname;
  return {
    args: ["-c", `cd "${root}" && exec "$0" "$@" > /dev/full`, Deno.execPath(), ...program, ...words],
    env: { ...TEST_ENV, FASTCHAT_PASSWORD: PASSWORD },
  };
}

Deno.test("exit code 2: wrong usage is told with what would be right", async () => {
  const cases: [string[], RegExp][] = [
    [["snd", "bob", "hi"], /did you mean "fastchat send"\?/],
    [["send", "bob", "hi", "--jsno"], /did you mean --json\?/],
    [["send", "bob"], /missing. Usage: fastchat send NAME/],
    [["send", "bob", "hi", "there"], /"there" is one word too many/],
    [["send", "bob", "", ...at("alice")], /empty/],
    [["send", "b o b", "hi", ...at("alice")], /cannot be a name: a name is 1 to 32 of/],
    [["send", "x".repeat(33), "hi", ...at("alice")], /cannot be a name/],
    [["send", "alice", "hi", ...at("alice")], /That is you/],
    [["register", "-x-", "--server", cluster.server], /option|cannot be a name/],
    [["register", "mallory"], /--server HOST:PORT/],
    [["register", "mallory", "--server", "nonsense"], /HOST:PORT/],
    [["register", "mallory", "--server", `${cluster.server}#123`], /no fingerprint/],
    [["recv", "--wait", "soon", ...at("bob")], /--wait takes a number/],
    [["recv", "--wait"], /--wait needs a value/],
    [["history", "bob", "--limit", "0"], /--limit takes a number/],
    [["localhost", "65536"], /1 to 65535/],
    [["localhost:65536"], /1 to 65535/],
    [["localhost"], /port is missing: fastchat localhost PORT/],
    [["trust"], /trust NAME, or fastchat trust --server/],
    [["recv", "--home", join(folder, "nobody")], /no account in .*nobody/],
    [["recv", "-u", "bob", ...at("alice")], /belongs to alice/],
  ];
  const results = await inPairs(cases, ([args]) => fastchat(args));
  for (const [i, result] of results.entries()) failed(result, 2, cases[i]![1]);
  const tooLong = await fastchat(["send", "bob", "-", ...at("alice")], { stdin: "x".repeat(2 << 20) });
  failed(tooLong, 2, /longer than 1048576 bytes/);
  failed(
    await fastchat(["send", "bob", "-", ...at("alice")], { stdin: Uint8Array.of(0xff, 0xfe) }),
    2,
    /not UTF-8/,
  );
  await assert.rejects(Deno.stat(join(folder, "nobody")), Deno.errors.NotFound, "a mistake leaves nothing behind");
});

/** Two at a time: as many as there are processors for sure. */
async function inPairs<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < items.length; i = next++) results[i] = await act(items[i]!);
  };
  await Promise.all([worker(), worker()]);
  return results;
}

Deno.test("exit code 2: weak passwords are refused with the reason", async () => {
  for (const [password, reason] of [["short", /needs at least 10/], ["password12345", /too easy to guess/]] as const) {
    const args = ["register", "weakling", "--server", cluster.server, ...at("weakling")];
    failed(await fastchat(args, { env: { FASTCHAT_PASSWORD: password } }), 2, reason);
  }
});

Deno.test("exit code 3: nobody there, with a word about UDP and firewalls", async () => {
  const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    const server = `127.0.0.1:${(silent.addr as Deno.NetAddr).port}`;
    const args = ["register", "nobody", "--server", server, "--timeout", "1", ...at("nobody")];
    failed(await fastchat(args), 3, /^fastchat: Nothing answered at UDP 127\.0\.0\.1:\d+ .*firewalls.*UDP/);
  } finally {
    silent.close();
  }
});

Deno.test("exit code 4: a wrong password, an unknown name at login, a session that is over", async () => {
  const wrong = { env: { FASTCHAT_PASSWORD: "another-otter-canyon-42" } };
  const login = (name: string) => ["login", name, "--server", cluster.server, "--home", join(folder, "wrong")];
  failed(await fastchat(login("alice"), wrong), 4, /Wrong name or password/);
  failed(await fastchat(login("nobody"), wrong), 4, /Wrong name or password/);
  failed(await fastchat(login("alice"), { env: { FASTCHAT_PASSWORD: "" } }), 4, /password.*needed.*--password-file/);
  await assert.rejects(Deno.stat(join(folder, "wrong")), Deno.errors.NotFound, "a failed login leaves nothing behind");

  const session = await inHome(home("bob"), ({ credentials }) => {
    const session = credentials.session(0)!;
    credentials.forgetSession(session.token);
    return session;
  });
  const token = join(folder, "bob.token");
  succeeded(await fastchat(["token", "create", token, ...at("bob")]));
  const unlocked = { env: { FASTCHAT_PASSWORD: "", FASTCHAT_TOKEN_FILE: token } };
  failed(await fastchat(["users", ...at("bob")], unlocked), 4, /fastchat login bob --server/);
  await inHome(home("bob"), ({ credentials }) => credentials.saveSession(session));
  succeeded(await fastchat(["users", ...at("bob")], unlocked));
});

Deno.test("exit code 5: an unknown name and a taken one", async () => {
  failed(await fastchat(["send", "nobody", "hi", ...at("alice")]), 5, /nobody called nobody/);
  for (const folder of ["elsewhere", "alice"]) {
    const result = await fastchat(["register", "ALICE", "--server", cluster.server, ...at(folder)]);
    failed(result, 5, /name alice is taken/);
  }
  await assert.rejects(Deno.stat(home("elsewhere")), Deno.errors.NotFound);
});

Deno.test("exit code 6: a changed identity stops sending until trust NAME", async () => {
  await Promise.all([empty("alice"), empty("bob")]);
  await send("alice", "bob", "before");
  await empty("bob");
  // As if the server showed another identity than the one that alice met first.
  const met = setPin("alice", "bob", systemRandom.bytes(32));
  const result = await fastchat(["send", "bob", "not for you", ...at("alice")]);
  failed(result, 6, /key of bob changed: it was SHA256:\S+, now SHA256:\S+ is shown.*fastchat trust bob/);
  assert.equal(succeeded(await fastchat(["recv", ...at("bob")])), "", "nothing was sealed for it");
  const id = await send("bob", "alice", "it is still me");
  // Who wrote it is proven by the group that he was in all along.
  assert.deepEqual(messages(succeeded(await fastchat(["recv", "--json", ...at("alice")]))).map((m) => m.id), [id]);
  const trusted = succeeded(await fastchat(["trust", "bob", ...at("alice")]));
  assert.equal(trusted, `Trusting bob with key ${fingerprintText(met)} from now on\n`);
  await send("alice", "bob", "welcome back");
  assert.match(succeeded(await fastchat(["recv", ...at("bob")])), /alice: welcome back\n/);
});

/** Changes whom somebody knows a person by. @returns Whom they knew before. */
function setPin(owner: string, name: string, fingerprint: Uint8Array): Uint8Array {
  const database = new DatabaseSync(join(home(owner), "fastchat.db"));
  try {
    const before = database.prepare("SELECT fingerprint FROM peers WHERE name = ?").get(name)!["fingerprint"];
    database.prepare("UPDATE peers SET fingerprint = ? WHERE name = ?").run(fingerprint, name);
    return before as Uint8Array;
  } finally {
    database.close();
  }
}

function fingerprintText(fingerprint: Uint8Array): string {
  return `SHA256:${fingerprint.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

Deno.test("exit code 7: a message that could not leave in time is taken back", async () => {
  await empty("bob");
  const lock = await FileLock.acquire(join(home("alice"), "keys.lock"));
  try {
    // Another program of alice's has her keys and does not get on.
    failed(await fastchat(["send", "bob", "too late", "--timeout", "4", ...at("alice")]), 7, /Not sent within 4 s/);
  } finally {
    lock.release();
  }
  await send("alice", "bob", "in time");
  const texts = messages(succeeded(await fastchat(["recv", "--json", ...at("bob")]))).map(({ text }) => text);
  assert.deepEqual(texts, ["in time"]);
});

Deno.test("a home is private; login adds a device once, and a token does for the password afterwards", async () => {
  const second = join(folder, "second");
  const passwordFile = join(folder, "password.txt");
  await Deno.writeTextFile(passwordFile, `${PASSWORD}\r\nnot this line\n`);
  const none = { env: { FASTCHAT_PASSWORD: "" } };
  const login = ["login", "bob", "--server", `${cluster.server}#${cluster.fingerprint}`, "--home", second];
  const stdout = succeeded(await fastchat([...login, "--password-file", passwordFile, "--json"], none));
  const answer = JSON.parse(stdout);
  assert.deepEqual(answer, {
    type: "logged-in",
    name: "bob",
    server: cluster.server,
    fingerprint: cluster.fingerprint,
    home: second,
  });
  assert.equal((await Deno.stat(second)).mode! & 0o777, 0o700);
  for await (const { name } of Deno.readDir(second)) {
    assert.equal((await Deno.stat(join(second, name))).mode! & 0o777, 0o600, name);
  }
  const { expiresMs } = await inHome(second, ({ credentials }) => credentials.session(0)!);
  const expires = expiresMs - Date.now();
  assert(Math.abs(expires / 86_400_000 - 30) < 0.1, "30 days");

  await empty("bob");
  const id = await send("alice", "bob", "to both of yours");
  const token = { FASTCHAT_TOKEN_FILE: join(folder, "second.token") };
  succeeded(
    await fastchat([
      "token",
      "create",
      token.FASTCHAT_TOKEN_FILE,
      "--home",
      second,
      "--password-file",
      passwordFile,
    ], none),
  );
  // FASTCHAT_HOME names the home as --home does.
  for (const env of [{ FASTCHAT_HOME: second, ...none.env, ...token }, { FASTCHAT_HOME: home("bob") }]) {
    const received = messages(succeeded(await fastchat(["recv", "--json"], { env })));
    assert.deepEqual(received.map((message) => message.id), [id]);
  }
  const own = succeeded(
    await fastchat(["send", "alice", "from the second", "--home", second], { env: { ...none.env, ...token } }),
  )
    .trim();
  succeeded(await fastchat(["recv", ...at("bob")]));
  const history = messages(succeeded(await fastchat(["history", "alice", "--json", "--limit", "1", ...at("bob")])));
  assert.deepEqual(history.map((message) => message.id), [own], "the first device has it too");
});

Deno.test("without --home each person has a folder, and -u chooses", async () => {
  const env = { XDG_DATA_HOME: join(folder, "xdg") };
  const here = (args: string[]) => fastchat(args, { env });
  failed(await here(["recv"]), 2, /No account is on this machine yet.*fastchat HOST PORT/);
  for (const name of ["alice", "bob"]) {
    succeeded(await here(["login", name, "--server", cluster.server]));
    const name_ = `${name}@127.0.0.1_${cluster.port}`;
    assert((await Deno.stat(join(env.XDG_DATA_HOME, "fastchat", name_))).isDirectory);
    if (name === "alice") succeeded(await here(["recv"]));
  }
  // Somebody who is in the conversation lets the new devices in, with what they say next.
  await send("alice", "bob", "come in");
  const several = /Several accounts.*-u NAME.*:\n {2}alice on 127\.0\.0\.1:\d+\n {2}bob on 127\.0\.0\.1:\d+\n$/;
  failed(await here(["recv"]), 2, several);
  failed(await here([cluster.host, String(cluster.port)]), 2, several);
  failed(await here(["recv", "-u", "carol"]), 2, /No account carol is on this machine/);
  const { seq } = JSON.parse(succeeded(await here(["send", "bob", "chosen", "--json", "-u", "Alice"])));
  assert.equal(messages(succeeded(await here(["recv", "--json", "-u", "bob"]))).at(-1)!.seq, seq);
});

Deno.test("register --no-server-backup keeps the identity at home: login elsewhere says so", async () => {
  const register = ["register", "hermit", "--server", cluster.server, "--no-server-backup", ...at("hermit")];
  succeeded(await fastchat(register));
  const { seq } = JSON.parse(succeeded(await fastchat(["send", "alice", "hello", "--json", ...at("hermit")])));
  assert.equal(seq, 2, "the first message of a conversation, behind the commit that made its group");
  const result = await fastchat(["login", "hermit", "--server", cluster.server, ...at("hermit-2")]);
  failed(result, 4, /no backup of the identity key on the server/);
  await empty("alice");
});

Deno.test("exit code 6: a server's changed key stops everything until trust --server; IPv6 as [::1]:PORT", async () => {
  const host = Deno.networkInterfaces().some(({ address }) => address === "::1") ? "::1" : "127.0.0.1";
  const dataDir = join(folder, "another", "data");
  let other = await startCluster(1, ["--host", host], dataDir);
  try {
    assert.equal(other.server, host === "::1" ? `[::1]:${other.port}` : `127.0.0.1:${other.port}`);
    succeeded(await fastchat(["register", "eve", "--server", other.server, ...at("eve")]));
    const before = other.fingerprint;
    await other.stop();
    await Deno.writeTextFile(join(dataDir, "keys", "cluster.pem"), pem(await generateRsaPkcs8()), { mode: 0o600 });
    other = await startCluster(1, ["--host", host], dataDir, other.port);
    assert.notEqual(other.fingerprint, before);

    const changed = await fastchat(["users", ...at("eve")]);
    failed(changed, 6, new RegExp(`key of server .* changed: .*${before}.*${other.fingerprint}.*trust --server`));
    const trusted = succeeded(await fastchat(["trust", "--server", other.server, ...at("eve")]));
    assert.equal(trusted, `Trusting ${other.server} with key ${other.fingerprint} from now on\n`);
    assert.equal(succeeded(await fastchat(["users", ...at("eve")])), "● eve\n");

    const named = ["login", "eve", "--server", `${other.server}#${before}`, ...at("eve-2"), "--timeout", "5"];
    failed(
      await fastchat(named),
      6,
      new RegExp(`does not hold the key that was named.*${before}.*${other.fingerprint}`),
    );
  } finally {
    await other.stop();
  }
});

function pem(der: Uint8Array): string {
  return `-----BEGIN PRIVATE KEY-----\n${der.toBase64().replace(/.{64}/g, "$&\n")}\n-----END PRIVATE KEY-----\n`;
}
