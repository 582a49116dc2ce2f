/** A device that the password alone has added, as its owner meets it in a chat: one key revokes it, one keeps it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Cluster, fastchat, PASSWORD, runArguments, startCluster } from "./harness.ts";
import { hasTmux, Terminal } from "./tmux.ts";

// Without tmux nobody can press a key; .ci/run installs it.
const ignore = !await hasTmux();
if (ignore) console.warn("new_device_test.ts is skipped: it needs tmux");

let cluster: Cluster;
let folder: string;

Deno.test.beforeAll(async () => {
  if (ignore) return;
  folder = await Deno.makeTempDir({ prefix: "fastchat-new-device-" });
  cluster = await startCluster(1);
  await run("register", "alice", "--server", cluster.server, ...at("alice"));
});

Deno.test.afterAll(async () => {
  if (ignore) return;
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function at(home: string): string[] {
  return ["--home", join(folder, home)];
}

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await fastchat(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** Somebody who knows name and password. */
async function logIn(home: string): Promise<string> {
  await run("login", "alice", "--server", cluster.server, "--device-name", home, ...at(home));
  const [id] = /^\w{8}(?=.* this device$)/m.exec(await run("device", "list", ...at(home)))!;
  return id;
}

/** Alice's chat, unlocked by a token: her password is nowhere but in her head. */
async function chat(): Promise<Terminal> {
  const token = join(folder, "token");
  await run("token", "create", token, ...at("alice")).catch(() => {});
  return await Terminal.open([Deno.execPath(), ...runArguments("client"), "--token-file", token, ...at("alice")]);
}

Deno.test({
  name:
    "terminal: a device that the password alone has added is shown until M-r and the password have revoked it, for good",
  ignore,
  async fn() {
    await using terminal = await chat();
    await terminal.shows(/^\* alice on/m);
    const id = await logIn("thief");
    await terminal.shows(
      new RegExp(`\\(${id}\\)\\s+with\\s+your\\s+password[^]*new device ${id}: M-r revoke, M-k mine$`),
    );
    await terminal.type("", "M-r");
    await terminal.shows(new RegExp(`${id}, which calls itself "thief"[^]*Revoke ${id}\\? y or n`));
    await terminal.type("n");
    await terminal.shows(/M-r revoke, M-k mine$/);
    await terminal.type("", "M-r");
    await terminal.shows(/y or n/);
    await terminal.type("y");
    await terminal.shows(/Password of alice \(it is not shown\)/);
    await terminal.type("some-other-words-99", "Enter");
    await terminal.shows(/^\* .*[Pp]assword[^]*M-r revoke, M-k mine$/m);
    await terminal.type("", "M-r");
    await terminal.shows(/y or n/);
    await terminal.type("y");
    await terminal.shows(/Password of alice/);
    await terminal.type(PASSWORD, "Enter");
    const screen = await terminal.shows(new RegExp(`The device ${id} is yours no longer`));
    assert.doesNotMatch(screen, new RegExp(PASSWORD));
    assert.doesNotMatch(await terminal.shows(/^\[-\]$/m), /M-k mine/);
    const { code, stderr } = await fastchat(["users", ...at("thief")]);
    assert.equal(code, 4, stderr);
    assert.match(stderr, /This device was revoked/);
    // The key is the editor's again, which has no use for it.
    await terminal.type("", "M-r");
    await terminal.type("/quit", "Enter");
    await terminal.shows(/ended 0, modes restored/);
  },
});

Deno.test({
  name: "terminal: M-k keeps a device that the password alone has added, and no chat shows it any more",
  ignore,
  async fn() {
    const id = await logIn("laptop");
    {
      await using terminal = await chat();
      await terminal.shows(new RegExp(`new device ${id}: M-r revoke, M-k mine$`));
      await terminal.type("", "M-k");
      await terminal.shows(new RegExp(`Is ${id} yours\\? y or n`));
      await terminal.type("y");
      assert.doesNotMatch(await terminal.shows(new RegExp(`The device ${id} is yours$`, "m")), /M-k mine/);
      await terminal.type("/quit", "Enter");
      await terminal.shows(/ended 0, modes restored/);
    }
    assert.doesNotMatch(await run("device", "list", ...at("alice")), /approve or revoke/);
  },
});

Deno.test({
  name: "a command says which device was added, with the commands that keep and revoke it",
  ignore,
  async fn() {
    const id = await logIn("phone"), { stderr } = await fastchat(["users", ...at("alice")]);
    assert.match(
      stderr,
      new RegExp(`\\(${id}\\).*fastchat device approve ${id}.*fastchat device revoke ${id},.*fastchat passwd`),
    );
    assert.match(await run("device", "approve", id, ...at("alice")), /is yours/);
    assert.doesNotMatch((await fastchat(["users", ...at("alice")])).stderr, /was added/);
  },
});
