/** A sealed home as people and scripts meet it: real programs, a real agent, files on a real disk. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { agentPath, askAgent } from "../../client/home/agent.ts";
import { openHome } from "../../client/home_parts.ts";
import { FileLock } from "../../shared/host/mod.ts";
import { alive, type Cluster, eventually, fastchat, lines, PASSWORD, startCluster, startFastchat } from "./harness.ts";

const LOCKED = 8;
let cluster: Cluster;
let folder = "";
const home = (name: string) => join(folder, name);
const run = () => join(folder, "run");

/** A command without a password, in a session of its own. */
function quiet(args: readonly string[], env: Record<string, string> = {}) {
  return fastchat(args, { env: { FASTCHAT_PASSWORD: "", XDG_RUNTIME_DIR: run(), ...env } });
}

Deno.test.beforeAll(async () => {
  cluster = await startCluster(1);
  folder = await Deno.makeTempDir({ prefix: "fastchat-homes-" });
  Deno.mkdirSync(run(), { mode: 0o700 });
  for (const name of ["alice", "bob"]) {
    const made = await fastchat(["register", name, "--server", cluster.server, "--home", home(name)]);
    assert.equal(made.code, 0, made.stderr);
  }
});

Deno.test.afterAll(async () => {
  await cluster.stop();
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a sealed home is locked for commands without a password, and says the three ways in", async () => {
  for (const words of [["send", "bob", "hi"], ["recv"], ["history", "bob"], ["outbox"], ["agent"]]) {
    const { code, stdout, stderr } = await quiet([...words, "--home", home("alice")]);
    assert.deepEqual([code, stdout], [LOCKED, ""], stderr);
    assert.match(stderr, /locked.*FASTCHAT_PASSWORD.*fastchat agent.*fastchat token/s);
  }
  // What needs no secret is not kept from anybody.
  for (const words of [["settings"], ["settings", "typing", "off"], ["token", "list"], ["lock"], ["--version"]]) {
    const { code, stderr } = await quiet([...words, "--home", home("alice")]);
    assert.equal(code, 0, stderr);
  }
});

Deno.test("a wrong password opens nothing and changes nothing", async () => {
  const before = Deno.readFileSync(join(home("alice"), "fastchat.db"));
  const { code, stderr } = await quiet(["history", "bob", "--home", home("alice")], {
    FASTCHAT_PASSWORD: "violet-otter-canyon-43",
  });
  assert.equal(code, 4, stderr);
  assert.match(stderr, /Wrong password/);
  assert.deepEqual(Deno.readFileSync(join(home("alice"), "fastchat.db")), before);
});

Deno.test("fastchat agent keeps a home unlocked until fastchat lock, and across commands", async () => {
  const started = await quiet(["agent", "--home", home("alice")], { FASTCHAT_PASSWORD: PASSWORD });
  assert.equal(started.code, 0, started.stderr);
  assert.match(started.stdout, /fastchat lock.*8 hours/);
  try {
    if (Deno.build.os !== "windows") {
      const path = agentPath(home("alice"), run());
      assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
      assert.equal(Deno.statSync(join(path, "..")).mode! & 0o777, 0o700);
    }
    const sent = await quiet(["send", "bob", "by the agent", "--home", home("alice")]);
    assert.equal(sent.code, 0, sent.stderr);
    const said = await quiet(["history", "bob", "--home", home("alice"), "--json"]);
    assert.match(said.stdout, /"text":"by the agent"/);
    assert.equal((await quiet(["recv", "--home", home("bob")])).code, LOCKED, "it is alice's agent, not bob's");
    const elsewhere = { XDG_RUNTIME_DIR: join(folder, "nowhere") };
    assert.equal((await quiet(["recv", "--home", home("alice")], elsewhere)).code, LOCKED, "nor another session's");
  } finally {
    const locked = await quiet(["lock", "--home", home("alice")]);
    assert.deepEqual([locked.code, locked.stdout], [0, "Locked\n"], locked.stderr);
  }
  assert.equal((await quiet(["recv", "--home", home("alice")])).code, LOCKED);
});

Deno.test("an agent that was killed leaves the home locked, and the next one takes its place", async () => {
  const path = agentPath(home("alice"), run());
  for (let round = 0; round < 2; round++) {
    const started = await quiet(["agent", "--home", home("alice")], { FASTCHAT_PASSWORD: PASSWORD });
    assert.equal(started.code, 0, started.stderr);
    assert.equal((await quiet(["history", "bob", "--home", home("alice")])).code, 0);
    const pid = await FileLock.holder(`${path}.lock`);
    Deno.kill(pid!, "SIGKILL");
    await eventually(() => !alive(pid!) || undefined, "the agent is dead");
    assert.equal((await quiet(["history", "bob", "--home", home("alice")])).code, LOCKED);
  }
});

Deno.test("fastchat agent --foreground stays, unlocks, and takes its socket with it at TERM", async () => {
  const env = { XDG_RUNTIME_DIR: run() }, path = agentPath(home("alice"), run());
  const child = startFastchat(["agent", "--foreground", "--home", home("alice")], { env }), said = lines(child.stdout);
  try {
    assert.equal((await said.next()).value, `Unlocked: listening on ${path}`);
    assert.equal((await quiet(["history", "bob", "--home", home("alice")])).code, 0);
    const second = await fastchat(["agent", "--foreground", "--home", home("alice")], { env });
    assert.deepEqual([second.code, /already/.test(second.stderr)], [2, true], second.stderr);
    child.kill("SIGTERM");
    assert.equal((await child.status).code, 0);
    assert.throws(() => Deno.statSync(path), Deno.errors.NotFound);
  } finally {
    await said.return(undefined);
    await child.stderr.cancel();
    await child.stdin.close().catch(() => {});
  }
});

Deno.test("fastchat agent ends when nobody needs it", async () => {
  const started = await quiet(["agent", "--timeout", "1", "--home", home("bob")], { FASTCHAT_PASSWORD: PASSWORD });
  assert.equal(started.code, 0, started.stderr);
  const path = agentPath(home("bob"), run());
  await eventually(() => {
    try {
      Deno.statSync(path);
      return undefined;
    } catch {
      return true;
    }
  }, "the agent has ended");
  assert.equal(await askAgent(home("bob"), run()), undefined);
});

Deno.test("a token file unlocks for scripts until it is revoked, and is refused when others can read it", async () => {
  const file = join(folder, "bot.token"), bob = ["--home", home("bob")];
  const made = await fastchat(["token", "create", file, ...bob, "--json"]);
  assert.equal(made.code, 0, made.stderr);
  const { id } = JSON.parse(made.stdout);
  assert.equal((await fastchat(["token", "create", file, ...bob])).code, 2, "a file that is there is not overwritten");
  assert.equal((await quiet(["send", "alice", "by token", ...bob, "--token-file", file])).code, 0);
  const env = { FASTCHAT_TOKEN_FILE: file };
  assert.match((await quiet(["history", "alice", ...bob], env)).stdout, /by token/);
  const listed = await quiet(["token", "list", ...bob, "--json"]);
  assert.deepEqual(JSON.parse(listed.stdout).file, file);
  if (Deno.build.os !== "windows") {
    assert.equal(Deno.statSync(file).mode! & 0o777, 0o600);
    Deno.chmodSync(file, 0o640);
    const open = await quiet(["recv", ...bob], env);
    assert.equal(open.code, 2);
    assert.match(open.stderr, /open to other users.*chmod 600/);
    Deno.chmodSync(file, 0o600);
  }
  const others = await quiet(["recv", "--home", home("alice"), "--token-file", file]);
  assert.deepEqual([others.code, /another home's/.test(others.stderr)], [LOCKED, true], others.stderr);
  assert.equal((await quiet(["token", "revoke", file, ...bob])).code, 0);
  assert.equal((await quiet(["recv", ...bob, "--token-file", file])).code, LOCKED);
  assert.equal((await quiet(["token", "revoke", String(id), ...bob])).code, 2);
  assert.equal((await fastchat(["recv", ...bob])).code, 0, "the password opens it as before");
});

Deno.test("the key of a home is nowhere that other processes could see it", async () => {
  const started = await quiet(["agent", "--home", home("alice")], { FASTCHAT_PASSWORD: PASSWORD });
  assert.equal(started.code, 0, started.stderr);
  try {
    const key = await askAgent(home("alice"), run());
    const parts = openHome(home("alice"));
    assert.equal(parts.vault.unlockWithKey(key!), true);
    parts.database.close();
    if (Deno.build.os !== "linux") return;
    let agents = 0;
    for (const entry of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(entry.name)) continue;
      const read = (file: string) => {
        try {
          return new TextDecoder().decode(Deno.readFileSync(`/proc/${entry.name}/${file}`));
        } catch {
          return "";
        }
      };
      const words = read("cmdline"), variables = read("environ");
      if (!words.includes(home("alice"))) continue;
      agents++;
      for (const form of [key!.toBase64(), key!.toHex(), PASSWORD]) {
        assert.equal(words.includes(form) || variables.includes(form), false);
      }
      assert.doesNotMatch(variables, /FASTCHAT_PASSWORD=./);
    }
    assert.equal(agents, 1);
  } finally {
    await quiet(["lock", "--home", home("alice")]);
  }
});
